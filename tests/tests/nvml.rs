//! NVML and the inventory that `oci-gpu refresh` keeps: what they add, what goes wrong, what is
//! refused, and which instance a MIG UUID gets a container.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "nvml/adds.rs"]
mod adds;
#[path = "nvml/faults.rs"]
mod faults;
#[path = "nvml/hook.rs"]
mod hook;
#[path = "nvml/host.rs"]
mod host;
#[path = "cli/ran.rs"]
#[allow(dead_code, reason = "cli.rs uses all of it")]
mod ran;
#[path = "nvml/refresh.rs"]
mod refresh;
#[path = "nvml/stored.rs"]
mod stored;
