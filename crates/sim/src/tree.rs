//! Writes files below one directory, and nowhere else.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::sys::statvfs::{FsFlags, statvfs};
use oci_gpu::Host;
use oci_gpu::finding::Finding;

use crate::check::refusal;
use crate::spec::Nodes;

/// What was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Created {
    /// The directory that is the host's `/`.
    pub root: PathBuf,
    /// How many files, links and sockets were made, device nodes not among them.
    pub files: usize,
    /// How many device nodes were made.
    pub nodes: usize,
    /// The nodes that were left out because the description says `nodes = "skip"`.
    pub skipped_nodes: Vec<PathBuf>,
}

/// A character device, or what lies in its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) path: String,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) mode: u32,
    pub(crate) gid: u32,
}

/// The directory that is `/` to the host, and what was made in it.
///
/// Existing links in a path are followed inside the directory, as the host would, so files can be
/// added to a root file system without any of them landing outside. Nothing is overwritten.
pub(crate) struct Tree {
    host: Host,
    nodes: Nodes,
    // Where the directories that were already needed lie, links followed.
    directories: HashMap<PathBuf, PathBuf>,
    created: Created,
}

impl Tree {
    /// The tree at `root`, which is made where it is absent.
    pub(crate) fn at(root: &Path, nodes: Nodes) -> Result<Tree, Finding> {
        fs::create_dir_all(root).map_err(|e| cannot("make the directory", root, &e))?;
        let root = root
            .canonicalize()
            .map_err(|e| cannot("resolve", root, &e))?;
        Ok(Tree {
            host: Host::at(&root),
            nodes,
            directories: HashMap::new(),
            created: Created {
                root,
                ..Created::default()
            },
        })
    }

    /// As [`Tree::at`], for a directory that must be absent or empty.
    pub(crate) fn at_empty(root: &Path, nodes: Nodes) -> Result<Tree, Finding> {
        match fs::read_dir(root) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(refusal(
                        format!("{} is not empty", root.display()),
                        "name an empty or a new directory",
                    ));
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(cannot("read the directory", root, &e)),
        }
        Tree::at(root, nodes)
    }

    pub(crate) fn finish(self) -> Created {
        self.created
    }

    /// Removes everything in the directory, as far as possible. For a tree that was empty at first.
    pub(crate) fn clear(&self) {
        for entry in fs::read_dir(&self.created.root)
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = entry.path();
            let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        }
    }

    /// The directory at `path`, made with its parents where it is missing.
    pub(crate) fn directory(&mut self, path: &str) -> Result<(), Finding> {
        self.resolved(Path::new(path)).map(|_| ())
    }

    /// A regular file.
    pub(crate) fn file(&mut self, path: &str, content: impl AsRef<[u8]>) -> Result<(), Finding> {
        self.file_with_mode(path, content.as_ref(), 0o644)
    }

    /// A regular file that may be run.
    pub(crate) fn program(&mut self, path: &str, content: &[u8]) -> Result<(), Finding> {
        self.file_with_mode(path, content, 0o755)
    }

    /// A regular file that only its owner may read, or nobody may write, as procfs has.
    pub(crate) fn file_with_mode(
        &mut self,
        path: &str,
        content: &[u8],
        mode: u32,
    ) -> Result<(), Finding> {
        let disk = self.place(path)?;
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&disk)
            .and_then(|mut file| {
                file.write_all(content)?;
                // The umask is the caller's, the host's modes are not.
                file.set_permissions(fs::Permissions::from_mode(mode))
            });
        written.map_err(|e| cannot("write", &disk, &e))?;
        self.created.files += 1;
        Ok(())
    }

    /// A symbolic link that holds `target`.
    pub(crate) fn link(&mut self, path: &str, target: &str) -> Result<(), Finding> {
        let disk = self.place(path)?;
        symlink(target, &disk).map_err(|e| cannot("make the link", &disk, &e))?;
        self.created.files += 1;
        Ok(())
    }

    /// A link, unless something is there: `/lib` of a root file system that was there before.
    pub(crate) fn link_if_absent(&mut self, path: &str, target: &str) -> Result<(), Finding> {
        let disk = self.place(path)?;
        if fs::symlink_metadata(&disk).is_ok() {
            return Ok(());
        }
        self.link(path, target)
    }

    /// A Unix socket that nobody listens on.
    pub(crate) fn socket(&mut self, path: &str) -> Result<(), Finding> {
        let disk = self.place(path)?;
        let mode = Mode::from_bits_truncate(0o666);
        mknod(&disk, SFlag::S_IFSOCK, mode, 0)
            .map_err(|e| cannot("make the socket", &disk, &e.into()))?;
        set_mode(&disk, 0o666)?;
        self.created.files += 1;
        Ok(())
    }

    /// A character device.
    pub(crate) fn node(&mut self, node: &Node) -> Result<(), Finding> {
        if self.nodes == Nodes::Skip {
            self.created.skipped_nodes.push(PathBuf::from(&node.path));
            return Ok(());
        }
        let disk = self.place(&node.path)?;
        if self.created.nodes == 0 {
            refuse_nodev(disk.parent().unwrap_or(&disk))?;
        }
        let device = makedev(u64::from(node.major), u64::from(node.minor));
        let mode = Mode::from_bits_truncate(node.mode);
        mknod(&disk, SFlag::S_IFCHR, mode, device).map_err(|e| match e {
            Errno::EPERM | Errno::EACCES => refusal(
                format!("mknod of {} failed: {e}", disk.display()),
                "run as root outside of user namespaces, or set nodes = \"skip\"",
            ),
            e => cannot("make the device node", &disk, &e.into()),
        })?;
        set_mode(&disk, node.mode)?;
        if node.gid != 0 {
            chown(&disk, None, Some(node.gid)).map_err(|e| cannot("chown", &disk, &e))?;
        }
        self.created.nodes += 1;
        Ok(())
    }

    /// The names in the directory at `path`, sorted.
    pub(crate) fn list(&self, path: &str) -> Result<Vec<String>, Finding> {
        let path = Path::new(path);
        let names = self.host.files().list(path);
        names.map_err(|e| cannot("list", &self.host.on_disk(path), &e))
    }

    /// The path on disk of a file to be made at `path`; its directory exists then.
    fn place(&mut self, path: &str) -> Result<PathBuf, Finding> {
        let path = Path::new(path);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(refusal(
                format!("{} names no file", path.display()),
                "name a file below /",
            ));
        };
        let parent = self.resolved(parent)?;
        Ok(self.host.on_disk(&parent).join(name))
    }

    /// The directory at `path` of the host, links followed; made where it is missing.
    fn resolved(&mut self, path: &Path) -> Result<PathBuf, Finding> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(PathBuf::from("/"));
        };
        if let Some(known) = self.directories.get(path) {
            return Ok(known.clone());
        }
        let here = self.resolved(parent)?.join(name);
        let disk = self.host.on_disk(&here);
        let real = match fs::symlink_metadata(&disk) {
            Ok(metadata) if metadata.is_symlink() => {
                let target = self.host.files().resolve(&here);
                let target = target.map_err(|e| cannot("follow the link", &disk, &e))?;
                // The target may itself be missing yet, or be a link.
                self.resolved(&target)?
            }
            Ok(metadata) if metadata.is_dir() => here,
            Ok(_) => {
                return Err(refusal(
                    format!("{} is not a directory", disk.display()),
                    "remove it, or choose another directory",
                ));
            }
            Err(_) => {
                let made = fs::create_dir(&disk)
                    .and_then(|()| fs::set_permissions(&disk, fs::Permissions::from_mode(0o755)));
                made.map_err(|e| cannot("make the directory", &disk, &e))?;
                here
            }
        };
        self.directories.insert(path.to_path_buf(), real.clone());
        Ok(real)
    }
}

/// Refuses a mount on which device nodes cannot be opened (mount(8), nodev).
fn refuse_nodev(directory: &Path) -> Result<(), Finding> {
    let facts = statvfs(directory).map_err(|e| cannot("statvfs", directory, &e.into()))?;
    if facts.flags().contains(FsFlags::ST_NODEV) {
        return Err(refusal(
            format!(
                "{} lies on a mount with the option nodev, where no device can be opened",
                directory.display()
            ),
            "choose a directory on another mount, or set nodes = \"skip\"",
        ));
    }
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> Result<(), Finding> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(|e| cannot("chmod", path, &e))
}

fn cannot(what: &str, path: &Path, why: &io::Error) -> Finding {
    let remedy = match why.kind() {
        io::ErrorKind::AlreadyExists => "choose an empty directory",
        io::ErrorKind::NotADirectory => "name a directory",
        io::ErrorKind::PermissionDenied => "choose a directory that you may write",
        _ => "",
    };
    refusal(format!("cannot {what} {}: {why}", path.display()), remedy)
}
