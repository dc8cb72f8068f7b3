//! Device rules of a container's control group: version 1 by its files, version 2 by its programs.
//!
//! The group is found by the path of /proc/PID/cgroup, which is relative to the root of the caller's
//! cgroup namespace: below /sys/fs/cgroup for who is in the host's namespace, and otherwise (stage
//! createContainer with a private one) in a mount of the hierarchy of our own, detached and unseen,
//! whose root is the namespace's. The latter alone would do, but mounting a hierarchy of version 1
//! takes the kernel some ten milliseconds.

mod find;
mod program;
mod v1;
mod v2;

use std::fs::File;

use oci_gpu::cgroup::{GROUPS_LIMIT, Groups};
use oci_gpu::finding::{Code, Finding};
use oci_gpu::plan::{Operation, Plan, Skipped};

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
#[derive(Debug, Default)]
pub(crate) struct Added {
    v1: Option<v1::Added>,
    v2: Option<v2::Added>,
}

impl Added {
    pub(crate) fn undo(self) {
        if let Some(added) = self.v2 {
            added.undo();
        }
        if let Some(added) = self.v1 {
            added.undo();
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
) -> Result<Added, Finding> {
    let devices: Vec<Device> = plan
        .actions
        .iter()
        .filter_map(|a| match a.what {
            Operation::Device { major, minor, .. } => Some(Device { major, minor }),
            _ => None,
        })
        .collect();
    if devices.is_empty() {
        return Ok(Added::default());
    }
    let text = container
        .cgroup
        .try_clone()
        .and_then(|f| read_bounded(f, GROUPS_LIMIT));
    let text = text.map_err(|e| failed(Code::Cgroup, "read the container's cgroup file", e))?;
    let groups = Groups::parse(&text);
    let mut added = Added::default();
    match extend(&groups, &devices, &mut added) {
        Ok(()) => Ok(added),
        Err(Refused::Privilege(why)) => {
            let what = "device rules of the container's control group".to_owned();
            receipt.skipped.push(Skipped { what, why });
            Ok(added)
        }
        Err(Refused::Failed(finding)) => {
            added.undo();
            Err(finding)
        }
    }
}

/// Both versions: a machine may have both, and either may hold the rules. What has none is left
/// as it is.
fn extend(groups: &Groups, devices: &[Device], added: &mut Added) -> Result<(), Refused> {
    if let Some(hierarchy) = &groups.devices {
        added.v1 = v1::allow(find::v1(hierarchy)?, devices)?;
    }
    if let Some(path) = &groups.unified {
        added.v2 = v2::allow(find::v2(path)?, devices)?;
    }
    Ok(())
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
