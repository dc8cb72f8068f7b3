//! What this crate does not do, to see that the harness would notice: the path is checked first,
//! and used afterwards.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;

use super::arena::directory;

const FLAGS: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);

/// No component is a link; so the path is opened as it is.
pub(super) fn checked_open(root: &Path, path: &Path) -> Result<OwnedFd, Errno> {
    check(root, path)?;
    open(&root.join(path), FLAGS, Mode::empty())
}

/// Component by component, no link followed; ".." as the file system has it.
pub(super) fn walk(root: &Path, path: &Path) -> Result<OwnedFd, Errno> {
    let mut here = directory(root);
    for component in path.components() {
        let flags = FLAGS | OFlag::O_NOFOLLOW;
        here = openat(here.as_fd(), component.as_os_str(), flags, Mode::empty())?;
    }
    Ok(here)
}

/// Mounts `source` on `path` of the root once no component of it is a link, and makes it if it
/// is missing.
pub(super) fn checked_mount(source: &Path, root: &Path, path: &Path) -> Result<(), Errno> {
    check(root, path)?;
    let target = root.join(path);
    if !target.exists() {
        let _ = fs::write(&target, "");
    }
    let none = None::<&str>;
    mount(Some(source), &target, none, MsFlags::MS_BIND, none)
}

fn check(root: &Path, path: &Path) -> Result<(), Errno> {
    let mut at = root.to_path_buf();
    for component in path.components() {
        if let Component::Normal(name) = component {
            at.push(name);
            if fs::symlink_metadata(&at).is_ok_and(|facts| facts.is_symlink()) {
                return Err(Errno::ELOOP);
            }
        }
    }
    Ok(())
}
