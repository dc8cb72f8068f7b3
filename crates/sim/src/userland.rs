//! The user-space side of a host: the driver's files, and what the loader needs to find them.

use std::collections::BTreeMap;

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
use crate::spec::{Decoy, HostSpec, Layout};
use crate::tegra;
use crate::tree::Tree;
use crate::wsl;

/// Writes the user-space side of the host.
pub(crate) fn create(spec: &HostSpec, tree: &mut Tree) -> Result<(), Finding> {
    let directories = Directories::of(spec);
    links_and_files(spec, tree)?;
    let mut entries = Entries::new();
    if !directories.root.is_empty() {
        // The host has a loader and a cache too, and neither knows the driver.
        system(spec, &Directories::around_root(spec), &mut entries, tree)?;
    }
    if spec.layout == Layout::DriverContainer && !spec.file.iter().any(|f| f.path == DRIVER_READY) {
        driver_ready(tree)?;
    }
    system(spec, &directories, &mut entries, tree)?;
    let elsewhere = match spec.layout {
        Layout::Tegra => Some(tegra::create(spec, tree)?),
        Layout::Wsl => Some(wsl::create(spec, tree)?),
        _ => None,
    };
    if let Some(cached) = elsewhere {
        let own = entries.entry(directories.root.clone()).or_default();
        for (directory, name) in cached {
            let target = spec.arch.target();
            own.extend(entry(&directories.cached_name(&directory), &name, target));
        }
        return write_caches(&directories, entries, tree);
    }
    if let Some(driver) = &spec.driver {
        let mut install = Install {
            spec,
            driver,
            directories: &directories,
            root: &directories.root,
            entries: &mut entries,
            tree,
        };
        if directories.merged_usr {
            config::driver_loader(spec, driver, &directories, install.tree)?;
        }
        for set in sets(spec, driver, &directories)? {
            install.libraries(&set)?;
        }
        if driver.packages.contains(&Package::Compute) {
            programs::create(spec, &directories, tree)?;
        }
        programs::of_decoys(spec, &directories, tree)?;
        config::create(spec, driver, &directories, tree)?;
        if spec.layout == Layout::Nixos {
            nixos::links(spec, &directories, tree)?;
        }
    }
    write_caches(&directories, entries, tree)
}

/// What goes into the loader's cache of each root.
type Entries = BTreeMap<String, Vec<Entry>>;

/// The caches of all roots.
fn write_caches(
    directories: &Directories,
    entries: Entries,
    tree: &mut Tree,
) -> Result<(), Finding> {
    for (root, entries) in entries {
        let own = (root == directories.root).then_some(directories.cache.as_deref());
        if let Some(path) = own.unwrap_or(Some("/etc/ld.so.cache")) {
            write_cache(&format!("{root}{path}"), entries, tree)?;
        }
    }
    Ok(())
}

/// Links and files that the description names. Links come first, so that a driver installs itself
/// through them.
fn links_and_files(spec: &HostSpec, tree: &mut Tree) -> Result<(), Finding> {
    for link in &spec.link {
        tree.directory(&link.target)?;
        tree.link(&link.path, &link.target)?;
    }
    for file in &spec.file {
        tree.file(&file.path, &file.text)?;
    }
    Ok(())
}

/// The libraries of one driver version, in one place.
pub(crate) struct LibrarySet<'a> {
    pub(crate) version: &'a str,
    pub(crate) branch: u32,
    /// Another root than the driver's; empty for the host's own.
    root: Option<&'a str>,
    /// Another directory than the layout's.
    pub(crate) directory: Option<&'a str>,
    /// Whether links and the cache lead to it.
    pub(crate) preferred: bool,
    /// Whether it belongs to the host's driver, so that faults apply to it.
    pub(crate) is_decoy: bool,
}

fn sets<'a>(
    spec: &'a HostSpec,
    driver: &'a Driver,
    directories: &'a Directories,
) -> Result<Vec<LibrarySet<'a>>, Finding> {
    let version = driver.userland.as_deref().unwrap_or(&driver.version);
    let is_beside = |decoy: &Decoy| decoy.directory.is_none() && decoy.root.is_none();
    let usurped = |decoy: &Decoy| decoy.preferred && is_beside(decoy);
    let mut sets = vec![LibrarySet {
        version,
        branch: version_branch(version)?,
        root: None,
        directory: None,
        preferred: !spec.decoy.iter().any(usurped),
        is_decoy: false,
    }];
    for decoy in &spec.decoy {
        let named = decoy.directory.as_deref();
        let of_root = decoy.root.as_ref().map(|_| directories.lib.as_str());
        sets.push(LibrarySet {
            version: &decoy.version,
            branch: version_branch(&decoy.version)?,
            root: decoy.root.as_deref().map(|r| r.trim_end_matches('/')),
            directory: named.or(of_root),
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
    /// The root of the libraries that are being written.
    root: &'a str,
    entries: &'t mut Entries,
    pub(crate) tree: &'t mut Tree,
}

impl<'a> Install<'a, '_> {
    fn libraries(&mut self, set: &LibrarySet<'a>) -> Result<(), Finding> {
        self.root = set.root.unwrap_or(&self.directories.root);
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
        let root = self.root;
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
        let root = self.root;
        self.tree.link(&format!("{root}{directory}/{name}"), target)
    }

    /// Enters one name of a directory.
    pub(crate) fn cache(&mut self, directory: &str, name: &str, target: Target) {
        let merged = self.root.is_empty() || self.root == self.directories.root;
        let named = match merged {
            true => self.directories.cached_name(directory),
            // The roots of other drivers hold nothing but their libraries.
            false => directory.to_owned(),
        };
        let entries = self.entries.entry(self.root.to_owned()).or_default();
        entries.extend(entry(&named, name, target));
    }
}

/// An entry for `name` in `directory`, as the cache names it.
fn entry(directory: &str, name: &str, target: Target) -> Option<Entry> {
    let (class, machine) = match target {
        Target::X86_64 => (Class::Elf64, Machine::X86_64),
        Target::I386 => (Class::Elf32, Machine::X86),
        Target::Aarch64 => (Class::Elf64, Machine::Aarch64),
    };
    let flags = ldcache::flags_for(class, machine)?;
    let path = format!("{directory}/{name}");
    Some(Entry::plain(flags, name.as_bytes(), path.as_bytes()))
}

/// What a system has without any driver: a merged /usr, the loader's configuration, other
/// libraries. Flat layouts, without a loader's cache, have none of it.
fn system(
    spec: &HostSpec,
    directories: &Directories,
    entries: &mut Entries,
    tree: &mut Tree,
) -> Result<(), Finding> {
    let root = &directories.root;
    let entries = entries.entry(root.clone()).or_default();
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
        entries.extend(entry(&directories.cached_name(lib), &soname, target));
    }
    Ok(())
}

fn write_cache(path: &str, entries: Vec<Entry>, tree: &mut Tree) -> Result<(), Finding> {
    let cache = Cache {
        entries,
        generator: Some(b"oci-gpu-sim".to_vec()),
        ..Cache::default()
    };
    tree.file(path, cache.write())
}

const DRIVER_READY: &str = "/run/nvidia/validations/driver-ready";

/// What NVIDIA's GPU operator writes once a driver container is ready.
fn driver_ready(tree: &mut Tree) -> Result<(), Finding> {
    let text = format!(
        "IS_HOST_DRIVER=false\n\
         NVIDIA_DRIVER_ROOT={DRIVER_CONTAINER_ROOT}\n\
         DRIVER_ROOT_CTR_PATH=/driver-root\n\
         NVIDIA_DEV_ROOT={DRIVER_CONTAINER_ROOT}\n\
         DEV_ROOT_CTR_PATH=/driver-root\n"
    );
    tree.file(DRIVER_READY, text)
}
