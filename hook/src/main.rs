//! The hook.
#![forbid(unsafe_code)]

fn main() {}
