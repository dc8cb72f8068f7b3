//! A read-only file system in memory, filled before anybody can see it.

use std::ffi::CStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::sys::statfs::{FsType, TMPFS_MAGIC, fstatfs};

use oci_gpu::finding::{Code, Finding};
use oci_gpu::plan::FileEntry;
use oci_gpu_sys::mount::{attr, move_mount, new_filesystem, set_attributes};

use crate::fail::failed;
use crate::loader_cache::read_bounded;
use crate::rootfs::{Rootfs, bad_target};
use crate::steps::Outcome;
use crate::undo::Undo;

const OPTIONS: &[(&CStr, Option<&CStr>)] = &[(c"mode", Some(c"0555")), (c"size", Some(c"1m"))];

/// Mounts `entries` on the directory `target`, which must lie in procfs: an image can make
/// directories of that name, but no procfs.
pub(crate) fn mount(
    root: &Rootfs,
    target: &Path,
    entries: &[FileEntry],
    undo: &mut Undo,
) -> Result<Outcome, Finding> {
    let open = |path: &Path| root.find(path, OFlag::O_PATH | OFlag::O_DIRECTORY);
    let place = open(target).map_err(|e| bad_target(target, e))?;
    match file_system(&place).map_err(|e| bad_target(target, e))? {
        FsType(libc::PROC_SUPER_MAGIC) => {}
        TMPFS_MAGIC if holds(&place, entries) => return Ok(Outcome::Present),
        _ => {
            return Err(Finding::new(
                Code::Target,
                format!("{} of the container is not in procfs", target.display()),
                "let the container mount procfs on /proc, and nothing of its own below",
            ));
        }
    }
    let broken = |e: std::io::Error| {
        failed(
            Code::Mount,
            format!("make a file system for {}", target.display()),
            e,
        )
    };
    let attributes = attr::NOSUID | attr::NODEV | attr::NOEXEC;
    let tree = new_filesystem(c"tmpfs", OPTIONS, attributes).map_err(broken)?;
    for entry in entries {
        fill(tree.as_fd(), entry).map_err(broken)?;
    }
    set_attributes(tree.as_fd(), attr::RDONLY, 0).map_err(broken)?;
    move_mount(tree.as_fd(), place.as_fd()).map_err(|e| {
        failed(
            Code::Mount,
            format!("mount on {} in the container", target.display()),
            e,
        )
    })?;
    undo.unmount(tree);
    Ok(Outcome::Done)
}

fn fill(tree: BorrowedFd<'_>, entry: &FileEntry) -> std::io::Result<()> {
    let mode = Mode::from_bits_truncate(entry.mode);
    match &entry.content {
        None => mkdirat(tree, &entry.path, mode)?,
        Some(content) => {
            let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
            File::from(openat(tree, &entry.path, flags, mode)?).write_all(content)?;
        }
    }
    Ok(())
}

/// Whether the file system at `place` is what an earlier run made of `entries`.
fn holds(place: &OwnedFd, entries: &[FileEntry]) -> bool {
    entries
        .iter()
        .filter(|e| e.content.as_ref().is_some_and(|c| !c.is_empty()))
        .all(|e| {
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
            let limit = e.content.as_ref().map_or(0, Vec::len) as u64;
            openat(place, &e.path, flags, Mode::empty())
                .ok()
                .and_then(|f| read_bounded(File::from(f), limit).ok())
                == e.content
        })
}

fn file_system(place: &OwnedFd) -> Result<FsType, Errno> {
    fstatfs(place).map(|s| s.filesystem_type())
}
