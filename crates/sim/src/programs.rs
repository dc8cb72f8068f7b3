//! The driver's programs, its firmware, and the sockets of its daemons.

use oci_gpu::finding::Finding;

use crate::debian;
use crate::driver::Package;
use crate::elf;
use crate::layout::Directories;
use crate::spec::{HostSpec, Layout};
use crate::tree::Tree;

/// Where a program lies.
#[derive(Clone, Copy, PartialEq)]
enum Home {
    /// The directory of programs; Debian links it there through an alternative.
    Alternative,
    /// The directory of programs.
    Bin,
    /// The directory of programs; /usr/sbin in Debian.
    Sbin,
}

/// When a program is installed.
#[derive(Clone, Copy, PartialEq)]
enum When {
    Package(Package),
    /// Not in Debian's packages.
    PackageButDebian(Package),
    FabricManager,
    Imex,
}

const PROGRAMS: &[(&str, Home, When)] = &[
    (
        "nvidia-smi",
        Home::Alternative,
        When::Package(Package::Compute),
    ),
    (
        "nvidia-debugdump",
        Home::Alternative,
        When::Package(Package::Compute),
    ),
    (
        "nvidia-persistenced",
        Home::Bin,
        When::Package(Package::Compute),
    ),
    (
        "nvidia-cuda-mps-control",
        Home::Bin,
        When::Package(Package::Compute),
    ),
    (
        "nvidia-cuda-mps-server",
        Home::Sbin,
        When::Package(Package::Compute),
    ),
    (
        "nvidia-modprobe",
        Home::Bin,
        When::Package(Package::Compute),
    ),
    ("nvidia-powerd", Home::Sbin, When::Package(Package::Compute)),
    (
        "nvidia-settings",
        Home::Alternative,
        When::Package(Package::Display),
    ),
    (
        "nvidia-xconfig",
        Home::Bin,
        When::PackageButDebian(Package::Display),
    ),
    ("nv-fabricmanager", Home::Bin, When::FabricManager),
    ("nvidia-imex", Home::Bin, When::Imex),
    ("nvidia-imex-ctl", Home::Bin, When::Imex),
];

/// Writes the programs, each a static ELF file that says which one it is.
pub(crate) fn create(
    spec: &HostSpec,
    directories: &Directories,
    tree: &mut Tree,
) -> Result<(), Finding> {
    let (Some(driver), Some(version)) = (&spec.driver, spec.userland_version()) else {
        return Ok(());
    };
    let root = &directories.root;
    for (name, home, when) in PROGRAMS {
        let is_installed = match when {
            When::Package(package) => driver.packages.contains(package),
            When::PackageButDebian(package) => {
                spec.layout != Layout::Debian && driver.packages.contains(package)
            }
            When::FabricManager => spec.services.fabricmanager,
            When::Imex => !spec.imex_channels.is_empty(),
        };
        if !is_installed {
            continue;
        }
        let line = format!("{name} {version} (simulated by oci-gpu-sim)");
        let bytes = elf::static_program(spec.arch, &line);
        if spec.layout == Layout::Debian && *home == Home::Alternative {
            let current = format!("/usr/lib/nvidia/current/{name}");
            tree.program(&current, &bytes)?;
            let path = format!("{}/{name}", directories.bin);
            debian::link(tree, &path, &format!("nvidia--{name}"), &current)?;
            continue;
        }
        let directory = match home {
            Home::Sbin => &directories.sbin,
            Home::Alternative | Home::Bin => &directories.bin,
        };
        let path = format!("{root}{directory}/{name}");
        tree.program(&path, &bytes)?;
        if spec.layout == Layout::Microvm && *name == "nvidia-smi" {
            // As seen on such a host: the directory is on nobody's PATH.
            let script = format!("#!/bin/sh\nexec {path} \"$@\"\n");
            tree.program("/usr/bin/nvidia-smi", script.as_bytes())?;
        }
    }
    Ok(())
}

/// Writes nvidia-smi of those other drivers that have one.
pub(crate) fn of_decoys(
    spec: &HostSpec,
    directories: &Directories,
    tree: &mut Tree,
) -> Result<(), Finding> {
    for decoy in &spec.decoy {
        let Some(bin) = &decoy.bin else { continue };
        let root = decoy.root.as_deref().unwrap_or(&directories.root);
        let line = format!("nvidia-smi {} (a decoy)", decoy.version);
        let path = format!("{}{bin}/nvidia-smi", root.trim_end_matches('/'));
        tree.program(&path, &elf::static_program(spec.arch, &line))?;
    }
    Ok(())
}

/// Writes the GSP firmware, short files in place of tens of megabytes.
pub(crate) fn firmware(
    spec: &HostSpec,
    directories: &Directories,
    tree: &mut Tree,
) -> Result<(), Finding> {
    let (Some(driver), Some(version)) = (&spec.driver, spec.userland_version()) else {
        return Ok(());
    };
    if !driver.firmware {
        return Ok(());
    }
    for chip in ["ga10x", "tu10x"] {
        let path = format!(
            "{}{}/nvidia/{version}/gsp_{chip}.bin",
            directories.root, directories.firmware
        );
        tree.file(
            &path,
            format!("GSP firmware {chip} {version} (simulated)\n"),
        )?;
    }
    Ok(())
}

/// Makes the sockets of the daemons that run.
pub(crate) fn sockets(
    spec: &HostSpec,
    directories: &Directories,
    tree: &mut Tree,
) -> Result<(), Finding> {
    let root = &directories.root;
    let services = spec.services;
    if services.persistenced {
        tree.socket(&format!("{root}/run/nvidia-persistenced/socket"))?;
    }
    if services.fabricmanager {
        tree.socket(&format!("{root}/run/nvidia-fabricmanager/socket"))?;
    }
    if services.mps {
        let mps = format!("{root}/tmp/nvidia-mps");
        tree.socket(&format!("{mps}/control"))?;
        tree.socket(&format!("{mps}/control_privileged"))?;
        tree.file(&format!("{mps}/control.lock"), "")?;
        tree.file(&format!("{mps}/nvidia-cuda-mps-control.pid"), "4242")?;
    }
    Ok(())
}
