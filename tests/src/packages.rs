//! The Debian packages that the tests need on the machine.

use std::process::Command;

use crate::error::{Context, Result};

/// Installed by `cargo xtask test` where they are missing. What comes from other Debian releases
/// (C libraries, newer runtimes, driver files) is not here: [`crate::debs`] unpacks that beside
/// the system.
pub const NEEDED: &[&str] = &[
    "apt",             // other packages
    "busybox-static",  // virtual machines' shell
    "cpio",            // their root
    "crun",            // runtime under test
    "dpkg",            // unpacks packages
    "e2fsprogs",       // chattr, for immutable directories
    "gcc",             // the probe
    "libc6-dev",       // the probe's headers
    "podman",          // engine under test
    "qemu-system-x86", // virtual machines
    "patchelf",        // runtimes of newer releases with the C library of theirs
    "runc",            // runtime under test
    "strace",          // what the hook calls, and errors in these calls
    "util-linux",      // unshare
];

/// Those of [`NEEDED`] that are not installed.
///
/// # Errors
/// Where dpkg-query(1) cannot be run: this is no Debian system.
pub fn missing() -> Result<Vec<&'static str>> {
    // It exits with 1 where it does not know one of the names, and lists the others.
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${Package} ${db:Status-Abbrev}\n"])
        .args(NEEDED)
        .output()
        .during("run dpkg-query")?;
    Ok(not_installed(&String::from_utf8_lossy(&output.stdout)))
}

fn not_installed(list: &str) -> Vec<&'static str> {
    let installed = |name: &&str| list.lines().any(|line| line.trim() == format!("{name} ii"));
    NEEDED
        .iter()
        .copied()
        .filter(|name| !installed(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_installed_packages_count() {
        let state = |name: &str| match name {
            "crun" => "un",
            "runc" => "rc",
            _ => "ii",
        };
        let known = NEEDED.iter().filter(|name| **name != "patchelf");
        let list: String = known
            .map(|name| format!("{name} {} \n", state(name)))
            .collect();
        assert_eq!(not_installed(&list), ["crun", "patchelf", "runc"]);
    }
}
