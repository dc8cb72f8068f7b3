//! What attackers do, over and over.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, RenameFlags, openat, renameat, renameat2};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};

use super::arena::directory;
use crate::temporary::PREFIX as TEMPORARY;

/// What is exchanged, moved or removed. Each leaves the root as it was when it pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Attack {
    /// The directory, with a link that leads to the canary by its path on the host.
    AbsoluteLink,
    /// The directory, with a link that climbs out.
    RelativeLink,
    /// The directory, with a link to the canary through /proc/thread-self/root.
    ProcLink,
    /// A file in it, with a link to the canary's; and links in the places of files to be made.
    FinalLink,
    /// The directory is moved out of the root and back while it is walked through.
    MovedOut,
    /// Files are removed and made again.
    Recreated,
    /// Renames elsewhere, without pause, so that the kernel gives up resolving "..".
    Flood,
    /// /etc, with a link to the canary's; its cache is truncated, and its temporary name taken.
    Etc,
    /// /proc, with a link to a directory of the image, in which links to the canary are planted.
    Proc,
    /// /dev, with a link to a volume.
    Dev,
}

impl Attack {
    /// Where the attackers' link is, and what it holds.
    pub(super) fn link(self, dir: &Path) -> (&'static str, PathBuf) {
        let canary = |name: &str| dir.join("canary").join(name);
        match self {
            Attack::RelativeLink => ("root/ground/link", "../../canary/lib".into()),
            Attack::ProcLink => {
                let path = canary("lib");
                let path = path.strip_prefix("/").unwrap();
                (
                    "root/ground/link",
                    Path::new("/proc/thread-self/root").join(path),
                )
            }
            Attack::FinalLink => ("root/ground/link", canary("lib/file")),
            Attack::Etc => ("root/link", canary("etc")),
            Attack::Proc => ("root/link", "trap".into()),
            Attack::Dev => ("root/link", "volume".into()),
            _ => ("root/ground/link", canary("lib")),
        }
    }

    /// Strikes: every second strike takes back what the one before it did. Returns whether it
    /// changed something.
    pub(super) fn strike(self, ground: &Ground, worker: usize, turn: u64) -> bool {
        let (here, lib, limbo) = (
            ground.here.as_fd(),
            ground.lib.as_fd(),
            ground.limbo.as_fd(),
        );
        let is_back = turn % 2 == 1;
        let change = match self {
            Attack::AbsoluteLink | Attack::RelativeLink | Attack::ProcLink => {
                exchange(here, "lib", "link")
            }
            Attack::FinalLink => {
                plant(lib, "libgpu.so.1", &ground.bait);
                plant(lib, TEMPORARY, &ground.bait);
                renameat2(lib, "file", here, "link", RenameFlags::RENAME_EXCHANGE)
            }
            Attack::MovedOut if is_back => renameat(limbo, "lib", here, "lib"),
            Attack::MovedOut => renameat(here, "lib", limbo, "lib"),
            Attack::Recreated if is_back => linkat(here, "spare", lib, "file", AtFlags::empty()),
            Attack::Recreated => {
                let _ = unlink(lib, "libgpu.so.1");
                unlink(lib, "file")
            }
            Attack::Flood => {
                let names = [format!("a{worker}"), format!("b{worker}")];
                let [from, to] = match is_back {
                    true => [&names[1], &names[0]],
                    false => [&names[0], &names[1]],
                };
                let _ = symlinkat("nothing", limbo, from.as_str());
                renameat(limbo, from.as_str(), limbo, to.as_str())
            }
            Attack::Etc => {
                let flags = OFlag::O_WRONLY | OFlag::O_TRUNC | OFlag::O_CLOEXEC;
                let _ = openat(lib, "ld.so.cache", flags, Mode::empty());
                plant(lib, TEMPORARY, &ground.bait);
                exchange(here, "etc", "link")
            }
            Attack::Proc => {
                if renameat(lib, "gpus", limbo, format!("gpus{worker}").as_str()).is_ok() {
                    plant(lib, "gpus", &ground.bait);
                }
                exchange(here, "proc", "link")
            }
            Attack::Dev => exchange(here, "dev", "link"),
        };
        change.is_ok()
    }

    /// Puts back what the victim was in the way of, or has removed for its own.
    pub(super) fn settle(self, ground: &Ground) {
        let (here, lib) = (ground.here.as_fd(), ground.lib.as_fd());
        let _ = match self {
            Attack::MovedOut => renameat(ground.limbo.as_fd(), "lib", here, "lib"),
            Attack::Recreated => linkat(here, "spare", lib, "file", AtFlags::empty()),
            _ => Ok(()),
        };
    }
}

/// The attackers' descriptors, which they opened when all was in its place.
pub(super) struct Ground {
    here: OwnedFd,
    lib: OwnedFd,
    limbo: OwnedFd,
    /// What links lead to that are planted in the place of files.
    bait: PathBuf,
}

impl Ground {
    pub(super) fn open(dir: &Path, attack: Attack) -> Ground {
        let (here, lib, bait) = match attack {
            Attack::Etc => ("root", "root/etc", "canary/etc/ld.so.cache"),
            Attack::Proc => ("root", "root/trap/driver", "canary/lib"),
            Attack::Dev => ("root", "root/ground/lib", "canary/lib/file"),
            _ => ("root/ground", "root/ground/lib", "canary/lib/file"),
        };
        Ground {
            here: directory(&dir.join(here)),
            lib: directory(&dir.join(lib)),
            limbo: directory(&dir.join("limbo")),
            bait: dir.join(bait),
        }
    }
}

fn exchange(at: BorrowedFd<'_>, a: &str, b: &str) -> Result<(), Errno> {
    renameat2(at, a, at, b, RenameFlags::RENAME_EXCHANGE)
}

fn unlink(at: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    unlinkat(at, name, UnlinkatFlags::NoRemoveDir)
}

/// A link in the place of a file that is to be made, for a moment.
fn plant(at: BorrowedFd<'_>, name: &str, bait: &Path) {
    if symlinkat(bait, at, name).is_ok() {
        let _ = unlink(at, name);
    }
}
