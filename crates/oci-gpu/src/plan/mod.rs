//! Inventory, Grant and ContainerFacts -> Plan: an ordered list of actions, each with its reason.
//!
//! Everything that can be decided is decided here; what carries a plan out has no choices left.

mod devices;
mod files;
mod finish;
mod libraries;
mod procfs;
mod profile;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::container::ContainerFacts;
use crate::finding::Finding;
use crate::inventory::{Inventory, NodeOwner};
use crate::select::Grant;

/// What a container gets, in the order in which it is put there.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Plan {
    /// The actions. A directory comes before what lies in it.
    pub actions: Vec<Action>,
    /// What was left out on purpose.
    pub skipped: Vec<Skipped>,
    /// Files of the driver that were asked for and cannot be used: an administrator should know.
    pub unusable: Vec<Skipped>,
    /// Which action has which place: a container can get thousands of devices.
    places: HashMap<PathBuf, usize>,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// What is done.
    pub what: Operation,
    /// Why: the rule and the evidence.
    pub why: String,
    /// Whether the container's start fails if it cannot be done.
    pub required: bool,
}

/// Something that a container does not get, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// What.
    pub what: String,
    /// Why not.
    pub why: String,
}

/// What can be done to a container: a closed list, so that whatever carries plans out has all of it.
/// Paths named `source` are on the host, `target` in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A character device: its node in the container, and leave to open it.
    Device {
        /// The host's node.
        source: PathBuf,
        /// The node in the container.
        target: PathBuf,
        /// Major number that the source must have.
        major: u32,
        /// Minor number that the source must have.
        minor: u32,
        /// Owner and mode of the source, which the container sees, too.
        owner: Option<NodeOwner>,
    },
    /// A host file or directory, read-only (sockets excepted), mounted at `target`.
    Bind {
        /// What kind of file it is; decides the mount's flags.
        kind: BindKind,
        /// The file itself, every link followed.
        source: PathBuf,
        /// Where in the container.
        target: PathBuf,
    },
    /// A symbolic link.
    Symlink {
        /// Where the link is, in the container.
        target: PathBuf,
        /// What it holds.
        points_to: PathBuf,
    },
    /// A read-only file system in memory with these files and directories.
    Files {
        /// The mount point ("/proc/driver/nvidia").
        target: PathBuf,
        /// What it holds: parents before children.
        entries: Vec<FileEntry>,
    },
    /// Driver libraries in the loader's cache (or, for musl, their directory in its path file).
    LdCache {
        /// The entries.
        entries: Vec<CacheEntry>,
        /// Directories that they lie in, for loaders without a cache.
        directories: Vec<PathBuf>,
    },
    /// An environment variable of the container's process. The hook cannot set it.
    Env {
        /// Name.
        name: String,
        /// Value.
        value: String,
    },
    /// A supplementary group of the container's process. The hook cannot add it.
    Group {
        /// Group id.
        gid: u32,
    },
}

/// The kinds of files that are mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindKind {
    /// A shared library: read-only, nosuid, nodev.
    Library,
    /// A program: read-only, nosuid, nodev.
    Binary,
    /// Code that is loaded by its path: read-only, nosuid, nodev.
    Module,
    /// Firmware: read-only, nosuid, nodev, noexec.
    Firmware,
    /// A Unix socket: nosuid, nodev, noexec; writable, or nobody could connect.
    Socket,
    /// A directory with sockets or pipes: like a socket.
    Directory,
    /// A configuration file: read-only, nosuid, nodev, noexec.
    Config,
    /// A directory of data: read-only, nosuid, nodev, noexec.
    Data,
    /// A directory with libraries or programs in it: read-only, nosuid, nodev.
    Tree,
    /// A file or directory of procfs: read-only, nosuid, nodev, noexec.
    Proc,
}

/// A file or directory of [`Operation::Files`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Path below the mount point, without a leading slash.
    pub path: PathBuf,
    /// The content of a file; `None` for a directory.
    pub content: Option<Vec<u8>>,
    /// Permission bits.
    pub mode: u32,
}

/// An entry that the container's loader cache gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheEntry {
    /// The soname.
    pub soname: String,
    /// The file in the container.
    pub path: PathBuf,
    /// Cache flags (see [`crate::ldcache::flags_for`]).
    pub flags: u32,
}

impl Plan {
    /// Decides what a container with `facts` gets for `grant`.
    ///
    /// # Errors
    /// [`crate::Code::NodeMissing`] and [`crate::Code::NodeWrong`] for a device that was granted
    /// and cannot be given, [`crate::Code::MissingFile`] where the driver lacks the library that a
    /// capability stands for.
    pub fn new(
        inventory: &Inventory,
        grant: &Grant,
        facts: &ContainerFacts,
    ) -> Result<Plan, Finding> {
        let mut plan = Plan::default();
        devices::plan(&mut plan, grant)?;
        let loader = libraries::plan(&mut plan, inventory, grant, facts)?;
        files::plan(&mut plan, inventory, grant, facts);
        links(&mut plan, inventory);
        profile::plan(&mut plan, grant);
        procfs::plan(&mut plan, inventory, grant, facts);
        plan.actions.extend(loader);
        Ok(plan)
    }

    /// Adds an action, unless its place in the container is taken: the first one has it. Whether it
    /// was added. The same twice (compute instances share a GPU instance's node) is no conflict.
    fn add(&mut self, what: Operation, required: bool, why: String) -> bool {
        let taken = what.target().and_then(|t| self.places.get(t));
        match taken.and_then(|at| self.actions.get(*at)) {
            None => {
                if let Some(target) = what.target() {
                    self.places.insert(target.to_path_buf(), self.actions.len());
                }
                let action = Action {
                    what,
                    why,
                    required,
                };
                self.actions.push(action);
                true
            }
            Some(first) => {
                if first.what != what {
                    self.skip(what.describe(), "another file of the driver has its place");
                }
                false
            }
        }
    }

    /// Adds a supplementary group of the container's process, once.
    fn group(&mut self, gid: u32, why: String) {
        let what = Operation::Group { gid };
        if !self.actions.iter().any(|a| a.what == what) {
            self.actions.push(Action {
                what,
                why,
                required: false,
            });
        }
    }

    fn skip(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.skipped.push(Skipped {
            what: what.into(),
            why: why.into(),
        });
    }
}

/// Links of the host, as they are.
fn links(plan: &mut Plan, inventory: &Inventory) {
    for link in &inventory.links {
        let what = Operation::Symlink {
            target: link.path.clone(),
            points_to: link.points_to.clone(),
        };
        plan.add(what, false, "the host's link".to_owned());
    }
}

impl Operation {
    /// The place in the container, where there is one.
    pub fn target(&self) -> Option<&Path> {
        match self {
            Operation::Device { target, .. }
            | Operation::Bind { target, .. }
            | Operation::Symlink { target, .. }
            | Operation::Files { target, .. } => Some(target),
            Operation::LdCache { .. } | Operation::Env { .. } | Operation::Group { .. } => None,
        }
    }

    /// The operation's subject in a message.
    pub fn describe(&self) -> String {
        match self {
            Operation::Device { source, .. } | Operation::Bind { source, .. } => {
                source.display().to_string()
            }
            Operation::Symlink { target, .. } | Operation::Files { target, .. } => {
                target.display().to_string()
            }
            Operation::LdCache { .. } => "the container's loader cache".to_owned(),
            Operation::Env { name, .. } => format!("variable {name}"),
            Operation::Group { gid } => format!("group {gid}"),
        }
    }
}
