//! A root to race in, and what lies around it.
//!
//! ```text
//! root/{proc,dev}        mount points of the victim's procfs and tmpfs
//! root/volume            mount point of volume/
//! root/trap/driver       a directory that is no procfs
//! root/etc/ld.so.cache   root/way -> etc/../etc/../ground
//! root/ground/lib/       where victims look and mount: file, old.so -> nothing, sub/
//! root/ground/link       what attackers put in the place of lib or file
//! root/ground/near/file  where "lib/sub/../../near/file" leads
//! limbo/                 where attackers move lib to; limbo/near/file lies in wait there
//! canary/{lib,etc,file}  where the links lead for those who follow them
//! host/                  the driver's files
//! ```

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, fstat};

use super::attack::Attack;
use super::in_namespace;
use super::tally::Outcome;

/// Device and inode numbers.
type Identity = (u64, u64);

#[derive(Debug)]
pub(super) struct Arena {
    dir: PathBuf,
    inside: HashSet<Identity>,
    around: BTreeSet<(PathBuf, Identity, u64)>,
}

impl Arena {
    /// Runs `work` with an arena for `attack`, in a mount namespace where nothing else looks on.
    pub(super) fn with<T: Send>(attack: Attack, work: impl FnOnce(&Arena) -> T + Send) -> T {
        // Made and removed outside, where the tmpfs is not seen.
        let dir = tempfile::tempdir().unwrap();
        in_namespace(|| {
            let none = None::<&str>;
            mount(
                Some("tmpfs"),
                dir.path(),
                Some("tmpfs"),
                MsFlags::empty(),
                none,
            )
            .unwrap();
            work(&Arena::new(dir.path(), attack))
        })
    }

    fn new(dir: &Path, attack: Attack) -> Arena {
        let at = |path: &str| dir.join(path);
        for path in [
            "root/proc",
            "root/trap/driver",
            "root/dev",
            "root/volume",
            "volume",
            "limbo",
            "canary/lib/sub",
            "canary/etc",
            "host/run/dir",
        ] {
            fs::create_dir_all(at(path)).unwrap();
        }
        for path in [
            "root/ground/lib/sub",
            "root/ground/near",
            "root/etc",
            "limbo/near",
        ] {
            fs::create_dir_all(at(path)).unwrap();
        }
        for file in [
            "root/ground/lib/file",
            "root/ground/near/file",
            "root/etc/ld.so.cache",
            "limbo/near/file",
            "canary/file",
            "canary/lib/file",
            "canary/etc/ld.so.cache",
            "host/libgpu.so.1",
            "host/other",
        ] {
            fs::write(at(file), file).unwrap();
        }
        fs::hard_link(at("root/ground/lib/file"), at("root/ground/spare")).unwrap();
        symlink("nothing", at("root/ground/lib/old.so")).unwrap();
        symlink("nothing", at("canary/lib/old.so")).unwrap();
        symlink("etc/../etc/../ground", at("root/way")).unwrap();
        let (link, leads_to) = attack.link(dir);
        symlink(leads_to, at(link)).unwrap();
        let inside = identities(&at("root"))
            .into_iter()
            .map(|(_, id, _)| id)
            .collect();
        let mut arena = Arena {
            dir: dir.to_path_buf(),
            inside,
            around: BTreeSet::new(),
        };
        arena.around = arena.look_around();
        arena
    }

    /// Mounts the root on itself, as a runtime does. In such a mount the kernel itself refuses ".."
    /// of what was moved out.
    pub(super) fn mount_root(&self, is_read_only: bool) {
        let (none, root) = (None::<&str>, self.root());
        mount(Some(&root), &root, none, MsFlags::MS_BIND, none).unwrap();
        if is_read_only {
            let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
            mount(none, &root, none, flags, none).unwrap();
        }
    }

    /// Mounts procfs in the root.
    pub(super) fn mount_proc(&self) {
        let (none, place) = (None::<&str>, self.root().join("proc"));
        mount(Some("/proc"), &place, none, MsFlags::MS_BIND, none).unwrap();
    }

    /// Mounts what else containers have: a /dev of their own, and a volume.
    pub(super) fn mount_dev_and_volume(&self) {
        let (none, root, no_flags) = (None::<&str>, self.root(), MsFlags::empty());
        mount(
            Some("tmpfs"),
            &root.join("dev"),
            Some("tmpfs"),
            no_flags,
            none,
        )
        .unwrap();
        let (volume, place) = (self.dir.join("volume"), root.join("volume"));
        mount(Some(&volume), &place, none, MsFlags::MS_BIND, none).unwrap();
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// Whether `found` was inside when the race began.
    pub(super) fn judge(&self, found: &OwnedFd) -> Outcome {
        let stat = fstat(found).unwrap();
        match self.inside.contains(&(stat.st_dev, stat.st_ino)) {
            true => Outcome::Inside,
            false => Outcome::Escaped,
        }
    }

    /// Whether the canary, what lies in wait in limbo, the driver's files and the volume are what they were.
    pub(super) fn is_untouched(&self) -> bool {
        self.around == self.look_around()
    }

    fn look_around(&self) -> BTreeSet<(PathBuf, Identity, u64)> {
        let places = ["canary", "limbo/near", "host", "volume"];
        places
            .iter()
            .flat_map(|place| identities(&self.dir.join(place)))
            .collect()
    }

    /// What is in the root: each name, and what links hold.
    pub(super) fn content(&self) -> BTreeSet<(PathBuf, Option<PathBuf>)> {
        let found = identities(&self.root()).into_iter();
        found
            .map(|(path, ..)| (path.clone(), fs::read_link(path).ok()))
            .collect()
    }

    /// What is in the root: each name.
    pub(super) fn names(&self) -> BTreeSet<(PathBuf, Option<PathBuf>)> {
        let found = self.content().into_iter();
        found.map(|(path, _)| (path, None)).collect()
    }
}

/// Everything below `top` on its file system: path, identity, size.
fn identities(top: &Path) -> Vec<(PathBuf, Identity, u64)> {
    let mut found = Vec::new();
    let mut left = vec![top.to_path_buf()];
    while let Some(path) = left.pop() {
        let facts = fs::symlink_metadata(&path).unwrap();
        if facts.is_dir() {
            let entries = fs::read_dir(&path).unwrap();
            left.extend(
                entries
                    .map(|e| e.unwrap().path())
                    .filter(|p| !p.ends_with("root/proc")),
            );
        }
        found.push((path, (facts.dev(), facts.ino()), facts.size()));
    }
    found
}

/// A directory, to work below.
pub(super) fn directory(path: &Path) -> OwnedFd {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).unwrap()
}
