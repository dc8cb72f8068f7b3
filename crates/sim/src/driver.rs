//! The driver of a host: which version, which parts of it are there.

use serde::{Deserialize, Serialize};

/// The driver of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Driver {
    /// The version of the kernel modules: "550.163.01".
    pub version: String,
    /// The version of the user-space files, where it differs: a half-done upgrade.
    #[serde(default)]
    pub userland: Option<String>,
    /// Which kernel modules they are.
    #[serde(default)]
    pub flavour: Flavour,
    /// Whether the modules are loaded.
    #[serde(default = "yes")]
    pub loaded: bool,
    /// The modules that are loaded beside `nvidia` itself.
    #[serde(default = "Module::all")]
    pub modules: Vec<Module>,
    /// The package groups that are installed; none means no user land.
    #[serde(default = "Package::all")]
    pub packages: Vec<Package>,
    /// Whether the 32-bit libraries are installed (x86-64 only).
    #[serde(default)]
    pub compat32: bool,
    /// Whether the GSP firmware is installed.
    #[serde(default = "yes")]
    pub firmware: bool,
    /// Whether libraries keep every DT_NEEDED entry of the real ones. Those of X11, libdrm and the
    /// like then must be there for a loader to take the file; by default they are dropped.
    #[serde(default)]
    pub strict_needed: bool,
    /// The libc.so.6 version that libraries demand ("2.17"); the architecture's oldest by default.
    #[serde(default)]
    pub glibc: Option<String>,
}

impl Driver {
    /// A driver of that version with everything installed but 32-bit libraries, and loaded.
    pub fn new(version: impl Into<String>) -> Driver {
        Driver {
            version: version.into(),
            userland: None,
            flavour: Flavour::default(),
            loaded: true,
            modules: Module::all(),
            packages: Package::all(),
            compat32: false,
            firmware: true,
            strict_needed: false,
            glibc: None,
        }
    }
}

fn yes() -> bool {
    true
}

/// Which of NVIDIA's kernel modules a driver has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flavour {
    /// The proprietary ones.
    #[default]
    Proprietary,
    /// The open ones.
    Open,
}

/// A kernel module beside `nvidia`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Module {
    /// nvidia_uvm: /dev/nvidia-uvm and /dev/nvidia-uvm-tools.
    Uvm,
    /// nvidia_modeset: /dev/nvidia-modeset.
    Modeset,
    /// nvidia_drm: /dev/dri.
    Drm,
}

impl Module {
    pub(crate) fn all() -> Vec<Module> {
        vec![Module::Uvm, Module::Modeset, Module::Drm]
    }
}

/// A group of user-space packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Package {
    /// CUDA, OpenCL, NVML and the tools.
    Compute,
    /// Video encoding and decoding.
    Video,
    /// OpenGL, EGL, Vulkan, ray tracing, and their configuration.
    Graphics,
    /// NGX (DLSS).
    Ngx,
    /// The X server's driver and nvidia-settings.
    Display,
}

impl Package {
    pub(crate) fn all() -> Vec<Package> {
        vec![
            Package::Compute,
            Package::Video,
            Package::Graphics,
            Package::Ngx,
            Package::Display,
        ]
    }
}
