//! Host files on their way into a container: opened, checked, cloned and restricted before the
//! container can see them.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc;
use nix::sys::stat::{FileStat, SFlag, fstat, major, minor};

use oci_gpu::finding::{Code, Finding};
use oci_gpu::host::Host;
use oci_gpu::plan::{BindKind, Operation, Plan, Skipped};
use oci_gpu_sys::mount::attr;

use crate::Receipt;
use crate::attach;
use crate::fail::failed;

/// A detached mount of one host file, and which file it is.
#[derive(Debug)]
pub(crate) struct Source {
    /// `None` where this machine has no detached mounts.
    pub(crate) tree: Option<OwnedFd>,
    /// The path that opens the file from the host's root.
    pub(crate) disk: PathBuf,
    pub(crate) attributes: u64,
    pub(crate) file: Identity,
    pub(crate) is_directory: bool,
    /// Its numbers, where it is a device.
    pub(crate) device: Option<(u64, u64)>,
}

impl Source {
    /// Whether the file of which `stat` tells is this one, or the same device by another node.
    pub(crate) fn is_at(&self, stat: &FileStat) -> bool {
        let device = || (major(stat.st_rdev), minor(stat.st_rdev));
        let same_device = self
            .device
            .is_some_and(|d| kind_of(stat) == SFlag::S_IFCHR && d == device());
        Identity::of(stat) == self.file || same_device
    }
}

/// A file, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(crate) fn of(stat: &FileStat) -> Identity {
        Identity {
            device: stat.st_dev,
            inode: stat.st_ino,
        }
    }
}

/// The host files of a plan, by their paths on the host.
#[derive(Debug)]
pub(crate) struct Sources {
    files: HashMap<PathBuf, Source>,
}

impl Sources {
    /// Opens every host file that `plan` names. A required one that fails ends it; an optional one
    /// is a note in `receipt`.
    ///
    /// # Errors
    /// [`Code::HostRead`], [`Code::SourceChanged`], [`Code::NodeWrong`], [`Code::Mount`].
    pub(crate) fn open(
        plan: &Plan,
        host: &Host,
        receipt: &mut Receipt,
    ) -> Result<Sources, Finding> {
        let mut sources = Sources {
            files: HashMap::new(),
        };
        for action in &plan.actions {
            let (path, opened) = match &action.what {
                Operation::Device {
                    source,
                    major,
                    minor,
                    ..
                } => (source, device(host, source, *major, *minor)),
                Operation::Bind { kind, source, .. } => (source, file(host, source, *kind)),
                _ => continue,
            };
            match opened {
                Ok(opened) => {
                    sources.files.insert(path.clone(), opened);
                }
                Err(e) if action.required => return Err(e),
                Err(e) => receipt.skipped.push(Skipped {
                    what: path.display().to_string(),
                    why: e.message,
                }),
            }
        }
        Ok(sources)
    }

    /// The source at `path`; `None` where it was optional and could not be opened.
    pub(crate) fn get(&self, path: &Path) -> Option<&Source> {
        self.files.get(path)
    }
}

fn device(host: &Host, path: &Path, want_major: u32, want_minor: u32) -> Result<Source, Finding> {
    let (node, stat) = open(host, path)?;
    let rdev = (major(stat.st_rdev), minor(stat.st_rdev));
    if kind_of(&stat) != SFlag::S_IFCHR || rdev != (u64::from(want_major), u64::from(want_minor)) {
        return Err(Finding::new(
            Code::NodeWrong,
            format!(
                "{} is not the character device {want_major}:{want_minor} (any more)",
                path.display()
            ),
            "run `oci-gpu system create-device-nodes` on the host",
        ));
    }
    let source = detach(host, path, &node, &stat, attr::NOSUID | attr::NOEXEC)?;
    Ok(Source {
        device: Some(rdev),
        ..source
    })
}

fn file(host: &Host, path: &Path, kind: BindKind) -> Result<Source, Finding> {
    let read_only = attr::RDONLY | attr::NOSUID | attr::NODEV;
    let (types, attributes): (&[SFlag], u64) = match kind {
        BindKind::Library | BindKind::Binary | BindKind::Module => (&[SFlag::S_IFREG], read_only),
        BindKind::Firmware | BindKind::Config => (&[SFlag::S_IFREG], read_only | attr::NOEXEC),
        BindKind::Tree => (&[SFlag::S_IFDIR], read_only),
        BindKind::Data => (&[SFlag::S_IFDIR], read_only | attr::NOEXEC),
        BindKind::Proc => (&[SFlag::S_IFREG, SFlag::S_IFDIR], read_only | attr::NOEXEC),
        BindKind::Socket => (
            &[SFlag::S_IFSOCK],
            attr::NOSUID | attr::NODEV | attr::NOEXEC,
        ),
        BindKind::Directory => (&[SFlag::S_IFDIR], attr::NOSUID | attr::NODEV | attr::NOEXEC),
    };
    let (file, stat) = open(host, path)?;
    if !types.contains(&kind_of(&stat)) {
        return Err(Finding::new(
            Code::SourceChanged,
            format!(
                "{} is not of the type that it was, or has the wrong type for its place",
                path.display()
            ),
            "reinstall the driver's user-space packages",
        ));
    }
    detach(host, path, &file, &stat, attributes)
}

/// Opens `path`, whose links discovery has followed: a link in its place now is a change.
#[allow(
    clippy::disallowed_methods,
    reason = "a host file, checked once it is open"
)]
fn open(host: &Host, path: &Path) -> Result<(File, FileStat), Finding> {
    let disk = host.on_disk(path);
    let mut options = File::options();
    let opened = options
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_NOFOLLOW)
        .open(&disk);
    let file = opened.map_err(|e| failed(Code::HostRead, format!("open {}", path.display()), e))?;
    let stat =
        fstat(&file).map_err(|e| failed(Code::HostRead, format!("stat {}", path.display()), e))?;
    Ok((file, stat))
}

fn kind_of(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

fn detach(
    host: &Host,
    path: &Path,
    file: &File,
    stat: &FileStat,
    attributes: u64,
) -> Result<Source, Finding> {
    let disk = host.on_disk(path);
    let tree = attach::detach(file.as_fd(), &disk, attributes).map_err(|e| {
        failed(
            Code::Mount,
            format!("clone and restrict the mount of {}", path.display()),
            e,
        )
    })?;
    Ok(Source {
        tree,
        disk,
        attributes,
        file: Identity::of(stat),
        is_directory: kind_of(stat) == SFlag::S_IFDIR,
        device: None,
    })
}
