//! /proc/PID/cgroup and devices.list.

use std::os::unix::ffi::OsStrExt;

use oci_gpu::cgroup::{Groups, Rules};

/// What is found is a line of the text; a list of rules allows what one of its lines allows.
pub fn check(data: &[u8]) {
    let lines = || data.split(|b| *b == b'\n');
    let groups = Groups::parse(data);
    if let Some(path) = &groups.unified {
        let line = [b"0::", path.as_os_str().as_bytes()].concat();
        assert!(lines().any(|l| l == line));
    }
    if let Some(group) = &groups.devices {
        assert!(group.controllers.iter().any(|c| c == "devices"));
        let controllers = group.controllers.join(",");
        let path = group.path.as_os_str().as_bytes();
        let end = [b":", controllers.as_bytes(), b":", path].concat();
        let number = |l: &[u8]| l.strip_suffix(&end[..]).is_some_and(|n| !n.contains(&b':'));
        assert!(lines().any(number));
    }
    for (major, minor) in [(195, 0), (508, 1), (u32::MAX, u32::MAX)] {
        let allows = |list: &[u8]| Rules::parse(list).allow(major, minor);
        assert_eq!(allows(data), lines().any(allows));
        let open = [data, b"\na *:* rwm"].concat();
        assert!(allows(&open));
    }
}
