//! The user-space side of a host: the driver's files, and what the loader needs to find them.

use oci_gpu::elf::{Class, Machine};
use oci_gpu::finding::Finding;
use oci_gpu::ldcache::{self, Cache, Entry};

use crate::check::version_branch;
use crate::config;
use crate::debian;
use crate::driver::{Driver, Package};
use crate::elf::{SharedObject, Target};
use crate::layout::{DRIVER_CONTAINER_ROOT, Directories};
use crate::libraries::{HOST_LIBRARIES, LIBRARIES, Library, Origin, Place};
use crate::nixos;
use crate::plain;
use crate::programs;
use crate::spec::{HostSpec, Layout};
use crate::tegra;
use crate::tree::Tree;
use crate::wsl;

/// Writes the user-space side of the host.
pub(crate) fn create(spec: &HostSpec, tree: &mut Tree) -> Result<(), Finding> {
    let directories = Directories::of(spec);
    if spec.layout == Layout::DriverContainer {
        // The host has a loader and a cache too, and neither knows a driver.
        let host = Directories::around_container(spec);
        let mut entries = Vec::new();
        system(spec, &host, &mut entries, tree)?;
        write_cache(&host, entries, tree)?;
        driver_ready(tree)?;
    }
    let mut entries = Vec::new();
    system(spec, &directories, &mut entries, tree)?;
    if spec.layout == Layout::Tegra {
        tegra::create(spec, tree)?;
        return write_cache(&directories, entries, tree);
    }
    if spec.layout == Layout::Wsl {
        for (directory, name) in wsl::create(spec, tree)? {
            let target = spec.arch.target();
            entries.extend(entry(&directories, &directory, &name, target));
        }
        return write_cache(&directories, entries, tree);
    }
    if let Some(driver) = &spec.driver {
        let mut install = Install {
            spec,
            driver,
            directories: &directories,
            entries: &mut entries,
            tree,
        };
        if directories.merged_usr {
            config::driver_loader(spec, driver, &directories, install.tree)?;
        }
        for set in sets(spec, driver)? {
            install.libraries(&set)?;
        }
        if driver.packages.contains(&Package::Compute) {
            programs::create(spec, &directories, tree)?;
        }
        config::create(spec, driver, &directories, tree)?;
        if spec.layout == Layout::Nixos {
            nixos::links(spec, &directories, tree)?;
        }
    }
    write_cache(&directories, entries, tree)
}

/// The libraries of one driver version, in one place.
pub(crate) struct LibrarySet<'a> {
    pub(crate) version: &'a str,
    pub(crate) branch: u32,
    /// Another directory than the layout's.
    pub(crate) directory: Option<&'a str>,
    /// Whether links and the cache lead to it.
    pub(crate) preferred: bool,
    /// Whether it belongs to the host's driver, so that faults apply to it.
    pub(crate) is_decoy: bool,
}

fn sets<'a>(spec: &'a HostSpec, driver: &'a Driver) -> Result<Vec<LibrarySet<'a>>, Finding> {
    let version = driver.userland.as_deref().unwrap_or(&driver.version);
    let usurped = |decoy: &crate::spec::Decoy| decoy.preferred && decoy.directory.is_none();
    let mut sets = vec![LibrarySet {
        version,
        branch: version_branch(version)?,
        directory: None,
        preferred: !spec.decoy.iter().any(usurped),
        is_decoy: false,
    }];
    for decoy in &spec.decoy {
        sets.push(LibrarySet {
            version: &decoy.version,
            branch: version_branch(&decoy.version)?,
            directory: decoy.directory.as_deref(),
            preferred: decoy.preferred,
            is_decoy: true,
        });
    }
    // As the loader's configuration names the directories: the cache keeps that order.
    sets.sort_by_key(|set| !(set.preferred && set.directory.is_some()));
    Ok(sets)
}

/// A library file to be written.
pub(crate) struct LibraryFile {
    pub(crate) name: String,
    pub(crate) soname: Option<String>,
    /// None where the file is to be missing while links lead to it.
    pub(crate) bytes: Option<Vec<u8>>,
}

/// An installation under way.
pub(crate) struct Install<'a, 't> {
    pub(crate) spec: &'a HostSpec,
    pub(crate) driver: &'a Driver,
    pub(crate) directories: &'a Directories,
    entries: &'t mut Vec<Entry>,
    pub(crate) tree: &'t mut Tree,
}

impl Install<'_, '_> {
    fn libraries(&mut self, set: &LibrarySet) -> Result<(), Finding> {
        for library in LIBRARIES {
            if self.has(library, set) {
                self.library(library, set, self.spec.arch.target())?;
                // A named directory has room for one word size only.
                if library.compat32 && self.driver.compat32 && set.directory.is_none() {
                    self.library(library, set, Target::I386)?;
                }
            }
        }
        Ok(())
    }

    fn has(&self, library: &Library, set: &LibrarySet) -> bool {
        let ships = library.origin == Origin::All || self.spec.layout != Layout::Debian;
        let is_missing = self.spec.faults.missing.iter().any(|s| s == library.stem);
        // The X server's modules lie elsewhere.
        let fits = set.directory.is_none()
            || !matches!(library.place, Place::XorgDriver | Place::XorgExtension);
        fits && self.driver.packages.contains(&library.package)
            && library.in_branch(set.branch)
            && ships
            && (set.is_decoy || !is_missing)
    }

    fn library(
        &mut self,
        library: &Library,
        set: &LibrarySet,
        target: Target,
    ) -> Result<(), Finding> {
        let file = self.file(library, set, target);
        if self.spec.layout == Layout::Debian && set.directory.is_none() {
            debian::library(self, library, &file, set, target)
        } else {
            plain::library(self, library, &file, set, target)
        }
    }

    fn file(&self, library: &Library, set: &LibrarySet, target: Target) -> LibraryFile {
        let name = library.file_name(set.version);
        let soname = library.soname(&name);
        let mut needed = library.needed(set.version);
        if self.driver.strict_needed {
            needed.extend(library.foreign.iter().map(|&name| name.to_owned()));
        }
        let mut bytes = SharedObject {
            target,
            soname: soname.as_deref(),
            needed: &needed,
            glibc: self
                .driver
                .glibc
                .as_deref()
                .unwrap_or(target.oldest_glibc()),
            text: &format!("{} {}", library.stem, set.version),
        }
        .to_bytes();
        let faults = &self.spec.faults;
        let hit = |list: &[String]| !set.is_decoy && list.iter().any(|s| s == library.stem);
        if hit(&faults.truncated) {
            bytes.truncate(100);
        }
        LibraryFile {
            name,
            soname,
            bytes: (!hit(&faults.dangling)).then_some(bytes),
        }
    }

    pub(crate) fn write(&mut self, directory: &str, file: &LibraryFile) -> Result<(), Finding> {
        let root = self.directories.root;
        match &file.bytes {
            Some(bytes) => self
                .tree
                .file(&format!("{root}{directory}/{}", file.name), bytes),
            None => self.tree.directory(&format!("{root}{directory}")),
        }
    }

    pub(crate) fn link(
        &mut self,
        directory: &str,
        name: &str,
        target: &str,
    ) -> Result<(), Finding> {
        let root = self.directories.root;
        self.tree.link(&format!("{root}{directory}/{name}"), target)
    }

    /// Enters one name of a directory.
    pub(crate) fn cache(&mut self, directory: &str, name: &str, target: Target) {
        let entry = entry(self.directories, directory, name, target);
        self.entries.extend(entry);
    }
}

fn entry(directories: &Directories, directory: &str, name: &str, target: Target) -> Option<Entry> {
    let (class, machine) = match target {
        Target::X86_64 => (Class::Elf64, Machine::X86_64),
        Target::I386 => (Class::Elf32, Machine::X86),
        Target::Aarch64 => (Class::Elf64, Machine::Aarch64),
    };
    let flags = ldcache::flags_for(class, machine)?;
    let path = format!("{}/{name}", directories.cached_name(directory));
    Some(Entry::plain(flags, name.as_bytes(), path.as_bytes()))
}

/// What a system has without any driver: a merged /usr, the loader's configuration, other
/// libraries. Flat layouts, without a loader's cache, have none of it.
fn system(
    spec: &HostSpec,
    directories: &Directories,
    entries: &mut Vec<Entry>,
    tree: &mut Tree,
) -> Result<(), Finding> {
    let root = directories.root;
    for directory in ["/etc", "/tmp", "/run", "/usr/bin"] {
        tree.directory(&format!("{root}{directory}"))?;
    }
    if !directories.merged_usr {
        return Ok(());
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        tree.directory(&format!("{root}/usr/{name}"))?;
        tree.link_if_absent(&format!("{root}/{name}"), &format!("usr/{name}"))?;
    }
    config::loader(spec, directories, tree)?;
    let lib = &Directories::of_layout(spec).lib;
    let target = spec.arch.target();
    for (stem, soname, file) in HOST_LIBRARIES {
        let soname = format!("{stem}.so.{soname}");
        let file = format!("{stem}.so.{file}");
        let bytes = SharedObject {
            target,
            soname: Some(&soname),
            needed: &[],
            glibc: target.oldest_glibc(),
            text: &format!("{stem} of the host"),
        }
        .to_bytes();
        tree.file(&format!("{root}{lib}/{file}"), bytes)?;
        tree.link(&format!("{root}{lib}/{soname}"), &file)?;
        entries.extend(entry(directories, lib, &soname, target));
    }
    Ok(())
}

fn write_cache(
    directories: &Directories,
    entries: Vec<Entry>,
    tree: &mut Tree,
) -> Result<(), Finding> {
    let Some(path) = &directories.cache else {
        return Ok(());
    };
    let cache = Cache {
        entries,
        generator: Some(b"oci-gpu-sim".to_vec()),
        ..Cache::default()
    };
    tree.file(&format!("{}{path}", directories.root), cache.write())
}

/// What NVIDIA's GPU operator writes once a driver container is ready.
fn driver_ready(tree: &mut Tree) -> Result<(), Finding> {
    let text = format!(
        "IS_HOST_DRIVER=false\n\
         NVIDIA_DRIVER_ROOT={DRIVER_CONTAINER_ROOT}\n\
         DRIVER_ROOT_CTR_PATH=/driver-root\n\
         NVIDIA_DEV_ROOT={DRIVER_CONTAINER_ROOT}\n\
         DEV_ROOT_CTR_PATH=/driver-root\n"
    );
    tree.file("/run/nvidia/validations/driver-ready", text)
}
