//! Version 1: the files devices.list, devices.allow and devices.deny of a control group.
//!
//! Format: Documentation/admin-guide/cgroup-v1/devices.rst.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use oci_gpu::cgroup::{DEVICES_LIST_LIMIT, Rules, allows_all};

use super::{Device, Refused};
use crate::loader_cache::read_bounded;

/// Rules that were not there before.
#[derive(Debug)]
pub(crate) struct Added {
    group: OwnedFd,
    rules: Vec<String>,
}

/// Adds a rule for each device that has none. `None` where the group allows every device, so that
/// its rules are elsewhere if it has any.
pub(super) fn allow(group: OwnedFd, devices: &[Device]) -> Result<Option<Added>, Refused> {
    let list = openat(
        group.as_fd(),
        "devices.list",
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .map_err(std::io::Error::from)
    .and_then(|f| read_bounded(File::from(f), DEVICES_LIST_LIMIT))
    .map_err(|e| Refused::new("read devices.list", e))?;
    if allows_all(&list) {
        return Ok(None);
    }
    let mut added = Added {
        group,
        rules: Vec::new(),
    };
    let there = Rules::parse(&list);
    for device in devices {
        if there.allow(device.major, device.minor) {
            continue;
        }
        let rule = format!("c {}:{} rw", device.major, device.minor);
        if let Err(e) = write(&added.group, "devices.allow", &rule) {
            added.undo();
            return Err(Refused::new(format!("write '{rule}' to devices.allow"), e));
        }
        added.rules.push(rule);
    }
    Ok(Some(added))
}

impl Added {
    pub(super) fn undo(self) {
        for rule in &self.rules {
            let _ = write(&self.group, "devices.deny", rule);
        }
    }
}

fn write(group: &OwnedFd, file: &str, rule: &str) -> std::io::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    File::from(openat(group.as_fd(), file, flags, Mode::empty())?).write_all(rule.as_bytes())
}
