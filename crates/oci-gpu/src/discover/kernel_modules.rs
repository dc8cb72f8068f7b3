//! The driver's kernel modules: which are loaded.

use std::path::{Path, PathBuf};

use super::nodes::Majors;
use crate::host::Host;

/// A kernel module of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KernelModule {
    /// The driver itself; the others need it.
    Nvidia,
    /// Unified memory: without it no CUDA.
    Uvm,
    /// Screens.
    Modeset,
    /// DRM: /dev/dri.
    Drm,
}

/// Whether a module is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModuleState {
    /// It is, or it is part of the kernel.
    Loaded,
    /// It is not.
    Missing,
    /// It is neither: the word of its file `initstate` ("coming", "going").
    Changing(String),
}

impl KernelModule {
    /// Every module, each after those that it needs.
    pub const ALL: [KernelModule; 4] = [
        KernelModule::Nvidia,
        KernelModule::Uvm,
        KernelModule::Modeset,
        KernelModule::Drm,
    ];

    /// Its name as modprobe(8) takes it.
    pub fn name(self) -> &'static str {
        match self {
            KernelModule::Nvidia => "nvidia",
            KernelModule::Uvm => "nvidia-uvm",
            KernelModule::Modeset => "nvidia-modeset",
            KernelModule::Drm => "nvidia-drm",
        }
    }

    /// The module of that name.
    pub fn from_name(name: &str) -> Option<KernelModule> {
        KernelModule::ALL.into_iter().find(|m| m.name() == name)
    }

    /// Its state: /sys/module/NAME/initstate is "live" where it is loaded, and does not exist for
    /// what is part of the kernel (Documentation/ABI/stable/sysfs-module).
    pub fn state(self, host: &Host) -> ModuleState {
        let directory = Path::new("/sys/module").join(self.name().replace('-', "_"));
        if !host.files().exists(&directory) {
            return ModuleState::Missing;
        }
        match host.files().read_text(&directory.join("initstate")) {
            Ok(word) if word != "live" => ModuleState::Changing(word),
            _ => ModuleState::Loaded,
        }
    }

    /// Whether /proc/devices names the character devices of this module, where it has any of its
    /// own that every version names.
    ///
    /// # Errors
    /// [`crate::Code::HostRead`].
    pub fn has_devices(self, host: &Host) -> Result<bool, super::DiscoverError> {
        let majors = Majors::read(host)?;
        Ok(match self {
            KernelModule::Nvidia => majors.nvidia.is_some(),
            KernelModule::Uvm => majors.uvm.is_some(),
            KernelModule::Modeset | KernelModule::Drm => true,
        })
    }
}

/// Why the host's kernel loads no modules at all, if it does not.
pub fn loads_no_modules(host: &Host) -> Option<&'static str> {
    if !host.files().exists(Path::new("/proc/modules")) {
        return Some("this kernel was built without modules (there is no /proc/modules)");
    }
    let disabled = host
        .files()
        .read_text(Path::new("/proc/sys/kernel/modules_disabled"));
    disabled.is_ok_and(|v| v == "1").then_some(
        "loading is disabled until the next boot (/proc/sys/kernel/modules_disabled is 1)",
    )
}

/// The program that the kernel itself loads modules with, /proc/sys/kernel/modprobe; where that is
/// empty or missing, /sbin/modprobe, the kernel's own default (CONFIG_MODPROBE_PATH).
pub fn modprobe(host: &Host) -> PathBuf {
    let named = host
        .files()
        .read_text(Path::new("/proc/sys/kernel/modprobe"));
    let named = named.ok().filter(|path| path.starts_with('/'));
    named.unwrap_or_else(|| "/sbin/modprobe".to_owned()).into()
}
