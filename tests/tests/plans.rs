//! What containers get on simulated hosts: exactly which devices, libraries, programs, links and
//! cache entries, each with its reason, and the same as `explain` tells.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "plans/devices.rs"]
mod devices;
#[path = "plans/explained.rs"]
mod explained;
#[path = "plans/extras.rs"]
mod extras;
#[path = "plans/files.rs"]
mod files;
#[path = "plans/large.rs"]
mod large;
#[path = "plans/libraries.rs"]
mod libraries;
#[path = "plans/random.rs"]
mod random;
#[path = "plans/rules.rs"]
mod rules;
#[path = "plans/scene.rs"]
mod scene;
