//! The table of driver files: which library, program, socket or file belongs to which capability.
//!
//! Names and groups are those of libnvidia-container's component lists (nvc_info.c) and of the
//! toolkit's discovery, with what was seen in the packages of drivers 535 and 550. A library has
//! every capability whose code loads it: libnvidia-gpucomp compiles for CUDA and for Vulkan.

use crate::capability::Capability::{self, Compute, Display, Graphics, Ngx, Utility, Video};
use crate::capability::CapabilitySet;
use crate::inventory::FileKind;

/// A library of the driver by its stem (the file name before ".so").
struct DriverLibrary {
    stem: &'static str,
    capabilities: &'static [Capability],
    /// Whether it is linked to directly, so that containers expect `<stem>.so` too.
    linked: bool,
}

const fn library(stem: &'static str, capabilities: &'static [Capability]) -> DriverLibrary {
    DriverLibrary {
        stem,
        capabilities,
        linked: false,
    }
}

const fn linked(stem: &'static str, capabilities: &'static [Capability]) -> DriverLibrary {
    DriverLibrary {
        stem,
        capabilities,
        linked: true,
    }
}

/// Libraries, by capability.
const LIBRARIES: &[DriverLibrary] = &[
    // NVML and management.
    linked("libnvidia-ml", &[Utility]),
    linked("libnvidia-cfg", &[Utility]),
    library("libnvidia-nscq", &[Utility]),
    library("libnvidia-nvsdm", &[Utility]),
    library("libnvidia-sandboxutils", &[Utility]),
    // CUDA and OpenCL.
    linked("libcuda", &[Compute]),
    library("libcudadebugger", &[Compute]),
    library("libnvidia-opencl", &[Compute]),
    linked("libnvidia-ptxjitcompiler", &[Compute]),
    library("libnvidia-fatbinaryloader", &[Compute]),
    library("libnvidia-compiler", &[Compute]),
    linked("libnvidia-nvvm", &[Compute]),
    library("libnvidia-nvvm70", &[Compute]),
    library("libnvidia-tileiras", &[Compute]),
    library("libnvidia-pkcs11", &[Compute]),
    library("libnvidia-pkcs11-openssl3", &[Compute]),
    // Loaded by CUDA and by the graphics libraries alike.
    linked("libnvidia-allocator", &[Compute, Graphics]),
    library("libnvidia-gpucomp", &[Compute, Graphics]),
    // Video.
    linked("libnvcuvid", &[Video]),
    linked("libnvidia-encode", &[Video]),
    linked("libnvidia-opticalflow", &[Video]),
    library("libvdpau_nvidia", &[Video]),
    // OpenGL, EGL, GLX, Vulkan, OptiX, frame capture.
    library("libEGL_nvidia", &[Graphics]),
    library("libGLESv1_CM_nvidia", &[Graphics]),
    library("libGLESv2_nvidia", &[Graphics]),
    library("libGLX_nvidia", &[Graphics]),
    library("libnvidia-cbl", &[Graphics]),
    library("libnvidia-eglcore", &[Graphics]),
    linked("libnvidia-fbc", &[Graphics]),
    library("libnvidia-glcore", &[Graphics]),
    library("libnvidia-glsi", &[Graphics]),
    library("libnvidia-glvkspirv", &[Graphics]),
    linked("libnvidia-ifr", &[Graphics]),
    library("libnvidia-rtcore", &[Graphics]),
    library("libnvidia-tls", &[Graphics]),
    library("libnvidia-vksc-core", &[Graphics]),
    library("libnvidia-vulkan-producer", &[Graphics]),
    library("libnvoptix", &[Graphics]),
    // DLSS.
    linked("libnvidia-ngx", &[Ngx]),
    // Parts of nvidia-settings, which need GTK and Wayland: no application loads them.
    library("libnvidia-gtk2", &[Display]),
    library("libnvidia-gtk3", &[Display]),
    library("libnvidia-wayland-client", &[Display]),
];

/// Links that drivers install beside a library under a name that is neither its soname nor its
/// development name: (stem, link).
pub(crate) const EXTRA_LINKS: &[(&str, &str)] = &[("libGLX_nvidia", "libGLX_indirect.so.0")];

/// Directories below the library directory, (stem, directory), of libraries that programs look for
/// there alone: libvdpau tries vdpau/libvdpau_nvidia.so.1, and by name only libvdpau_nvidia.so
/// (src/vdpau_wrapper.c).
pub(crate) const BELOW: &[(&str, &str)] = &[("libvdpau_nvidia", "vdpau")];

/// The library without which a capability means nothing; its absence fails a container that asks.
pub(crate) const REQUIRED: &[(Capability, &str)] =
    &[(Compute, "libcuda"), (Utility, "libnvidia-ml")];

/// Programs.
pub(crate) const BINARIES: &[(&str, Capability)] = &[
    ("nvidia-smi", Utility),
    ("nvidia-debugdump", Utility),
    ("nvidia-persistenced", Utility),
    ("nv-fabricmanager", Utility),
    ("nvidia-imex", Utility),
    ("nvidia-imex-ctl", Utility),
    ("nvidia-cuda-mps-control", Compute),
    ("nvidia-cuda-mps-server", Compute),
];

/// Sockets and directories of the driver's daemons.
pub(crate) const SOCKETS: &[(&str, FileKind, Capability)] = &[
    ("/run/nvidia-persistenced/socket", FileKind::Socket, Utility),
    (
        "/run/nvidia-fabricmanager/socket",
        FileKind::Socket,
        Utility,
    ),
    ("/tmp/nvidia-mps", FileKind::Directory, Compute),
];

/// Configuration: (name, directories on the host in order, directory in the container, capability).
pub(crate) const CONFIGS: &[(&str, &[&str], &str, Capability)] = &[
    (
        "nvidia.icd",
        &["/etc/OpenCL/vendors"],
        "/etc/OpenCL/vendors",
        Compute,
    ),
    (
        "10_nvidia.json",
        GLVND,
        "/usr/share/glvnd/egl_vendor.d",
        Graphics,
    ),
    ("nvidia_icd.json", VULKAN_ICD, "/etc/vulkan/icd.d", Graphics),
    // RPM packages name the processor.
    (
        "nvidia_icd.x86_64.json",
        VULKAN_ICD,
        "/etc/vulkan/icd.d",
        Graphics,
    ),
    (
        "nvidia_icd.aarch64.json",
        VULKAN_ICD,
        "/etc/vulkan/icd.d",
        Graphics,
    ),
    (
        "nvidia_layers.json",
        VULKAN_LAYER,
        "/etc/vulkan/implicit_layer.d",
        Graphics,
    ),
    (
        "nvoptix.bin",
        &["/usr/share/nvidia"],
        "/usr/share/nvidia",
        Graphics,
    ),
];

const GLVND: &[&str] = &["/etc/glvnd/egl_vendor.d", "/usr/share/glvnd/egl_vendor.d"];
const VULKAN_ICD: &[&str] = &["/etc/vulkan/icd.d", "/usr/share/vulkan/icd.d"];
const VULKAN_LAYER: &[&str] = &[
    "/etc/vulkan/implicit_layer.d",
    "/usr/share/vulkan/implicit_layer.d",
];

/// The capabilities that a library of that stem is part of. A library of the driver's version that
/// the table does not know belongs to a newer driver: it goes where libcuda or the graphics
/// libraries may load it, for a missing one would break them.
pub(crate) fn capabilities_of(stem: &str) -> CapabilitySet {
    match find(stem) {
        Some(known) => known.capabilities.iter().copied().collect(),
        None => [Compute, Graphics].into_iter().collect(),
    }
}

/// Whether containers expect `<stem>.so` beside the soname.
pub(crate) fn has_development_link(stem: &str) -> bool {
    find(stem).is_some_and(|l| l.linked)
}

fn find(stem: &str) -> Option<&'static DriverLibrary> {
    LIBRARIES.iter().find(|l| l.stem == stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_library_is_listed_once_and_has_a_capability() {
        for (i, l) in LIBRARIES.iter().enumerate() {
            assert!(!l.capabilities.is_empty(), "{}", l.stem);
            assert!(
                LIBRARIES.iter().skip(i + 1).all(|o| o.stem != l.stem),
                "{}",
                l.stem
            );
        }
        assert!(
            REQUIRED
                .iter()
                .all(|(c, stem)| capabilities_of(stem).contains(*c))
        );
    }

    #[test]
    fn unknown_libraries_follow_their_users() {
        let unknown = capabilities_of("libnvidia-of-the-future");
        assert!(unknown.contains(Compute) && unknown.contains(Graphics));
        assert!(!has_development_link("libnvidia-of-the-future"));
    }
}
