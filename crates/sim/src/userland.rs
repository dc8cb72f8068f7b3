//! The user-space side of a host: the driver's files, and what the loader needs to find them.

use oci_gpu::elf::{Class, Machine};
use oci_gpu::finding::Finding;
use oci_gpu::ldcache::{self, Cache, Entry};

use crate::config;
use crate::debian;
use crate::elf::{SharedObject, Target};
use crate::layout::{DRIVER_CONTAINER_ROOT, Directories};
use crate::libraries::{DevLink, FileVersion, HOST_LIBRARIES, LIBRARIES, Library, Origin, Place};
use crate::nixos;
use crate::programs;
use crate::spec::{Driver, HostSpec, Layout, Package, version_branch};
use crate::tree::Tree;

/// Writes the user-space side of the host.
pub(crate) fn create(spec: &HostSpec, tree: &mut Tree) -> Result<(), Finding> {
    let directories = Directories::of(spec);
    if spec.layout == Layout::DriverContainer {
        // The host has a loader and a cache too, and neither knows a driver.
        let host = Directories {
            root: "",
            ..Directories::of(spec)
        };
        let mut entries = Vec::new();
        system(spec, &host, &mut entries, tree)?;
        write_cache(&host, entries, tree)?;
        driver_ready(tree)?;
    }
    let mut entries = Vec::new();
    system(spec, &directories, &mut entries, tree)?;
    if let Some(driver) = &spec.driver {
        let mut install = Install {
            spec,
            driver,
            directories: &directories,
            entries: &mut entries,
            tree,
        };
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
    directory: Option<&'a str>,
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
                if library.compat32 && self.driver.compat32 {
                    self.library(library, set, Target::I386)?;
                }
            }
        }
        Ok(())
    }

    fn has(&self, library: &Library, set: &LibrarySet) -> bool {
        let ships = library.origin == Origin::All || self.spec.layout != Layout::Debian;
        let is_missing = self.spec.faults.missing.iter().any(|s| s == library.stem);
        self.driver.packages.contains(&library.package)
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
            self.plain_library(library, &file, set, target)
        }
    }

    fn file(&self, library: &Library, set: &LibrarySet, target: Target) -> LibraryFile {
        let name = library.file_name(set.version, set.branch);
        let soname = library.soname(&name);
        let mut needed = library.needed(set.version, set.branch);
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

    /// The library in the layouts of everybody but Debian: files and links in one directory.
    fn plain_library(
        &mut self,
        library: &Library,
        file: &LibraryFile,
        set: &LibrarySet,
        target: Target,
    ) -> Result<(), Finding> {
        let beside = set.directory.is_none();
        // Such a file is there once, whatever the driver's version.
        if set.is_decoy && beside && library.version != FileVersion::Driver {
            return Ok(());
        }
        let directory = self.directory(library, set, target);
        self.write(&directory, file)?;
        // Beside another driver's files, only one of them has the links.
        if !set.preferred && beside {
            self.cache_file_name(&directory, file, target);
            return Ok(());
        }
        if let Some(soname) = &file.soname {
            if *soname != file.name {
                self.link(&directory, soname, &file.name)?;
            }
            if matches!(library.dev_link, DevLink::All | DevLink::Installer) {
                self.link(&directory, &format!("{}.so", library.stem), soname)?;
            }
        }
        if let Some(name) = extra_link(library.stem) {
            self.link(&directory, name, &file.name)?;
        }
        if library.stem == "libnvidia-allocator"
            && self.driver.packages.contains(&Package::Graphics)
        {
            let gbm = format!("{directory}/gbm");
            self.link(&gbm, "nvidia-drm_gbm.so", "../libnvidia-allocator.so.1")?;
        }
        if set.preferred {
            self.cache_library(&directory, library, file, target);
        }
        Ok(())
    }

    /// The directory of a library, below the driver's root.
    fn directory(&self, library: &Library, set: &LibrarySet, target: Target) -> String {
        let lib = match (set.directory, target) {
            (Some(directory), _) => directory,
            (None, Target::I386) => &self.directories.lib32,
            (None, _) => &self.directories.lib,
        };
        match library.place {
            Place::Public | Place::PublicGlx | Place::Private | Place::UsrLib => lib.to_owned(),
            Place::Vdpau => format!("{lib}/vdpau"),
            Place::XorgDriver => format!("{}/drivers", self.directories.xorg),
            Place::XorgExtension => format!("{}/extensions", self.directories.xorg),
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

    /// Enters the names of a library's links, as ldconfig would.
    fn cache_library(
        &mut self,
        directory: &str,
        library: &Library,
        file: &LibraryFile,
        target: Target,
    ) {
        if !matches!(
            library.place,
            Place::Public | Place::PublicGlx | Place::Private | Place::UsrLib
        ) {
            return;
        }
        self.cache(
            directory,
            file.soname.as_ref().unwrap_or(&file.name),
            target,
        );
        if matches!(library.dev_link, DevLink::All | DevLink::Installer) {
            self.cache(directory, &format!("{}.so", library.stem), target);
        }
    }

    /// Enters a library whose soname is its file name; the others' sonames belong to another file.
    fn cache_file_name(&mut self, directory: &str, file: &LibraryFile, target: Target) {
        if file.soname.as_ref() == Some(&file.name) {
            self.cache(directory, &file.name, target);
        }
    }

    /// Enters one name of a directory.
    pub(crate) fn cache(&mut self, directory: &str, name: &str, target: Target) {
        let entry = entry(self.directories, directory, name, target);
        self.entries.extend(entry);
    }
}

/// Links that NVIDIA's installer makes beside the soname's.
fn extra_link(stem: &str) -> Option<&'static str> {
    match stem {
        "libGLX_nvidia" => Some("libGLX_indirect.so.0"),
        "libglxserver_nvidia" => Some("libglxserver_nvidia.so"),
        "libnvidia-vulkan-producer" => Some("libnvidia-vulkan-producer.so"),
        _ => None,
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
    let layout_directories = Directories::of(&HostSpec {
        arch: spec.arch,
        layout: spec.layout,
        ..HostSpec::default()
    });
    let lib = &layout_directories.lib;
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
