//! Version 1: the files devices.list, devices.allow and devices.deny of a control group.
//!
//! Format: Documentation/admin-guide/cgroup-v1/devices.rst.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

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
    .and_then(|f| read_bounded(File::from(f), 1 << 20))
    .map_err(|e| Refused::new("read devices.list", e))?;
    let list = String::from_utf8_lossy(&list).into_owned();
    if list.lines().any(|line| line.starts_with("a ")) {
        return Ok(None);
    }
    let mut added = Added {
        group,
        rules: Vec::new(),
    };
    for device in devices {
        if list.lines().any(|line| covers(line, device)) {
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

/// Whether a line of devices.list ("c 1:3 rwm", "a *:* rwm") lets `device` be read and written.
fn covers(line: &str, device: &Device) -> bool {
    let mut words = line.split_whitespace();
    let (Some(kind), Some(numbers), Some(access)) = (words.next(), words.next(), words.next())
    else {
        return false;
    };
    let Some((major, minor)) = numbers.split_once(':') else {
        return false;
    };
    let fits = |pattern: &str, number: u32| pattern == "*" || pattern.parse() == Ok(number);
    matches!(kind, "a" | "c")
        && fits(major, device.major)
        && fits(minor, device.minor)
        && access.contains('r')
        && access.contains('w')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_cover_a_device() {
        let gpu = Device {
            major: 195,
            minor: 0,
        };
        for line in ["a *:* rwm", "c 195:* rwm", "c 195:0 rw", "c *:0 rwm"] {
            assert!(covers(line, &gpu), "{line}");
        }
        for line in [
            "b 195:0 rwm",
            "c 195:1 rwm",
            "c *:* m",
            "c 195:0 r",
            "",
            "c 195 rw",
        ] {
            assert!(!covers(line, &gpu), "{line}");
        }
    }
}
