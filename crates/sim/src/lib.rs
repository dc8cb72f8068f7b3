//! Simulated GPU hosts: a description becomes a directory tree that looks like a machine with an
//! NVIDIA driver, for tests, demonstrations and other people's runtimes.
//!
//! ```
//! use oci_gpu_sim::{HostSpec, Nodes};
//!
//! # fn main() -> Result<(), oci_gpu::Finding> {
//! # let scratch = tempfile::tempdir().unwrap();
//! # let directory = scratch.path().join("host");
//! let mut host = HostSpec::named("run-8")?;
//! host.nodes = Nodes::Skip; // device nodes need root
//! let created = host.create(&directory)?;
//! assert!(directory.join("proc/driver/nvidia/version").exists());
//! assert!(directory.join("usr/lib/x86_64-linux-gnu/libcuda.so.1").exists());
//! println!("{} files in {}", created.files, created.root.display());
//! # Ok(())
//! # }
//! ```
//!
//! What is below the directory is what the host has below `/`: proc, sys, dev, etc, usr, run.
//! Formats of the kernel's files are those of the driver's sources; library names, sonames and links
//! are those of real packages. Libraries are real ELF files that a loader takes, each with one data
//! symbol, [`VERSION_SYMBOL`], that tells which file it is. They contain no code: nothing here
//! computes. No compiler and no network is needed.
//!
//! What is not simulated: open() of a node gives ENXIO (no kernel driver stands behind it), there
//! is no NVML, and MIG UUIDs, which only NVML knows, do not exist.
#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod builtin;
mod caps;
mod check;
mod config;
mod debian;
mod dev;
mod driver;
mod elf;
mod gpu;
mod layout;
mod libraries;
mod nixos;
mod peripherals;
mod plain;
mod procfs;
mod programs;
mod spec;
mod sysfs;
mod tegra;
mod tree;
mod userland;
mod wsl;

use std::path::Path;

use oci_gpu::finding::Finding;

pub use driver::{Driver, Flavour, Module, Package};
pub use elf::{SharedObject, Target, VERSION_SYMBOL, static_program};
pub use gpu::{Gpu, MODELS, Model};
pub use libraries::{
    DevLink, FileVersion, HOST_LIBRARIES, LIBRARIES, Library, Origin, Place, Soname,
};
pub use peripherals::Peripheral;
pub use spec::{
    Arch, Decoy, Faults, GpuInstance, GpuSpec, Gpus, HostSpec, Layout, Link, Majors, Minors, Nodes,
    Paths, Services, TextFile,
};
pub use tree::Created;

use layout::Directories;
use tree::Tree;

impl HostSpec {
    /// Makes the host in `dir`, which must be absent or empty.
    ///
    /// # Errors
    /// [`Code::Sim`](oci_gpu::Code::Sim): a description that no machine can have, a directory that
    /// is not empty or cannot be written, and device nodes that cannot be made (the caller lacks
    /// CAP_MKNOD, or `dir` lies on a mount with the option nodev) unless `nodes` is
    /// [`Nodes::Skip`]. The directory is empty then, as before.
    pub fn create(&self, dir: &Path) -> Result<Created, Finding> {
        self.check()?;
        let mut tree = Tree::at_empty(dir, self.nodes)?;
        // The kernel's side first: it is what may fail, and it holds few files.
        let made = self
            .kernel_side_in(&mut tree)
            .and_then(|()| self.userland_in(&mut tree));
        match made {
            Ok(()) => Ok(tree.finish()),
            Err(finding) => {
                tree.clear();
                Err(finding)
            }
        }
    }

    /// Makes the kernel's side alone: proc, sys, dev. `dir` may hold a root file system, with real
    /// driver packages say; nothing in it is overwritten, and its links are followed inside it.
    ///
    /// # Errors
    /// As [`HostSpec::create`], and a file that is there already. What was made before the error
    /// remains.
    pub fn create_kernel_side(&self, dir: &Path) -> Result<Created, Finding> {
        self.check()?;
        let mut tree = Tree::at(dir, self.nodes)?;
        self.kernel_side_in(&mut tree)?;
        Ok(tree.finish())
    }

    /// Makes the user-space side alone: libraries, programs, firmware, configuration, sockets, and
    /// the loader's cache. `dir` may hold other files; nothing in it is overwritten.
    ///
    /// # Errors
    /// As [`HostSpec::create_kernel_side`].
    pub fn create_userland(&self, dir: &Path) -> Result<Created, Finding> {
        self.check()?;
        let mut tree = Tree::at(dir, self.nodes)?;
        self.userland_in(&mut tree)?;
        Ok(tree.finish())
    }

    fn kernel_side_in(&self, tree: &mut Tree) -> Result<(), Finding> {
        let gpus = self.gpu_list()?;
        procfs::create(self, &gpus, tree)?;
        sysfs::create(self, &gpus, tree)?;
        peripherals::files(self, tree)?;
        dev::create(self, &gpus, tree)
    }

    fn userland_in(&self, tree: &mut Tree) -> Result<(), Finding> {
        userland::create(self, tree)?;
        let directories = Directories::of(self);
        programs::firmware(self, &directories, tree)?;
        programs::sockets(self, &directories, tree)
    }
}
