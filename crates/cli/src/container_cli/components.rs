//! The order in which the reference lists driver files.

use oci_gpu::elf::Class;
use oci_gpu::inventory::{DriverFile, Inventory, Library};

/// Libraries, by the stem of their names (libnvidia-container, nvc_info.c).
const LIBRARIES: &[&str] = &[
    "libnvidia-ml",
    "libnvidia-cfg",
    "libnvidia-nscq",
    "libcuda",
    "libcudadebugger",
    "libnvidia-opencl",
    "libnvidia-gpucomp",
    "libnvidia-ptxjitcompiler",
    "libnvidia-fatbinaryloader",
    "libnvidia-allocator",
    "libnvidia-compiler",
    "libnvidia-pkcs11",
    "libnvidia-pkcs11-openssl3",
    "libnvidia-nvvm",
    "libnvidia-tileiras",
    "libnvidia-ngx",
    "libvdpau_nvidia",
    "libnvidia-encode",
    "libnvidia-opticalflow",
    "libnvcuvid",
    "libnvidia-eglcore",
    "libnvidia-glcore",
    "libnvidia-tls",
    "libnvidia-glsi",
    "libnvidia-fbc",
    "libnvidia-ifr",
    "libnvidia-rtcore",
    "libnvoptix",
    "libGLX_nvidia",
    "libEGL_nvidia",
    "libGLESv2_nvidia",
    "libGLESv1_CM_nvidia",
    "libnvidia-glvkspirv",
    "libnvidia-cbl",
];

/// Programs, by name.
const BINARIES: &[&str] = &[
    "nvidia-smi",
    "nvidia-debugdump",
    "nvidia-persistenced",
    "nv-fabricmanager",
    "nvidia-cuda-mps-control",
    "nvidia-cuda-mps-server",
];

/// The libraries of `class` in the reference's order, one of each name; those that the reference
/// does not know follow, by name.
pub(super) fn libraries(inventory: &Inventory, class: Class) -> Vec<&Library> {
    let mut found: Vec<&Library> = Vec::new();
    for library in inventory.libraries.iter().filter(|l| l.class == class) {
        // What has the same name in another directory is not mounted either.
        if !found.iter().any(|f| f.stem == library.stem) {
            found.push(library);
        }
    }
    found.sort_by_key(|l| (place(LIBRARIES, &l.stem), l.stem.as_str()));
    found
}

/// The place of a program in the reference's order.
pub(super) fn program(file: &DriverFile) -> usize {
    let name = file.target.file_name().and_then(|n| n.to_str());
    place(BINARIES, name.unwrap_or_default())
}

fn place(order: &[&str], name: &str) -> usize {
    order
        .iter()
        .position(|known| *known == name)
        .unwrap_or(order.len())
}
