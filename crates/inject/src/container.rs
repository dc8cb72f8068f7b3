//! The container: its root, and the namespaces in which it can be changed.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::{Mode, SFlag, fstat, makedev};
use nix::sys::statfs::{FsType, SELINUX_MAGIC, fstatfs, statfs};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use oci_gpu::container::{ContainerFacts, Mount};
use oci_gpu::finding::{Code, Finding};
use oci_gpu::inventory::{DeviceNode, Inventory};

use crate::attach::is_unavailable;
use crate::fail::failed;
use crate::peek::Peek;
use crate::rootfs::Rootfs;

const PROC_MAGIC: FsType = FsType(libc::PROC_SUPER_MAGIC);

/// A container that was made and whose program does not run yet.
#[derive(Debug)]
pub struct Container {
    rootfs: Rootfs,
    /// Its cgroup file, /proc/PID/cgroup, opened for its process.
    pub(crate) cgroup: File,
    join: Option<Join>,
}

/// What it takes to enter.
#[derive(Debug)]
struct Join {
    process: OwnedFd,
    /// `None` before Linux 5.3: the directory of the process pins it, too.
    pidfd: Option<OwnedFd>,
    user_namespace: bool,
}

impl Container {
    /// The container that `pid` is the first process of, seen from outside (stages prestart and
    /// createRuntime). `rootfs` is the path of its root in that process's mount namespace, before
    /// pivot_root(2); `mounts` are those of its config.json.
    ///
    /// The process is pinned by a descriptor, so a number that is used again meanwhile is noticed.
    ///
    /// # Errors
    /// [`Code::Enter`]: no such process; it shares the caller's mount namespace, so that it is no
    /// container; the path is no mount point in it or lacks the first file system of `mounts`, so
    /// that it is not this container, or not yet; the path is the namespace's own root.
    pub fn of_process(pid: i32, rootfs: &Path, mounts: &[Mount]) -> Result<Container, Finding> {
        let enter = |what: String| move |e: Errno| failed(Code::Enter, what, e);
        if pid <= 0 {
            return Err(Finding::new(
                Code::Enter,
                format!("the container's state names the process {pid}"),
                "register the hook as prestart, createRuntime or createContainer, and use a runtime that fills in 'pid'",
            ));
        }
        let proc = proc_directory()?;
        let process = openat(
            &proc,
            pid.to_string().as_str(),
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .map_err(enter(format!("open /proc/{pid}, the container's process")))?;
        let pidfd = match oci_gpu_sys::process::pidfd(pid) {
            Ok(pidfd) => Some(pidfd),
            Err(e) if is_unavailable(&e) => None,
            Err(e) => return Err(failed(Code::Enter, format!("pidfd_open({pid})"), e)),
        };
        let own = |name: &str| readlinkat(&proc, format!("self/ns/{name}").as_str());
        let other = |name: &str| readlinkat(&process, format!("ns/{name}").as_str());
        let differs = |name: &str| -> Result<bool, Finding> {
            let other = other(name).map_err(|e| match e {
                // A process that is not dumpable (crun's) is closed to the user that it belongs to.
                Errno::EACCES | Errno::EPERM => Finding::new(
                    Code::Enter,
                    format!("read /proc/{pid}/ns/{name}: {e}: this user may not look into the container's process"),
                    "register the hook as createContainer, which runs in the container's namespaces",
                ),
                e => enter(format!("read /proc/{pid}/ns/{name}"))(e),
            })?;
            let own = own(name).map_err(enter(format!("read /proc/self/ns/{name}")))?;
            Ok(own != other)
        };
        if !differs("mnt")? {
            return Err(Finding::new(
                Code::Enter,
                format!(
                    "process {pid} has this process's mount namespace: it is not a container's"
                ),
                "check the state that the runtime passed; in stage createContainer call the hook with that stage's name",
            ));
        }
        let join = Join {
            pidfd,
            user_namespace: differs("user")?,
            process,
        };
        let cgroup = open_file(&join.process, "cgroup")
            .map_err(enter(format!("open /proc/{pid}/cgroup")))?;
        let root = openat(
            &join.process,
            "root",
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        );
        let (root, join) = match root {
            Ok(root) => (root, Some(join)),
            // Another user's process may be entered though it may not be looked into.
            Err(Errno::EACCES | Errno::EPERM) => {
                join.enter()?;
                (here_root()?, None)
            }
            Err(e) => return Err(failed(Code::Enter, format!("open /proc/{pid}/root"), e)),
        };
        let whose = format!("process {pid}");
        Ok(Container {
            rootfs: own_root(root.as_fd(), rootfs, mounts, &whose)?,
            cgroup,
            join,
        })
    }

    /// The container whose mount namespace the calling process is in already (stage
    /// createContainer), where the process numbers of the state and of /proc do not belong
    /// together. `rootfs` and `mounts` as in [`Container::of_process`].
    ///
    /// # Errors
    /// [`Code::Enter`] where `rootfs` cannot be opened, or is not that of a container that was made
    /// in this mount namespace.
    pub fn here(rootfs: &Path, mounts: &[Mount]) -> Result<Container, Finding> {
        let root = here_root()?;
        let rootfs = own_root(root.as_fd(), rootfs, mounts, "this process")?;
        let cgroup = open_file(&proc_directory()?, "self/cgroup")
            .map_err(|e| failed(Code::Enter, "open /proc/self/cgroup", e))?;
        Ok(Container {
            rootfs,
            cgroup,
            join: None,
        })
    }

    /// Gives new file systems in the container the SELinux context `label`, which is
    /// linux.mountLabel of config.json, where the kernel enforces SELinux at all. Host files keep
    /// the contexts that they have.
    pub fn with_mount_label(mut self, label: Option<&str>) -> Container {
        self.rootfs.label = label
            .filter(|_| has_selinux())
            .and_then(|label| CString::new(label).ok());
        self
    }

    /// What the plan must know of the root file system: names that exist; what its loader can load,
    /// where `inventory` has libraries that not every loader can; and what it has of CUDA forward
    /// compatibility, where `compat` asks for it.
    ///
    /// # Errors
    /// [`Code::Target`] where it cannot be told whether a name exists: what it decides would be
    /// decided wrongly.
    pub fn facts(&self, inventory: &Inventory, compat: bool) -> Result<ContainerFacts, Finding> {
        seen(&self.rootfs, inventory, compat)
    }

    /// Whether the container has `node`: a character device with its numbers, at its place there.
    pub fn has(&self, node: &DeviceNode) -> bool {
        let found = self.rootfs.find(&node.target, OFlag::O_PATH);
        let stat = found.and_then(|found| fstat(&found));
        stat.is_ok_and(|stat| {
            let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
            let number = makedev(node.major.into(), node.minor.into());
            kind == SFlag::S_IFCHR && stat.st_rdev == number
        })
    }

    /// Enters the container's namespaces.
    pub(crate) fn enter(self) -> Result<Rootfs, Finding> {
        if let Some(join) = &self.join {
            join.enter()?;
        }
        Ok(self.rootfs)
    }
}

impl Join {
    fn enter(&self) -> Result<(), Finding> {
        let mut kinds = vec![("mnt", CloneFlags::CLONE_NEWNS)];
        if self.user_namespace {
            kinds.insert(0, ("user", CloneFlags::CLONE_NEWUSER));
        }
        let all = kinds
            .iter()
            .fold(CloneFlags::empty(), |all, (_, flag)| all | *flag);
        let by_pidfd = self.pidfd.as_ref().map(|pidfd| setns(pidfd, all));
        match by_pidfd {
            Some(Ok(())) => {}
            // Before Linux 5.8 a pidfd is no namespace.
            None | Some(Err(Errno::EINVAL)) => {
                for (name, flag) in kinds {
                    let what = || format!("join the container's {name} namespace");
                    let namespace = open_file(&self.process, &format!("ns/{name}"))
                        .map_err(|e| failed(Code::Enter, what(), e))?;
                    setns(namespace, flag).map_err(|e| failed(Code::Enter, what(), e))?;
                }
            }
            Some(Err(e)) => return Err(failed(Code::Enter, "join the container's namespaces", e)),
        }
        if self.user_namespace {
            become_root().map_err(|e| {
                failed(
                    Code::Enter,
                    "become root of the container's user namespace",
                    e,
                )
            })?;
        }
        Ok(())
    }
}

/// [`Container::facts`] of the root file system in the directory `rootfs`, whether or not a container
/// runs in it.
///
/// # Errors
/// As [`Container::facts`], and [`Code::Enter`] where the directory cannot be opened.
pub fn facts_of(
    rootfs: &Path,
    inventory: &Inventory,
    compat: bool,
) -> Result<ContainerFacts, Finding> {
    let root = here_root()?;
    seen(&Rootfs::open(root.as_fd(), rootfs, &[])?, inventory, compat)
}

fn seen(rootfs: &Rootfs, inventory: &Inventory, compat: bool) -> Result<ContainerFacts, Finding> {
    let peek = Peek::of(rootfs);
    let facts = ContainerFacts::seen(&peek, inventory, compat);
    peek.finish()?;
    Ok(facts)
}

/// The container's root below `root`, which is the root of the mount namespace of `whose`. Only
/// where a runtime made this container is it a mount that has further mounts in it; the host's own
/// mount namespace and other containers' may have a directory or a mount at that path, too.
fn own_root(
    root: BorrowedFd<'_>,
    path: &Path,
    mounts: &[Mount],
    whose: &str,
) -> Result<Rootfs, Finding> {
    let rootfs = Rootfs::open(root, path, mounts)?;
    let shown = path.display();
    let (what, remedy) = if rootfs.is(root) {
        (
            format!("{shown} is the root of {whose} itself, no container's"),
            "let root.path of config.json name the container's root",
        )
    } else if !rootfs.is_mount_root() {
        (
            format!("{shown} is no mount point for {whose}: it is another container's"),
            "check that 'pid' and 'bundle' of the state belong together, and that the hook's argument is the stage that it runs in",
        )
    } else if let Some(missing) = rootfs.missing_mount() {
        (
            format!(
                "{} of config.json is not mounted in {shown} for {whose}: it is another container's, or not made yet",
                missing.display()
            ),
            "check that 'pid' and 'bundle' of the state belong together, and that the hook's argument is the stage that it runs in",
        )
    } else {
        return Ok(rootfs);
    };
    Err(Finding::new(Code::Enter, what, remedy))
}

fn become_root() -> Result<(), Errno> {
    // Refused where the namespace denies setgroups(2), as for rootless containers: they have none.
    let _ = setgroups(&[]);
    setresgid(Gid::from_raw(0), Gid::from_raw(0), Gid::from_raw(0))?;
    setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0))
}

#[allow(
    clippy::disallowed_methods,
    reason = "a file system of the host's kernel, whose kind is what is asked"
)]
fn has_selinux() -> bool {
    statfs("/sys/fs/selinux").is_ok_and(|s| s.filesystem_type() == SELINUX_MAGIC)
}

/// The host's procfs, which must be one: a directory of the image would tell lies.
#[allow(
    clippy::disallowed_methods,
    reason = "the host's /proc, checked once it is open"
)]
fn proc_directory() -> Result<OwnedFd, Finding> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let proc = nix::fcntl::open("/proc", flags, Mode::empty())
        .map_err(|e| failed(Code::Enter, "open /proc", e))?;
    let kind = fstatfs(&proc).map_err(|e| failed(Code::Enter, "statfs /proc", e))?;
    if kind.filesystem_type() != PROC_MAGIC {
        return Err(Finding::new(
            Code::Enter,
            "/proc is not a procfs",
            "mount procfs on the host's /proc",
        ));
    }
    Ok(proc)
}

#[allow(
    clippy::disallowed_methods,
    reason = "the root below which all else is resolved"
)]
fn here_root() -> Result<OwnedFd, Finding> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open("/", flags, Mode::empty()).map_err(|e| failed(Code::Enter, "open /", e))
}

fn open_file(directory: &OwnedFd, name: &str) -> Result<File, Errno> {
    openat(
        directory,
        name,
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .map(File::from)
}

/// The path of a bundle's root: root.path, from the bundle where it is relative.
///
/// # Errors
/// [`Code::Bundle`] where it is empty, "/" or climbs.
pub fn rootfs_path(bundle: &Path, root: &Path) -> Result<PathBuf, Finding> {
    let path = bundle.join(root);
    let climbs = root
        .components()
        .any(|c| c == std::path::Component::ParentDir);
    if root.as_os_str().is_empty()
        || path.parent().is_none()
        || !path.is_absolute()
        || climbs && root.is_relative()
    {
        return Err(Finding::new(
            Code::Bundle,
            format!(
                "root.path of config.json is '{}' (bundle {})",
                root.display(),
                bundle.display()
            ),
            "let it name a directory below the bundle, or an absolute one that is not the host's root",
        ));
    }
    Ok(path)
}
