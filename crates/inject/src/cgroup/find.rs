//! The directory of a control group.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat, stat};
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, FsType, fstatfs};

use oci_gpu::cgroup::Hierarchy;
use oci_gpu::finding::{Code, Finding};
use oci_gpu_sys::mount::new_filesystem;

use super::Refused;
use crate::resolve::{Scope, resolve};

/// Inode number of the first cgroup namespace (`PROC_CGROUP_INIT_INO`, include/linux/proc_ns.h).
const INITIAL_NAMESPACE: u64 = 0xEFFF_FFFB;

/// Inode number of the root of a hierarchy (fs/kernfs).
const ROOT_INODE: u64 = 1;

/// A group of version 1.
pub(super) fn v1(group: &Hierarchy) -> Result<OwnedFd, Refused> {
    let Hierarchy { controllers, path } = group;
    if let Some(root) = mounted("/sys/fs/cgroup/devices", CGROUP_SUPER_MAGIC) {
        return below(root, path);
    }
    let names: Vec<CString> = controllers
        .iter()
        .filter_map(|c| CString::new(c.as_str()).ok())
        .collect();
    let options: Vec<_> = names.iter().map(|n| (n.as_c_str(), None)).collect();
    let root = new_filesystem(c"cgroup", &options, 0).map_err(|e| {
        Refused::new(
            format!("mount the hierarchy of {}", controllers.join(",")),
            e,
        )
    })?;
    below(root, path)
}

/// The group at `path` in version 2's hierarchy.
pub(super) fn v2(path: &Path) -> Result<OwnedFd, Refused> {
    for place in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
        if let Some(root) = mounted(place, CGROUP2_SUPER_MAGIC) {
            return below(root, path);
        }
    }
    let root = new_filesystem(c"cgroup2", &[], 0)
        .map_err(|e| Refused::new("mount the cgroup2 hierarchy", e))?;
    below(root, path)
}

/// The whole hierarchy where the host mounts it, for who is in the host's cgroup namespace.
#[allow(
    clippy::disallowed_methods,
    reason = "fixed places of the host's own tree, checked once they are open"
)]
fn mounted(place: &str, kind: FsType) -> Option<OwnedFd> {
    if stat("/proc/self/ns/cgroup").ok()?.st_ino != INITIAL_NAMESPACE {
        return None;
    }
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = open(place, flags, Mode::empty()).ok()?;
    let is_kind = fstatfs(&root).ok()?.filesystem_type() == kind;
    (is_kind && fstat(&root).ok()?.st_ino == ROOT_INODE).then_some(root)
}

fn below(root: OwnedFd, path: &Path) -> Result<OwnedFd, Refused> {
    if path.components().any(|c| c == Component::ParentDir) {
        return Err(Refused::Failed(Finding::new(
            Code::Cgroup,
            format!(
                "the container's control group {} lies outside of this process's cgroup namespace",
                path.display()
            ),
            "run the runtime in the host's cgroup namespace",
        )));
    }
    let relative = path.strip_prefix("/").unwrap_or(path);
    let relative = match relative.as_os_str().is_empty() {
        true => Path::new("."),
        false => relative,
    };
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    resolve(root.as_fd(), relative, flags, Mode::empty(), Scope::InRoot)
        .map_err(|e| Refused::new(format!("open the control group {}", path.display()), e))
}
