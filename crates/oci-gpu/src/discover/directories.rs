//! Where drivers put their user-space files: directories by platform, and those of ld.so.conf.

use std::path::{Path, PathBuf};

use crate::host::Root;

/// Roots that driver containers and guests publish.
pub(super) const DRIVER_ROOTS: [&str; 2] = ["/run/nvidia/driver", "/run/kata-extensions/gpu"];

/// Where drivers put libraries, and on which platform, in the order of trial.
pub const DIRECTORIES: &[(&str, &str)] = &[
    ("/usr/lib/x86_64-linux-gnu", "Debian, Ubuntu"),
    ("/usr/lib/aarch64-linux-gnu", "Debian, Ubuntu"),
    ("/usr/lib/i386-linux-gnu", "Debian, Ubuntu, 32-bit"),
    ("/usr/lib64", "RPM distributions"),
    ("/usr/lib64/nvidia", "RPM distributions"),
    ("/usr/lib", "Arch, Gentoo; RPM distributions, 32-bit"),
    ("/usr/lib32", "Arch, 32-bit"),
    ("/usr/local/nvidia/lib64", "microVM guests"),
    ("/usr/local/nvidia/lib", "microVM guests"),
    ("/opt/nvidia/lib64", "microVM guests"),
    (
        "/home/kubernetes/bin/nvidia/lib64",
        "Container-Optimized OS",
    ),
    ("/var/lib/nvidia/lib64", "GKE on Ubuntu"),
    ("/opt/nvidia/current/usr/lib64", "Flatcar"),
    ("/usr/local/lib", "Talos"),
    ("/usr/local/glibc/lib", "Talos up to 1.12"),
    ("/usr/local/glibc/usr/lib", "Talos up to 1.12"),
    ("/usr/lib/nvidia/tesla", "Bottlerocket"),
    (
        "/usr/x86_64-bottlerocket-linux-gnu/sys-root/usr/lib/nvidia/tesla",
        "Bottlerocket",
    ),
    (
        "/usr/aarch64-bottlerocket-linux-gnu/sys-root/usr/lib/nvidia/tesla",
        "Bottlerocket",
    ),
    ("/usr/glibc-compat/lib", "Alpine"),
    (
        "/var/lib/snapd/hostfs/usr/lib/x86_64-linux-gnu",
        "Ubuntu Core",
    ),
    ("/opt/cray/nvidia/default/lib64", "Cray"),
];

/// The directories of [`DIRECTORIES`] in which Debian's packages put private libraries; the public
/// ones of each driver lie in a directory of their own below `nvidia` ("current", "tesla-535").
pub(super) const DEBIAN: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib/i386-linux-gnu",
];

/// Where NixOS links to the running system's driver, 64-bit and 32-bit.
pub(super) const NIX_DIRECTORIES: [&str; 2] =
    ["/run/opengl-driver/lib", "/run/opengl-driver-32/lib"];

/// Directories of /etc/ld.so.conf and of the files that it includes, one level deep as every
/// distribution writes it.
pub(super) fn configured(root: &Root) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    let main = root
        .read_text(Path::new("/etc/ld.so.conf"))
        .unwrap_or_default();
    let mut texts = vec![main.clone()];
    for line in main.lines() {
        let Some(pattern) = line.trim().strip_prefix("include ") else {
            continue;
        };
        let Some((directory, "*.conf")) = pattern.trim().rsplit_once('/') else {
            continue;
        };
        let directory = Path::new("/etc").join(directory);
        for name in root.list(&directory).unwrap_or_default() {
            if name.ends_with(".conf") {
                texts.push(root.read_text(&directory.join(name)).unwrap_or_default());
            }
        }
    }
    for line in texts.iter().flat_map(|t| t.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.starts_with('/') {
            directories.push(PathBuf::from(line));
        }
    }
    directories
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;

    #[test]
    fn directories_of_ld_so_conf() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("etc/ld.so.conf.d")).unwrap();
        std::fs::write(
            dir.path().join("etc/ld.so.conf"),
            "include /etc/ld.so.conf.d/*.conf\n/opt/a # x\n",
        )
        .unwrap();
        std::fs::write(
            dir.path().join("etc/ld.so.conf.d/n.conf"),
            "# c\n/opt/nvidia/lib\n",
        )
        .unwrap();
        std::fs::write(dir.path().join("etc/ld.so.conf.d/n.off"), "/opt/off\n").unwrap();
        let host = Host::at(dir.path());
        assert_eq!(
            configured(host.files()),
            [Path::new("/opt/a"), Path::new("/opt/nvidia/lib")]
        );
    }
}
