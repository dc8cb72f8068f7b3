//! What belongs to the driver and is no library that programs link with.

use crate::capability::Capability::{self, Compute, Display, Graphics, Ngx, Utility};
use crate::inventory::FileKind;
use crate::peripheral::Peripheral;

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
    ("nvidia-xconfig", Display),
];

/// Sockets of the driver's daemons, below /run or /var/run.
pub(crate) const SOCKETS: &[(&str, FileKind, Capability)] = &[
    ("nvidia-persistenced/socket", FileKind::Socket, Utility),
    ("nvidia-fabricmanager/socket", FileKind::Socket, Utility),
];

/// Where the MPS daemon has its pipes unless CUDA_MPS_PIPE_DIRECTORY tells it otherwise (CUDA
/// Multi-Process Service, "Environment Variables"); capability compute.
pub(crate) const MPS_DIRECTORY: &str = "/tmp/nvidia-mps";

/// Files of one directory, which is looked for in /etc and in the directories of shared data.
pub(crate) struct ConfigDirectory {
    /// The directory below /etc, /usr/share and the like.
    pub(crate) below: &'static str,
    /// Where its files go in a container.
    pub(crate) target: &'static str,
    /// The files.
    pub(crate) files: &'static [Config],
}

/// A configuration or data file.
pub(crate) struct Config {
    /// Its name; "{version}" stands for the driver's version.
    pub(crate) name: &'static str,
    /// The capabilities that it is part of.
    pub(crate) capabilities: &'static [Capability],
    /// The library with a version of its own that it leads to: useless without.
    pub(crate) library: Option<&'static str>,
}

const fn file(name: &'static str, capabilities: &'static [Capability]) -> Config {
    Config {
        name,
        capabilities,
        library: None,
    }
}

const fn platform(name: &'static str, library: &'static str) -> Config {
    Config {
        name,
        capabilities: &[Graphics],
        library: Some(library),
    }
}

/// Configuration and data, by directory.
pub(crate) const DIRECTORIES: &[ConfigDirectory] = &[
    ConfigDirectory {
        below: "OpenCL/vendors",
        target: "/etc/OpenCL/vendors",
        files: &[file("nvidia.icd", &[Compute])],
    },
    ConfigDirectory {
        below: "glvnd/egl_vendor.d",
        target: "/usr/share/glvnd/egl_vendor.d",
        files: &[file("10_nvidia.json", &[Graphics])],
    },
    ConfigDirectory {
        below: "egl/egl_external_platform.d",
        target: "/usr/share/egl/egl_external_platform.d",
        files: &[
            platform("09_nvidia_wayland2.json", "libnvidia-egl-wayland2"),
            platform("10_nvidia_wayland.json", "libnvidia-egl-wayland"),
            platform("15_nvidia_gbm.json", "libnvidia-egl-gbm"),
            platform("20_nvidia_xcb.json", "libnvidia-egl-xcb"),
            platform("20_nvidia_xlib.json", "libnvidia-egl-xlib"),
        ],
    },
    ConfigDirectory {
        below: "vulkan/icd.d",
        target: "/etc/vulkan/icd.d",
        files: &[
            file("nvidia_icd.json", &[Graphics]),
            // RPM packages name the processor.
            file("nvidia_icd.x86_64.json", &[Graphics]),
            file("nvidia_icd.i686.json", &[Graphics]),
            file("nvidia_icd.aarch64.json", &[Graphics]),
            file("nvidia_layers.json", &[Graphics]),
        ],
    },
    ConfigDirectory {
        below: "vulkan/implicit_layer.d",
        target: "/etc/vulkan/implicit_layer.d",
        files: &[file("nvidia_layers.json", &[Graphics])],
    },
    ConfigDirectory {
        below: "nvidia",
        target: "/usr/share/nvidia",
        files: &[
            // OptiX's denoiser: 100 MB of weights that libnvoptix opens.
            file("nvoptix.bin", &[Graphics]),
            // Settings of single applications, which CUDA and OpenGL read at start.
            file(
                "nvidia-application-profiles-{version}-rc",
                &[Compute, Graphics],
            ),
            file("nvidia-ngx-conf.json", &[Ngx]),
        ],
    },
    ConfigDirectory {
        below: "nvidia/files.d",
        target: "/usr/share/nvidia/files.d",
        files: &[file("sandboxutils-filelist.json", &[Utility])],
    },
    ConfigDirectory {
        below: "X11/xorg.conf.d",
        target: "/usr/share/X11/xorg.conf.d",
        files: &[
            file("10-nvidia.conf", &[Display]),
            file("nvidia-drm-outputclass.conf", &[Display]),
        ],
    },
];

/// Data files below the library directory, on the host and in the container.
pub(crate) const DATA: &[(&str, Capability)] = &[
    // DLSS for Windows programs: Proton copies them from beside libGLX_nvidia.
    ("nvidia/wine/_nvngx.dll", Ngx),
    ("nvidia/wine/nvngx.dll", Ngx),
    ("nvidia/wine/nvngx_dlssg.dll", Ngx),
];

/// Files of the host that hardware beside the GPUs needs: GPUDirect Storage looks block devices up
/// in udev's database, and reads its own configuration (NVIDIA GPUDirect Storage, "cuFile
/// configuration").
pub(crate) const PERIPHERAL_FILES: &[(Peripheral, FileKind, &str)] = &[
    (Peripheral::Gds, FileKind::Data, "/run/udev"),
    (Peripheral::Gds, FileKind::Config, "/etc/cufile.json"),
];

/// A module of the X server.
pub(crate) struct XorgModule {
    /// Its file; "{version}" stands for the driver's version.
    pub(crate) name: &'static str,
    /// The directory below the server's modules.
    pub(crate) kind: &'static str,
    /// The name by which the server loads it, where that is another.
    pub(crate) link: Option<&'static str>,
}

/// Modules of the X server: capability display.
pub(crate) const XORG_MODULES: &[XorgModule] = &[
    XorgModule {
        name: "nvidia_drv.so",
        kind: "drivers",
        link: None,
    },
    XorgModule {
        name: "libglxserver_nvidia.so.{version}",
        kind: "extensions",
        link: Some("libglxserver_nvidia.so"),
    },
];

impl XorgModule {
    /// Where it goes, below the container's directory of modules.
    pub(crate) fn target(&self, version: &str) -> String {
        format!("{}/{}", self.kind, self.name.replace("{version}", version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_listed_twice_and_targets_are_absolute() {
        let mut seen = std::collections::HashSet::new();
        for directory in DIRECTORIES {
            assert!(directory.target.starts_with('/'), "{}", directory.target);
            assert!(!directory.below.starts_with('/'), "{}", directory.below);
            for file in directory.files {
                assert!(!file.capabilities.is_empty(), "{}", file.name);
                let place = format!("{}/{}", directory.target, file.name);
                assert!(seen.insert(place.clone()), "{place}");
            }
        }
        for (name, _) in BINARIES {
            assert!(seen.insert((*name).to_owned()), "{name}");
        }
    }
}
