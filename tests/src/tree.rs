//! A directory tree as it is at one moment, to say afterwards what changed in it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{Gid, Uid, fchownat};

use crate::error::{Context, Result};
use crate::hash;

/// Everything below one directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree(BTreeMap<PathBuf, Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    // Type and permissions, as stat(2) has them.
    mode: u32,
    owner: (u32, u32),
    size: u64,
    device: u64,
    links: u64,
    content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    File(u64),
    Link(PathBuf),
    None,
}

impl Tree {
    /// What is below `root`, links not followed and other mounts included. Nothing but regular
    /// files is opened. Times do not count: reading changes them.
    ///
    /// # Errors
    /// Where something cannot be read; what vanishes meanwhile is an error too.
    pub fn of(root: &Path) -> Result<Tree> {
        let mut entries = BTreeMap::new();
        let mut left = vec![root.to_owned()];
        while let Some(path) = left.pop() {
            let entry = entry(&path).during(format_args!("read {}", path.display()))?;
            if entry.mode & FORMAT == DIRECTORY {
                let list = fs::read_dir(&path).during(format_args!("list {}", path.display()))?;
                for child in list {
                    left.push(
                        child
                            .during(format_args!("list {}", path.display()))?
                            .path(),
                    );
                }
            }
            let name = path.strip_prefix(root).unwrap_or(&path).to_owned();
            entries.insert(name, entry);
        }
        Ok(Tree(entries))
    }

    /// How `after` differs: `+PATH` new, `-PATH` gone, `~PATH: WHAT` changed. Empty where it does
    /// not. Paths are relative to the root of the tree.
    pub fn changes_to(&self, after: &Tree) -> Vec<String> {
        let mut changes = Vec::new();
        for (path, old) in &self.0 {
            match after.0.get(path) {
                None => changes.push(format!("-{}", path.display())),
                Some(new) if new != old => {
                    changes.push(format!("~{}: {}", path.display(), old.differences(new)));
                }
                Some(_) => {}
            }
        }
        let new = after.0.keys().filter(|path| !self.0.contains_key(*path));
        changes.extend(new.map(|path| format!("+{}", path.display())));
        changes
    }

    /// Leaves out every directory that `unchanged` is in, at the same path and with the same
    /// permissions and owner: what an overlay makes in its layer before it makes anything in it.
    ///
    /// # Errors
    /// Where a directory of `unchanged` cannot be read.
    pub fn without_copies_of(mut self, unchanged: &Path) -> Result<Tree> {
        let mut copies = Vec::new();
        for (path, found) in self.0.iter().filter(|(_, e)| e.mode & FORMAT == DIRECTORY) {
            let there = unchanged.join(path);
            if there.is_dir() {
                let original = entry(&there).during(format_args!("read {}", there.display()))?;
                copies.extend((original == *found).then(|| path.clone()));
            }
        }
        self.0.retain(|path, _| !copies.contains(path));
        Ok(self)
    }

    /// The paths whose last component has `part` in it.
    pub fn names_with(&self, part: &str) -> Vec<&Path> {
        let has = |path: &&PathBuf| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().contains(part))
        };
        self.0.keys().filter(has).map(PathBuf::as_path).collect()
    }
}

const FORMAT: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

fn entry(path: &Path) -> std::io::Result<Entry> {
    let facts = fs::symlink_metadata(path)?;
    let kind = facts.mode() & FORMAT;
    let content = match kind {
        REGULAR => Content::File(hash(&beginning(path)?)),
        LINK => Content::Link(fs::read_link(path)?),
        _ => Content::None,
    };
    // Sizes and link counts of directories are the file system's own business; what is in a
    // directory is in the tree anyway.
    let counted = kind != DIRECTORY;
    Ok(Entry {
        mode: facts.mode(),
        owner: (facts.uid(), facts.gid()),
        size: if counted { facts.size() } else { 0 },
        links: if counted { facts.nlink() } else { 0 },
        device: facts.rdev(),
        content,
    })
}

/// All of a file, or the first part of one that is so large that it must be sparse.
fn beginning(path: &Path) -> std::io::Result<Vec<u8>> {
    const MOST: u64 = 64 << 20;
    let mut content = Vec::new();
    fs::File::open(path)?.take(MOST).read_to_end(&mut content)?;
    Ok(content)
}

impl Entry {
    fn differences(&self, new: &Entry) -> String {
        let differs = [
            (
                "mode",
                format!("{:o}", self.mode),
                format!("{:o}", new.mode),
            ),
            (
                "owner",
                format!("{:?}", self.owner),
                format!("{:?}", new.owner),
            ),
            ("size", self.size.to_string(), new.size.to_string()),
            (
                "device",
                format!("{:#x}", self.device),
                format!("{:#x}", new.device),
            ),
            ("links", self.links.to_string(), new.links.to_string()),
            (
                "content",
                format!("{:?}", self.content),
                format!("{:?}", new.content),
            ),
        ];
        let differs = differs.iter().filter(|(_, old, new)| old != new);
        let differs: Vec<_> = differs
            .map(|(name, old, new)| format!("{name} {old} -> {new}"))
            .collect();
        differs.join(", ")
    }
}

/// Gives everything below `directory`, and itself, to the user and the group `id`; links are not
/// followed.
///
/// # Errors
/// Where that fails.
pub fn give(directory: &Path, id: u32) -> Result<()> {
    let (user, group) = (Some(Uid::from_raw(id)), Some(Gid::from_raw(id)));
    fchownat(
        AT_FDCWD,
        directory,
        user,
        group,
        AtFlags::AT_SYMLINK_NOFOLLOW,
    )
    .during(format_args!("chown {}", directory.display()))?;
    let facts =
        fs::symlink_metadata(directory).during(format_args!("stat {}", directory.display()))?;
    if facts.is_dir() {
        for entry in fs::read_dir(directory).during(format_args!("list {}", directory.display()))? {
            give(&entry.during("list a directory")?.path(), id)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn every_kind_of_change_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("d")).unwrap();
        for name in ["content", "gone", "mode", "d/same", "linked"] {
            fs::write(path(name), "1").unwrap();
        }
        symlink("a", path("link")).unwrap();
        let before = Tree::of(dir.path()).unwrap();
        assert!(before.changes_to(&Tree::of(dir.path()).unwrap()).is_empty());

        fs::write(path("content"), "2").unwrap();
        fs::remove_file(path("gone")).unwrap();
        fs::set_permissions(path("mode"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::remove_file(path("link")).unwrap();
        symlink("b", path("link")).unwrap();
        fs::hard_link(path("linked"), path("new")).unwrap();
        let changes = before.changes_to(&Tree::of(dir.path()).unwrap());
        let names: Vec<_> = changes
            .iter()
            .map(|c| c.split(':').next().unwrap())
            .collect();
        assert_eq!(
            names,
            ["~content", "-gone", "~link", "~linked", "~mode", "+new"]
        );
        assert_eq!(changes[2], "~link: content Link(\"a\") -> Link(\"b\")");
        assert_eq!(changes[4], "~mode: mode 100644 -> 100600");
    }
}
