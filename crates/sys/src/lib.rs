//! System calls that nix lacks: the new mount interface, cgroup programs and a few others.
//!
//! This is the only crate of the workspace with unsafe code. Every function is one system call in
//! the order of its manual page, takes descriptors and never keeps them, and names the kernel
//! version that it needs.

pub mod bpf;
pub mod file;
pub mod mount;
pub mod process;
pub mod seccomp;
pub mod stat;

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// The result of a system call that returns -1 and sets `errno`.
pub(crate) fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// The descriptor that a system call has just returned.
pub(crate) fn owned(fd: libc::c_long) -> OwnedFd {
    // SAFETY: the kernel has made this descriptor for the caller of the system call; nobody else
    // owns it.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}
