//! The stored inventory's file, and the directory that it may be in.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fchmod, fstat, mkdirat};
use nix::unistd::Uid;
use oci_gpu::discover::stored::{FILE, Stored};
use oci_gpu::finding::{Code, Finding};
use oci_gpu::host::Host;

use crate::replace;

/// Replaces the file of `host`: those who read it see the old one or the new one. Mode 0600; its
/// directory is made where it is missing, with mode 0755.
pub(super) fn store(host: &Host, stored: &Stored) -> Result<(), Finding> {
    let file = Path::new(FILE);
    let directory = file.parent().unwrap_or(Path::new("/"));
    let name = file.file_name().map(PathBuf::from).unwrap_or_default();
    let written =
        open(host, directory).and_then(|at| replace::replace(&at, &name, &stored.to_text(), 0o600));
    written.map_err(|e| match e.kind() {
        io::ErrorKind::PermissionDenied => Finding::new(
            Code::Privilege,
            format!("write {FILE}: {e}"),
            "run oci-gpu refresh as root",
        ),
        _ => Finding::new(
            Code::StoredInventory,
            format!("write {FILE}: {e}"),
            format!("see what is at {}", directory.display()),
        ),
    })
}

/// The directory, which is the caller's or root's and which nobody else writes.
fn open(host: &Host, directory: &Path) -> io::Result<OwnedFd> {
    let above = host
        .files()
        .resolve(directory.parent().unwrap_or(directory))?;
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let above = nix::fcntl::open(&host.on_disk(&above), flags, Mode::empty())?;
    let name = directory.file_name().map(PathBuf::from).unwrap_or_default();
    let mode = Mode::from_bits_truncate(0o755);
    let made = match mkdirat(&above, &name, mode) {
        Ok(()) => true,
        Err(nix::Error::EEXIST) => false,
        Err(e) => return Err(e.into()),
    };
    // A link in its place is an error.
    let opened = openat(&above, &name, flags, Mode::empty())?;
    if made {
        fchmod(opened.as_fd(), mode)?;
    }
    let found = fstat(opened.as_fd())?;
    let is_ours = [0, Uid::effective().as_raw()].contains(&found.st_uid);
    match is_ours && found.st_mode & 0o022 == 0 {
        true => Ok(opened),
        false => Err(io::Error::other(format!(
            "{} may be written by others than root (owner {}, mode {:04o})",
            directory.display(),
            found.st_uid,
            found.st_mode & 0o7777
        ))),
    }
}
