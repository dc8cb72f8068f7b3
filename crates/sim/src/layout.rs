//! Where each layout puts the driver's user-space files.

use crate::spec::{Arch, HostSpec, Layout};

/// The place of a driver container's root on its host.
pub(crate) const DRIVER_CONTAINER_ROOT: &str = "/run/nvidia/driver";

/// The directories of a layout. All but `root` are below `root`.
pub(crate) struct Directories {
    /// The prefix of everything: empty for the host's own `/`.
    pub(crate) root: String,
    /// 64-bit and 32-bit libraries.
    pub(crate) lib: String,
    pub(crate) lib32: String,
    /// Programs for everybody, and for the administrator.
    pub(crate) bin: String,
    pub(crate) sbin: String,
    /// The X server's modules.
    pub(crate) xorg: String,
    /// Data files.
    pub(crate) share: String,
    /// Configuration.
    pub(crate) etc: String,
    /// Where the kernel finds firmware.
    pub(crate) firmware: String,
    /// The ld.so.cache, where there is one.
    pub(crate) cache: Option<String>,
    /// Whether /lib is a link to /usr/lib, and so on.
    pub(crate) merged_usr: bool,
    /// Library directories that the description names, and the loader's configuration with it.
    named: Vec<String>,
}

impl Directories {
    pub(crate) fn of(spec: &HostSpec) -> Directories {
        let mut directories = Directories::of_layout(spec);
        let paths = &spec.paths;
        let replace = |place: &mut String, named: &Option<String>| {
            if let Some(named) = named {
                place.clone_from(named);
            }
        };
        directories.named = [&paths.lib, &paths.lib32]
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        replace(&mut directories.lib, &paths.lib);
        replace(&mut directories.lib32, &paths.lib32);
        replace(&mut directories.bin, &paths.bin);
        replace(&mut directories.sbin, &paths.bin);
        replace(&mut directories.root, &paths.root);
        replace(&mut directories.etc, &paths.etc);
        replace(&mut directories.share, &paths.share);
        replace(&mut directories.firmware, &paths.firmware);
        if let Some(cache) = &paths.ld_cache {
            directories.cache = Some(cache.clone()).filter(|cache| !cache.is_empty());
        }
        directories
    }

    /// Those of the host around a driver that has a root of its own: a loader but no driver.
    pub(crate) fn around_root(spec: &HostSpec) -> Directories {
        Directories {
            root: String::new(),
            ..Directories::of_layout(spec)
        }
    }

    /// The layout's own, whatever the description names instead.
    pub(crate) fn of_layout(spec: &HostSpec) -> Directories {
        let multiarch = Directories {
            root: String::new(),
            lib: format!("/usr/lib/{}", triplet(spec.arch)),
            lib32: format!("/usr/lib/{TRIPLET32}"),
            bin: "/usr/bin".to_owned(),
            sbin: "/usr/bin".to_owned(),
            xorg: "/usr/lib/xorg/modules".to_owned(),
            share: "/usr/share".to_owned(),
            etc: "/etc".to_owned(),
            firmware: "/lib/firmware".to_owned(),
            cache: Some("/etc/ld.so.cache".to_owned()),
            merged_usr: true,
            named: Vec::new(),
        };
        match spec.layout {
            Layout::Run | Layout::Wsl | Layout::Tegra => multiarch,
            Layout::Debian => Directories {
                sbin: "/usr/sbin".to_owned(),
                ..multiarch
            },
            Layout::Rpm => Directories {
                lib: "/usr/lib64".to_owned(),
                lib32: "/usr/lib".to_owned(),
                xorg: "/usr/lib64/xorg/modules".to_owned(),
                ..multiarch
            },
            Layout::DriverContainer => Directories {
                root: DRIVER_CONTAINER_ROOT.to_owned(),
                ..multiarch
            },
            Layout::Microvm => Directories {
                lib: "/usr/local/nvidia/lib64".to_owned(),
                lib32: "/usr/local/nvidia/lib".to_owned(),
                bin: "/usr/local/nvidia/bin".to_owned(),
                sbin: "/usr/local/nvidia/bin".to_owned(),
                xorg: "/usr/local/nvidia/lib64/xorg/modules".to_owned(),
                cache: None,
                merged_usr: false,
                ..multiarch
            },
            Layout::Nixos => {
                let store = nix_store_path(spec, "");
                Directories {
                    lib: format!("{store}/lib"),
                    lib32: format!("{}/lib", nix_store_path(spec, "-lib32")),
                    bin: format!("{}/bin", nix_store_path(spec, "-bin")),
                    sbin: format!("{}/bin", nix_store_path(spec, "-bin")),
                    xorg: format!("{store}/lib/xorg/modules"),
                    share: format!("{store}/share"),
                    etc: format!("{store}/etc"),
                    firmware: "/run/current-system/firmware".to_owned(),
                    cache: None,
                    merged_usr: false,
                    ..multiarch
                }
            }
        }
    }

    /// The name by which ldconfig enters a library directory into the cache. It scans /lib before
    /// /usr/lib unless its configuration names a directory, and skips a directory that it has seen
    /// under another name.
    pub(crate) fn cached_name(&self, directory: &str) -> String {
        if self.named.iter().any(|named| named == directory) {
            return directory.to_owned();
        }
        let is_default = ["/usr/lib", "/usr/lib64"].contains(&directory)
            || (directory.starts_with("/usr/lib/") && directory.ends_with("-linux-gnu"));
        match directory.strip_prefix("/usr") {
            Some(short) if self.merged_usr && is_default => short.to_owned(),
            _ => directory.to_owned(),
        }
    }
}

/// Debian's name for i386.
pub(crate) const TRIPLET32: &str = "i386-linux-gnu";

/// Debian's name for the architecture.
pub(crate) fn triplet(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "x86_64-linux-gnu",
        Arch::Aarch64 => "aarch64-linux-gnu",
    }
}

/// The store path of one output of NixOS's driver package. Real ones begin with a hash of the
/// package's inputs.
pub(crate) fn nix_store_path(spec: &HostSpec, output: &str) -> String {
    let version = spec.userland_version().unwrap_or_default();
    format!("/nix/store/0sim1gpu2host3of4oci5gpu6hash7x8-nvidia-x11-{version}{output}")
}
