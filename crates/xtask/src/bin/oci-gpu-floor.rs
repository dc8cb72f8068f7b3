//! The benchmark's floor: a container's preparation from a list that says everything, so that what
//! the hook spends on finding out and on safety can be seen beside it.
//!
//! Reads a state on stdin and the bundle's config.json, and understands neither. Lines of the list:
//!
//! ```text
//! pid PID
//! rootfs PATH
//! bind ATTRIBUTES SOURCE DIRECTORY NAME      d for a directory instead of bind
//! link DIRECTORY NAME CONTENT
//! view TARGET                                followed by its entries
//! entry PATH [FILE WITH THE CONTENT]
//! allow FILE RULE                            device rules of control groups, version 1
//! copy FILE DIRECTORY NAME
//! ```
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::symlinkat;
use oci_gpu_sys::mount::{attr, clone_tree, move_mount, new_filesystem, set_attributes};
use oci_gpu_sys::process::pidfd;

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let [_, list, config] = &words[..] else {
        return Err(io::Error::from(Errno::EINVAL));
    };
    io::stdin().read_to_end(&mut Vec::new())?;
    fs::read(config)?;
    let list = fs::read_to_string(list)?;
    let lines: Vec<Vec<&str>> = list.lines().map(|l| l.split('\t').collect()).collect();

    let mut trees = Vec::new();
    let mut process = None;
    for line in &lines {
        match line[..] {
            ["bind" | "d", attributes, source, ..] => {
                let file = File::options()
                    .read(true)
                    .custom_flags(OFlag::O_PATH.bits())
                    .open(source)?;
                file.metadata()?.ino();
                let tree = clone_tree(file.as_fd())?;
                set_attributes(tree.as_fd(), attributes.parse().unwrap_or_default(), 0)?;
                trees.push(tree);
            }
            ["pid", pid] => process = Some(pidfd(pid.parse().unwrap_or_default())?),
            ["allow", file, rule] => {
                File::options()
                    .write(true)
                    .open(file)?
                    .write_all(rule.as_bytes())?;
            }
            _ => {}
        }
    }
    setns(process.ok_or(Errno::ESRCH)?, CloneFlags::CLONE_NEWNS)?;
    carry_out(&lines, trees)
}

fn carry_out(lines: &[Vec<&str>], trees: Vec<OwnedFd>) -> io::Result<()> {
    let mut trees = trees.into_iter();
    let mut directories = HashMap::new();
    let mut root = None;
    let mut view: Option<(&str, OwnedFd)> = None;
    for line in lines {
        let mut directory = |path: &str| -> io::Result<OwnedFd> {
            let root: &OwnedFd = root.as_ref().ok_or(Errno::ENOENT)?;
            let known: &mut OwnedFd = match directories.entry(path.to_owned()) {
                std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::hash_map::Entry::Vacant(free) => {
                    free.insert(make(root.as_fd(), path)?)
                }
            };
            known.try_clone()
        };
        match line[..] {
            ["rootfs", path] => {
                root = Some(nix::fcntl::open(
                    path,
                    OFlag::O_PATH | OFlag::O_CLOEXEC,
                    Mode::empty(),
                )?);
            }
            [kind @ ("bind" | "d"), _, _, at, name] => {
                let at = directory(at)?;
                match kind {
                    "d" => drop(mkdirat(&at, name, Mode::from_bits_truncate(0o755))),
                    _ => drop(openat(
                        &at,
                        name,
                        OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC,
                        Mode::from_bits_truncate(0o644),
                    )),
                }
                let target = openat(&at, name, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
                move_mount(trees.next().ok_or(Errno::EINVAL)?.as_fd(), target.as_fd())?;
            }
            ["link", at, name, content] => drop(symlinkat(content, &directory(at)?, name)),
            ["view", target] => {
                view = Some((
                    target,
                    new_filesystem(c"tmpfs", &[], attr::NOSUID | attr::NODEV | attr::NOEXEC)?,
                ));
            }
            ["entry", path] => {
                let (_, tree) = view.as_ref().ok_or(Errno::EINVAL)?;
                mkdirat(tree, path, Mode::from_bits_truncate(0o555))?;
            }
            ["entry", path, content] => {
                let (_, tree) = view.as_ref().ok_or(Errno::EINVAL)?;
                let flags = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
                File::from(openat(tree, path, flags, Mode::from_bits_truncate(0o444))?)
                    .write_all(content.as_bytes())?;
            }
            ["shown"] => {
                let (target, tree) = view.take().ok_or(Errno::EINVAL)?;
                set_attributes(tree.as_fd(), attr::RDONLY, 0)?;
                move_mount(tree.as_fd(), directory(target)?.as_fd())?;
            }
            ["copy", file, at, name] => {
                let at = directory(at)?;
                let flags = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
                File::from(openat(&at, "new", flags, Mode::from_bits_truncate(0o644))?)
                    .write_all(&fs::read(file)?)?;
                renameat(&at, "new", &at, name)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The directory `path` below `root`, with all its parents.
fn make(root: BorrowedFd<'_>, path: &str) -> io::Result<OwnedFd> {
    let path = Path::new(path.trim_start_matches('/'));
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    match openat(root, path, flags, Mode::empty()) {
        Err(Errno::ENOENT) => {}
        other => return Ok(other?),
    }
    let mut at = path.ancestors().collect::<Vec<_>>();
    at.reverse();
    for part in at.into_iter().filter(|p| !p.as_os_str().is_empty()) {
        let _ = mkdirat(root, part, Mode::from_bits_truncate(0o755));
    }
    Ok(openat(root, path, flags, Mode::empty())?)
}
