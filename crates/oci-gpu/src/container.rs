//! What the library must know of a container: its config.json, and facts about its root.

pub mod compat;
mod config_json;
mod loader;
mod view;

pub use loader::LoaderFacts;
pub use view::RootView;

use std::path::PathBuf;

use crate::elf::{Class, Machine};
use crate::finding::Finding;
use crate::inventory::Inventory;

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
    /// Whether it is an empty file system that the runtime makes for this container alone (type
    /// tmpfs or proc, not bound): what is created there changes nobody else's files.
    pub fresh: bool,
}

impl Container {
    /// Parses config.json. Lenient where the specification leaves room: unknown members, entries
    /// of process.env without `=`, members that are missing or `null`. The list that
    /// process.capabilities was before version 1.0.0-rc5 of the specification is read as the
    /// bounding set; a list in a later version grants nothing.
    ///
    /// Every entry of process.env is copied; [`crate::Request::possible`] tells the containers that
    /// ask for nothing apart without that.
    ///
    /// # Errors
    /// A finding [`crate::Code::Bundle`] that names the member and the remedy: not JSON, a member
    /// of the wrong type or given twice, more than [`CONFIG_LIMIT`] bytes, a root.path that is
    /// missing, empty or `/`.
    pub fn parse(config: &[u8]) -> Result<Container, Finding> {
        config_json::parse(config)
    }

    /// The value of an environment variable; the last entry of the name wins, as in the reference.
    pub fn env(&self, name: &str) -> Option<&str> {
        let mut entries = self.env.iter().rev();
        entries.find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
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

/// What was seen in a container's root file system.
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
    /// Whether nobody has seen the container yet (CDI): what its loader can load is decided when it
    /// is there.
    pub unseen: bool,
    /// What the loader of native programs has ([`ContainerFacts::with_loader`]).
    pub loader: LoaderFacts,
    /// What that of 32-bit programs has.
    pub loader32: LoaderFacts,
    /// What the image has of CUDA forward compatibility ([`ContainerFacts::with_compat`]).
    pub compat: Option<compat::Compat>,
}

impl Default for ContainerFacts {
    /// A root without /etc/debian_version: libraries in /usr/lib64 and /usr/lib32.
    fn default() -> ContainerFacts {
        ContainerFacts::of(|_| false)
    }
}

#[cfg(target_arch = "aarch64")]
mod native {
    use super::{Class, Machine};
    pub(super) const MACHINE: (Class, Machine) = (Class::Elf64, Machine::Aarch64);
    pub(super) const MULTIARCH: &str = "/usr/lib/aarch64-linux-gnu";
    pub(super) const MULTIARCH_LIB: &str = "/lib/aarch64-linux-gnu";
    pub(super) const MULTIARCH_LOCAL: &str = "/usr/local/lib/aarch64-linux-gnu";
    pub(super) const MUSL_LOADER: &str = "/lib/ld-musl-aarch64.so.1";
}

#[cfg(not(target_arch = "aarch64"))]
mod native {
    use super::{Class, Machine};
    pub(super) const MACHINE: (Class, Machine) = (Class::Elf64, Machine::X86_64);
    pub(super) const MULTIARCH: &str = "/usr/lib/x86_64-linux-gnu";
    pub(super) const MULTIARCH_LIB: &str = "/lib/x86_64-linux-gnu";
    pub(super) const MULTIARCH_LOCAL: &str = "/usr/local/lib/x86_64-linux-gnu";
    pub(super) const MUSL_LOADER: &str = "/lib/ld-musl-x86_64.so.1";
}

impl ContainerFacts {
    /// Facts from the answers to "does this path exist in the container's root?", asked for
    /// absolute paths whose links are followed inside that root.
    ///
    /// | root | 64-bit | 32-bit (x86-64 only) |
    /// |---|---|---|
    /// | Debian and its kin (/etc/debian_version) | /usr/lib/MULTIARCH | /usr/lib/i386-linux-gnu |
    /// | musl | /usr/lib | nowhere |
    /// | others with /usr/lib32 | /usr/lib64 | /usr/lib32 |
    /// | others, /usr/lib a directory apart from /usr/lib64 | /usr/lib64 | /usr/lib |
    /// | others | /usr/lib64 | /usr/lib32 |
    ///
    /// The directories are those of the reference (libnvidia-container, nvc_container.c), musl's
    /// excepted: its loader looks in /lib, /usr/local/lib and /usr/lib when it has no path file
    /// (musl, ldso/dynlink.c), never in lib64. It cannot load the driver's 32-bit glibc libraries.
    pub fn of(exists: impl Fn(&str) -> bool) -> ContainerFacts {
        let native = native::MACHINE;
        let debian = exists("/etc/debian_version");
        // glibc distributions have a musl package too: there the loader is a guest.
        let musl = !debian && exists(native::MUSL_LOADER) && !exists("/lib64/libc.so.6");
        let (lib_dir, lib32_dir) = match (debian, musl) {
            (true, _) => (native::MULTIARCH, Some("/usr/lib/i386-linux-gnu")),
            (_, true) => ("/usr/lib", None),
            _ => ("/usr/lib64", Some(lib32_beside_lib64(&exists))),
        };
        ContainerFacts {
            libc: if musl { Libc::Musl } else { Libc::Glibc },
            lib_dir: PathBuf::from(lib_dir),
            lib32_dir: lib32_dir
                .filter(|_| native.1 == Machine::X86_64)
                .map(PathBuf::from),
            proc_driver: match () {
                () if exists("/proc/driver/nvidia") => ProcDriver::Nvidia,
                () if exists("/proc/driver") => ProcDriver::Above,
                () => ProcDriver::Absent,
            },
            native,
            unseen: false,
            loader: LoaderFacts::default(),
            loader32: LoaderFacts::default(),
            compat: None,
        }
    }

    /// All that can be told of a container's root: [`ContainerFacts::of`] and
    /// [`ContainerFacts::with_loader`], and with `compat` [`ContainerFacts::with_compat`].
    pub fn seen(view: &impl RootView, inventory: &Inventory, compat: bool) -> ContainerFacts {
        let facts = ContainerFacts::of(|path| view.exists(path)).with_loader(view, inventory);
        match compat {
            true => facts.with_compat(view),
            false => facts,
        }
    }

    /// Where the X server's modules go: /usr/lib64/xorg/modules where 64-bit libraries are in
    /// /usr/lib64, else /usr/lib/xorg/modules, as the distributions build their servers.
    pub fn xorg_dir(&self) -> PathBuf {
        PathBuf::from(match self.lib_dir.ends_with("lib64") {
            true => "/usr/lib64/xorg/modules",
            false => "/usr/lib/xorg/modules",
        })
    }
}

fn lib32_beside_lib64(exists: impl Fn(&str) -> bool) -> &'static str {
    // os-release(5) lies in /usr/lib everywhere; seen in /usr/lib64 too, the two are one directory.
    let one_directory = || exists("/usr/lib64/os-release");
    if !exists("/usr/lib32") && exists("/usr/lib") && !one_directory() {
        "/usr/lib"
    } else {
        "/usr/lib32"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_follow_the_distribution() {
        use Libc::{Glibc, Musl};
        const MUSL: &str = native::MUSL_LOADER;
        let deb = native::MULTIARCH;
        let deb32 = "/usr/lib/i386-linux-gnu";
        let rows = [
            ("scratch", vec![], Glibc, "/usr/lib64", "/usr/lib32"),
            (
                "debian",
                vec!["/etc/debian_version", "/usr/lib"],
                Glibc,
                deb,
                deb32,
            ),
            (
                "debian with musl",
                vec!["/etc/debian_version", MUSL],
                Glibc,
                deb,
                deb32,
            ),
            (
                "fedora",
                vec!["/usr/lib", "/lib64/libc.so.6"],
                Glibc,
                "/usr/lib64",
                "/usr/lib",
            ),
            (
                "with musl",
                vec!["/usr/lib", "/lib64/libc.so.6", MUSL],
                Glibc,
                "/usr/lib64",
                "/usr/lib",
            ),
            (
                "arch",
                vec!["/usr/lib", "/usr/lib64/os-release"],
                Glibc,
                "/usr/lib64",
                "/usr/lib32",
            ),
            (
                "multilib",
                vec!["/usr/lib", "/usr/lib32"],
                Glibc,
                "/usr/lib64",
                "/usr/lib32",
            ),
            ("alpine", vec![MUSL, "/usr/lib"], Musl, "/usr/lib", ""),
            (
                "gcompat",
                vec![MUSL, "/lib64/ld-linux-x86-64.so.2"],
                Musl,
                "/usr/lib",
                "",
            ),
        ];
        for (name, paths, libc, lib_dir, lib32_dir) in rows {
            let facts = ContainerFacts::of(|path| paths.contains(&path));
            assert_eq!(facts.libc, libc, "{name}");
            assert_eq!(facts.lib_dir, PathBuf::from(lib_dir), "{name}");
            let none = lib32_dir.is_empty() || native::MACHINE.1 != Machine::X86_64;
            let lib32_dir = (!none).then(|| PathBuf::from(lib32_dir));
            assert_eq!(facts.lib32_dir, lib32_dir, "{name}");
        }
    }

    #[test]
    fn the_last_entry_of_a_variable_wins_and_names_are_exact() {
        let env = ["A=1", "AB=2", "A", "A=3", "=5", "A2=4", "EMPTY="];
        let container = Container {
            env: env.map(str::to_owned).to_vec(),
            ..Container::default()
        };
        assert_eq!(container.env("A"), Some("3"));
        assert_eq!(container.env("AB"), Some("2"));
        assert_eq!(container.env("EMPTY"), Some(""));
        assert_eq!(container.env("B"), None);
    }
}
