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
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access, geteuid};
use oci_gpu::Host;
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

/// Rules that were added. Dropped without a call of [`Added::keep`], it takes them back, as far as
/// the process still may.
#[derive(Debug, Default)]
pub(crate) struct Added {
    v1: Option<v1::Added>,
    v2: Option<v2::Added>,
}

impl Added {
    /// Everything succeeded: the rules stay.
    pub(crate) fn keep(mut self) {
        self.v1 = None;
        self.v2 = None;
    }
}

impl Drop for Added {
    fn drop(&mut self) {
        if let Some(added) = self.v2.take() {
            added.undo();
        }
        if let Some(added) = self.v1.take() {
            added.undo();
        }
    }
}

/// Lets the container's processes read and write the plan's devices; making nodes of them stays
/// forbidden, as the reference has it.
///
/// A container whose group has no rules needs none. Where the caller may not change them, as for
/// rootless containers, whose runtimes set no rules either, that is a note in `receipt`, unless
/// the rules can be seen to deny a device.
///
/// # Errors
/// [`Code::Cgroup`].
pub(crate) fn allow(
    plan: &Plan,
    host: &Host,
    container: &Container,
    receipt: &mut Receipt,
) -> Result<Added, Finding> {
    let nodes: Vec<(PathBuf, Device)> = plan
        .actions
        .iter()
        .filter_map(|a| match &a.what {
            Operation::Device {
                source,
                major,
                minor,
                ..
            } => Some((
                host.on_disk(source),
                Device {
                    major: *major,
                    minor: *minor,
                },
            )),
            _ => None,
        })
        .collect();
    if nodes.is_empty() {
        return Ok(Added::default());
    }
    let devices: Vec<Device> = nodes.iter().map(|(_, device)| *device).collect();
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
            if let Some((node, _)) = nodes.iter().find(|(node, _)| is_denied(node)) {
                return Err(Finding::new(
                    Code::Cgroup,
                    format!(
                        "the container's device cgroup denies {}, and {why}",
                        node.display()
                    ),
                    "register the hook as createRuntime, which has the runtime's privileges",
                ));
            }
            let what = "device rules of the container's control group".to_owned();
            receipt.skipped.push(Skipped { what, why });
            Ok(added)
        }
        Err(Refused::Failed(finding)) => Err(finding),
    }
}

/// Whether the caller's own device cgroup, which in stage createContainer is the container's,
/// denies a node. access(2) asks it without opening the device.
#[allow(
    clippy::disallowed_methods,
    reason = "a node of the host's, looked at before the container is entered"
)]
fn is_denied(node: &Path) -> bool {
    access(node, AccessFlags::R_OK | AccessFlags::W_OK) == Err(Errno::EPERM)
}

/// A machine may have both versions, and a runtime puts its rules into one of them.
fn extend(groups: &Groups, devices: &[Device], added: &mut Added) -> Result<(), Refused> {
    if let Some(hierarchy) = &groups.devices {
        added.v1 = v1::allow(find::v1(hierarchy)?, devices)?;
    }
    if added.v1.is_some() {
        return Ok(());
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
            Some(libc::EPERM | libc::EACCES) if !is_host_root() => Refused::Privilege(format!(
                "{what}: {error}: no privilege over the host's control groups"
            )),
            _ => Refused::Failed(failed(Code::Cgroup, what, error)),
        }
    }
}

/// Whether the caller is root of the first user namespace, which maps every id to itself
/// (user_namespaces(7)).
#[allow(clippy::disallowed_methods, reason = "our own file of procfs")]
fn is_host_root() -> bool {
    if !geteuid().is_root() {
        return false;
    }
    let map = File::open("/proc/self/uid_map").and_then(|f| read_bounded(f, 4096));
    map.is_ok_and(|m| {
        let text = String::from_utf8_lossy(&m).into_owned();
        text.split_whitespace().eq(["0", "0", "4294967295"])
    })
}
