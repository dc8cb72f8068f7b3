//! NixOS: the driver's package in the store, and the links that lead programs to it.

use oci_gpu::finding::Finding;

use crate::driver::Package;
use crate::layout::{Directories, nix_store_path};
use crate::spec::HostSpec;
use crate::tree::Tree;

/// Makes /run/opengl-driver, /run/opengl-driver-32 and the system's own links.
///
/// The first two lead to a store directory of their own, whose files are links into the packages.
pub(crate) fn links(
    spec: &HostSpec,
    directories: &Directories,
    tree: &mut Tree,
) -> Result<(), Finding> {
    let Some(driver) = &spec.driver else {
        return Ok(());
    };
    if driver.packages.is_empty() {
        return Ok(());
    }
    let package = nix_store_path(spec, "");
    let drivers = farm("/run/opengl-driver", "", &directories.lib, tree)?;
    for name in tree.list(&package)? {
        if name != "lib" {
            tree.link(&format!("{drivers}/{name}"), &format!("{package}/{name}"))?;
        }
    }
    if driver.compat32 {
        farm("/run/opengl-driver-32", "-32", &directories.lib32, tree)?;
    }
    if driver.packages.contains(&Package::Compute) {
        for name in tree.list(&directories.bin)? {
            let target = format!("{}/{name}", directories.bin);
            tree.link(&format!("/run/current-system/sw/bin/{name}"), &target)?;
        }
    }
    Ok(())
}

/// Makes the store directory with a link to each file in `lib`, and the link `path` to it.
fn farm(path: &str, suffix: &str, lib: &str, tree: &mut Tree) -> Result<String, Finding> {
    let store = format!("/nix/store/0sim1gpu2host3of4oci5gpu6link7x8-graphics-drivers{suffix}");
    tree.directory(&format!("{store}/lib"))?;
    for name in tree.list(lib)? {
        tree.link(&format!("{store}/lib/{name}"), &format!("{lib}/{name}"))?;
    }
    tree.link(path, &store)?;
    Ok(store)
}
