//! Device rules of a container's control group: version 1 by its files, version 2 by its programs.
//!
//! The group is found by mounting the hierarchy anew, detached and unseen, and following the path
//! of /proc/PID/cgroup in it. Both are relative to the caller's cgroup namespace, so the way is the
//! same on the host and in the stage createContainer, whatever is mounted on /sys/fs/cgroup.

mod program;
mod v1;
mod v2;

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use oci_gpu::finding::{Code, Finding};
use oci_gpu::plan::{Operation, Plan, Skipped};
use oci_gpu_sys::mount::new_filesystem;

use crate::fail::failed;
use crate::loader_cache::read_bounded;
use crate::{Container, Receipt};

/// A character device by its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

/// Rules that were added, so that they can be taken back.
#[derive(Debug)]
pub(crate) enum Added {
    V1(v1::Added),
    V2(v2::Added),
}

impl Added {
    pub(crate) fn undo(self) {
        match self {
            Added::V1(added) => added.undo(),
            Added::V2(added) => added.undo(),
        }
    }
}

/// Lets the container's processes read and write the plan's devices; making nodes of them stays
/// forbidden, as the reference has it.
///
/// A container whose group has no rules needs none. Where the caller may not change them (rootless
/// containers, whose runtimes set no rules either), that is a note in `receipt`.
///
/// # Errors
/// [`Code::Cgroup`].
pub(crate) fn allow(
    plan: &Plan,
    container: &Container,
    receipt: &mut Receipt,
) -> Result<Option<Added>, Finding> {
    let devices: Vec<Device> = plan
        .actions
        .iter()
        .filter_map(|a| match a.what {
            Operation::Device { major, minor, .. } => Some(Device { major, minor }),
            _ => None,
        })
        .collect();
    if devices.is_empty() {
        return Ok(None);
    }
    let text = container.cgroup.try_clone().and_then(|f| read_bounded(f, 64 << 10));
    let text = text.map_err(|e| failed(Code::Cgroup, "read the container's cgroup file", e))?;
    let groups = Groups::parse(&String::from_utf8_lossy(&text));
    let added = match (&groups.devices, &groups.unified) {
        // Version 1's root group has no rules: then version 2 is in charge, if anything is.
        (Some((controllers, path)), _) if path != "/" => {
            open_v1(controllers, path).and_then(|g| Ok(v1::allow(g, &devices)?.map(Added::V1)))
        }
        (_, Some(path)) => {
            open_v2(path).and_then(|g| Ok(v2::allow(g, &devices)?.map(Added::V2)))
        }
        _ => Ok(None),
    };
    match added {
        Err(Refused::Privilege(why)) => {
            let what = "device rules of the container's control group".to_owned();
            receipt.skipped.push(Skipped { what, why });
            Ok(None)
        }
        Err(Refused::Failed(finding)) => Err(finding),
        Ok(added) => Ok(added),
    }
}

/// Why rules were not changed.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The caller has no power over control groups.
    Privilege(String),
    Failed(Finding),
}

impl Refused {
    pub(crate) fn new(what: impl std::fmt::Display, error: impl Into<std::io::Error>) -> Refused {
        let error = error.into();
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) if !in_initial_user_namespace() => Refused::Privilege(
                format!("{what}: {error}: no privilege over the host's control groups"),
            ),
            _ => Refused::Failed(failed(Code::Cgroup, what, error)),
        }
    }
}

/// Whether the caller's user namespace maps every id to itself (user_namespaces(7)).
fn in_initial_user_namespace() -> bool {
    let map = File::open("/proc/self/uid_map").and_then(|f| read_bounded(f, 4096));
    map.is_ok_and(|m| {
        let text = String::from_utf8_lossy(&m).into_owned();
        text.split_whitespace().eq(["0", "0", "4294967295"])
    })
}

/// A process's groups.
#[derive(Debug, Default, PartialEq, Eq)]
struct Groups {
    /// Version 1's hierarchy with the devices controller: all its controllers, and the path.
    devices: Option<(Vec<String>, String)>,
    /// The path in version 2's hierarchy.
    unified: Option<String>,
}

impl Groups {
    /// Parses /proc/PID/cgroup: lines `number:controllers:path` (cgroups(7)).
    fn parse(text: &str) -> Groups {
        let mut groups = Groups::default();
        for line in text.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(number), Some(controllers), Some(path)) =
                (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            if number == "0" && controllers.is_empty() {
                groups.unified = Some(path.to_owned());
            } else if controllers.split(',').any(|c| c == "devices") {
                let controllers = controllers.split(',').map(str::to_owned).collect();
                groups.devices = Some((controllers, path.to_owned()));
            }
        }
        groups
    }
}

fn open_v1(controllers: &[String], path: &str) -> Result<OwnedFd, Refused> {
    let names: Vec<CString> =
        controllers.iter().filter_map(|c| CString::new(c.as_str()).ok()).collect();
    let options: Vec<_> = names.iter().map(|n| (n.as_c_str(), None)).collect();
    let tree = new_filesystem(c"cgroup", &options, 0)
        .map_err(|e| Refused::new(format!("mount the hierarchy of {}", controllers.join(",")), e))?;
    below(tree, path)
}

fn open_v2(path: &str) -> Result<OwnedFd, Refused> {
    let tree = new_filesystem(c"cgroup2", &[], 0)
        .map_err(|e| Refused::new("mount the cgroup2 hierarchy", e))?;
    below(tree, path)
}

fn below(tree: OwnedFd, path: &str) -> Result<OwnedFd, Refused> {
    let relative = Path::new(path.trim_start_matches('/'));
    let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(tree.as_fd(), relative, how).map_err(|e| match e {
        Errno::EXDEV => Refused::Failed(Finding::new(
            Code::Cgroup,
            format!("the container's control group {path} lies outside of this process's cgroup namespace"),
            "run the runtime in the host's cgroup namespace",
        )),
        e => Refused::new(format!("open the control group {path}"), e),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_both_versions() {
        let hybrid = Groups::parse("5:devices:/c1\n1:name=systemd:/x\n0::/u\n");
        assert_eq!(hybrid.devices, Some((vec!["devices".to_owned()], "/c1".to_owned())));
        assert_eq!(hybrid.unified.as_deref(), Some("/u"));
        let joined = Groups::parse("3:blkio,devices:/a:b\n");
        assert_eq!(joined.devices.unwrap().1, "/a:b");
        assert_eq!(Groups::parse("0::/\n").unified.as_deref(), Some("/"));
        assert_eq!(Groups::parse("garbage\n:::\n"), Groups::default());
    }
}
