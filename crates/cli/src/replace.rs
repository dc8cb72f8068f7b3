//! Files that others read at any time: replaced as a whole, or left as they are.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// Puts a file with `text` and the permissions `mode` at `name` in `directory`, in the place of what
/// is there, once it is on the disk. No link is followed, whoever else may write the directory.
pub(crate) fn replace(directory: &OwnedFd, name: &Path, text: &str, mode: u32) -> io::Result<()> {
    // Engines that read a directory look at files that end in .json or .yaml only.
    let new = PathBuf::from(format!(".{}.{}", name.display(), std::process::id()));
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    // One of a process with our number, which was killed.
    let _ = unlinkat(directory, &new, UnlinkatFlags::NoRemoveDir);
    let opened = openat(directory, &new, flags, Mode::from_bits_truncate(0o600))?;
    let mut file = File::from(opened);
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| Ok(fchmod(&file, Mode::from_bits_truncate(mode))?))
        .and_then(|()| file.sync_all())
        .and_then(|()| Ok(renameat(directory, &new, directory, name)?));
    if written.is_err() {
        let _ = unlinkat(directory, &new, UnlinkatFlags::NoRemoveDir);
        return written;
    }
    Ok(nix::unistd::fsync(directory.as_fd())?)
}
