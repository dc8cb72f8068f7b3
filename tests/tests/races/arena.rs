//! A bundle, and what lies around it.
//!
//! ```text
//! root/               the container's root: etc, usr/lib64, dev, proc, volume
//! bundle/rootfs/      where it is mounted, in the container's mount namespace
//! canary/             where the attackers' links lead for those who follow them
//! limbo/              where attackers move directories to
//! volume/             what the container has mounted on /volume, shared with a sibling
//! elsewhere/          where renames have to do with nobody
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use oci_gpu::ldcache::{Cache, Entry};
use oci_gpu_tests::scratch::Scratch;
use oci_gpu_tests::standin::{Ground, StandIn};
use oci_gpu_tests::tree::Tree;

pub(crate) struct Arena {
    dir: Scratch,
    pub(crate) ground: Ground,
    /// What is in the root at the beginning of each run.
    known: BTreeMap<PathBuf, Kind>,
    around: Vec<Tree>,
}

#[derive(PartialEq, Eq)]
enum Kind {
    Directory,
    File(Vec<u8>),
    Link(PathBuf),
}

impl Arena {
    /// A root without libraries. `prepare` makes it the one that is wanted; it gets the directory
    /// of the arena.
    pub(crate) fn new(prepare: impl FnOnce(&Path)) -> Arena {
        let dir = Scratch::new().unwrap();
        let at = |path: &str| dir.path().join(path);
        for path in ["etc", "usr/bin", "usr/lib64", "dev", "proc", "volume"] {
            fs::create_dir_all(at("root").join(path)).unwrap();
        }
        for path in [
            "canary/lib64",
            "canary/etc",
            "limbo",
            "volume/lib",
            "elsewhere",
        ] {
            fs::create_dir_all(at(path)).unwrap();
        }
        for path in ["canary/file", "canary/etc/ld.so.cache"] {
            fs::write(at(path), path).unwrap();
        }
        fs::write(at("root/etc/ld.so.cache"), cache()).unwrap();
        fs::create_dir(at("image")).unwrap();
        let env = [
            "NVIDIA_VISIBLE_DEVICES=0",
            "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        ];
        let ground = Ground::new(&at("bundle"), &at("image"), &env).unwrap();
        prepare(dir.path());
        let mut arena = Arena {
            dir,
            ground,
            known: BTreeMap::new(),
            around: Vec::new(),
        };
        arena.known = content(&arena.root());
        arena.around = arena.look_around();
        arena
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir().join("root")
    }

    /// A container with this root, mounted as runtimes mount it.
    pub(crate) fn container(&self) -> StandIn {
        let commands = format!(
            r#"mount --bind '{dir}/root' "$root"
            mount -t proc proc "$root/proc"
            mount -t tmpfs tmpfs "$root/dev"
            mount --bind '{dir}/volume' "$root/volume""#,
            dir = self.dir().display(),
        );
        StandIn::prepared(&self.ground, &commands).unwrap()
    }

    /// Where a container's mounts have their places.
    pub(crate) fn mount_point(&self) -> PathBuf {
        self.ground.bundle.join("rootfs")
    }

    /// What has changed around the root.
    pub(crate) fn changes_around(&self) -> Vec<String> {
        let now = self.look_around();
        let pairs = self.around.iter().zip(&now);
        pairs.flat_map(|(old, new)| old.changes_to(new)).collect()
    }

    fn look_around(&self) -> Vec<Tree> {
        let trees = ["canary", "limbo", "volume"].map(|name| self.dir().join(name));
        trees.iter().map(|dir| Tree::of(dir).unwrap()).collect()
    }

    /// What is in the root that was not there.
    pub(crate) fn added(&self) -> Vec<PathBuf> {
        let is_new = |path: &PathBuf| !self.known.contains_key(path);
        content(&self.root()).into_keys().filter(is_new).collect()
    }

    /// Takes away what was added to the root, from the leaves on.
    pub(crate) fn remove_added(&self) {
        for path in self.added().iter().rev().map(|path| self.root().join(path)) {
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        }
    }

    /// Puts back what was in the root. Directories stay the ones that they are.
    pub(crate) fn put_back(&self) {
        let now = content(&self.root());
        for (path, kind) in self
            .known
            .iter()
            .filter(|(p, kind)| now.get(*p) != Some(kind))
        {
            let path = self.root().join(path);
            let _ = fs::remove_file(&path);
            match kind {
                Kind::Directory => fs::create_dir(&path).unwrap(),
                Kind::File(content) => fs::write(&path, content).unwrap(),
                Kind::Link(to) => symlink(to, &path).unwrap(),
            }
        }
    }
}

/// The mounts of a process's namespace by their numbers: where each is.
pub(crate) fn mounts(pid: u32) -> BTreeMap<u64, PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    // Fields 1 and 5 of proc_pid_mountinfo(5).
    let mount = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        (words[0].parse().unwrap(), PathBuf::from(words[4]))
    };
    text.lines().map(mount).collect()
}

/// Everything below `top`.
fn content(top: &Path) -> BTreeMap<PathBuf, Kind> {
    let mut found = BTreeMap::new();
    let mut left = vec![top.to_path_buf()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let kind = match (kind.is_dir(), kind.is_symlink()) {
                (true, _) => Kind::Directory,
                (_, true) => Kind::Link(fs::read_link(&path).unwrap()),
                _ => Kind::File(fs::read(&path).unwrap()),
            };
            if kind == Kind::Directory {
                left.push(path.clone());
            }
            found.insert(path.strip_prefix(top).unwrap().to_path_buf(), kind);
        }
    }
    found
}

/// A cache of an image with many libraries, which takes its time to be read.
fn cache() -> Vec<u8> {
    let entry = |i: u32| {
        let soname = format!("libimage{i}.so.1");
        let path = format!("/usr/lib64/{soname}");
        Entry::plain(0x303, soname.as_bytes(), path.as_bytes())
    };
    let mut cache = Cache::default();
    cache
        .merge(&(0..5000).map(entry).collect::<Vec<_>>())
        .unwrap();
    cache.write()
}
