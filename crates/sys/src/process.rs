//! The calling process: its descriptors and its environment.

use std::io;
use std::os::fd::OwnedFd;

use crate::{check, owned};

/// A descriptor of the process `pid`, which stays this process even if the number is used again
/// (pidfd_open(2)).
///
/// # Errors
/// `ESRCH` where there is none, `EINVAL` for a number that is no process's, `ENOSYS` before
/// Linux 5.3.
pub fn pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes numbers only.
    Ok(owned(check(unsafe {
        libc::syscall(libc::SYS_pidfd_open, pid, 0)
    })?))
}

/// Closes every descriptor from `first` on (close_range(2); one by one before Linux 5.9).
///
/// # Errors
/// Those of reading /proc/self/fd where the call is missing.
pub fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: the caller says that it owns no descriptor from `first` on; none of our types does,
    // since this is called before any is made.
    let closed = check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) });
    if closed.is_ok() {
        return Ok(());
    }
    let names: Vec<_> = std::fs::read_dir("/proc/self/fd")?
        .flatten()
        .map(|e| e.file_name())
        .collect();
    for fd in names.iter().filter_map(|n| n.to_str()?.parse::<i32>().ok()) {
        if u32::try_from(fd).is_ok_and(|fd| fd >= first) {
            // SAFETY: as above; the directory's own descriptor is closed already, and closing a
            // number that is not open does nothing.
            unsafe { libc::close(fd) };
        }
    }
    Ok(())
}

/// Empties the environment (clearenv(3)). Call it while the process has one thread.
pub fn clear_environment() {
    // SAFETY: the process has one thread, so nobody reads the environment meanwhile.
    unsafe { libc::clearenv() };
}

/// Sends SIGALRM after `seconds` (alarm(2)): the last resort against a call that hangs.
pub fn alarm(seconds: u32) {
    // SAFETY: alarm(2) takes a number and touches no memory.
    unsafe { libc::alarm(seconds) };
}
