//! The platforms whose driver is found without configuration, each with the simulated host that stands
//! for it, and an older driver in a place that is looked at before.

/// The version of the older drivers.
pub const OLDER: &str = "470.256.02";

/// A platform.
pub struct Platform {
    /// Its name in docs/platforms.md.
    pub name: &'static str,
    /// The built-in host that is laid out like it.
    pub host: &'static str,
    /// Where an older driver is.
    pub older: &'static str,
    /// The same for a host's description, in TOML.
    pub decoy: &'static str,
    /// Everything that discovery refuses then, evidence and path, in the order of trial. A file of
    /// the older driver is refused for its version, a cache for not being there.
    pub refused: &'static [(&'static str, &'static str)],
}

/// Every platform with the ordinary kernel driver.
pub const PLATFORMS: &[Platform] = &[
    Platform {
        name: "Debian",
        host: "debian-1",
        older: "the alternatives lead to another driver's directory",
        decoy: r#"[[decoy]]
version = "470.256.02"
preferred = true
"#,
        refused: &[
            (
                "ld.so.cache",
                "/usr/lib/x86_64-linux-gnu/nvidia/tesla-470/libnvidia-ml.so.470.256.02",
            ),
            (
                "ld.so.cache",
                "/usr/lib/x86_64-linux-gnu/nvidia/tesla-470/libcuda.so.470.256.02",
            ),
        ],
    },
    Platform {
        name: "Ubuntu, NVIDIA's installer",
        host: "run-1",
        older: "the links beside the files lead to them",
        decoy: r#"[[decoy]]
version = "470.256.02"
preferred = true
"#,
        refused: &[
            (
                "ld.so.cache",
                "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.470.256.02",
            ),
            (
                "ld.so.cache",
                "/usr/lib/x86_64-linux-gnu/libcuda.so.470.256.02",
            ),
        ],
    },
    Platform {
        name: "vGPU guest",
        host: "vgpu-1",
        older: "the links beside the files lead to them",
        decoy: r#"[[decoy]]
version = "470.256.02"
preferred = true
"#,
        refused: &[
            (
                "ld.so.cache",
                "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.470.256.02",
            ),
            (
                "ld.so.cache",
                "/usr/lib/x86_64-linux-gnu/libcuda.so.470.256.02",
            ),
        ],
    },
    Platform {
        name: "ARM servers",
        host: "aarch64-1",
        older: "the links beside the files lead to them",
        decoy: r#"[[decoy]]
version = "470.256.02"
preferred = true
"#,
        refused: &[
            (
                "ld.so.cache",
                "/usr/lib/aarch64-linux-gnu/libnvidia-ml.so.470.256.02",
            ),
            (
                "ld.so.cache",
                "/usr/lib/aarch64-linux-gnu/libcuda.so.470.256.02",
            ),
        ],
    },
    Platform {
        name: "Fedora, RHEL, SUSE, Amazon Linux",
        host: "rpm-8",
        older: "the cache names them first",
        decoy: r#"[[decoy]]
version = "470.256.02"
directory = "/usr/lib64/nvidia"
preferred = true
"#,
        refused: &[
            (
                "ld.so.cache",
                "/usr/lib64/nvidia/libnvidia-ml.so.470.256.02",
            ),
            ("ld.so.cache", "/usr/lib64/nvidia/libcuda.so.470.256.02"),
        ],
    },
    Platform {
        name: "RPM packages in /usr/lib64/nvidia",
        host: "rpm-nvidia-1",
        older: "the cache names them first",
        decoy: r#"[[decoy]]
version = "470.256.02"
directory = "/usr/lib64"
preferred = true
"#,
        refused: &[
            ("ld.so.cache", "/usr/lib64/libnvidia-ml.so.470.256.02"),
            ("ld.so.cache", "/usr/lib64/libcuda.so.470.256.02"),
        ],
    },
    Platform {
        name: "Arch, Gentoo",
        host: "flat-1",
        older: "the links beside the files lead to them",
        decoy: r#"[[decoy]]
version = "470.256.02"
preferred = true
"#,
        refused: &[
            ("ld.so.cache", "/usr/lib/libnvidia-ml.so.470.256.02"),
            ("ld.so.cache", "/usr/lib32/libnvidia-ml.so.470.256.02"),
            ("ld.so.cache", "/usr/lib/libcuda.so.470.256.02"),
            ("ld.so.cache", "/usr/lib32/libcuda.so.470.256.02"),
        ],
    },
    Platform {
        name: "Void, Buildroot",
        host: "void-1",
        older: "in a directory of higher rank",
        decoy: r#"[[decoy]]
version = "470.256.02"
directory = "/usr/lib64"
bin = "/usr/sbin"
"#,
        refused: &[
            ("ld.so.cache", "/etc/ld.so.cache"),
            ("well-known directory", "/usr/lib64/libcuda.so.470.256.02"),
        ],
    },
    Platform {
        name: "Alpine",
        host: "alpine-1",
        older: "in a directory of higher rank",
        decoy: r#"[[decoy]]
version = "470.256.02"
directory = "/usr/lib"
"#,
        refused: &[
            ("ld.so.cache", "/etc/ld.so.cache"),
            ("well-known directory", "/usr/lib/libcuda.so.470.256.02"),
        ],
    },
    Platform {
        name: "NixOS",
        host: "nixos-1",
        older: "a driver container was left behind",
        decoy: r#"[[decoy]]
version = "470.256.02"
root = "/run/nvidia/driver"
directory = "/usr/lib64"
preferred = true
bin = "/usr/bin"
"#,
        refused: &[
            (
                "ld.so.cache",
                "/run/nvidia/driver/usr/lib64/libnvidia-ml.so.470.256.02",
            ),
            (
                "ld.so.cache",
                "/run/nvidia/driver/usr/lib64/libcuda.so.470.256.02",
            ),
        ],
    },
    Platform {
        name: "GKE, Container-Optimized OS",
        host: "cos-1",
        older: "in a directory of higher rank, with a program on the PATH",
        decoy: r#"[[decoy]]
version = "470.256.02"
directory = "/usr/lib64"
bin = "/usr/bin"
"#,
        refused: &[
            ("ld.so.cache", "/etc/ld.so.cache"),
            ("well-known directory", "/usr/lib64/libcuda.so.470.256.02"),
        ],
    },
    Platform {
        name: "GKE, Ubuntu",
        host: "gke-ubuntu-1",
        older: "in a directory of higher rank, with a program on the PATH",
        decoy: r#"[[decoy]]
version = "470.256.02"
directory = "/usr/lib/x86_64-linux-gnu"
bin = "/usr/bin"
"#,
        refused: &[
            ("ld.so.cache", "/etc/ld.so.cache"),
            (
                "well-known directory",
                "/usr/lib/x86_64-linux-gnu/libcuda.so.470.256.02",
            ),
        ],
    },
    Platform {
        name: "Flatcar",
        host: "flatcar-1",
        older: "in a directory of higher rank",
        decoy: r#"[[decoy]]
version = "470.256.02"
directory = "/usr/lib64"
"#,
        refused: &[
            ("ld.so.cache", "/etc/ld.so.cache"),
            ("well-known directory", "/usr/lib64/libcuda.so.470.256.02"),
        ],
    },
    Platform {
        name: "Flatcar, system extension",
        host: "flatcar-sysext-1",
        older: "in a directory of higher rank",
        decoy: r#"[[decoy]]
version = "470.256.02"
directory = "/usr/lib/x86_64-linux-gnu"
"#,
        refused: &[
            ("ld.so.cache", "/etc/ld.so.cache"),
            (
                "well-known directory",
                "/usr/lib/x86_64-linux-gnu/libcuda.so.470.256.02",
            ),
        ],
    },
    Platform {
        name: "Talos from 1.13 on",
        host: "talos-1",
        older: "in a directory of higher rank, with a program on the PATH",
        decoy: r#"[[decoy]]
version = "470.256.02"
directory = "/usr/lib"
bin = "/usr/bin"
"#,
        refused: &[
            ("ld.so.cache", "/etc/ld.so.cache"),
            ("well-known directory", "/usr/lib/libcuda.so.470.256.02"),
        ],
    },
    Platform {
        name: "Talos up to 1.12",
        host: "talos-old-1",
        older: "its cache names them first",
        decoy: r#"[[decoy]]
version = "470.256.02"
directory = "/usr/local/glibc/lib"
preferred = true
"#,
        refused: &[
            ("ld.so.cache", "/etc/ld.so.cache"),
            (
                "ld.so.cache",
                "/usr/local/glibc/lib/libnvidia-ml.so.470.256.02",
            ),
            ("ld.so.cache", "/usr/local/glibc/lib/libcuda.so.470.256.02"),
        ],
    },
    Platform {
        name: "Bottlerocket",
        host: "bottlerocket-1",
        older: "the cache names them first",
        decoy: r#"[[decoy]]
version = "470.256.02"
directory = "/usr/lib64"
preferred = true
"#,
        refused: &[
            ("ld.so.cache", "/usr/lib64/libnvidia-ml.so.470.256.02"),
            ("ld.so.cache", "/usr/lib64/libcuda.so.470.256.02"),
        ],
    },
    Platform {
        name: "GPU operator, driver container",
        host: "driver-container-8",
        older: "beside the right ones in the container, and the host has a driver of its own",
        decoy: r#"[[decoy]]
version = "470.256.02"
preferred = true
[[decoy]]
version = "470.256.02"
root = "/"
preferred = true
bin = "/usr/bin"
"#,
        refused: &[
            (
                "ld.so.cache",
                "/run/nvidia/driver/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.470.256.02",
            ),
            (
                "ld.so.cache",
                "/run/nvidia/driver/usr/lib/x86_64-linux-gnu/libcuda.so.470.256.02",
            ),
        ],
    },
    Platform {
        name: "GPU operator, driver on the host",
        host: "run-16",
        older: "a driver container was left behind",
        decoy: r#"[[decoy]]
version = "470.256.02"
root = "/run/nvidia/driver"
preferred = true
bin = "/usr/bin"
"#,
        refused: &[
            (
                "ld.so.cache",
                "/run/nvidia/driver/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.470.256.02",
            ),
            (
                "ld.so.cache",
                "/run/nvidia/driver/usr/lib/x86_64-linux-gnu/libcuda.so.470.256.02",
            ),
        ],
    },
    Platform {
        name: "GPU operator, wrong driver root",
        host: "driver-root-wrong",
        older: "the root that the validator names has them",
        decoy: r#"[[decoy]]
version = "470.256.02"
root = "/run/nvidia/drivers"
preferred = true
"#,
        refused: &[
            (
                "ld.so.cache",
                "/run/nvidia/drivers/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.470.256.02",
            ),
            (
                "ld.so.cache",
                "/run/nvidia/drivers/usr/lib/x86_64-linux-gnu/libcuda.so.470.256.02",
            ),
        ],
    },
    Platform {
        name: "DRA driver, device plugin: pods with the host at /driver-root",
        host: "dra-1",
        older: "the pod's own image has them",
        decoy: r#"[[decoy]]
version = "470.256.02"
root = "/"
preferred = true
bin = "/usr/bin"
"#,
        refused: &[
            ("ld.so.cache", "/usr/lib64/libnvidia-ml.so.470.256.02"),
            ("ld.so.cache", "/usr/lib64/libcuda.so.470.256.02"),
        ],
    },
    Platform {
        name: "Ubuntu Core, snaps",
        host: "ubuntu-core-1",
        older: "the snap's own files",
        decoy: r#"[[decoy]]
version = "470.256.02"
root = "/"
preferred = true
bin = "/usr/bin"
"#,
        refused: &[
            (
                "ld.so.cache",
                "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.470.256.02",
            ),
            (
                "ld.so.cache",
                "/usr/lib/x86_64-linux-gnu/libcuda.so.470.256.02",
            ),
        ],
    },
    Platform {
        name: "Kata guest (NVRC)",
        host: "kata-1",
        older: "a driver container was left behind",
        decoy: r#"[[decoy]]
version = "470.256.02"
root = "/run/nvidia/driver"
preferred = true
"#,
        refused: &[
            (
                "ld.so.cache",
                "/run/nvidia/driver/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.470.256.02",
            ),
            (
                "ld.so.cache",
                "/run/nvidia/driver/usr/lib/x86_64-linux-gnu/libcuda.so.470.256.02",
            ),
            ("ld.so.cache", "/run/kata-extensions/gpu/etc/ld.so.cache"),
        ],
    },
    Platform {
        name: "MicroVM",
        host: "microvm-1",
        older: "in a directory of higher rank",
        decoy: r#"[[decoy]]
version = "470.256.02"
directory = "/usr/lib64"
"#,
        refused: &[
            ("ld.so.cache", "/etc/ld.so.cache"),
            ("well-known directory", "/usr/lib64/libcuda.so.470.256.02"),
        ],
    },
    Platform {
        name: "Cray",
        host: "cray-1",
        older: "in a directory of higher rank, with a program on the PATH",
        decoy: r#"[[decoy]]
version = "470.256.02"
directory = "/usr/lib64"
bin = "/usr/bin"
"#,
        refused: &[
            ("ld.so.cache", "/etc/ld.so.cache"),
            ("well-known directory", "/usr/lib64/libcuda.so.470.256.02"),
        ],
    },
    Platform {
        name: "LXC, Incus, Proxmox: a guest",
        host: "lxc-1",
        older: "the links beside the files lead to them",
        decoy: r#"[[decoy]]
version = "470.256.02"
preferred = true
"#,
        refused: &[
            (
                "ld.so.cache",
                "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.470.256.02",
            ),
            (
                "ld.so.cache",
                "/usr/lib/x86_64-linux-gnu/libcuda.so.470.256.02",
            ),
        ],
    },
];
