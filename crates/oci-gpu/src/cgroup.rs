//! Texts about control groups: which groups a process is in, and version 1's device rules.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Largest /proc/PID/cgroup that is worth reading, in bytes: 15 lines, each with a path of up to
/// 4096 bytes.
pub const GROUPS_LIMIT: u64 = 64 << 10;

/// Largest devices.list that is worth reading, in bytes; each rule has some 15.
pub const DEVICES_LIST_LIMIT: u64 = 1 << 20;

/// A process's groups, as far as they can hold device rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Groups {
    /// The group in version 1's hierarchy that has the devices controller.
    pub devices: Option<Hierarchy>,
    /// The path in version 2's hierarchy, absolute from the reader's cgroup namespace.
    pub unified: Option<PathBuf>,
}

/// A group of a hierarchy of version 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// All controllers of the hierarchy: a mount of it must name every one.
    pub controllers: Vec<String>,
    /// The group's path, absolute from the reader's cgroup namespace.
    pub path: PathBuf,
}

impl Groups {
    /// Parses /proc/PID/cgroup: lines `number:controllers:path` (cgroups(7)). Lines of another form
    /// tell nothing. Group names may be any bytes but a newline, which the kernel refuses in them.
    pub fn parse(text: &[u8]) -> Groups {
        let mut groups = Groups::default();
        for line in text.split(|b| *b == b'\n') {
            let mut fields = line.splitn(3, |b| *b == b':');
            let (Some(number), Some(controllers), Some(path)) =
                (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let Ok(controllers) = std::str::from_utf8(controllers) else {
                continue;
            };
            let path = PathBuf::from(OsStr::from_bytes(path));
            if number == b"0" && controllers.is_empty() {
                groups.unified = Some(path);
            } else if controllers.split(',').any(|c| c == "devices") {
                let controllers = controllers.split(',').map(str::to_owned).collect();
                groups.devices = Some(Hierarchy { controllers, path });
            }
        }
        groups
    }
}

/// Whether a devices.list of version 1 is that of a group without rules of its own: the kernel
/// then shows the one line "a *:* rwm".
pub fn allows_all(devices_list: &[u8]) -> bool {
    devices_list
        .split(|b| *b == b'\n')
        .any(|l| l.starts_with(b"a "))
}

/// The character devices that a devices.list of version 1 lets be read and written, by its lines
/// ("c 195:* rwm", "a *:* rwm").
///
/// Format: the kernel's Documentation/admin-guide/cgroup-v1/devices.rst.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    single: HashSet<(u32, u32)>,
    /// Lines with a star, which is `None` here.
    ranges: Vec<(Option<u32>, Option<u32>)>,
}

impl Rules {
    /// Parses a devices.list; lines of another form allow nothing.
    pub fn parse(devices_list: &[u8]) -> Rules {
        let mut rules = Rules::default();
        let text = String::from_utf8_lossy(devices_list);
        for numbers in text.lines().filter_map(rule) {
            match numbers {
                (Some(major), Some(minor)) => drop(rules.single.insert((major, minor))),
                range => rules.ranges.push(range),
            }
        }
        rules
    }

    /// Whether one of the lines lets `major`:`minor` be read and written.
    pub fn allow(&self, major: u32, minor: u32) -> bool {
        let fits = |pattern: Option<u32>, number| pattern.is_none_or(|p| p == number);
        let covers = |range: &(_, _)| fits(range.0, major) && fits(range.1, minor);
        self.single.contains(&(major, minor)) || self.ranges.iter().any(covers)
    }
}

/// The numbers of a line that lets character devices be read and written.
fn rule(line: &str) -> Option<(Option<u32>, Option<u32>)> {
    let mut words = line.split_ascii_whitespace();
    let (kind, numbers, access) = (words.next()?, words.next()?, words.next()?);
    let (major, minor) = numbers.split_once(':')?;
    let pattern = |text: &str| match text {
        "*" => Some(None),
        number => number.parse().ok().map(Some),
    };
    let fits = matches!(kind, "a" | "c") && access.contains('r') && access.contains('w');
    fits.then_some((pattern(major)?, pattern(minor)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_both_versions() {
        let hybrid = Groups::parse(b"5:devices:/c1\n1:name=systemd:/x\n0::/u\n");
        let devices = hybrid.devices.unwrap();
        assert_eq!(devices.controllers, ["devices"]);
        assert_eq!(devices.path, PathBuf::from("/c1"));
        assert_eq!(hybrid.unified, Some("/u".into()));
        let joined = Groups::parse(b"3:blkio,devices:/a:b\n").devices.unwrap();
        assert_eq!(joined.path, PathBuf::from("/a:b"));
        assert_eq!(joined.controllers, ["blkio", "devices"]);
        assert_eq!(Groups::parse(b"0::/\n").unified, Some("/".into()));
        assert_eq!(Groups::parse(b"garbage\n:::\n"), Groups::default());
    }

    #[test]
    fn names_of_groups_are_bytes() {
        let unified = Groups::parse(b"0::/\xff x\r\n").unified.unwrap();
        assert_eq!(unified.as_os_str().as_bytes(), b"/\xff x\r");
    }

    #[test]
    fn lists_that_allow_a_device() {
        let rows = [
            ("a *:* rwm", true),
            ("c 195:* rwm", true),
            ("c 195:0 rw", true),
            ("c *:0 rwm", true),
            ("c 1:3 rwm\nc 195:0 rw\n", true),
            ("b 195:0 rwm", false),
            ("c 195:1 rwm", false),
            ("c *:* m", false),
            ("c 195:0 r", false),
            ("c 195:0 r\nc 195:0 w", false),
            ("", false),
            ("c 195 rw", false),
        ];
        for (list, expected) in rows {
            assert_eq!(
                Rules::parse(list.as_bytes()).allow(195, 0),
                expected,
                "{list}"
            );
            assert_eq!(allows_all(list.as_bytes()), list == "a *:* rwm");
        }
    }
}
