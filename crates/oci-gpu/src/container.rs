//! What the library must know of a container: its config.json, and facts about its root.

use std::path::PathBuf;

use crate::elf::{Class, Machine};
use crate::finding::Finding;

/// Largest config.json that is read, in bytes.
pub const CONFIG_LIMIT: u64 = 16 << 20;

/// The parts of a container's config.json that decide what it gets. Unknown fields are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Container {
    /// process.env as written.
    pub env: Vec<String>,
    /// mounts, in order.
    pub mounts: Vec<Mount>,
    /// annotations.
    pub annotations: Vec<(String, String)>,
    /// root.path as written: absolute, or relative to the bundle.
    pub root: PathBuf,
    /// root.readonly.
    pub root_readonly: bool,
    /// Whether process.capabilities.bounding has CAP_SYS_ADMIN: the field's rule for "privileged".
    pub privileged: bool,
    /// Whether linux.namespaces has a user namespace.
    pub user_namespace: bool,
    /// linux.mountLabel.
    pub mount_label: Option<String>,
}

/// A mount of config.json.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// Where in the container.
    pub destination: PathBuf,
    /// From where.
    pub source: PathBuf,
}

impl Container {
    /// Parses config.json. Lenient where the specification leaves room: unknown fields, entries of
    /// process.env without `=`, missing optional members.
    ///
    /// # Errors
    /// A finding [`crate::Code::Bundle`] that names the member and the remedy.
    pub fn parse(config: &[u8]) -> Result<Container, Finding> {
        let v: serde_json::Value = serde_json::from_slice(config).map_err(|e| Finding::new(crate::Code::Bundle, e.to_string(), ""))?;
        let mut c = Container::default();
        c.root = v["root"]["path"].as_str().unwrap_or_default().into();
        c.env = v["process"]["env"].as_array().into_iter().flatten().filter_map(|e| Some(e.as_str()?.to_owned())).collect();
        Ok(c)
    }

    /// The value of an environment variable; the last entry of the name wins, as for execve.
    pub fn env(&self, name: &str) -> Option<&str> {
        self.env.iter().rev().find_map(|e| {
            e.split_once('=')
                .filter(|(n, _)| *n == name)
                .map(|(_, v)| v)
        })
    }
}

/// The C library of a container's root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Libc {
    /// glibc, or nothing that can be told: a cache is written.
    #[default]
    Glibc,
    /// musl: no cache; found by file name in its path file's directories.
    Musl,
}

/// How much of /proc/driver/nvidia a container's procfs has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProcDriver {
    /// The directory: the kernel module is loaded.
    #[default]
    Nvidia,
    /// /proc/driver only: the module is not loaded, so the host's GPUs are simulated.
    Above,
    /// The container mounts no procfs.
    Absent,
}

/// What was seen in a container's root file system; existence of names only, nothing is parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContainerFacts {
    /// The C library.
    pub libc: Libc,
    /// Where 64-bit driver libraries go.
    pub lib_dir: PathBuf,
    /// Where 32-bit driver libraries go; `None` where the root has no place for them.
    pub lib32_dir: Option<PathBuf>,
    /// Where the view of the driver in procfs goes.
    pub proc_driver: ProcDriver,
    /// Class and machine of programs that the host (and so the container) runs natively.
    pub native: (Class, Machine),
}

impl Default for ContainerFacts {
    /// A root without /etc/debian_version: libraries in /usr/lib64 and /usr/lib32.
    fn default() -> ContainerFacts {
        ContainerFacts::of(|_| false)
    }
}

impl ContainerFacts {
    /// Facts from the answers to "does this path exist in the container's root?".
    ///
    /// The directories are those that the reference uses: Debian's multiarch directory where the
    /// root has /etc/debian_version, else /usr/lib64 (libnvidia-container, nvc_container.c).
    pub fn of(exists: impl Fn(&str) -> bool) -> ContainerFacts {
        let (native, multiarch, musl) = if cfg!(target_arch = "aarch64") {
            (
                (Class::Elf64, Machine::Aarch64),
                "aarch64-linux-gnu",
                "/lib/ld-musl-aarch64.so.1",
            )
        } else {
            (
                (Class::Elf64, Machine::X86_64),
                "x86_64-linux-gnu",
                "/lib/ld-musl-x86_64.so.1",
            )
        };
        let debian = exists("/etc/debian_version");
        let lib_dir = match debian {
            true => PathBuf::from("/usr/lib").join(multiarch),
            false => PathBuf::from("/usr/lib64"),
        };
        let lib32_dir = match (native.1, debian) {
            (Machine::X86_64, true) => Some(PathBuf::from("/usr/lib/i386-linux-gnu")),
            (Machine::X86_64, false) => Some(PathBuf::from("/usr/lib32")),
            _ => None,
        };
        let libc = if exists(musl) {
            Libc::Musl
        } else {
            Libc::Glibc
        };
        ContainerFacts {
            libc,
            lib_dir,
            lib32_dir,
            proc_driver: match () {
                () if exists("/proc/driver/nvidia") => ProcDriver::Nvidia,
                () if exists("/proc/driver") => ProcDriver::Above,
                () => ProcDriver::Absent,
            },
            native,
        }
    }
}
