//! What a host has: the driver, its files, the GPUs and their device nodes, each with evidence.

mod driver;
mod files;
mod nodes;

pub use driver::{Candidate, DeviceFileParams, Driver, ProcFile};
pub use files::{DriverFile, FileKind, ForeignNeeds, Home, HostLink, Library};
pub use nodes::{
    ControlNode, ControlRole, DeviceNode, DrmNode, ImexChannel, MigAccess, NodeOwner, NodeState,
    PeripheralNode,
};

use std::path::PathBuf;

use serde::Serialize;

use crate::finding::Finding;

/// Everything that discovery found. All paths are paths on the host.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Inventory {
    /// How the host's GPUs are reached.
    pub platform: Platform,
    /// The driver that the kernel runs and where its user-space files are.
    pub driver: Driver,
    /// What became of the stored inventory, which tells what only NVML knows.
    pub stored: StoredState,
    /// The GPUs in PCI order; their index is their place in this list.
    pub gpus: Vec<Gpu>,
    /// Nodes that belong to no single GPU: nvidiactl, nvidia-uvm and the like.
    pub control: Vec<ControlNode>,
    /// The right to configure MIG on every GPU, where the driver offers it.
    pub mig_config: Option<MigAccess>,
    /// The right to watch MIG on every GPU, where the driver offers it.
    pub mig_monitor: Option<MigAccess>,
    /// IMEX channels that have a node.
    pub imex_channels: Vec<ImexChannel>,
    /// Nodes of hardware beside the GPUs.
    pub peripherals: Vec<PeripheralNode>,
    /// Driver libraries, 64-bit before 32-bit, each list sorted by path.
    pub libraries: Vec<Library>,
    /// Programs, firmware, sockets and configuration of the driver.
    pub files: Vec<DriverFile>,
    /// Links of the host that a container gets as they are (Tegra).
    pub links: Vec<HostLink>,
    /// What was odd but did not stop discovery.
    pub findings: Vec<Finding>,
}

/// How a host's GPUs are reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Platform {
    /// By NVIDIA's kernel modules: one node a GPU.
    #[default]
    Native,
    /// WSL2: all of a Windows host's GPUs behind /dev/dxg.
    Wsl,
    /// Tegra (Jetson): a GPU that is part of the processor, and files that L4T's lists name.
    Tegra,
}

/// What became of the inventory that `oci-gpu refresh` keeps ([`crate::discover::stored`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum StoredState {
    /// Nothing needed it.
    NotRead,
    /// There is none.
    Absent,
    /// There is one that is not to be believed.
    Refused {
        /// Why.
        why: String,
    },
    /// What it tells is in the inventory.
    Used,
}

/// One GPU.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Gpu {
    /// Place in PCI order, from 0.
    pub index: u32,
    /// `GPU-...`; absent where the kernel does not tell it (unprivileged LXC).
    pub uuid: Option<String>,
    /// Minor number of its node. It need not equal the index.
    pub minor: u32,
    /// PCI address as the kernel names it: "0000:1a:00.0", lower case.
    pub bus_id: String,
    /// Marketing name.
    pub model: String,
    /// Brand as NVML names it ("Tesla"), from NVML or as far as the marketing name tells.
    pub brand: Option<String>,
    /// Compute capability, major and minor, where NVML told it.
    pub arch: Option<(u32, u32)>,
    /// Its device node, /dev/nvidiaN.
    pub node: DeviceNode,
    /// Its directory below /proc/driver/nvidia/gpus.
    pub proc_dir: PathBuf,
    /// Its DRM nodes (card and render), and the by-path links that lead to them.
    pub drm: Vec<DrmNode>,
    /// Whether the GPU is split: then it is used through its instances only.
    pub mig_enabled: bool,
    /// Its MIG instances in ascending order of GPU and compute instance.
    pub mig: Vec<MigInstance>,
}

/// A MIG instance: a compute instance inside a GPU instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MigInstance {
    /// GPU instance number.
    pub gi: u32,
    /// Compute instance number.
    pub ci: u32,
    /// `MIG-...`, where a stored inventory knows it; the kernel's files do not.
    pub uuid: Option<String>,
    /// The GPU instance's access file and node.
    pub gi_access: MigAccess,
    /// The compute instance's access file and node.
    pub ci_access: MigAccess,
}
