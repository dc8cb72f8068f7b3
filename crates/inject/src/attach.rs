//! Mounts: by the descriptor calls of Linux 5.2 and 5.12, and by mount(2) on descriptors where a
//! kernel, a seccomp profile or a security module does not have or allow those.
//!
//! | missing | instead | what is lost |
//! |---|---|---|
//! | mount_setattr | the file is bound and restricted in a mount namespace of our own, and cloned from there | some tenths of a millisecond |
//! | open_tree, move_mount | the file is bound by mount(2) from its path in the container's mount namespace, where the host's tree still is, and restricted afterwards | for an instant the mount is not read-only yet; the file keeps its owner and mode |
//! | fsopen | tmpfs is mounted by mount(2) and filled where it is | it can be seen while it is filled |
//!
//! Never by a path of the container: mount(2) gets /proc/self/fd/N of descriptors that were checked.

#![allow(
    clippy::disallowed_methods,
    reason = "its paths are our own in /proc/self, and a host file's, checked once it is open"
)]

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use oci_gpu_sys::mount::{attr, clone_tree, move_mount, set_attributes};

/// Whether `error` says that the call does not exist or is forbidden as such.
pub(crate) fn is_unavailable(error: &std::io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOSYS | libc::EPERM | libc::EACCES | libc::EOPNOTSUPP)
    )
}

/// A detached mount of `file` with `attributes`; `None` where this machine has no such thing.
pub(crate) fn detach(
    file: BorrowedFd<'_>,
    disk: &Path,
    attributes: u64,
) -> std::io::Result<Option<OwnedFd>> {
    let tree = match clone_tree(file) {
        Ok(tree) => tree,
        Err(e) if is_unavailable(&e) => return Ok(None),
        Err(e) => return Err(e),
    };
    match set_attributes(tree.as_fd(), attributes, 0) {
        Ok(()) => Ok(Some(tree)),
        Err(e) if is_unavailable(&e) => restricted_clone(file, disk, attributes).map(Some),
        Err(e) => Err(e),
    }
}

/// Binds `file` on itself in a mount namespace of our own, restricts it, clones it, and goes back.
fn restricted_clone(
    file: BorrowedFd<'_>,
    disk: &Path,
    attributes: u64,
) -> std::io::Result<OwnedFd> {
    // Of this thread, which a caller with several may have moved.
    let home = File::open("/proc/thread-self/ns/mnt")?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let made = || -> std::io::Result<OwnedFd> {
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        // The descriptor is of a mount of the namespace that we left: open the file's copy here.
        let here = open_same(disk, file)?;
        bind(here.as_fd(), here.as_fd())?;
        let top = open_same(disk, file)?;
        restrict(top.as_fd(), attributes)?;
        clone_tree(top.as_fd())
    };
    let made = made();
    setns(home, CloneFlags::CLONE_NEWNS)?;
    made
}

/// Attaches `tree` at `target`; by mount(2) from `disk`, which must be `file`, where that cannot
/// be. Returns whether the mount has its attributes yet.
pub(crate) fn attach(
    tree: Option<BorrowedFd<'_>>,
    target: BorrowedFd<'_>,
    disk: &Path,
    is_file: impl Fn(BorrowedFd<'_>) -> bool,
) -> std::io::Result<Attached> {
    if let Some(tree) = tree {
        match move_mount(tree, target) {
            Err(e) if is_unavailable(&e) => {}
            other => return other.map(|()| Attached::Restricted),
        }
    }
    let source = open(disk)?;
    if !is_file(source.as_fd()) {
        return Err(std::io::Error::from(Errno::ESTALE));
    }
    bind(source.as_fd(), target)?;
    Ok(Attached::Unrestricted)
}

/// How a mount was attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attached {
    /// With its attributes.
    Restricted,
    /// Without: [`restrict`] the mount, through a descriptor opened afterwards.
    Unrestricted,
}

/// Sets `attributes` on the mount that `mount_point` is the root of, and makes it private.
pub(crate) fn restrict(mount_point: BorrowedFd<'_>, attributes: u64) -> std::io::Result<()> {
    const PAIRS: [(u64, MsFlags); 4] = [
        (attr::RDONLY, MsFlags::MS_RDONLY),
        (attr::NOSUID, MsFlags::MS_NOSUID),
        (attr::NODEV, MsFlags::MS_NODEV),
        (attr::NOEXEC, MsFlags::MS_NOEXEC),
    ];
    let flags = PAIRS.iter().filter(|(a, _)| attributes & a != 0);
    let flags = flags.fold(MsFlags::MS_REMOUNT | MsFlags::MS_BIND, |all, (_, f)| {
        all | *f
    });
    let (none, path) = (None::<&str>, own(mount_point));
    mount(none, path.as_str(), none, flags, none)?;
    Ok(mount(none, path.as_str(), none, MsFlags::MS_PRIVATE, none)?)
}

/// Mounts an empty tmpfs on `target` by mount(2).
pub(crate) fn classic_tmpfs(target: BorrowedFd<'_>, label: Option<&CStr>) -> std::io::Result<()> {
    let label = label.map(|l| format!(",context=\"{}\"", l.to_string_lossy()));
    let options = format!("mode=0555,size=1m{}", label.unwrap_or_default());
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Ok(mount(
        Some("tmpfs"),
        own(target).as_str(),
        Some("tmpfs"),
        flags,
        Some(options.as_str()),
    )?)
}

/// Takes the mount away that `mount_point` is the root of.
pub(crate) fn detach_mount(mount_point: BorrowedFd<'_>) -> nix::Result<()> {
    umount2(own(mount_point).as_str(), MntFlags::MNT_DETACH)
}

fn bind(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> std::io::Result<()> {
    let none = None::<&str>;
    Ok(mount(
        Some(own(source).as_str()),
        own(target).as_str(),
        none,
        MsFlags::MS_BIND,
        none,
    )?)
}

/// The one kind of path that is not below a descriptor: our own, in the host's procfs, which is in
/// place in the container's mount namespace, too, until pivot_root(2).
pub(crate) fn own(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn open(disk: &Path) -> std::io::Result<File> {
    File::options()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_NOFOLLOW)
        .open(disk)
}

fn open_same(disk: &Path, file: BorrowedFd<'_>) -> std::io::Result<File> {
    use nix::sys::stat::fstat;
    let opened = open(disk)?;
    let (a, b) = (fstat(&opened)?, fstat(file)?);
    match (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino) {
        true => Ok(opened),
        false => Err(std::io::Error::from(Errno::ESTALE)),
    }
}
