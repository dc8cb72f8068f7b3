//! Locks on files: flock(2). nix's lock panics where it cannot be released, and std's needs Rust
//! 1.89.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::check;

/// Locks `file` for who holds this open file, if nobody else does; closing it unlocks.
///
/// # Errors
/// `EWOULDBLOCK` where somebody else holds it, `ENOLCK` or `ENOSYS` on file systems without locks.
pub fn try_lock(file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the call takes numbers only.
    check(i64::from(unsafe {
        libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB)
    }))?;
    Ok(())
}
