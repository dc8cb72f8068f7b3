//! The Debian packages that the tests need on the machine.

use std::process::Command;

use crate::error::{Context, Result};

/// What containers with the probe in them need: for `cargo xtask demo` and `bench`. What comes from
/// other Debian releases (C libraries, newer runtimes, driver files) is not here: [`crate::debs`]
/// unpacks that beside the system.
pub const CONTAINERS: &[&str] = &[
    "apt",        // other packages
    "crun",       // runtime under test
    "dpkg",       // unpacks packages
    "gcc",        // the probe
    "libc6-dev",  // the probe's headers
    "runc",       // runtime under test
    "util-linux", // unshare
];

/// What the tests need beside [`CONTAINERS`].
pub const TESTS: &[&str] = &[
    "busybox-static",  // virtual machines' shell
    "cpio",            // their root
    "e2fsprogs",       // chattr, for immutable directories
    "patchelf",        // runtimes of newer releases with the C library of theirs
    "podman",          // engine under test
    "qemu-system-x86", // virtual machines
    "strace",          // what the hook calls, and errors in these calls
];

/// Those of `packages` that are not installed.
///
/// # Errors
/// Where dpkg-query(1) cannot be run: this is no Debian system.
pub fn missing(packages: &[&'static str]) -> Result<Vec<&'static str>> {
    // It exits with 1 where it does not know one of the names, and lists the others.
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${Package} ${db:Status-Abbrev}\n"])
        .args(packages)
        .output()
        .during("run dpkg-query")?;
    Ok(not_installed(
        packages,
        &String::from_utf8_lossy(&output.stdout),
    ))
}

fn not_installed(packages: &[&'static str], list: &str) -> Vec<&'static str> {
    let installed = |name: &&str| list.lines().any(|line| line.trim() == format!("{name} ii"));
    packages
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
        let list = "apt ii \ncrun un \nrunc rc \ndpkg ii \n";
        let packages = ["apt", "crun", "runc", "dpkg", "gcc"];
        assert_eq!(not_installed(&packages, list), ["crun", "runc", "gcc"]);
    }
}
