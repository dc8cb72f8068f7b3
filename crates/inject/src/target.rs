//! A place in the container: an entry of a directory, and what can be wrong with it.

use std::ffi::OsStr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use oci_gpu::finding::{Code, Finding};

use crate::fail::failed;
use crate::resolve::{Scope, resolve};

/// Why something could not be created in the container.
#[derive(Debug)]
pub(crate) enum CreateError {
    /// The directory lies on a mount that is not the container's own.
    Volume,
    /// The system call failed.
    Os(Errno),
}

impl From<Errno> for CreateError {
    fn from(e: Errno) -> CreateError {
        CreateError::Os(e)
    }
}

impl From<std::io::Error> for CreateError {
    fn from(e: std::io::Error) -> CreateError {
        CreateError::Os(Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))
    }
}

impl CreateError {
    /// The finding for the creation of `path`.
    pub(crate) fn at(self, path: &Path) -> Finding {
        match self {
            CreateError::Volume => Finding::new(
                Code::Target,
                format!(
                    "{} of the container lies on a volume, which is not changed",
                    path.display()
                ),
                "mount the volume elsewhere, or create this entry in it",
            ),
            CreateError::Os(e) => failed(
                Code::Target,
                format!("create {} in the container", path.display()),
                e,
            ),
        }
    }
}

/// The finding for a target that cannot be opened.
pub(crate) fn bad_target(path: &Path, error: Errno) -> Finding {
    let why = match error {
        Errno::ELOOP => " (a link to a process's own files, or too many links)",
        Errno::ENOENT => " (a dangling link)",
        Errno::EACCES => " (a link to a process's own files, or a directory that is closed)",
        _ => "",
    };
    failed(
        Code::Target,
        format!("open {} in the container{why}", path.display()),
        error,
    )
}

/// Opens an entry of `directory` itself: a single name, and no link is followed.
pub(crate) fn entry(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    flags: OFlag,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlag::O_NOFOLLOW;
    resolve(
        directory,
        Path::new(name),
        flags,
        Mode::empty(),
        Scope::Entry,
    )
}

/// Creates a regular file in `directory`; the name must not exist.
pub(crate) fn create_entry(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    mode: u32,
) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_WRONLY;
    let mode = Mode::from_bits_truncate(mode);
    resolve(directory, Path::new(name), flags, mode, Scope::Entry)
}
