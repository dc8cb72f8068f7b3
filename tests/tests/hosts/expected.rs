//! What is expected of each built-in host beyond what its description says by itself.

use oci_gpu::finding::Code;

use crate::odd_places;

/// What discovery does on a host.
pub(crate) enum Outcome {
    Found(Found),
    /// The code, and words of the message and the remedy.
    Fails(Code, &'static [&'static str]),
}
use Outcome::{Fails, Found as Finds};

pub(crate) struct Found {
    /// The driver root, which the paths below begin with.
    pub(crate) root: &'static str,
    pub(crate) lib: Lib,
    pub(crate) lib32: Option<Lib>,
    /// How many libraries of the driver's version.
    pub(crate) libraries: usize,
    /// nvidia-smi, every link followed.
    pub(crate) smi: &'static str,
    /// The directory of the GSP firmware, without the version.
    pub(crate) firmware: &'static str,
    /// What led to the libraries.
    pub(crate) evidence: Evidence,
    /// What was looked at and refused: evidence, path, words of the reason.
    pub(crate) refused: &'static [(&'static str, &'static str, &'static str)],
}

/// Directories of one word size, links followed.
pub(crate) struct Lib {
    /// Libraries that programs load by soname.
    pub(crate) public: &'static str,
    /// Libraries that the driver's own load by file name.
    pub(crate) private: &'static str,
    /// VDPAU's driver.
    pub(crate) vdpau: &'static str,
}

#[derive(Clone, Copy)]
pub(crate) enum Evidence {
    /// ld.so.cache leads to libcuda and libnvidia-ml.
    Cache,
    /// The directories of the libraries are well-known.
    WellKnown,
    /// Directories of links that NixOS publishes.
    Nix(&'static [&'static str]),
}

pub(crate) const NO_CACHE: (&str, &str, &str) =
    ("ld.so.cache", "/etc/ld.so.cache", "it does not exist");

/// NVIDIA's installer on Ubuntu: what most rows differ from.
pub(crate) const RUN: Found = Found {
    root: "/",
    lib: Lib {
        public: "/usr/lib/x86_64-linux-gnu",
        private: "/usr/lib/x86_64-linux-gnu",
        vdpau: "/usr/lib/x86_64-linux-gnu/vdpau",
    },
    lib32: None,
    libraries: 0,
    smi: "/usr/bin/nvidia-smi",
    firmware: "/usr/lib/firmware/nvidia",
    evidence: Evidence::Cache,
    refused: &[],
};

/// Debian's packages.
pub(crate) const DEBIAN: Found = Found {
    lib: Lib {
        public: "/usr/lib/x86_64-linux-gnu/nvidia/current",
        private: "/usr/lib/x86_64-linux-gnu",
        vdpau: "/usr/lib/x86_64-linux-gnu/nvidia/current",
    },
    smi: "/usr/lib/nvidia/current/nvidia-smi",
    ..RUN
};

/// The outcome for each built-in host. A host without a row fails the test.
pub(crate) fn expected(host: &str) -> Outcome {
    match host {
        "run-1" => Finds(Found {
            libraries: 14,
            ..RUN
        }),
        "run-16" | "run-8-mig" => Finds(Found {
            libraries: 16,
            ..RUN
        }),
        "missing-uvm" | "wrong-major" => Finds(Found {
            libraries: 10,
            ..RUN
        }),
        "no-devices" => Finds(Found {
            libraries: 36,
            ..RUN
        }),
        "run-8" => Finds(Found {
            lib32: Some(Lib {
                public: "/usr/lib/i386-linux-gnu",
                private: "/usr/lib/i386-linux-gnu",
                vdpau: "/usr/lib/i386-linux-gnu/vdpau",
            }),
            libraries: 57,
            ..RUN
        }),
        "debian-1" => Finds(Found {
            libraries: 10,
            ..DEBIAN
        }),
        "debian-8" => Finds(Found {
            lib32: Some(Lib {
                public: "/usr/lib/i386-linux-gnu/nvidia/current",
                private: "/usr/lib/i386-linux-gnu",
                vdpau: "/usr/lib/i386-linux-gnu/nvidia/current",
            }),
            libraries: 53,
            ..DEBIAN
        }),
        "debian-decoy" => Finds(Found {
            libraries: 10,
            evidence: Evidence::WellKnown,
            refused: &[
                (
                    "ld.so.cache",
                    "/usr/lib/x86_64-linux-gnu/nvidia/tesla-535/libcuda.so.535.261.03",
                    "its version is 535.261.03, the kernel's is 550.163.01",
                ),
                (
                    "ld.so.cache",
                    "/usr/lib/x86_64-linux-gnu/nvidia/tesla-535/libnvidia-ml.so.535.261.03",
                    "its version is 535.261.03, the kernel's is 550.163.01",
                ),
            ],
            ..DEBIAN
        }),
        "rpm-8" => Finds(Found {
            lib: Lib {
                public: "/usr/lib64",
                private: "/usr/lib64",
                vdpau: "/usr/lib64/vdpau",
            },
            lib32: Some(Lib {
                public: "/usr/lib",
                private: "/usr/lib",
                vdpau: "/usr/lib/vdpau",
            }),
            libraries: 58,
            ..RUN
        }),
        "driver-container-8" => Finds(Found {
            root: "/run/nvidia/driver",
            libraries: 33,
            ..RUN
        }),
        "microvm-1" => Finds(Found {
            lib: Lib {
                public: "/usr/local/nvidia/lib64",
                private: "/usr/local/nvidia/lib64",
                vdpau: "/usr/local/nvidia/lib64/vdpau",
            },
            libraries: 14,
            smi: "/usr/local/nvidia/bin/nvidia-smi",
            firmware: "/lib/firmware/nvidia",
            evidence: Evidence::WellKnown,
            refused: &[NO_CACHE],
            ..RUN
        }),
        "nixos-1" => Finds(Found {
            lib: Lib {
                public: "/nix/store/0sim1gpu2host3of4oci5gpu6hash7x8-nvidia-x11-565.77/lib",
                private: "/nix/store/0sim1gpu2host3of4oci5gpu6hash7x8-nvidia-x11-565.77/lib",
                vdpau: "/nix/store/0sim1gpu2host3of4oci5gpu6hash7x8-nvidia-x11-565.77/lib/vdpau",
            },
            lib32: Some(Lib {
                public: "/nix/store/0sim1gpu2host3of4oci5gpu6hash7x8-nvidia-x11-565.77-lib32/lib",
                private: "/nix/store/0sim1gpu2host3of4oci5gpu6hash7x8-nvidia-x11-565.77-lib32/lib",
                vdpau: "/nix/store/0sim1gpu2host3of4oci5gpu6hash7x8-nvidia-x11-565.77-lib32/lib/vdpau",
            }),
            libraries: 58,
            smi: "/nix/store/0sim1gpu2host3of4oci5gpu6hash7x8-nvidia-x11-565.77-bin/bin/nvidia-smi",
            firmware: "/run/current-system/firmware/nvidia",
            evidence: Evidence::Nix(&[
                "/nix/store/0sim1gpu2host3of4oci5gpu6link7x8-graphics-drivers/lib",
                "/nix/store/0sim1gpu2host3of4oci5gpu6link7x8-graphics-drivers-32/lib",
            ]),
            ..RUN
        }),
        "vgpu-1" => Finds(Found {
            libraries: 12,
            ..RUN
        }),
        "flat-1" => Finds(Found {
            lib: Lib {
                public: "/usr/lib",
                private: "/usr/lib",
                vdpau: "/usr/lib/vdpau",
            },
            lib32: Some(Lib {
                public: "/usr/lib32",
                private: "/usr/lib32",
                vdpau: "/usr/lib32/vdpau",
            }),
            libraries: 58,
            ..RUN
        }),
        "aarch64-1" => Finds(Found {
            lib: Lib {
                public: "/usr/lib/aarch64-linux-gnu",
                private: "/usr/lib/aarch64-linux-gnu",
                vdpau: "/usr/lib/aarch64-linux-gnu/vdpau",
            },
            libraries: 16,
            ..RUN
        }),
        "no-gpu" => Fails(
            Code::NoDriver,
            &[
                "no NVIDIA driver is loaded",
                "the PCI bus has no NVIDIA GPU",
                "machine with a GPU",
            ],
        ),
        "half-upgraded" => Fails(
            Code::NoUserland,
            &[
                "kernel runs driver 550.163.01",
                "user-space files are of 560.35.03",
                "upgraded by half",
                "reboot",
            ],
        ),
        other => odd_places::expected(other)
            .unwrap_or_else(|| panic!("the built-in host {other} has no row")),
    }
}
