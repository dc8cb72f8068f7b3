//! ld.so.cache: against the real ldconfig and loader, and on hostile bytes.
#![allow(missing_docs, unreachable_pub, dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/elf_image.rs"]
mod elf_image;

mod ldconfig;
mod loader;
mod malformed;
mod merge;
mod random;
mod tree;
