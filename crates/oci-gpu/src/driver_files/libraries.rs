//! The driver's libraries, by capability.

use crate::capability::Capability::{self, Compute, Display, Graphics, Ngx, Utility, Video};
use crate::capability::CapabilitySet;

/// How the name of a library's file ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    /// In the driver's version ("libcuda.so.550.163.01"): part of the driver, built for every glibc.
    Driver,
    /// In one of its own ("libnvidia-egl-gbm.so.1.1.2"): built by NVIDIA or by a distribution, for
    /// a glibc that need not be the container's.
    Own,
}

/// A library of the driver by its stem (the file name before ".so").
struct DriverLibrary {
    stem: &'static str,
    capabilities: &'static [Capability],
    /// Whether it is linked to directly, so that containers expect `<stem>.so` too.
    linked: bool,
    version: Version,
}

const fn library(stem: &'static str, capabilities: &'static [Capability]) -> DriverLibrary {
    DriverLibrary {
        stem,
        capabilities,
        linked: false,
        version: Version::Driver,
    }
}

const fn linked(stem: &'static str, capabilities: &'static [Capability]) -> DriverLibrary {
    DriverLibrary {
        linked: true,
        ..library(stem, capabilities)
    }
}

const fn own(stem: &'static str, capabilities: &'static [Capability]) -> DriverLibrary {
    DriverLibrary {
        version: Version::Own,
        ..library(stem, capabilities)
    }
}

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
    // NvAPI, for Windows programs under Proton.
    own("libnvidia-api", &[Graphics]),
    // Window systems of EGL.
    own("libnvidia-egl-gbm", &[Graphics]),
    own("libnvidia-egl-wayland", &[Graphics]),
    own("libnvidia-egl-wayland2", &[Graphics]),
    own("libnvidia-egl-xcb", &[Graphics]),
    own("libnvidia-egl-xlib", &[Graphics]),
    // DLSS.
    linked("libnvidia-ngx", &[Ngx]),
    // Parts of nvidia-settings, which need GTK and Wayland: no application loads them.
    library("libnvidia-gtk2", &[Display]),
    library("libnvidia-gtk3", &[Display]),
    library("libnvidia-wayland-client", &[Display]),
];

/// What a [`Link`] leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkTarget {
    /// The library's file.
    File,
    /// The link that is named by its soname.
    Soname,
}

/// A link that drivers install beside a library, under a name that is neither its soname nor its
/// development name.
pub(crate) struct Link {
    /// The library's stem.
    pub(crate) stem: &'static str,
    /// Its path below the library directory.
    pub(crate) path: &'static str,
    pub(crate) leads_to: LinkTarget,
    /// The capability without which nobody looks for it.
    pub(crate) capability: Capability,
}

pub(crate) const LINKS: &[Link] = &[
    Link {
        stem: "libGLX_nvidia",
        path: "libGLX_indirect.so.0",
        leads_to: LinkTarget::File,
        capability: Graphics,
    },
    // GBM loads backends by the name of the DRM driver (Mesa, src/gbm/main/backend.c).
    Link {
        stem: "libnvidia-allocator",
        path: "gbm/nvidia-drm_gbm.so",
        leads_to: LinkTarget::Soname,
        capability: Graphics,
    },
    // It has no soname, and is loaded by this name.
    Link {
        stem: "libnvidia-vulkan-producer",
        path: "libnvidia-vulkan-producer.so",
        leads_to: LinkTarget::File,
        capability: Graphics,
    },
];

/// Directories below the library directory, (stem, directory), of libraries that programs look for
/// there alone: libvdpau tries vdpau/libvdpau_nvidia.so.1, and by name only libvdpau_nvidia.so
/// (src/vdpau_wrapper.c).
pub(crate) const BELOW: &[(&str, &str)] = &[("libvdpau_nvidia", "vdpau")];

/// The library without which a capability means nothing; its absence fails a container that asks,
/// but for NVML on Tegra, where it came with JetPack 6.
pub(crate) const REQUIRED: &[(Capability, &str)] =
    &[(Compute, "libcuda"), (Utility, "libnvidia-ml")];

/// The capabilities that a library of that stem is part of. A library of the driver's version that
/// the table does not know belongs to a newer driver: it goes where libcuda or the graphics
/// libraries may load it, for a missing one would break them.
pub(crate) fn capabilities_of(stem: &str) -> CapabilitySet {
    let mut capabilities: CapabilitySet = match find(stem) {
        Some(known) => known.capabilities.iter().copied().collect(),
        None => [Compute, Graphics].into_iter().collect(),
    };
    // The video codecs run on CUDA: libnvcuvid and libnvidia-encode load libcuda, and what it loads.
    if capabilities.contains(Compute) {
        capabilities.insert(Video);
    }
    capabilities
}

/// Whether containers expect `<stem>.so` beside the soname.
pub(crate) fn has_development_link(stem: &str) -> bool {
    find(stem).is_some_and(|l| l.linked)
}

/// The stem, if `name` is that of a library with a version of its own under its soname, by which
/// it is found: "libnvidia-egl-gbm.so.1". What lies there is the file, or leads to it.
pub(crate) fn own_version(name: &str) -> Option<&'static str> {
    let (stem, version) = name.split_once(".so.")?;
    let is_number = !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit());
    let known = find(stem).filter(|l| l.version == Version::Own)?;
    is_number.then_some(known.stem)
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
        let known = |stem: &str| find(stem).is_some_and(|l| l.version == Version::Driver);
        assert!(LINKS.iter().all(|l| known(l.stem)));
        assert!(BELOW.iter().all(|(stem, _)| known(stem)));
    }

    #[test]
    fn unknown_libraries_follow_their_users() {
        let unknown = capabilities_of("libnvidia-of-the-future");
        assert!(unknown.contains(Compute) && unknown.contains(Graphics));
        assert!(!has_development_link("libnvidia-of-the-future"));
    }

    #[test]
    fn libraries_with_a_version_of_their_own_go_by_their_soname() {
        let rows = [
            ("libnvidia-egl-gbm.so.1", Some("libnvidia-egl-gbm")),
            ("libnvidia-api.so.1", Some("libnvidia-api")),
            ("libnvidia-egl-gbm.so.1.1.2", None),
            ("libnvidia-egl-gbm.so", None),
            ("libnvidia-egl-gbm.so.", None),
            ("libcuda.so.1", None),
            ("libnvidia-egl-gbm2.so.1", None),
        ];
        for (name, stem) in rows {
            assert_eq!(own_version(name), stem, "{name}");
        }
    }
}
