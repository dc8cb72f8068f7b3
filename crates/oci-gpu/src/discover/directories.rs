//! Where drivers put their user-space files: directories by platform, and those of ld.so.conf.

use std::path::{Path, PathBuf};

use crate::host::Root;

/// Roots that driver containers and guests publish: they hold a driver and little else.
pub(super) const DRIVER_ROOTS: [&str; 2] = ["/run/nvidia/driver", "/run/kata-extensions/gpu"];

/// Where containers that manage a host have its root: pods of the DRA driver, of device plugins and
/// of agents, and snaps. Looked at last, for the container's own files are nearer.
pub(super) const HOST_ROOTS: [&str; 3] = ["/driver-root", "/host", "/var/lib/snapd/hostfs"];

/// The loader's cache of a glibc that lies beside a host's musl.
pub(super) const OTHER_CACHES: [&str; 2] = [
    // Talos up to 1.12.
    "/usr/local/glibc/etc/ld.so.cache",
    // Alpine.
    "/usr/glibc-compat/etc/ld.so.cache",
];

/// Where drivers put libraries, and on which platform, in the order of trial. A component `*` is
/// any directory.
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
    // By driver and kernel, as the link leads that may be missing or lead to another one.
    ("/opt/nvidia/*/*/usr/lib64", "Flatcar"),
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

/// The directories that `pattern` of [`DIRECTORIES`] stands for: in the order of their names.
pub(super) fn expand(root: &Root, pattern: &str) -> Vec<PathBuf> {
    if !pattern.contains('*') {
        return vec![PathBuf::from(pattern)];
    }
    let mut places = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        places = match part {
            "*" => places
                .iter()
                .flat_map(|p| {
                    let names = root.list(p).unwrap_or_default();
                    names.into_iter().map(|n| p.join(n)).collect::<Vec<_>>()
                })
                .collect(),
            _ => places.iter().map(|p| p.join(part)).collect(),
        };
    }
    places
}

/// What the loaders' configuration names: glibc's and musl's, and which it is.
pub(super) fn configured(root: &Root) -> Vec<(PathBuf, &'static str)> {
    let glibc = of_glibc(root).into_iter().map(|d| (d, "ld.so.conf"));
    let musl = of_musl(root).into_iter().map(|d| (d, "ld-musl path file"));
    glibc.chain(musl).collect()
}

/// Directories of /etc/ld-musl-ARCH.path, set apart by line ends or colons (musl, ldso/dynlink.c).
fn of_musl(root: &Root) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    for arch in ["x86_64", "aarch64"] {
        let path = format!("/etc/ld-musl-{arch}.path");
        let text = root.read_text(Path::new(&path)).unwrap_or_default();
        let named = text.split(['\n', ':']).map(str::trim);
        directories.extend(named.filter(|d| d.starts_with('/')).map(PathBuf::from));
    }
    directories
}

/// Directories of /etc/ld.so.conf and of the files that it includes, one level deep as every
/// distribution writes it.
fn of_glibc(root: &Root) -> Vec<PathBuf> {
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
        std::fs::write(
            dir.path().join("etc/ld-musl-x86_64.path"),
            "/lib:/opt/musl\n/usr/lib\nrelative\n",
        )
        .unwrap();
        let host = Host::at(dir.path());
        let found = configured(host.files());
        let found: Vec<_> = found
            .iter()
            .map(|(path, evidence)| format!("{evidence}: {}", path.display()))
            .collect();
        assert_eq!(
            found,
            [
                "ld.so.conf: /opt/a",
                "ld.so.conf: /opt/nvidia/lib",
                "ld-musl path file: /lib",
                "ld-musl path file: /opt/musl",
                "ld-musl path file: /usr/lib",
            ]
        );
    }

    #[test]
    fn a_star_is_any_directory() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["opt/nvidia/550/6.6/usr", "opt/nvidia/535/6.1", "opt/x/y/z"] {
            std::fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        let host = Host::at(dir.path());
        assert_eq!(
            expand(host.files(), "/opt/nvidia/*/*/usr"),
            [
                Path::new("/opt/nvidia/535/6.1/usr"),
                Path::new("/opt/nvidia/550/6.6/usr")
            ]
        );
        assert_eq!(expand(host.files(), "/usr/lib"), [Path::new("/usr/lib")]);
        assert!(expand(host.files(), "/none/*").is_empty());
    }
}
