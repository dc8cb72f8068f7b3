//! What the end-to-end tests stand on: real runtimes, images of three glibc releases, genuine
//! driver files, and a probe that says from inside a container what is there.
//!
//! Everything that is fetched is a Debian package, by the machine's own apt sources and with their
//! signatures checked; it is kept below the target directory and never committed. A test reads:
//!
//! ```no_run
//! use oci_gpu_tests::{bundle::Bundle, debs::Debs, probe::Probe, rootfs::{Kind, Rootfs}};
//! use oci_gpu_tests::runtime::{CgroupMode, Runtime};
//!
//! # fn main() -> oci_gpu_tests::error::Result<()> {
//! let dir = oci_gpu_tests::scratch::Scratch::new()?;
//! let debs = Debs::new()?;
//! let rootfs = Rootfs::instance(&debs, Kind::Bookworm, &dir.path().join("rootfs"))?;
//! let probe = Probe::build(&debs)?;
//! let bundle = Bundle::new(&dir.path().join("bundle"), &rootfs);
//! let runtime = Runtime::runc(CgroupMode::V1)?;
//! let report = probe.run(&runtime, bundle, &["--open", "/dev/nvidia0"])?;
//! assert_eq!(report.open("/dev/nvidia0"), "ENOENT");
//! # Ok(()) }
//! ```
#![forbid(unsafe_code)]

pub mod alternatives;
pub mod apt_sources;
pub mod binaries;
pub mod bundle;
pub mod cache;
pub mod debs;
pub mod driver;
pub mod error;
pub mod gpu;
pub mod leftovers;
pub mod packages;
pub mod probe;
pub mod rootfs;
pub mod runtime;
pub mod scratch;
pub mod skip;
pub mod tree;

/// A hash of `content`, for names and comparisons within one run of one toolchain.
pub fn hash(content: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    hasher.write(content);
    hasher.finish()
}
