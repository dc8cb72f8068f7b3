//! Mounts by descriptor: open_tree(2), move_mount(2), mount_setattr(2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::check;

/// Attributes of a mount (`MOUNT_ATTR_*`), combined with `|`.
pub mod attr {
    /// Nothing can be written through the mount.
    pub const RDONLY: u64 = 0x1;
    /// Set-user-ID bits have no effect.
    pub const NOSUID: u64 = 0x2;
    /// Device nodes cannot be opened.
    pub const NODEV: u64 = 0x4;
    /// Programs cannot be run.
    pub const NOEXEC: u64 = 0x8;
}

/// A detached copy of the mount that `file` lies on, with `file` as its root (open_tree(2) with
/// `OPEN_TREE_CLONE`). It is unmounted when the descriptor closes, unless it was moved somewhere.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN over the mount namespace, `EINVAL` for an unbindable mount,
/// `ENOSYS` before Linux 5.2.
pub fn clone_tree(file: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE as libc::c_long
        | libc::c_long::from(libc::O_CLOEXEC)
        | libc::c_long::from(libc::AT_EMPTY_PATH);
    // SAFETY: the path is a NUL-terminated literal, and the call writes no memory of ours.
    let fd = check(unsafe {
        libc::syscall(libc::SYS_open_tree, file.as_raw_fd(), c"".as_ptr(), flags)
    })?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Attaches the detached mount `tree` at `target` (move_mount(2)). A file goes on a file, a
/// directory on a directory; the caller has checked what `target` is, for the kernel accepts
/// symbolic links and FIFOs.
///
/// # Errors
/// `EINVAL` where the types differ or `target` is not in the caller's mount namespace, `ENOENT`
/// where it was unlinked, `ENOSPC` at the limit of mounts, `ENOSYS` before Linux 5.2.
pub fn move_mount(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: both paths are NUL-terminated literals, and the call writes no memory of ours.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            target.as_raw_fd(),
            c"".as_ptr(),
            flags,
        )
    })?;
    Ok(())
}

/// Sets and clears attributes (see [`attr`]) of the mount that `mount` is the root of, and makes
/// it private (mount_setattr(2)).
///
/// # Errors
/// `EPERM` where a locked attribute would be cleared, `EINVAL` where `mount` is no mount's root,
/// `ENOSYS` before Linux 5.12.
pub fn set_attributes(mount: BorrowedFd<'_>, set: u64, clear: u64) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: set,
        attr_clr: clear,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    // SAFETY: the path is a literal, `attributes` lives through the call and its size is passed.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })?;
    Ok(())
}
