//! The description of a host: what a TOML file says, checked.

use oci_gpu::finding::Finding;
use serde::{Deserialize, Serialize};

use crate::check::refusal;
use crate::driver::{Driver, Module};
use crate::elf::Target;
use crate::peripherals::Peripheral;

/// A host to simulate. Every key has a default; an empty description is a machine without GPU and
/// driver.
///
/// The fields are public so that a program may start from a built-in host and change it; whatever
/// takes a description checks it anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct HostSpec {
    /// One line for people.
    pub description: String,
    /// The processor.
    pub arch: Arch,
    /// How the driver's user-space files were installed.
    pub layout: Layout,
    /// What to do about device nodes.
    pub nodes: Nodes,
    /// The driver; absent on a host that has none.
    pub driver: Option<Driver>,
    /// The GPUs all together.
    pub gpus: Gpus,
    /// What is particular to single GPUs.
    pub gpu: Vec<GpuSpec>,
    /// The IMEX channels that have a node.
    pub imex_channels: Vec<u32>,
    /// Hardware beside the GPUs.
    pub peripherals: Vec<Peripheral>,
    /// Major numbers that the kernel gave out at boot.
    pub majors: Majors,
    /// Daemons whose sockets exist.
    pub services: Services,
    /// Other places than the layout's own.
    pub paths: Paths,
    /// Symbolic links of the host, there before anything is installed.
    pub link: Vec<Link>,
    /// Further text files of the host.
    pub file: Vec<TextFile>,
    /// Libraries of other drivers that lie about.
    pub decoy: Vec<Decoy>,
    /// What is broken.
    pub faults: Faults,
}

/// The host's processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Arch {
    /// x86-64, with i386 beside it where 32-bit libraries are asked for.
    #[default]
    #[serde(rename = "x86_64")]
    X86_64,
    /// AArch64; no driver has 32-bit libraries there.
    #[serde(rename = "aarch64")]
    Aarch64,
}

impl Arch {
    pub(crate) fn target(self) -> Target {
        match self {
            Arch::X86_64 => Target::X86_64,
            Arch::Aarch64 => Target::Aarch64,
        }
    }

    /// The name in file paths and in the kernel's texts.
    pub fn as_str(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Aarch64 => "aarch64",
        }
    }
}

/// How the driver's user-space files were installed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Debian's packages: /usr/lib/TRIPLET/nvidia/current and links through /etc/alternatives.
    Debian,
    /// NVIDIA's installer on Debian or Ubuntu: everything in /usr/lib/TRIPLET.
    #[default]
    Run,
    /// RPM packages: /usr/lib64, 32-bit in /usr/lib.
    Rpm,
    /// A driver container: /run/nvidia/driver is the driver's root, the host has no user land.
    DriverContainer,
    /// A microVM with a minimal init: /usr/local/nvidia/{lib64,bin}, no ld.so.cache, no nodes.
    Microvm,
    /// NixOS: /run/opengl-driver links into /nix/store, no ld.so.cache.
    Nixos,
    /// WSL2: /dev/dxg, and Windows's driver store in /usr/lib/wsl/drivers; no kernel modules.
    Wsl,
    /// Tegra (Jetson): the processor's own GPU, and lists of what containers get.
    Tegra,
}

/// What to do about device nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nodes {
    /// Make them; being unable to is an error.
    #[default]
    Create,
    /// Leave them out: needs no privilege.
    Skip,
}

/// The GPUs all together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Gpus {
    /// How many there are, at most 64.
    pub count: u32,
    /// The model of those that name no other: a key of [`crate::MODELS`].
    pub model: String,
    /// How minor numbers follow the order of PCI addresses.
    pub minors: Minors,
    /// Whether a management controller's display is DRM card 0, so that card numbers and GPU
    /// numbers differ.
    pub bmc: bool,
}

impl Default for Gpus {
    fn default() -> Gpus {
        Gpus {
            count: 0,
            model: "h100".to_owned(),
            minors: Minors::Pci,
            bmc: false,
        }
    }
}

/// How minor numbers follow the order of PCI addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Minors {
    /// The first GPU has minor 0.
    #[default]
    Pci,
    /// The last GPU has minor 0.
    Reversed,
}

/// What is particular to one GPU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct GpuSpec {
    /// Which GPU is meant, from 0.
    pub index: u32,
    /// Its model: a key of [`crate::MODELS`].
    #[serde(default)]
    pub model: Option<String>,
    /// Its UUID, "GPU-...".
    #[serde(default)]
    pub uuid: Option<String>,
    /// Its PCI address, "0000:1a:00.0".
    #[serde(default)]
    pub bus_id: Option<String>,
    /// Its minor number.
    #[serde(default)]
    pub minor: Option<u32>,
    /// Its NUMA node; -1, as the kernel writes it, on a machine that has none.
    #[serde(default)]
    pub numa_node: Option<i32>,
    /// Its MIG instances. The kernel's files do not tell a GPU with MIG enabled and no instance
    /// from one with MIG disabled.
    #[serde(default)]
    pub mig: Vec<GpuInstance>,
}

/// A MIG GPU instance and the compute instances in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuInstance {
    /// Its number, 0 to 14. A driver numbers by size: 0 is the whole GPU, 7 to 13 are the seven
    /// smallest instances.
    pub gi: u32,
    /// Its compute instances, each 0 to 7.
    #[serde(default = "one_compute_instance")]
    pub ci: Vec<u32>,
}

fn one_compute_instance() -> Vec<u32> {
    vec![0]
}

/// Major numbers that the kernel gave out at boot. The driver's own is 195, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Majors {
    /// nvidia-uvm.
    pub uvm: u32,
    /// nvidia-caps.
    pub caps: u32,
    /// nvidia-caps-imex-channels.
    pub imex: u32,
}

impl Default for Majors {
    fn default() -> Majors {
        Majors {
            uvm: 508,
            caps: 237,
            imex: 234,
        }
    }
}

/// Daemons whose sockets exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Services {
    /// /run/nvidia-persistenced/socket.
    pub persistenced: bool,
    /// /run/nvidia-fabricmanager/socket.
    pub fabricmanager: bool,
    /// /tmp/nvidia-mps.
    pub mps: bool,
}

/// Other places than the layout's own, for the many hosts that are laid out in their own way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Paths {
    /// The driver's own root, below which everything of it lies, the other paths here included.
    pub root: Option<String>,
    /// The directory of the 64-bit libraries.
    pub lib: Option<String>,
    /// The directory of the 32-bit libraries.
    pub lib32: Option<String>,
    /// The directory of the programs.
    pub bin: Option<String>,
    /// The directory of the configuration ("/etc").
    pub etc: Option<String>,
    /// The directory of the data ("/usr/share").
    pub share: Option<String>,
    /// The directory of the firmware, of which the kernel is told.
    pub firmware: Option<String>,
    /// The ld.so.cache; empty for none.
    pub ld_cache: Option<String>,
    /// The directories that hold the device nodes; an empty list for none.
    pub dev: Option<Vec<String>>,
}

/// A symbolic link of the host. The directory that it leads to is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Where it is.
    pub path: String,
    /// The directory that it holds, by its absolute path.
    pub target: String,
}

/// A text file of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextFile {
    /// Where it is.
    pub path: String,
    /// What it holds.
    pub text: String,
}

/// The libraries of another driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decoy {
    /// Its version.
    pub version: String,
    /// The root below which they lie: the driver's unless named; "/" for the host's own.
    #[serde(default)]
    pub root: Option<String>,
    /// Where they lie, 64-bit only; beside the right ones unless named.
    #[serde(default)]
    pub directory: Option<String>,
    /// The directory of its nvidia-smi; none unless named.
    #[serde(default)]
    pub bin: Option<String>,
    /// Whether soname links, or alternatives, or the ld.so.cache of their root, lead to them.
    #[serde(default)]
    pub preferred: bool,
}

/// What is broken. Libraries go by their stem ("libcuda"), nodes by their path in /dev.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Faults {
    /// Libraries that are not installed: no file, no link, no cache entry.
    pub missing: Vec<String>,
    /// Libraries whose file is gone while links and cache entries remain.
    pub dangling: Vec<String>,
    /// Libraries that end after their first 100 bytes.
    pub truncated: Vec<String>,
    /// Nodes that are not there.
    pub missing_nodes: Vec<String>,
    /// Nodes with a major number that is one too high.
    pub wrong_nodes: Vec<String>,
    /// Nodes in whose place an empty regular file lies.
    pub regular_nodes: Vec<String>,
}

impl HostSpec {
    /// The host that a TOML text describes.
    ///
    /// # Errors
    /// [`Code::Sim`](oci_gpu::Code::Sim) with the line, for a text that is not TOML, an unknown key or a value that
    /// cannot be.
    pub fn from_toml(text: &str) -> Result<HostSpec, Finding> {
        let spec: HostSpec = toml::from_str(text).map_err(|e| {
            let at = e.span().map_or(0, |span| span.start);
            let before = text.get(..at).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let why = e.message().split('\n').collect::<Vec<_>>().join(", ");
            refusal(
                format!("host description, line {line}: {why}"),
                "see the table of keys in the README of oci-gpu-sim",
            )
        })?;
        spec.check()?;
        Ok(spec)
    }

    /// The version of the user-space files, where there is a driver.
    pub fn userland_version(&self) -> Option<&str> {
        let driver = self.driver.as_ref()?;
        Some(driver.userland.as_deref().unwrap_or(&driver.version))
    }

    /// Whether the kernel has the driver's modules.
    pub fn is_loaded(&self) -> bool {
        self.driver.as_ref().is_some_and(|driver| driver.loaded)
    }

    pub(crate) fn has_module(&self, module: Module) -> bool {
        self.driver
            .as_ref()
            .is_some_and(|driver| driver.loaded && driver.modules.contains(&module))
    }
}
