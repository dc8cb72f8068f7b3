//! Debian's packages: versioned files in nvidia/current, links through /etc/alternatives.
//!
//! The links are those that the maintainer scripts of nvidia-alternative 550.163.01-2 and
//! glx-alternative-nvidia 1.2.2 make: `nvidia--NAME-TRIPLET` chooses the driver, `glx--NAME-TRIPLET`
//! in front of it chooses between vendors.

use oci_gpu::finding::Finding;

use crate::driver::Package;
use crate::elf::Target;
use crate::layout::{TRIPLET32, triplet};
use crate::libraries::{DevLink, FileVersion, Library, Place};
use crate::tree::Tree;
use crate::userland::{Install, LibraryFile, LibrarySet};

/// Places a library of the driver in `set`.
pub(crate) fn library(
    install: &mut Install,
    library: &Library,
    file: &LibraryFile,
    set: &LibrarySet,
    target: Target,
) -> Result<(), Finding> {
    let lib = match target {
        Target::I386 => install.directories.lib32.clone(),
        Target::X86_64 | Target::Aarch64 => install.directories.lib.clone(),
    };
    match library.place {
        Place::Private => private(install, &lib, library, file, set, target),
        Place::UsrLib => private(install, "/usr/lib", library, file, set, target),
        Place::XorgDriver => xorg(install, "drivers", file, set),
        Place::XorgExtension => xorg(install, "extensions", file, set),
        Place::Public | Place::PublicGlx | Place::Vdpau => {
            public(install, &lib, library, file, set, target)
        }
    }
}

/// The directory of a driver below a library directory: other versions lie beside the current one.
fn vendor(set: &LibrarySet) -> String {
    if set.is_decoy {
        format!("nvidia/tesla-{}", set.branch)
    } else {
        "nvidia/current".to_owned()
    }
}

/// Straight in the library directory: every version may lie there, the names differ.
fn private(
    install: &mut Install,
    lib: &str,
    library: &Library,
    file: &LibraryFile,
    set: &LibrarySet,
    target: Target,
) -> Result<(), Finding> {
    let has_driver_version = library.version == FileVersion::Driver;
    if set.is_decoy && !has_driver_version {
        // One package for all drivers.
        return Ok(());
    }
    install.write(lib, file)?;
    let soname = file.soname.as_ref().unwrap_or(&file.name);
    if *soname != file.name {
        install.link(lib, soname, &file.name)?;
    }
    install.cache(lib, soname, target);
    Ok(())
}

fn public(
    install: &mut Install,
    lib: &str,
    library: &Library,
    file: &LibraryFile,
    set: &LibrarySet,
    target: Target,
) -> Result<(), Finding> {
    let vendor = vendor(set);
    let current = format!("{lib}/{vendor}");
    install.write(&current, file)?;
    let Some(soname) = &file.soname else {
        return Ok(());
    };
    if *soname != file.name {
        install.link(&current, soname, &file.name)?;
    }
    let dev_link = format!("{}.so", library.stem);
    if matches!(library.dev_link, DevLink::All | DevLink::Debian) {
        install.link(&current, &dev_link, soname)?;
    }
    let has_gbm = library.stem == "libnvidia-allocator"
        && install.driver.packages.contains(&Package::Graphics);
    if has_gbm {
        install.link(&current, "nvidia-drm_gbm.so", &file.name)?;
    }
    if !set.preferred {
        return Ok(());
    }

    let suffix = match target {
        Target::I386 => TRIPLET32,
        Target::X86_64 | Target::Aarch64 => triplet(install.spec.arch),
    };
    let tree = &mut *install.tree;
    let mut alternative = |directory: &str, name: &str| {
        let chosen = format!("nvidia--{name}-{suffix}");
        link(
            tree,
            &format!("{directory}/{name}"),
            &chosen,
            &format!("{current}/{name}"),
        )
    };
    match library.place {
        Place::Vdpau => alternative(&format!("{lib}/vdpau"), soname)?,
        Place::PublicGlx => {
            alternative(&format!("{lib}/nvidia"), soname)?;
            let chosen = format!("glx--{soname}-{suffix}");
            let next = format!("{lib}/nvidia/{soname}");
            link(install.tree, &format!("{lib}/{soname}"), &chosen, &next)?;
        }
        _ => {
            alternative(lib, soname)?;
            // Loaded by its file name too, which libnvidia-opencl does.
            if library.stem == "libnvidia-nvvm" {
                alternative(lib, &file.name)?;
            }
            if has_gbm {
                alternative(&format!("{lib}/gbm"), "nvidia-drm_gbm.so")?;
            }
            if has_public_dev_link(library.stem) {
                alternative(lib, &dev_link)?;
            }
        }
    }
    if library.place != Place::Vdpau {
        install.cache(lib, soname, target);
        if has_public_dev_link(library.stem) {
            install.cache(lib, &dev_link, target);
        }
    }
    Ok(())
}

/// The two libraries whose link for the linker is an alternative too.
fn has_public_dev_link(stem: &str) -> bool {
    matches!(stem, "libcuda" | "libnvcuvid")
}

/// A module of the X server: two alternatives, as for libnvidia-cfg.
fn xorg(
    install: &mut Install,
    kind: &str,
    file: &LibraryFile,
    set: &LibrarySet,
) -> Result<(), Finding> {
    let vendor = vendor(set);
    let current = format!("/usr/lib/{vendor}");
    install.write(&current, file)?;
    let stem = file.name.split(".so").next().unwrap_or(&file.name);
    let name = format!("{stem}.so");
    if name != file.name {
        install.link(&current, &name, &file.name)?;
    }
    if !set.preferred {
        return Ok(());
    }
    let middle = format!("/usr/lib/nvidia/{name}");
    let tree = &mut *install.tree;
    link(
        tree,
        &middle,
        &format!("nvidia--{name}"),
        &format!("{current}/{name}"),
    )?;
    let module = format!("/usr/lib/xorg/modules/{kind}/{name}");
    link(tree, &module, &format!("glx--{name}"), &middle)
}

/// A link through an alternative of that name, as update-alternatives makes it.
pub(crate) fn link(tree: &mut Tree, path: &str, name: &str, target: &str) -> Result<(), Finding> {
    let alternative = format!("/etc/alternatives/{name}");
    tree.link(path, &alternative)?;
    tree.link(&alternative, target)
}
