//! ELF facts: against readelf, of files made by hand, and of hostile ones.
#![allow(missing_docs, unreachable_pub, dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/elf_image.rs"]
mod elf_image;

mod counted;
mod hostile;
mod made;
mod system;
