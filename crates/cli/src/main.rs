//! The `oci-gpu` command.
#![forbid(unsafe_code)]

fn main() {}
