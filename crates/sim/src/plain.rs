//! NVIDIA's installer, RPM packages and flat layouts: files and links in one directory.

use oci_gpu::finding::Finding;

use crate::driver::Package;
use crate::elf::Target;
use crate::libraries::{DevLink, FileVersion, Library, Place};
use crate::userland::{Install, LibraryFile, LibrarySet};

/// Places a library of the driver in `set`.
pub(crate) fn library(
    install: &mut Install,
    library: &Library,
    file: &LibraryFile,
    set: &LibrarySet,
    target: Target,
) -> Result<(), Finding> {
    let is_beside = set.directory.is_none();
    let has_driver_version = library.version == FileVersion::Driver;
    if set.is_decoy && is_beside && !has_driver_version {
        // The file is there once, whatever the driver's version.
        return Ok(());
    }
    let directory = directory(install, library, set, target);
    install.write(&directory, file)?;
    let is_cached = is_searched(library.place) && (is_beside || set.preferred);
    if is_cached
        && file
            .soname
            .as_ref()
            .is_none_or(|soname| *soname == file.name)
    {
        install.cache(&directory, &file.name, target);
    }
    // Of several versions of a file in a directory, the links lead to one.
    if is_beside && has_driver_version && !set.preferred {
        return Ok(());
    }
    for link in links(library, file) {
        install.link(&directory, &link.name, &link.target)?;
        if is_cached && link.is_cached {
            install.cache(&directory, &link.name, target);
        }
    }
    let has_gbm = install.driver.packages.contains(&Package::Graphics);
    if library.stem == "libnvidia-allocator" && has_gbm {
        let gbm = format!("{directory}/gbm");
        install.link(&gbm, "nvidia-drm_gbm.so", "../libnvidia-allocator.so.1")?;
    }
    Ok(())
}

/// The directory of a library, below the driver's root.
fn directory(install: &Install, library: &Library, set: &LibrarySet, target: Target) -> String {
    let directories = install.directories;
    let lib = match (set.directory, target) {
        (Some(directory), _) => directory,
        (None, Target::I386) => &directories.lib32,
        (None, Target::X86_64 | Target::Aarch64) => &directories.lib,
    };
    match library.place {
        Place::Public | Place::PublicGlx | Place::Private | Place::UsrLib => lib.to_owned(),
        Place::Vdpau => format!("{lib}/vdpau"),
        Place::XorgDriver => format!("{}/drivers", directories.xorg),
        Place::XorgExtension => format!("{}/extensions", directories.xorg),
    }
}

/// Whether the loader searches the directory of that place.
fn is_searched(place: Place) -> bool {
    match place {
        Place::Public | Place::PublicGlx | Place::Private | Place::UsrLib => true,
        Place::Vdpau | Place::XorgDriver | Place::XorgExtension => false,
    }
}

struct Link {
    name: String,
    target: String,
    /// Whether ldconfig enters it: a soname, a linker's name of one, or any name of a file without.
    is_cached: bool,
}

/// The links beside a library.
fn links(library: &Library, file: &LibraryFile) -> Vec<Link> {
    let mut links = Vec::new();
    let mut link = |name: &str, target: &str, is_cached| {
        links.push(Link {
            name: name.to_owned(),
            target: target.to_owned(),
            is_cached,
        });
    };
    if let Some(soname) = &file.soname {
        if *soname != file.name {
            link(soname, &file.name, true);
        }
        if matches!(library.dev_link, DevLink::All | DevLink::Installer) {
            link(&format!("{}.so", library.stem), soname, true);
        }
    }
    match library.stem {
        "libGLX_nvidia" => link("libGLX_indirect.so.0", &file.name, false),
        "libglxserver_nvidia" | "libnvidia-vulkan-producer" => {
            link(&format!("{}.so", library.stem), &file.name, true);
        }
        _ => {}
    }
    links
}
