//! Why no user-space files of the kernel's driver were found, and what to do.

use std::path::{Path, PathBuf};

use super::directories::DIRECTORIES;
use crate::finding::{Code, Finding};
use crate::host::Host;

/// The finding for a host without files of `version`. `others` are files of other versions, and
/// `elsewhere` is the root that has them, other than the one that the administrator named.
pub(super) fn explain(
    host: &Host,
    version: &str,
    others: &[(String, PathBuf)],
    elsewhere: Option<PathBuf>,
) -> Finding {
    let (message, remedy) = match (elsewhere, others.first(), guest(host)) {
        (Some(root), _, _) => misnamed(host, version, &root),
        (None, Some((other, file)), Some(kind)) => of_guest(version, other, file, &kind),
        (None, Some((other, file)), None) => half_upgraded(version, other, file),
        (None, None, _) => absent(host, version),
    };
    Finding::new(Code::NoUserland, message, remedy)
}

fn half_upgraded(version: &str, other: &str, file: &Path) -> (String, String) {
    let file = file.display();
    (
        format!(
            "the kernel runs driver {version}, but the user-space files are of {other} ({file}): \
             the driver was upgraded by half"
        ),
        format!(
            "reboot (or reload the nvidia modules) to run {other}, or install the user-space packages of {version}"
        ),
    )
}

/// A container's kernel is its host's, and nobody can reload that from inside.
fn of_guest(version: &str, other: &str, file: &Path, kind: &str) -> (String, String) {
    let file = file.display();
    (
        format!(
            "this system is a container ({kind}) whose host's kernel runs driver {version}, but the \
             user-space files here are of {other} ({file})"
        ),
        format!(
            "install the user-space files of {version} here, without kernel modules (the installer's --no-kernel-modules), whenever the host's driver changes"
        ),
    )
}

/// The administrator named a root that has no driver, and another has it.
fn misnamed(host: &Host, version: &str, root: &Path) -> (String, String) {
    let named = host.driver_root().unwrap_or(Path::new("/")).display();
    let (problem, root) = (problem(host), root.display());
    (
        format!("the driver root {named} {problem}; driver {version} is in {root}"),
        format!("leave the driver root out to have it looked for, or name {root} (--driver-root)"),
    )
}

/// What is wrong with the driver root that was named.
fn problem(host: &Host) -> &'static str {
    let files = host.files();
    let root = host.driver_root().unwrap_or(Path::new("/"));
    match files.list(root) {
        Ok(names) if names.is_empty() => "is empty",
        Ok(_) => "has no files of the driver that the kernel runs",
        Err(_) if files.exists(root) => "is no directory that can be read",
        Err(_) => "does not exist",
    }
}

fn absent(host: &Host, version: &str) -> (String, String) {
    let files = format!("libcuda.so.{version} or libnvidia-ml.so.{version}");
    let kernel = format!("the kernel runs driver {version}, but");
    match host.driver_root() {
        Some(root) if !host.files().exists(root) => (
            format!("the driver root {} does not exist", root.display()),
            "name a directory on the host that is / to the driver's files, or none to have them looked for".to_owned(),
        ),
        Some(root) => (
            format!(
                "{kernel} no {files} was found in the driver root {}, which {}",
                root.display(),
                problem(host)
            ),
            "name a directory on the host that is / to the driver's files, or none to have them looked for".to_owned(),
        ),
        None => (
            format!(
                "{kernel} no {files} was found in ld.so.cache and {} well-known directories",
                DIRECTORIES.len()
            ),
            "install the driver's user-space packages, or name their place with --driver-root"
                .to_owned(),
        ),
    }
}

/// What kind of container this system is, if it is one and its manager says so: systemd's container
/// interface (/run/host/container-manager), what systemd inside keeps of it, the variable that
/// LXC gives to the first process, and the marks of Docker and Podman.
fn guest(host: &Host) -> Option<String> {
    let files = host.files();
    let told = ["/run/host/container-manager", "/run/systemd/container"]
        .iter()
        .find_map(|path| files.read_text(Path::new(path)).ok());
    let first = || {
        let environment = files.read_text(Path::new("/proc/1/environ")).ok()?;
        let mut variables = environment.split('\0');
        variables.find_map(|v| v.strip_prefix("container=").map(str::to_owned))
    };
    let marked = || {
        let marks = [("/.dockerenv", "docker"), ("/run/.containerenv", "podman")];
        let mark = marks.iter().find(|(path, _)| files.exists(Path::new(path)));
        mark.map(|(_, kind)| (*kind).to_owned())
    };
    let kind = told.or_else(first).or_else(marked)?;
    let plain = kind.chars().take(40).filter(|c| c.is_ascii_graphic());
    Some(plain.collect())
}
