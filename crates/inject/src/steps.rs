//! One function an operation: what a plan says, done below the container's root.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mkdirat};
use nix::unistd::symlinkat;

use oci_gpu::finding::{Code, Finding};
use oci_gpu::plan::{Operation, Plan, Skipped};

use crate::attach::{Attached, attach, restrict};
use crate::fail::failed;
use crate::rootfs::{Directory, Rootfs};
use crate::sources::{Identity, Source, Sources};
use crate::target::{CreateError, bad_target, create_entry, entry};
use crate::temporary::replace_link;
use crate::undo::Undo;
use crate::{Receipt, loader_cache, view};

/// How often a mount is looked for that somebody moves away.
const RETRIES: u32 = 128;

/// What an operation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// It was done, in the place of something of the image's that was of no use.
    Instead(Skipped),
    /// Its work was done already.
    Present,
}

/// Carries out the plan's actions in order, or none of them.
pub(crate) fn apply(
    plan: &Plan,
    sources: &Sources,
    root: &Rootfs,
    receipt: &mut Receipt,
    interrupted: &mut dyn FnMut() -> Option<Finding>,
) -> Result<(), Finding> {
    let mut undo = Undo::default();
    for action in &plan.actions {
        if let Some(reason) = interrupted() {
            return Err(reason);
        }
        let mark = undo.mark();
        match one(&action.what, sources, root, &mut undo) {
            Ok(Some(Outcome::Done)) => receipt.done += 1,
            Ok(Some(Outcome::Instead(of))) => {
                receipt.done += 1;
                receipt.skipped.push(of);
            }
            Ok(Some(Outcome::Present)) => receipt.present += 1,
            Ok(None) => {}
            Err(e) if action.required => return Err(e),
            Err(e) => {
                undo.back_to(mark);
                let what = action.what.describe();
                receipt.skipped.push(Skipped {
                    what,
                    why: e.message,
                });
            }
        }
    }
    undo.keep();
    Ok(())
}

/// One operation; `None` where there is nothing for a hook to do.
fn one(
    what: &Operation,
    sources: &Sources,
    root: &Rootfs,
    undo: &mut Undo,
) -> Result<Option<Outcome>, Finding> {
    match what {
        Operation::Device { source, target, .. } | Operation::Bind { source, target, .. } => {
            // An optional source that could not be opened is in the receipt already.
            let Some(source) = sources.get(source) else {
                return Ok(None);
            };
            bind(root, source, target, undo).map(Some)
        }
        Operation::Symlink { target, points_to } => link(root, target, points_to, undo).map(Some),
        Operation::Files { target, entries } => view::mount(root, target, entries, undo).map(Some),
        Operation::LdCache {
            entries,
            directories,
        } => loader_cache::update(root, entries, directories, undo).map(Some),
        // The process exists already: its environment and groups are the runtime's to set.
        Operation::Env { .. } | Operation::Group { .. } => Ok(None),
    }
}

/// Attaches `source` at `target`, which is made where it is missing.
pub(crate) fn bind(
    root: &Rootfs,
    source: &Source,
    target: &Path,
    undo: &mut Undo,
) -> Result<Outcome, Finding> {
    let (directory, name) = place(root, target, undo)?;
    let make = |at: BorrowedFd<'_>| match source.is_directory {
        true => mkdirat(at, name, Mode::from_bits_truncate(0o755)).map(|()| None),
        false => create_entry(at, name, 0o644).map(Some),
    };
    // It may be there already, or must not be made; what is there may do.
    let (made, may_create) = match root.create(&directory, make) {
        Ok(Some(made)) => {
            match source.is_directory {
                true => undo.remove_directory(&directory, name),
                false => undo.remove_file(&directory, name),
            }
            (made.filter(|_| !directory.has_copy()), true)
        }
        Ok(None) => (None, true),
        Err(CreateError::Volume) => (None, false),
        Err(e) => return Err(e.at(target)),
    };
    let found = match made {
        Some(file) => file,
        // A directory, or a file made in the writable copy, is opened by its name, and may be
        // something else by now: all the same checks for what was there and for what was made.
        None => {
            let found = existing(&directory, name, target, may_create)?;
            let stat = fstat(&found).map_err(|e| bad_target(target, e))?;
            if source.is_at(&stat) {
                return Ok(Outcome::Present);
            }
            fits(source, &stat, target)?;
            root.check_private(found.as_fd(), target)?;
            found
        }
    };
    let cannot = |e| {
        let what = format!("mount on {} in the container", target.display());
        failed(Code::Mount, what, e)
    };
    let is_source = |fd: BorrowedFd<'_>| fstat(fd).is_ok_and(|s| Identity::of(&s) == source.file);
    let tree = source.tree.as_ref().map(AsFd::as_fd);
    let attached = attach(tree, found.as_fd(), &source.disk, is_source).map_err(cannot)?;
    // Who can rename in the container may have moved the target away: what is at the path now?
    let mounted = entry(directory.as_fd(), name, OFlag::O_PATH);
    match mounted {
        Ok(mounted) if is_source(mounted.as_fd()) => {
            let restricted = match attached {
                Attached::Restricted => Ok(()),
                Attached::Unrestricted => restrict(mounted.as_fd(), source.attributes),
            };
            undo.unmount(mounted);
            restricted.map_err(cannot)?;
            Ok(Outcome::Done)
        }
        _ => {
            if let Some(mount) = elsewhere(root, source, attached, found.as_fd(), is_source) {
                undo.unmount(mount);
            }
            Err(changed(target))
        }
    }
}

/// The mount of `source` on `found`, which somebody has moved to another name.
fn elsewhere(
    root: &Rootfs,
    source: &Source,
    attached: Attached,
    found: BorrowedFd<'_>,
    is_source: impl Fn(BorrowedFd<'_>) -> bool,
) -> Option<OwnedFd> {
    match attached {
        // The source's descriptor names the mount wherever it went.
        Attached::Restricted => source.tree.as_ref()?.try_clone().ok(),
        // Nothing names a mount by mount(2) but a path. It may be moved again while we look.
        Attached::Unrestricted => (0..RETRIES)
            .filter_map(|_| root.find_again(found).ok())
            .find(|mount| is_source(mount.as_fd())),
    }
}

/// What is at a target that was not made, or not by a descriptor.
fn existing(
    directory: &Directory,
    name: &OsStr,
    target: &Path,
    may_create: bool,
) -> Result<OwnedFd, Finding> {
    entry(directory.as_fd(), name, OFlag::O_PATH).map_err(|e| match e {
        Errno::ENOENT if may_create => changed(target),
        Errno::ENOENT => CreateError::Volume.at(target),
        e => bad_target(target, e),
    })
}

/// The finding for a target that somebody who can write there has taken away or replaced.
fn changed(target: &Path) -> Finding {
    Finding::new(
        Code::Target,
        format!(
            "{} of the container was changed by somebody while it was worked on",
            target.display()
        ),
        "see who else has this root or a volume in it",
    )
}

/// The kernel would mount on a FIFO or on a symbolic link; nothing of that kind belongs there.
fn fits(source: &Source, stat: &FileStat, target: &Path) -> Result<(), Finding> {
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    let (what, fits) = match kind {
        SFlag::S_IFREG => ("a regular file", !source.is_directory),
        SFlag::S_IFDIR => ("a directory", source.is_directory),
        SFlag::S_IFLNK => ("a symbolic link", false),
        SFlag::S_IFIFO => ("a FIFO", false),
        SFlag::S_IFSOCK => ("a socket", false),
        SFlag::S_IFCHR => ("another device", false),
        _ => ("a block device", false),
    };
    if fits {
        return Ok(());
    }
    Err(Finding::new(
        Code::Target,
        format!(
            "{} of the container is {what}, and is not replaced",
            target.display()
        ),
        "remove it from the image",
    ))
}

/// A link that holds something else is replaced: the names are the driver's, and an image that was
/// committed from a container with another driver has them, too. A file is left alone.
fn link(
    root: &Rootfs,
    target: &Path,
    points_to: &Path,
    undo: &mut Undo,
) -> Result<Outcome, Finding> {
    let (directory, name) = place(root, target, undo)?;
    let make = |at: BorrowedFd<'_>| symlinkat(points_to, at, name);
    let may_create = match root.create(&directory, make) {
        Ok(Some(())) => {
            undo.remove_file(&directory, name);
            return Ok(Outcome::Done);
        }
        Ok(None) => true,
        Err(CreateError::Volume) => false,
        Err(e) => return Err(e.at(target)),
    };
    let found = existing(&directory, name, target, may_create)?;
    let held = match readlinkat(&found, "") {
        Ok(held) if Path::new(&held) == points_to => return Ok(Outcome::Present),
        Ok(held) => held,
        Err(_) => {
            return Err(Finding::new(
                Code::Target,
                format!(
                    "{} of the container is there already and is no link: left as it is",
                    target.display()
                ),
                "remove it from the image",
            ));
        }
    };
    root.replace(&directory, |at| replace_link(at, name, points_to))
        .map_err(|e| e.at(target))?;
    undo.restore_link(&directory, name, held.into());
    Ok(Outcome::Done)
}

/// The directory and the name of a target.
fn place<'a>(
    root: &Rootfs,
    target: &'a Path,
    undo: &mut Undo,
) -> Result<(Rc<Directory>, &'a OsStr), Finding> {
    match (target.parent(), target.file_name()) {
        (Some(parent), Some(name)) => Ok((root.directory(parent, undo)?, name)),
        _ => Err(bad_target(target, Errno::EINVAL)),
    }
}
