//! What the host lacks: modules, nodes and links that `oci-gpu system` makes, and nodes that the
//! hook makes where the administrator wants that.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "system/hook.rs"]
mod hook;
#[path = "system/links.rs"]
mod links;
#[path = "system/modules.rs"]
mod modules;
#[path = "system/needed.rs"]
mod needed;
#[path = "cli/ran.rs"]
#[allow(dead_code, reason = "another test's helpers")]
mod ran;
