//! What the end-to-end tests stand on: real runtimes, images of three glibc releases, genuine
//! driver files, and a probe that says from inside a container what is there.
//!
//! Everything that is fetched is a Debian package, by the machine's own apt sources and with their
//! signatures checked; it is kept below the target directory and never committed. A test reads:
//!
//! ```no_run
//! use oci_gpu_tests::rootfs::Kind;
//! use oci_gpu_tests::runtime::{CgroupMode, Runtime};
//! use oci_gpu_tests::setting::Setting;
//!
//! # fn main() -> oci_gpu_tests::error::Result<()> {
//! let setting = Setting::new()?;
//! let bundle = setting.bundle("plain", Kind::Bookworm)?;
//! let runtime = Runtime::runc(CgroupMode::V1)?;
//! let report = setting.probe.run(&runtime, bundle, &["--open", "/dev/nvidia0"])?;
//! assert_eq!(report.open("/dev/nvidia0"), "ENOENT");
//! # Ok(()) }
//! ```
#![forbid(unsafe_code)]

pub mod alternatives;
pub mod apt_sources;
pub mod binaries;
pub mod bundle;
pub mod cache;
pub mod canary;
pub mod complete;
pub mod debs;
pub mod driver;
pub mod error;
pub mod explained;
pub mod gpu;
pub mod hostile;
pub mod large;
pub mod leftovers;
pub mod nvml;
pub mod output;
pub mod packages;
pub mod planned;
pub mod platforms;
pub mod probe;
pub mod rootfs;
pub mod runtime;
mod runtime_programs;
pub mod scene;
pub mod scratch;
pub mod setting;
pub mod sim;
pub mod skip;
pub mod standin;
pub mod strace;
pub mod tree;
pub mod vm;

/// A hash of `content`, for names and comparisons within one run of one toolchain.
pub fn hash(content: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    hasher.write(content);
    hasher.finish()
}
