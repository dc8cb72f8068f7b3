//! The table of driver libraries: names, sonames, what they need, which driver has them.
//!
//! Facts of branches 535 and 550 were read from the ELF files of Debian's packages (535.261.03 and
//! 550.163.01, amd64 and i386); what only NVIDIA's own installer ships is from its file lists.

use crate::driver::Package;

/// How a library's file name ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileVersion {
    /// The driver's version: `libcuda.so.550.163.01`.
    Driver,
    /// A version of its own: `libnvidia-egl-gbm.so.1.1.2`.
    Own(&'static str),
    /// A regular file under its soname: `libnvidia-api.so.1`.
    Soname,
    /// Nothing: `nvidia_drv.so`.
    None,
}

/// DT_SONAME of a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Soname {
    /// The stem, ".so." and this: `libcuda.so.1`.
    Suffix(&'static str),
    /// The file's own name: `libnvidia-glcore.so.550.163.01`.
    FileName,
    /// None at all.
    Absent,
}

/// Where a library lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The library directory; Debian keeps the file in `nvidia/current` below it and makes the
    /// soname's link through /etc/alternatives.
    Public,
    /// As `Public`, but Debian's chain has two links more: the GLX alternative decides first.
    PublicGlx,
    /// The library directory itself, in every layout.
    Private,
    /// `vdpau` below the library directory; Debian as `Public`.
    Vdpau,
    /// The X server's driver modules.
    XorgDriver,
    /// The X server's extension modules.
    XorgExtension,
    /// /usr/lib in Debian (a part of nvidia-settings), else the library directory.
    UsrLib,
}

/// Who ships a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Everybody.
    All,
    /// NVIDIA's installer and the RPM packages, but not Debian.
    Installer,
}

/// Who puts a link for the linker (`libcuda.so`) beside a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DevLink {
    /// Nobody.
    None,
    /// Everybody.
    All,
    /// Debian alone.
    Debian,
    /// NVIDIA's installer and the RPM packages.
    Installer,
}

/// One library of the driver.
#[derive(Clone, Copy, Debug)]
pub struct Library {
    /// Its name without ".so" and what follows.
    pub stem: &'static str,
    /// How its file name ends.
    pub version: FileVersion,
    /// Its DT_SONAME.
    pub soname: Soname,
    /// The package group that it is part of.
    pub package: Package,
    /// Where it lies.
    pub place: Place,
    /// Whether a 32-bit twin exists.
    pub compat32: bool,
    /// Who puts a link `stem.so`, for the linker, beside it.
    pub dev_link: DevLink,
    /// DT_NEEDED among the driver's own libraries; "{V}" stands for the driver's version.
    pub needed: &'static [&'static str],
    /// DT_NEEDED beyond the driver and libc.
    pub foreign: &'static [&'static str],
    /// The first driver branch that has it, and the first that no longer does.
    pub branches: (u32, u32),
    /// Who ships it.
    pub origin: Origin,
}

/// Between 535 and 550 graphics libraries were cut anew: gpucomp came, vulkan-producer went.
const BEFORE_545: (u32, u32) = (0, 545);
const SINCE_545: (u32, u32) = (545, u32::MAX);

const PLAIN: Library = Library {
    stem: "",
    version: FileVersion::Driver,
    soname: Soname::Suffix("1"),
    package: Package::Compute,
    place: Place::Public,
    compat32: false,
    dev_link: DevLink::None,
    needed: &[],
    foreign: &[],
    branches: (0, u32::MAX),
    origin: Origin::All,
};

/// A library that others of the driver load by its full name.
const PRIVATE: Library = Library {
    soname: Soname::FileName,
    place: Place::Private,
    ..PLAIN
};

const X11: &[&str] = &["libX11.so.6", "libXext.so.6"];
const GL_AND_X11: &[&str] = &["libGL.so.1", "libX11.so.6", "libXext.so.6"];

/// Every library of the driver, in the order of packages.
pub const LIBRARIES: &[Library] = &[
    // Compute and utility.
    Library {
        stem: "libcuda",
        compat32: true,
        dev_link: DevLink::All,
        ..PLAIN
    },
    Library {
        stem: "libcudadebugger",
        foreign: &["libutil.so.1"],
        ..PLAIN
    },
    Library {
        stem: "libnvidia-ml",
        compat32: true,
        dev_link: DevLink::All,
        ..PLAIN
    },
    Library {
        stem: "libnvidia-cfg",
        place: Place::PublicGlx,
        dev_link: DevLink::Installer,
        ..PLAIN
    },
    Library {
        stem: "libnvidia-ptxjitcompiler",
        compat32: true,
        dev_link: DevLink::Installer,
        ..PLAIN
    },
    Library {
        stem: "libnvidia-nvvm",
        soname: Soname::Suffix("4"),
        compat32: true,
        dev_link: DevLink::Installer,
        ..PLAIN
    },
    Library {
        stem: "libnvidia-nvvm70",
        soname: Soname::Suffix("4"),
        branches: (570, u32::MAX),
        origin: Origin::Installer,
        ..PLAIN
    },
    Library {
        stem: "libnvidia-gpucomp",
        compat32: true,
        branches: SINCE_545,
        ..PRIVATE
    },
    Library {
        stem: "libnvidia-allocator",
        compat32: true,
        dev_link: DevLink::Installer,
        ..PLAIN
    },
    Library {
        stem: "libnvidia-opencl",
        compat32: true,
        ..PLAIN
    },
    Library {
        stem: "libnvidia-pkcs11",
        foreign: &["libcrypto.so.1.1"],
        origin: Origin::Installer,
        ..PRIVATE
    },
    Library {
        stem: "libnvidia-pkcs11-openssl3",
        foreign: &["libcrypto.so.3"],
        ..PRIVATE
    },
    Library {
        stem: "libnvidia-sandboxutils",
        branches: (560, u32::MAX),
        origin: Origin::Installer,
        ..PLAIN
    },
    Library {
        stem: "libnvidia-vksc-core",
        branches: (550, u32::MAX),
        origin: Origin::Installer,
        ..PLAIN
    },
    // Video.
    Library {
        stem: "libnvcuvid",
        package: Package::Video,
        compat32: true,
        dev_link: DevLink::All,
        ..PLAIN
    },
    Library {
        stem: "libnvidia-encode",
        package: Package::Video,
        compat32: true,
        dev_link: DevLink::All,
        needed: &["libnvcuvid.so.1"],
        ..PLAIN
    },
    Library {
        stem: "libnvidia-opticalflow",
        package: Package::Video,
        compat32: true,
        dev_link: DevLink::All,
        needed: &["libnvcuvid.so.1"],
        ..PLAIN
    },
    Library {
        stem: "libvdpau_nvidia",
        package: Package::Video,
        place: Place::Vdpau,
        compat32: true,
        foreign: X11,
        ..PLAIN
    },
    // Graphics.
    Library {
        stem: "libGLX_nvidia",
        soname: Soname::Suffix("0"),
        package: Package::Graphics,
        compat32: true,
        needed: &[
            "libnvidia-glsi.so.{V}",
            "libnvidia-tls.so.{V}",
            "libnvidia-glcore.so.{V}",
        ],
        foreign: X11,
        ..PLAIN
    },
    Library {
        stem: "libEGL_nvidia",
        soname: Soname::Suffix("0"),
        package: Package::Graphics,
        compat32: true,
        needed: &["libnvidia-glsi.so.{V}"],
        ..PLAIN
    },
    Library {
        stem: "libGLESv1_CM_nvidia",
        package: Package::Graphics,
        compat32: true,
        ..PLAIN
    },
    Library {
        stem: "libGLESv2_nvidia",
        soname: Soname::Suffix("2"),
        package: Package::Graphics,
        compat32: true,
        ..PLAIN
    },
    Library {
        stem: "libnvidia-glcore",
        package: Package::Graphics,
        compat32: true,
        needed: &["libnvidia-tls.so.{V}"],
        branches: BEFORE_545,
        ..PRIVATE
    },
    Library {
        stem: "libnvidia-glcore",
        package: Package::Graphics,
        compat32: true,
        needed: &["libnvidia-tls.so.{V}", "libnvidia-gpucomp.so.{V}"],
        branches: SINCE_545,
        ..PRIVATE
    },
    Library {
        stem: "libnvidia-tls",
        package: Package::Graphics,
        compat32: true,
        ..PRIVATE
    },
    Library {
        stem: "libnvidia-eglcore",
        package: Package::Graphics,
        compat32: true,
        needed: &["libnvidia-glsi.so.{V}"],
        branches: BEFORE_545,
        ..PRIVATE
    },
    Library {
        stem: "libnvidia-eglcore",
        package: Package::Graphics,
        compat32: true,
        needed: &["libnvidia-glsi.so.{V}", "libnvidia-gpucomp.so.{V}"],
        branches: SINCE_545,
        ..PRIVATE
    },
    Library {
        stem: "libnvidia-glsi",
        package: Package::Graphics,
        compat32: true,
        ..PRIVATE
    },
    Library {
        stem: "libnvidia-glvkspirv",
        package: Package::Graphics,
        compat32: true,
        ..PRIVATE
    },
    Library {
        stem: "libnvidia-rtcore",
        package: Package::Graphics,
        ..PRIVATE
    },
    Library {
        stem: "libnvoptix",
        package: Package::Graphics,
        ..PLAIN
    },
    Library {
        stem: "libnvidia-fbc",
        package: Package::Graphics,
        compat32: true,
        dev_link: DevLink::All,
        foreign: GL_AND_X11,
        branches: BEFORE_545,
        ..PLAIN
    },
    Library {
        stem: "libnvidia-fbc",
        package: Package::Graphics,
        compat32: true,
        dev_link: DevLink::All,
        foreign: X11,
        branches: SINCE_545,
        ..PLAIN
    },
    Library {
        stem: "libnvidia-api",
        version: FileVersion::Soname,
        package: Package::Graphics,
        ..PLAIN
    },
    Library {
        stem: "libnvidia-vulkan-producer",
        soname: Soname::Absent,
        package: Package::Graphics,
        needed: &["libEGL_nvidia.so.0"],
        foreign: &["libEGL.so.1"],
        branches: BEFORE_545,
        ..PLAIN
    },
    Library {
        stem: "libnvidia-egl-gbm",
        version: FileVersion::Own("1.1.0"),
        package: Package::Graphics,
        place: Place::Private,
        foreign: &["libgbm.so.1", "libdrm.so.2"],
        branches: BEFORE_545,
        ..PLAIN
    },
    Library {
        stem: "libnvidia-egl-gbm",
        version: FileVersion::Own("1.1.2"),
        package: Package::Graphics,
        place: Place::Private,
        foreign: &["libgbm.so.1", "libdrm.so.2"],
        branches: SINCE_545,
        ..PLAIN
    },
    Library {
        stem: "libnvidia-egl-wayland",
        version: FileVersion::Own("1.1.10"),
        package: Package::Graphics,
        place: Place::Private,
        foreign: &["libwayland-server.so.0", "libwayland-client.so.0"],
        branches: BEFORE_545,
        ..PLAIN
    },
    Library {
        stem: "libnvidia-egl-wayland",
        version: FileVersion::Own("1.1.18"),
        package: Package::Graphics,
        place: Place::Private,
        foreign: &[
            "libwayland-server.so.0",
            "libwayland-client.so.0",
            "libdrm.so.2",
        ],
        branches: SINCE_545,
        ..PLAIN
    },
    Library {
        stem: "libnvidia-egl-xcb",
        version: FileVersion::Own("1.0.3"),
        package: Package::Graphics,
        place: Place::Private,
        foreign: &[
            "libdrm.so.2",
            "libgbm.so.1",
            "libxcb.so.1",
            "libxcb-present.so.0",
            "libxcb-dri3.so.0",
        ],
        branches: (550, u32::MAX),
        ..PLAIN
    },
    Library {
        stem: "libnvidia-egl-xlib",
        version: FileVersion::Own("1.0.3"),
        package: Package::Graphics,
        place: Place::Private,
        foreign: &[
            "libdrm.so.2",
            "libgbm.so.1",
            "libxcb.so.1",
            "libxcb-present.so.0",
            "libxcb-dri3.so.0",
            "libX11.so.6",
            "libX11-xcb.so.1",
        ],
        branches: (550, u32::MAX),
        ..PLAIN
    },
    // NGX.
    Library {
        stem: "libnvidia-ngx",
        package: Package::Ngx,
        dev_link: DevLink::Debian,
        ..PLAIN
    },
    // The X server's modules, and nvidia-settings.
    Library {
        stem: "nvidia_drv",
        version: FileVersion::None,
        soname: Soname::Absent,
        package: Package::Display,
        place: Place::XorgDriver,
        ..PLAIN
    },
    Library {
        stem: "libglxserver_nvidia",
        soname: Soname::Absent,
        package: Package::Display,
        place: Place::XorgExtension,
        needed: &["libnvidia-tls.so.{V}", "libnvidia-glcore.so.{V}"],
        ..PLAIN
    },
    Library {
        stem: "libnvidia-gtk3",
        package: Package::Display,
        place: Place::UsrLib,
        foreign: &[
            "libjansson.so.4",
            "libX11.so.6",
            "libgtk-3.so.0",
            "libgdk-3.so.0",
            "libpangocairo-1.0.so.0",
            "libpango-1.0.so.0",
            "libcairo.so.2",
            "libgdk_pixbuf-2.0.so.0",
            "libgio-2.0.so.0",
            "libgobject-2.0.so.0",
            "libglib-2.0.so.0",
        ],
        ..PRIVATE
    },
    Library {
        stem: "libnvidia-wayland-client",
        package: Package::Display,
        place: Place::UsrLib,
        foreign: &["libwayland-client.so.0"],
        ..PRIVATE
    },
];

impl Library {
    /// The file's name in a driver of that version.
    pub fn file_name(&self, version: &str) -> String {
        let stem = self.stem;
        match self.version {
            FileVersion::Driver => format!("{stem}.so.{version}"),
            FileVersion::Own(own) => format!("{stem}.so.{own}"),
            FileVersion::Soname => format!("{stem}.so.{}", self.suffix()),
            FileVersion::None => format!("{stem}.so"),
        }
    }

    /// DT_SONAME of a file named `file_name`.
    pub fn soname(&self, file_name: &str) -> Option<String> {
        match self.soname {
            Soname::Suffix(suffix) => Some(format!("{}.so.{suffix}", self.stem)),
            Soname::FileName => Some(file_name.to_owned()),
            Soname::Absent => None,
        }
    }

    /// DT_NEEDED among the driver's own libraries, in a driver of that version.
    pub fn needed(&self, version: &str) -> Vec<String> {
        self.needed
            .iter()
            .map(|name| name.replace("{V}", version))
            .collect()
    }

    /// Whether a driver of that branch has the library.
    pub fn in_branch(&self, branch: u32) -> bool {
        (self.branches.0..self.branches.1).contains(&branch)
    }

    fn suffix(&self) -> &'static str {
        match self.soname {
            Soname::Suffix(suffix) => suffix,
            Soname::FileName | Soname::Absent => "",
        }
    }
}

/// Libraries of a host that are not the driver's, as stem, soname suffix and file suffix. They
/// stand for the many others in a real host's ld.so.cache; some the driver's own need.
pub const HOST_LIBRARIES: &[(&str, &str, &str)] = &[
    ("libEGL", "1", "1.1.0"),
    ("libGL", "1", "1.7.0"),
    ("libGLX", "0", "0.0.0"),
    ("libGLdispatch", "0", "0.0.0"),
    ("libOpenCL", "1", "1.0.0"),
    ("libX11", "6", "6.4.0"),
    ("libXext", "6", "6.4.0"),
    ("libdrm", "2", "2.4.0"),
    ("libgbm", "1", "1.0.0"),
    ("libxcb", "1", "1.1.0"),
];
