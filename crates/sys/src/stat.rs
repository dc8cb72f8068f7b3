//! statx(2): the mount that a descriptor lies on.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::check;

/// What statx(2) tells of a descriptor beyond fstat(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountFacts {
    /// The number of the mount (`STATX_MNT_ID`, Linux 5.8); `None` on older kernels.
    pub id: Option<u64>,
    /// Whether the file is the root of its mount (`STATX_ATTR_MOUNT_ROOT`, Linux 5.8).
    pub is_root: Option<bool>,
}

/// The mount that `file` lies on.
///
/// # Errors
/// Those of statx(2); `ENOSYS` before Linux 4.11.
pub fn mount_facts(file: BorrowedFd<'_>) -> io::Result<MountFacts> {
    let mut buffer = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path is a literal and the buffer is as large as the kernel's structure.
    check(i64::from(unsafe {
        libc::statx(
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW,
            libc::STATX_BASIC_STATS | libc::STATX_MNT_ID,
            buffer.as_mut_ptr(),
        )
    }))?;
    // SAFETY: the buffer was zeroed, and every bit pattern is a valid `statx`.
    let facts = unsafe { buffer.assume_init() };
    let id = (facts.stx_mask & libc::STATX_MNT_ID != 0).then_some(facts.stx_mnt_id);
    let root = libc::STATX_ATTR_MOUNT_ROOT as u64;
    let is_root =
        (facts.stx_attributes_mask & root != 0).then_some(facts.stx_attributes & root != 0);
    Ok(MountFacts { id, is_root })
}
