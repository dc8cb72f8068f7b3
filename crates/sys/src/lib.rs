//! System calls that nix lacks: the new mount interface, cgroup programs and a few others.
//!
//! This is the only crate of the workspace with unsafe code. Every function is one system call in
//! the order of its manual page, takes descriptors and never keeps them, and names the kernel
//! version that it needs.

pub mod mount;
pub mod process;
pub mod stat;

use std::io;

/// The result of a system call that returns -1 and sets `errno`.
pub(crate) fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
