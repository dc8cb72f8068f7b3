//! What the host lacks: modules, nodes and links that `oci-gpu system` makes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "system/links.rs"]
mod links;
#[path = "system/modules.rs"]
mod modules;
#[path = "cli/ran.rs"]
#[allow(dead_code, reason = "another test's helpers")]
mod ran;
