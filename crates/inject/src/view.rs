//! A read-only file system in memory, filled before anybody can see it.

use std::ffi::CStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::sys::statfs::{FsType, TMPFS_MAGIC, fstatfs};

use oci_gpu::finding::{Code, Finding};
use oci_gpu::plan::FileEntry;
use oci_gpu_sys::mount::{attr, move_mount, new_filesystem, set_attributes};

use crate::attach::{classic_tmpfs, is_unavailable, restrict};
use crate::fail::failed;
use crate::loader_cache::read_bounded;
use crate::rootfs::Rootfs;
use crate::sources::{Identity, Source};
use crate::steps::{Outcome, bind};
use crate::target::{bad_target, entry};
use crate::undo::Undo;

const OPTIONS: &[(&CStr, Option<&CStr>)] = &[(c"mode", Some(c"0555")), (c"size", Some(c"1m"))];

const PROC: FsType = FsType(libc::PROC_SUPER_MAGIC);

const ATTRIBUTES: u64 = attr::NOSUID | attr::NODEV | attr::NOEXEC;

/// Mounts `entries` on the directory `target`: one of procfs, which is there or not, or one of the
/// container's own, which is made where it is missing.
pub(crate) fn mount(
    root: &Rootfs,
    target: &Path,
    entries: &[FileEntry],
    undo: &mut Undo,
) -> Result<Outcome, Finding> {
    match target.starts_with("/proc") {
        true => in_procfs(root, target, entries, undo),
        false => in_root(root, target, entries, undo),
    }
}

fn in_root(
    root: &Rootfs,
    target: &Path,
    entries: &[FileEntry],
    undo: &mut Undo,
) -> Result<Outcome, Finding> {
    let is_ours = |place: &OwnedFd| file_system(place) == Ok(TMPFS_MAGIC) && holds(place, entries);
    if root
        .find(target, OFlag::O_PATH | OFlag::O_DIRECTORY)
        .is_ok_and(|p| is_ours(&p))
    {
        return Ok(Outcome::Present);
    }
    let broken = |e: std::io::Error| {
        let what = format!("make the files of {} in memory", target.display());
        failed(Code::Mount, what, e)
    };
    let tree = detached(entries, root.label.as_deref()).map_err(broken)?;
    let stat = fstat(&tree).map_err(|e| broken(e.into()))?;
    let source = Source {
        tree: Some(tree),
        // Without detached mounts there is no tree either, and this is left out.
        disk: target.to_path_buf(),
        attributes: ATTRIBUTES | attr::RDONLY,
        file: Identity::of(&stat),
        is_directory: true,
        device: None,
    };
    let done = bind(root, &source, target, undo)?;
    source.tree.iter().for_each(|tree| root.made(tree.as_fd()));
    Ok(done)
}

/// `target` must lie in procfs: an image can make directories of that name, but no procfs.
fn in_procfs(
    root: &Rootfs,
    target: &Path,
    entries: &[FileEntry],
    undo: &mut Undo,
) -> Result<Outcome, Finding> {
    let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
        return Err(bad_target(target, Errno::EINVAL));
    };
    let broken_target = |e| bad_target(target, e);
    let in_directory = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let directory = root.find(parent, in_directory).map_err(broken_target)?;
    // A directory of procfs, in which nobody can rename: the name goes on leading to one place.
    let open = || entry(directory.as_fd(), name, in_directory).map_err(broken_target);
    let place = open()?;
    let is_procfs = file_system(&directory).map_err(broken_target)? == PROC;
    match file_system(&place).map_err(broken_target)? {
        PROC if is_procfs => {}
        TMPFS_MAGIC if holds(&place, entries) => return Ok(Outcome::Present),
        _ => {
            return Err(Finding::new(
                Code::Target,
                format!("{} of the container is not in procfs", target.display()),
                "let the container mount procfs on /proc, and nothing of its own below",
            ));
        }
    }
    root.check_private(place.as_fd(), target)?;
    let broken = |e: std::io::Error| {
        let what = format!(
            "mount the view of the driver on {} in the container",
            target.display()
        );
        failed(Code::Mount, what, e)
    };
    match by_descriptor(&place, entries, root.label.as_deref()) {
        Ok(tree) => {
            root.made(tree.as_fd());
            undo.unmount(tree);
        }
        Err(e) if is_unavailable(&e) => {
            classic_tmpfs(place.as_fd(), root.label.as_deref()).map_err(broken)?;
            let tree = open()?;
            undo.unmount(tree.try_clone().map_err(broken)?);
            fill_all(&tree, entries).map_err(broken)?;
            restrict(tree.as_fd(), ATTRIBUTES | attr::RDONLY).map_err(broken)?;
            root.made(tree.as_fd());
        }
        Err(e) => return Err(broken(e)),
    }
    Ok(Outcome::Done)
}

/// A file system that is complete and read-only before it is attached.
fn by_descriptor(
    place: &OwnedFd,
    entries: &[FileEntry],
    label: Option<&CStr>,
) -> std::io::Result<OwnedFd> {
    let tree = detached(entries, label)?;
    move_mount(tree.as_fd(), place.as_fd())?;
    Ok(tree)
}

fn detached(entries: &[FileEntry], label: Option<&CStr>) -> std::io::Result<OwnedFd> {
    let mut options = OPTIONS.to_vec();
    options.extend(label.map(|label| (c"context", Some(label))));
    let tree = new_filesystem(c"tmpfs", &options, ATTRIBUTES)?;
    fill_all(&tree, entries)?;
    set_attributes(tree.as_fd(), attr::RDONLY, 0)?;
    Ok(tree)
}

fn fill_all(tree: &OwnedFd, entries: &[FileEntry]) -> std::io::Result<()> {
    entries
        .iter()
        .try_for_each(|entry| fill(tree.as_fd(), entry))
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
