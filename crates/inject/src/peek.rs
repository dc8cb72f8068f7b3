//! Looking into a container's root file system before anything is changed in it.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::{SFlag, fstat};

use oci_gpu::container::RootView;
use oci_gpu::finding::Finding;

use crate::rootfs::Rootfs;
use crate::target::bad_target;

/// A root that answers questions, and remembers the first that it could not answer.
pub(crate) struct Peek<'a> {
    rootfs: &'a Rootfs,
    failed: RefCell<Option<Finding>>,
}

impl<'a> Peek<'a> {
    pub(crate) fn of(rootfs: &'a Rootfs) -> Peek<'a> {
        Peek {
            rootfs,
            failed: RefCell::new(None),
        }
    }

    /// # Errors
    /// What could not be told whether it exists: what it decides would be decided wrongly.
    pub(crate) fn finish(self) -> Result<(), Finding> {
        self.failed.into_inner().map_or(Ok(()), Err)
    }

    /// What `path` leads to, by a descriptor that cannot be read from, so that no FIFO blocks and no
    /// device wakes up, if it is of that type.
    fn find(&self, path: &str, kind: SFlag) -> Option<OwnedFd> {
        let found = self.rootfs.find(Path::new(path), OFlag::O_PATH).ok()?;
        let stat = fstat(&found).ok()?;
        (stat.st_mode & SFlag::S_IFMT.bits() == kind.bits()).then_some(found)
    }
}

impl RootView for Peek<'_> {
    fn exists(&self, path: &str) -> bool {
        self.rootfs.exists(Path::new(path)).unwrap_or_else(|e| {
            self.failed.replace(Some(bad_target(Path::new(path), e)));
            false
        })
    }

    fn open(&self, path: &str) -> Option<File> {
        read_from(&self.find(path, SFlag::S_IFREG)?).ok()
    }

    fn list(&self, path: &str, limit: usize) -> Vec<String> {
        let Some(found) = self.find(path, SFlag::S_IFDIR) else {
            return Vec::new();
        };
        names(found.as_fd(), limit).unwrap_or_default()
    }
}

/// Opens for reading what `found` is, which was resolved and seen to be a regular file. A file that
/// somebody has a lease of (fcntl(2), F_SETLEASE) is an error, not a wait.
#[allow(
    clippy::disallowed_methods,
    reason = "our own path in /proc/self/fd, of a file that was resolved and checked"
)]
pub(crate) fn read_from(found: &OwnedFd) -> io::Result<File> {
    File::options()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(format!("/proc/self/fd/{}", found.as_raw_fd()))
}

#[allow(
    clippy::disallowed_methods,
    reason = "our own path in /proc/self/fd, of a directory that was resolved and checked"
)]
fn names(directory: std::os::fd::BorrowedFd<'_>, limit: usize) -> io::Result<Vec<String>> {
    let entries = std::fs::read_dir(format!("/proc/self/fd/{}", directory.as_raw_fd()))?;
    let names = entries
        .take(limit)
        .filter_map(|e| e.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.sort();
    Ok(names)
}
