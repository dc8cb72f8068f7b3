//! The command `oci-gpu`, as it is shipped: what it prints, where, and how it exits.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "cli/chosen_nodes.rs"]
mod chosen_nodes;
#[path = "cli/errors.rs"]
mod errors;
#[path = "cli/explain.rs"]
mod explain;
#[path = "cli/nodes.rs"]
mod nodes;
#[path = "cli/printing.rs"]
mod printing;
#[path = "cli/ran.rs"]
mod ran;
