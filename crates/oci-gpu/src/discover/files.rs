//! Programs, firmware, sockets and configuration of the driver.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::Scope;
use super::userland::Directory;
use crate::capability::Capability;
use crate::driver_files::{BINARIES, CONFIGS, SOCKETS};
use crate::host::{Host, Root};
use crate::inventory::{Candidate, DriverFile, FileKind};

/// Where drivers put programs.
const BINARY_DIRS: [&str; 10] = [
    "/usr/bin",
    "/usr/sbin",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/bin",
    "/sbin",
    "/usr/local/nvidia/bin",
    "/run/current-system/sw/bin",
    "/opt/bin",
    "/usr/libexec/nvidia/tesla/bin",
];

/// Finds the files of the tables in [`crate::driver_files`] in the driver root.
pub(super) fn find(
    host: &Host,
    root: &Root,
    libraries: &[Directory],
    version: &str,
    scope: &Scope,
    candidates: &mut Vec<Candidate>,
) -> Vec<DriverFile> {
    let mut files = Vec::new();
    // A driver that lies in one directory of its own has its programs beside the libraries.
    let beside = libraries
        .iter()
        .filter_map(|d| Some(d.path.parent()?.join("bin")));
    let mut places: Vec<PathBuf> = Vec::new();
    for directory in BINARY_DIRS.iter().map(PathBuf::from).chain(beside) {
        match root.resolve(&directory) {
            Ok(real) if !places.contains(&real) => places.push(real),
            _ => {}
        }
    }
    for (name, capability) in BINARIES.iter().filter(|(_, c)| scope.has(*c)) {
        let found = places
            .iter()
            .filter_map(|d| root.resolve(&d.join(name)).ok());
        if let Some(path) = first_program(root, found, candidates) {
            let target = Path::new("/usr/bin").join(name);
            files.push(file(root, FileKind::Binary, &path, target, *capability));
        }
    }
    if scope.has(Capability::Utility) {
        firmware(host, root, version, &mut files);
    }
    for (path, kind, capability) in SOCKETS.iter().filter(|(_, _, c)| scope.has(*c)) {
        // Sockets belong to daemons: on the host, or in the driver container that runs them.
        for owner in [root, host.files()] {
            if let Ok(real) = owner.resolve(Path::new(path)) {
                let target = PathBuf::from(path);
                files.push(file(owner, *kind, &real, target, *capability));
                break;
            }
        }
    }
    for (name, places, target, capability) in CONFIGS.iter().filter(|c| scope.has(c.3)) {
        let hit = places
            .iter()
            .find_map(|d| root.resolve(&Path::new(d).join(name)).ok());
        if let Some(path) = hit {
            let target = Path::new(target).join(name);
            files.push(file(root, FileKind::Config, &path, target, *capability));
        }
    }
    files
}

/// The first of `found` that is the program itself. Some hosts have a script of its name first,
/// which starts it where it lies on the host: in a container that leads nowhere.
fn first_program(
    root: &Root,
    mut found: impl Iterator<Item = PathBuf>,
    candidates: &mut Vec<Candidate>,
) -> Option<PathBuf> {
    found.find(|path| {
        let why = match is_elf(root, path) {
            Ok(true) => return true,
            Ok(false) => "it is no ELF file, but a script or something else".to_owned(),
            Err(e) => e.to_string(),
        };
        candidates.push(Candidate {
            path: root.host_path(path),
            evidence: "directory of programs",
            accepted: false,
            why,
        });
        false
    })
}

fn is_elf(root: &Root, path: &Path) -> io::Result<bool> {
    let mut magic = [0; 4];
    match root.open_resolved(path)?.read_exact(&mut magic) {
        Ok(()) => Ok(magic == *b"\x7fELF"),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

/// GSP firmware of the version, below the directories that the kernel's loader searches: the
/// driver root's, and the one that the host's kernel was told of (NixOS has no other).
/// Documentation/driver-api/firmware/fw_search_path.rst.
fn firmware(host: &Host, root: &Root, version: &str, files: &mut Vec<DriverFile>) {
    let told = Path::new("/sys/module/firmware_class/parameters/path");
    let told = host.files().read_text(told).unwrap_or_default();
    let places = [
        (root, "/lib/firmware"),
        (root, "/usr/lib/firmware"),
        (host.files(), told.as_str()),
    ];
    for (owner, place) in places.iter().filter(|(_, place)| place.starts_with('/')) {
        let directory = Path::new(place).join("nvidia").join(version);
        let names = owner.list(&directory).unwrap_or_default();
        let gsp = |n: &&String| n.starts_with("gsp") && n.ends_with(".bin");
        for name in names.iter().filter(gsp) {
            if let Ok(path) = owner.resolve(&directory.join(name)) {
                let target = Path::new("/lib/firmware/nvidia").join(version).join(name);
                let utility = Capability::Utility;
                files.push(file(owner, FileKind::Firmware, &path, target, utility));
            }
        }
        if !names.is_empty() {
            return;
        }
    }
}

fn file(
    root: &Root,
    kind: FileKind,
    path: &Path,
    target: PathBuf,
    capability: Capability,
) -> DriverFile {
    DriverFile {
        kind,
        path: root.host_path(path),
        target,
        capability,
    }
}
