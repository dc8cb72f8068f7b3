//! What must hold of every parser of oci-gpu, whatever it is fed: properties that panic where they
//! are broken.
//!
//! Two programs call them: libFuzzer's (`fuzz/` at the top of the repository, for cargo-fuzz), and
//! the mutation run of this crate's tests, which needs nothing but a stable toolchain. Both begin
//! with the corpus `fuzz/corpus/TARGET/`. `fuzz/README.md` tells how to run them.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a property fails by panicking"
)]

pub mod cgroup;
pub mod config;
pub mod config_json;
pub mod device_name;
pub mod elf;
mod findings;
pub mod ldcache;
pub mod ldcache_merge;
mod loader;
pub mod proc_driver;
pub mod request;
pub mod require;
pub mod state;
pub mod stored;

/// A property of one parser; it panics where the input breaks it.
pub type Check = fn(&[u8]);

/// Every target by its name, which is that of its corpus and of its program in `fuzz/`.
pub const TARGETS: &[(&str, Check)] = &[
    ("cgroup", cgroup::check),
    ("config", config::check),
    ("config_json", config_json::check),
    ("device_name", device_name::check),
    ("elf", elf::check),
    ("ldcache", ldcache::check),
    ("ldcache_merge", ldcache_merge::check),
    ("proc_driver", proc_driver::check),
    ("request", request::check),
    ("require", require::check),
    ("state", state::check),
    ("stored", stored::check),
];
