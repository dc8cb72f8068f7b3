//! Programs, firmware, sockets, configuration and X.Org modules of the driver.

use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Scope;
use super::userland::Directory;
use crate::capability::{Capability, CapabilitySet};
use crate::driver_files::{
    BINARIES, Config, DATA, DIRECTORIES, MPS_DIRECTORY, PERIPHERAL_FILES, SOCKETS, XORG_MODULES,
};
use crate::host::{Host, Root};
use crate::inventory::{Candidate, DriverFile, FileKind, Home};

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

/// Where configuration and data lie: the administrator's, and those of packages
/// (XDG Base Directory Specification 0.8, XDG_DATA_DIRS). The last is the root of GKE's drivers,
/// which have vulkan/icd.d straight below it.
const CONFIG_BASES: [&str; 4] = ["/etc", "/usr/local/share", "/usr/share", "/"];

/// Where X servers have their modules besides the library directories.
const XORG_DIRS: [&str; 4] = [
    "/usr/lib/xorg/modules",
    "/usr/lib64/xorg/modules",
    "/usr/X11R6/lib/modules",
    "/usr/X11R6/lib64/modules",
];

/// Longest configuration file that is looked into for the library that it names, in bytes.
const CONFIG_LIMIT: u64 = 64 << 10;

/// The search for the files of the tables in [`crate::driver_files`].
pub(super) struct Search<'a> {
    pub(super) host: &'a Host,
    /// The driver root.
    pub(super) root: &'a Root,
    /// Where the driver's libraries are.
    pub(super) libraries: &'a [Directory],
    /// The driver's version.
    pub(super) version: &'a str,
    pub(super) scope: &'a Scope,
}

impl Search<'_> {
    pub(super) fn all(&self, candidates: &mut Vec<Candidate>) -> Vec<DriverFile> {
        let mut files = Vec::new();
        self.programs(&mut files, candidates);
        if self.scope.has(Capability::Utility) {
            self.firmware(&mut files);
        }
        self.sockets(&mut files);
        if self.scope.has(Capability::Compute) {
            self.mps(&mut files, candidates);
        }
        self.configuration(&mut files);
        self.data(&mut files);
        if self.scope.has(Capability::Display) {
            self.xorg(&mut files, candidates);
        }
        if self.scope.peripherals {
            self.peripherals(&mut files);
        }
        files
    }

    /// Directories that hold one driver and nothing else, as libraries in `<directory>/lib` tell.
    fn own_directories(&self) -> impl Iterator<Item = &Path> {
        let parents = self.libraries.iter().filter_map(|d| d.path.parent());
        parents.filter(|p| !["/", "/usr", "/usr/lib"].map(Path::new).contains(p))
    }

    /// Files of the host's own that hardware beside the GPUs needs.
    fn peripherals(&self, files: &mut Vec<DriverFile>) {
        let host = self.host.files();
        for (peripheral, kind, path) in PERIPHERAL_FILES {
            if let Ok(real) = host.resolve(Path::new(path)) {
                let all = CapabilitySet::all();
                files.push(DriverFile {
                    peripheral: Some(*peripheral),
                    ..file(host, *kind, &real, PathBuf::from(path), all)
                });
            }
        }
    }

    fn programs(&self, files: &mut Vec<DriverFile>, candidates: &mut Vec<Candidate>) {
        // What lies beside the driver's own libraries is of its version; elsewhere it may not be.
        let beside = self.own_directories().map(|d| d.join("bin"));
        let places = self.existing(beside.chain(BINARY_DIRS.iter().map(PathBuf::from)));
        for (name, capability) in BINARIES.iter().filter(|(_, c)| self.scope.has(*c)) {
            let found = places
                .iter()
                .filter_map(|d| self.root.resolve(&d.join(name)).ok());
            if let Some(path) = self.first_program(found, candidates) {
                let target = Path::new("/usr/bin").join(name);
                let capabilities = [*capability].into_iter().collect();
                files.push(file(
                    self.root,
                    FileKind::Binary,
                    &path,
                    target,
                    capabilities,
                ));
            }
        }
    }

    /// Those of `directories` that there are, every link followed, each once.
    fn existing(&self, directories: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
        let mut places: Vec<PathBuf> = Vec::new();
        for directory in directories {
            match self.root.resolve(&directory) {
                Ok(real) if !places.contains(&real) => places.push(real),
                _ => {}
            }
        }
        places
    }

    /// The first of `found` that is the program itself. Some hosts have a script of its name first,
    /// which starts it where it lies on the host: in a container that leads nowhere.
    fn first_program(
        &self,
        mut found: impl Iterator<Item = PathBuf>,
        candidates: &mut Vec<Candidate>,
    ) -> Option<PathBuf> {
        found.find(|path| {
            let why = match self.is_elf(path) {
                Ok(true) => return true,
                Ok(false) => "it is no ELF file, but a script or something else".to_owned(),
                Err(e) => e.to_string(),
            };
            candidates.push(self.refused(path, "directory of programs", why));
            false
        })
    }

    fn is_elf(&self, path: &Path) -> io::Result<bool> {
        let mut magic = [0; 4];
        match self.root.open_resolved(path)?.read_exact(&mut magic) {
            Ok(()) => Ok(magic == *b"\x7fELF"),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn refused(&self, path: &Path, evidence: &'static str, why: String) -> Candidate {
        Candidate {
            path: self.root.host_path(path),
            evidence,
            accepted: false,
            why,
        }
    }

    /// GSP firmware of the version, below the directories that the kernel's loader searches, in its
    /// order: the one that the host's kernel was told of (NixOS has no other), then the driver
    /// root's. Documentation/driver-api/firmware/fw_search_path.rst.
    fn firmware(&self, files: &mut Vec<DriverFile>) {
        let text = |path: &str| {
            self.host
                .files()
                .read_text(Path::new(path))
                .unwrap_or_default()
        };
        let told = text("/sys/module/firmware_class/parameters/path");
        let release = text("/proc/sys/kernel/osrelease");
        let mut places = vec![(self.host.files(), told)];
        for base in ["/lib/firmware", "/usr/lib/firmware"] {
            for below in [
                format!("/updates/{release}"),
                "/updates".to_owned(),
                format!("/{release}"),
                String::new(),
            ] {
                places.push((self.root, format!("{base}{below}")));
            }
        }
        for (owner, place) in places.iter().filter(|(_, place)| place.starts_with('/')) {
            let directory = Path::new(place).join("nvidia").join(self.version);
            let names = owner.list(&directory).unwrap_or_default();
            let gsp = |n: &&String| n.starts_with("gsp") && n.ends_with(".bin");
            let mut found = names.iter().filter(gsp).peekable();
            if found.peek().is_none() {
                continue;
            }
            for name in found {
                if let Ok(path) = owner.resolve(&directory.join(name)) {
                    let target = Path::new("/lib/firmware/nvidia")
                        .join(self.version)
                        .join(name);
                    let utility = [Capability::Utility].into_iter().collect();
                    files.push(file(owner, FileKind::Firmware, &path, target, utility));
                }
            }
            return;
        }
    }

    /// Sockets belong to daemons: on the host, or in the driver container that runs them.
    fn sockets(&self, files: &mut Vec<DriverFile>) {
        for (name, kind, capability) in SOCKETS.iter().filter(|(_, _, c)| self.scope.has(*c)) {
            let places = ["/run", "/var/run"].map(|run| Path::new(run).join(name));
            let owners = [self.root, self.host.files()];
            let found = owners.into_iter().find_map(|owner| {
                let real = places.iter().find_map(|p| owner.resolve(p).ok())?;
                Some((owner, real))
            });
            if let Some((owner, real)) = found {
                let target = Path::new("/run").join(name);
                let capabilities = [*capability].into_iter().collect();
                files.push(file(owner, *kind, &real, target, capabilities));
            }
        }
    }

    /// The directory of the MPS daemon's pipes, which a container gets writable. It lies in /tmp,
    /// where any user of the host can make something of its name first: a link, say, to root's
    /// files. So it must be a directory itself, and root's, unless the administrator named it.
    fn mps(&self, files: &mut Vec<DriverFile>, candidates: &mut Vec<Candidate>) {
        let named = self.host.mps_directory();
        let path = named.unwrap_or(Path::new(MPS_DIRECTORY));
        for owner in [self.root, self.host.files()] {
            let Ok(found) = owner.metadata_nofollow(path) else {
                continue;
            };
            let why = match () {
                () if !found.is_dir() => "it is no directory",
                () if named.is_none() && found.uid() != 0 => "its owner is not root",
                () => {
                    let Ok(real) = owner.resolve(path) else {
                        continue;
                    };
                    let compute = [Capability::Compute].into_iter().collect();
                    let target = path.to_path_buf();
                    files.push(file(owner, FileKind::Directory, &real, target, compute));
                    return;
                }
            };
            candidates.push(Candidate {
                path: owner.host_path(path),
                evidence: "MPS directory",
                accepted: false,
                why: why.to_owned(),
            });
        }
    }

    fn configuration(&self, files: &mut Vec<DriverFile>) {
        // What lies beside the driver's own libraries is of its version; elsewhere it may not be.
        let beside = self.own_directories();
        let beside = beside.flat_map(|d| [d.join("etc"), d.join("share"), d.to_path_buf()]);
        let bases = beside.chain(CONFIG_BASES.iter().map(PathBuf::from));
        let bases: Vec<PathBuf> = bases.collect();
        for directory in DIRECTORIES {
            let wanted = |c: &&Config| self.in_scope(c.capabilities);
            if !directory.files.iter().any(|c| wanted(&c)) {
                continue;
            }
            let places = self.existing(bases.iter().map(|b| b.join(directory.below)));
            for config in directory.files.iter().filter(wanted) {
                let name = config.name.replace("{version}", self.version);
                let found = places
                    .iter()
                    .find_map(|d| self.root.resolve(&d.join(&name)).ok());
                if let Some(path) = found {
                    let target = Path::new(directory.target).join(&name);
                    let capabilities = config.capabilities.iter().copied().collect();
                    files.push(DriverFile {
                        library: config.library,
                        names: self.named_library(&path),
                        ..file(self.root, FileKind::Config, &path, target, capabilities)
                    });
                }
            }
        }
    }

    fn in_scope(&self, capabilities: &[Capability]) -> bool {
        capabilities.iter().any(|c| self.scope.has(*c))
    }

    /// The absolute path that a JSON configuration of Vulkan or EGL gives as its `library_path`.
    fn named_library(&self, path: &Path) -> Option<PathBuf> {
        path.extension().filter(|e| *e == "json")?;
        let text = self.root.read(path, CONFIG_LIMIT).ok()?;
        let json: serde_json::Value = serde_json::from_slice(&text).ok()?;
        let member = json.get("ICD").or_else(|| json.get("layer"))?;
        let library = Path::new(member.get("library_path")?.as_str()?);
        let plain = library
            .components()
            .skip(1)
            .all(|c| matches!(c, std::path::Component::Normal(_)));
        (library.is_absolute() && plain).then(|| library.to_path_buf())
    }

    fn data(&self, files: &mut Vec<DriverFile>) {
        for (name, capability) in DATA.iter().filter(|(_, c)| self.scope.has(*c)) {
            let found = self
                .libraries
                .iter()
                .find_map(|d| self.root.resolve(&d.path.join(name)).ok());
            if let Some(path) = found {
                let capabilities = [*capability].into_iter().collect();
                files.push(DriverFile {
                    home: Home::Libraries,
                    ..file(
                        self.root,
                        FileKind::Config,
                        &path,
                        PathBuf::from(name),
                        capabilities,
                    )
                });
            }
        }
    }

    fn xorg(&self, files: &mut Vec<DriverFile>, candidates: &mut Vec<Candidate>) {
        let libraries = self.libraries.iter().map(|d| d.path.join("xorg/modules"));
        let modules = libraries.chain(XORG_DIRS.iter().map(PathBuf::from));
        let below = |kind: &str| {
            let updates = format!("updates/{kind}");
            let dirs = modules.clone();
            let dirs = dirs.flat_map(move |d| [d.join(&updates), d.join(kind)]);
            let own = self.libraries.iter().map(|d| d.path.join("nvidia/xorg"));
            self.existing(own.chain(dirs))
        };
        for module in XORG_MODULES {
            let name = module.name.replace("{version}", self.version);
            let names = [Some(name.as_str()), module.link];
            let places = below(module.kind);
            let found = places.iter().flat_map(|d| {
                let names = names.into_iter().flatten();
                names.filter_map(|n| self.root.resolve(&d.join(n)).ok())
            });
            for path in found {
                if path.file_name().is_some_and(|n| n != name.as_str()) {
                    let why = format!("its name is not {name}");
                    candidates.push(self.refused(&path, "X server's modules", why));
                    continue;
                }
                let display = [Capability::Display].into_iter().collect();
                let target = PathBuf::from(module.target(self.version));
                files.push(DriverFile {
                    home: Home::Xorg,
                    link: module.link,
                    ..file(self.root, FileKind::Module, &path, target, display)
                });
                break;
            }
        }
    }
}

fn file(
    root: &Root,
    kind: FileKind,
    path: &Path,
    target: PathBuf,
    capabilities: CapabilitySet,
) -> DriverFile {
    DriverFile::at(kind, root.host_path(path), target, capabilities)
}
