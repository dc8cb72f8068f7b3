//! Mounts by descriptor: open_tree(2), move_mount(2), mount_setattr(2), fsopen(2).

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use crate::{check, owned};

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
    Ok(owned(fd))
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

/// A new file system of that type, detached and not yet visible to anybody (fsopen(2),
/// fsconfig(2), fsmount(2)). An option without a value is a flag.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN over the mount namespace, `ENODEV` for an unknown type, `EINVAL`
/// for an unknown option, `ENOSYS` before Linux 5.2.
pub fn new_filesystem(
    kind: &CStr,
    options: &[(&CStr, Option<&CStr>)],
    attributes: u64,
) -> io::Result<OwnedFd> {
    const FSCONFIG_SET_FLAG: libc::c_uint = 0;
    const FSCONFIG_SET_STRING: libc::c_uint = 1;
    const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
    const CLOEXEC: libc::c_uint = 1;
    // SAFETY: the type's name is NUL-terminated.
    let context = owned(check(unsafe {
        libc::syscall(libc::SYS_fsopen, kind.as_ptr(), CLOEXEC)
    })?);
    let configure =
        |command: libc::c_uint, key: *const libc::c_char, value: *const libc::c_char| {
            // SAFETY: key and value are null, or NUL-terminated strings that live through the call.
            check(unsafe {
                libc::syscall(
                    libc::SYS_fsconfig,
                    context.as_raw_fd(),
                    command,
                    key,
                    value,
                    0,
                )
            })
        };
    for (key, value) in options {
        match value {
            Some(value) => configure(FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr())?,
            None => configure(FSCONFIG_SET_FLAG, key.as_ptr(), std::ptr::null())?,
        };
    }
    configure(FSCONFIG_CMD_CREATE, std::ptr::null(), std::ptr::null())?;
    // SAFETY: the call takes numbers only.
    Ok(owned(check(unsafe {
        libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), CLOEXEC, attributes)
    })?))
}
