//! What discovery finds on simulated hosts, held against their descriptions, and on what evidence.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "hosts/broken.rs"]
mod broken;
#[path = "hosts/built_in.rs"]
mod built_in;
#[path = "hosts/decoys.rs"]
mod decoys;
#[path = "hosts/expected.rs"]
mod expected;
#[path = "hosts/nodes.rs"]
mod nodes;
#[path = "hosts/odd_places.rs"]
mod odd_places;
