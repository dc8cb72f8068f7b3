//! What is expected of the hosts whose driver lies where no distribution of old has it.

use oci_gpu::finding::Code;

use crate::expected::Outcome::{self, Fails, Found as Finds};
use crate::expected::{Evidence, Found, Lib, NO_CACHE, RUN};

/// A driver in directories that are known, on a host whose ld.so.cache does not name them.
const BY_DIRECTORY: Found = Found {
    evidence: Evidence::WellKnown,
    refused: &[NO_CACHE],
    ..RUN
};

const LIB64: Lib = Lib {
    public: "/usr/lib64",
    private: "/usr/lib64",
    vdpau: "/usr/lib64/vdpau",
};

/// Libraries of all kinds in one directory, none of them VDPAU's.
const fn all_in(directory: &'static str) -> Lib {
    Lib {
        public: directory,
        private: directory,
        vdpau: "none",
    }
}

/// The outcome for the host of that name, if it is one of these.
pub(crate) fn expected(host: &str) -> Option<Outcome> {
    Some(Finds(match host {
        "alpine-1" => Found {
            lib: all_in("/usr/glibc-compat/lib"),
            libraries: 12,
            ..BY_DIRECTORY
        },
        "bottlerocket-1" => Found {
            lib: all_in("/usr/x86_64-bottlerocket-linux-gnu/sys-root/usr/lib/nvidia/tesla"),
            libraries: 14,
            smi: "/usr/libexec/nvidia/tesla/bin/nvidia-smi",
            ..RUN
        },
        "cos-1" => Found {
            lib: all_in("/home/kubernetes/bin/nvidia/lib64"),
            libraries: 26,
            smi: "/home/kubernetes/bin/nvidia/bin/nvidia-smi",
            firmware: "/home/kubernetes/bin/nvidia/firmware/nvidia",
            ..BY_DIRECTORY
        },
        "cray-1" => Found {
            lib: all_in("/opt/cray/nvidia/535.261.03/lib64"),
            libraries: 10,
            smi: "/opt/cray/nvidia/535.261.03/bin/nvidia-smi",
            ..BY_DIRECTORY
        },
        "dra-1" => Found {
            root: "/driver-root",
            lib: LIB64,
            libraries: 12,
            refused: &[(
                "ld.so.cache",
                "/etc/ld.so.cache",
                "it names neither libcuda nor libnvidia-ml",
            )],
            ..RUN
        },
        "driver-root-wrong" => Found {
            root: "/run/nvidia/driver",
            libraries: 12,
            refused: &[("driver-ready", "/run/nvidia/drivers", "it does not exist")],
            ..RUN
        },
        "flatcar-1" => Found {
            lib: all_in("/opt/nvidia/550.163.01/6.6.95-flatcar/usr/lib64"),
            libraries: 12,
            smi: "/opt/bin/nvidia-smi",
            ..BY_DIRECTORY
        },
        "flatcar-sysext-1" => Found {
            lib: LIB64,
            libraries: 14,
            ..BY_DIRECTORY
        },
        "gke-ubuntu-1" => Found {
            lib: all_in("/var/lib/nvidia/lib64"),
            libraries: 29,
            smi: "/var/lib/nvidia/bin/nvidia-smi",
            ..BY_DIRECTORY
        },
        "kata-1" => Found {
            root: "/run/kata-extensions/gpu",
            libraries: 14,
            evidence: Evidence::WellKnown,
            refused: &[(
                "ld.so.cache",
                "/run/kata-extensions/gpu/etc/ld.so.cache",
                "it does not exist",
            )],
            ..RUN
        },
        "lxc-1" => Found {
            libraries: 16,
            ..RUN
        },
        "lxc-mismatch" => {
            let words = &[
                "this system is a container (lxc) whose host's kernel runs driver 550.163.01",
                "user-space files here are of 535.261.03 (/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.535.261.03)",
                "without kernel modules",
            ];
            return Some(Fails(Code::NoUserland, words));
        }
        "rpm-nvidia-1" => Found {
            lib: Lib {
                vdpau: "/usr/lib64/nvidia/vdpau",
                ..all_in("/usr/lib64/nvidia")
            },
            libraries: 16,
            ..RUN
        },
        "talos-1" => Found {
            lib: all_in("/usr/local/lib"),
            libraries: 14,
            smi: "/usr/local/bin/nvidia-smi",
            ..BY_DIRECTORY
        },
        "talos-old-1" => Found {
            lib: all_in("/usr/local/glibc/usr/lib"),
            libraries: 12,
            smi: "/usr/local/bin/nvidia-smi",
            refused: &[NO_CACHE],
            ..RUN
        },
        "ubuntu-core-1" => Found {
            root: "/var/lib/snapd/hostfs",
            libraries: 16,
            refused: &[(
                "ld.so.cache",
                "/etc/ld.so.cache",
                "it names neither libcuda nor libnvidia-ml",
            )],
            ..RUN
        },
        "void-1" => Found {
            lib: Lib {
                vdpau: "/usr/lib/vdpau",
                ..all_in("/usr/lib")
            },
            lib32: Some(Lib {
                vdpau: "/usr/lib32/vdpau",
                ..all_in("/usr/lib32")
            }),
            libraries: 55,
            ..BY_DIRECTORY
        },
        _ => return None,
    }))
}
