//! Files of a driver: libraries, programs, firmware, sockets, configuration, links.

use std::path::PathBuf;

use serde::Serialize;

use crate::capability::CapabilitySet;
use crate::elf::{Class, Machine};
use crate::peripheral::Peripheral;

/// A symbolic link of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostLink {
    /// Where it is.
    pub path: PathBuf,
    /// What it holds.
    pub points_to: PathBuf,
}

/// A driver library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Library {
    /// The file itself, not a link to it.
    pub path: PathBuf,
    /// DT_SONAME; absent in a few driver files, and where it names another library (the loaders of
    /// WSL2).
    pub soname: Option<String>,
    /// 32-bit or 64-bit.
    pub class: Class,
    /// Processor.
    pub machine: Machine,
    /// The capabilities that it is part of.
    pub capabilities: CapabilitySet,
    /// The name without ".so" and what follows: "libcuda".
    pub stem: String,
    /// What led to it ("/usr/lib/x86_64-linux-gnu of ld.so.cache").
    pub evidence: String,
    /// What it needs to be loaded, for a library that is no part of the driver's own build: its file
    /// name does not end in the driver's version. A container gets it only where it can be loaded.
    pub foreign: Option<ForeignNeeds>,
}

/// What a library needs that a distribution may have built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ForeignNeeds {
    /// Versions of the C library ("GLIBC_2.34").
    pub glibc: Vec<String>,
    /// Sonames of libraries other than the C library's parts.
    pub libraries: Vec<String>,
}

/// What kind of driver file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FileKind {
    /// A program.
    Binary,
    /// GSP firmware.
    Firmware,
    /// A Unix socket.
    Socket,
    /// A directory with sockets or pipes (MPS).
    Directory,
    /// A configuration file.
    Config,
    /// Code that is loaded by its path: a module of the X server, a DLL.
    Module,
    /// A directory of data.
    Data,
    /// A directory with libraries or programs in it.
    Tree,
}

/// The directory in a container that a file's place is told from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Home {
    /// The container's root.
    Root,
    /// The directory of 64-bit libraries, which its distribution decides.
    Libraries,
    /// The X server's directory of modules, which its distribution decides.
    Xorg,
}

/// A file of the driver that is not a library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DriverFile {
    /// What it is.
    pub kind: FileKind,
    /// The file itself on the host, every link followed.
    pub path: PathBuf,
    /// What `target` is told from.
    pub home: Home,
    /// Where it belongs in a container: absolute for [`Home::Root`], else below the home.
    pub target: PathBuf,
    /// The capabilities that it is part of.
    pub capabilities: CapabilitySet,
    /// The hardware beside the GPUs that it is for; such a file is for every capability.
    pub peripheral: Option<Peripheral>,
    /// The library with a version of its own that it leads to, by stem.
    pub library: Option<&'static str>,
    /// The absolute path by which it names its library, where that is no name for the loader to
    /// find: NixOS writes store paths.
    pub names: Option<PathBuf>,
    /// A link in its directory that leads to it, by name.
    pub link: Option<&'static str>,
}

impl DriverFile {
    /// A file at `path` that belongs at `target` in a container, and has nothing special about it.
    pub(crate) fn at(
        kind: FileKind,
        path: PathBuf,
        target: PathBuf,
        capabilities: CapabilitySet,
    ) -> DriverFile {
        DriverFile {
            kind,
            path,
            home: Home::Root,
            target,
            capabilities,
            peripheral: None,
            library: None,
            names: None,
            link: None,
        }
    }
}
