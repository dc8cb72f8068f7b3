//! What a host has: the driver, its files, the GPUs and their device nodes, each with evidence.

use std::path::PathBuf;

use serde::Serialize;

use crate::capability::CapabilitySet;
use crate::elf::{Class, Machine};
use crate::finding::Finding;
use crate::peripheral::Peripheral;

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

/// A symbolic link of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostLink {
    /// Where it is.
    pub path: PathBuf,
    /// What it holds.
    pub points_to: PathBuf,
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

/// The driver in the kernel and the user-space files that fit it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Driver {
    /// The version, as the kernel spells it ("550.163.01").
    pub version: String,
    /// The file that told the version.
    pub version_source: PathBuf,
    /// "open" or "proprietary" kernel modules, where /proc/driver/nvidia/version tells.
    pub flavour: Option<&'static str>,
    /// The directory that is `/` to the driver's user-space files.
    pub root: PathBuf,
    /// The newest CUDA version that the driver supports, major and minor, where it is known.
    pub cuda: Option<(u32, u32)>,
    /// Every place that was looked at for user-space files, in the order of trial.
    pub candidates: Vec<Candidate>,
    /// /proc/driver/nvidia files that a container gets a copy of.
    pub proc_files: Vec<ProcFile>,
    /// `DeviceFileUID`, `DeviceFileGID`, `DeviceFileMode` of /proc/driver/nvidia/params.
    pub device_files: DeviceFileParams,
}

/// A file below /proc/driver/nvidia and its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcFile {
    /// Its name below /proc/driver/nvidia ("params").
    pub name: String,
    /// Its content.
    pub content: String,
}

/// Owner and mode that the kernel module wants its device nodes to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceFileParams {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

impl Default for DeviceFileParams {
    /// The module's own defaults: root, root, 0666.
    fn default() -> DeviceFileParams {
        DeviceFileParams {
            uid: 0,
            gid: 0,
            mode: 0o666,
        }
    }
}

/// A place that was looked at for the driver's user-space files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// The file, directory or root.
    pub path: PathBuf,
    /// What kind of evidence it is ("ld.so.cache", "well-known directory").
    pub evidence: &'static str,
    /// Whether files were taken from it.
    pub accepted: bool,
    /// Why it was accepted or refused.
    pub why: String,
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

/// A DRM node of a GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DrmNode {
    /// /dev/dri/cardN or /dev/dri/renderDN.
    pub node: DeviceNode,
    /// The link below /dev/dri/by-path that leads to it, if the host has one.
    pub by_path: Option<PathBuf>,
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

/// A MIG access right: a procfs file and the capability node that stands for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MigAccess {
    /// /proc/driver/nvidia/capabilities/gpuN/mig/giG[/ciC]/access.
    pub proc_file: PathBuf,
    /// /dev/nvidia-caps/nvidia-capN.
    pub node: DeviceNode,
    /// Permission bits that the kernel module wants the node to have: 0400 for MIG configuration.
    pub mode: u32,
}

/// What a control node is for; decides who gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ControlRole {
    /// /dev/nvidiactl: every GPU container.
    Control,
    /// /dev/nvidia-uvm: compute.
    Uvm,
    /// /dev/nvidia-uvm-tools: compute, optional.
    UvmTools,
    /// /dev/nvidia-modeset: display and graphics, optional.
    Modeset,
    /// A node of another platform than NVIDIA's kernel modules (/dev/dxg): every GPU container.
    Platform,
}

/// A node that belongs to no single GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ControlNode {
    /// What it is for.
    pub role: ControlRole,
    /// The node.
    pub node: DeviceNode,
}

/// An IMEX channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImexChannel {
    /// Its number.
    pub id: u32,
    /// /dev/nvidia-caps-imex-channels/channelN.
    pub node: DeviceNode,
}

/// A node of hardware beside the GPUs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PeripheralNode {
    /// What it is.
    pub kind: Peripheral,
    /// The node.
    pub node: DeviceNode,
}

/// A device node: where it is, what numbers it must have, and what was found there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceNode {
    /// Path on the host.
    pub path: PathBuf,
    /// Path in a container: the same without the dev root.
    pub target: PathBuf,
    /// Major number that the kernel's /proc/devices demands.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// What the host has at `path`.
    pub state: NodeState,
    /// Permission bits and owner of the node that was found.
    pub owner: Option<NodeOwner>,
}

/// Owner and mode of an existing node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeOwner {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What the host has where a device node belongs. Serialized it is `{"is": "present"}`, and so on;
/// `why` holds the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "is", content = "why")]
pub enum NodeState {
    /// A character device with the right numbers.
    Present,
    /// Nothing.
    Missing,
    /// Something else; the text says what.
    Wrong(String),
}

/// A driver library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Library {
    /// The file itself, not a link to it.
    pub path: PathBuf,
    /// DT_SONAME; absent in a few driver files.
    pub soname: Option<String>,
    /// 32-bit or 64-bit.
    pub class: Class,
    /// Processor.
    pub machine: Machine,
    /// The capabilities that it is part of.
    pub capabilities: CapabilitySet,
    /// The name without ".so" and what follows: "libcuda".
    pub stem: String,
    /// What led to it ("/usr/lib/x86_64-linux-gnu of ld.so.cache").
    pub evidence: String,
    /// What it needs to be loaded, for a library that is no part of the driver's own build: its file
    /// name does not end in the driver's version. A container gets it only where it can be loaded.
    pub foreign: Option<ForeignNeeds>,
}

/// What a library needs that a distribution may have built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ForeignNeeds {
    /// Versions of the C library ("GLIBC_2.34").
    pub glibc: Vec<String>,
    /// Sonames of libraries other than the C library's parts.
    pub libraries: Vec<String>,
}

/// What kind of driver file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FileKind {
    /// A program.
    Binary,
    /// GSP firmware.
    Firmware,
    /// A Unix socket.
    Socket,
    /// A directory with sockets or pipes (MPS).
    Directory,
    /// A configuration file.
    Config,
    /// Code that is loaded by its path: a module of the X server, a DLL.
    Module,
    /// A directory of data.
    Data,
    /// A directory with libraries or programs in it.
    Tree,
}

/// The directory in a container that a file's place is told from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Home {
    /// The container's root.
    Root,
    /// The directory of 64-bit libraries, which its distribution decides.
    Libraries,
    /// The X server's directory of modules, which its distribution decides.
    Xorg,
}

/// A file of the driver that is not a library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DriverFile {
    /// What it is.
    pub kind: FileKind,
    /// The file itself on the host, every link followed.
    pub path: PathBuf,
    /// What `target` is told from.
    pub home: Home,
    /// Where it belongs in a container: absolute for [`Home::Root`], else below the home.
    pub target: PathBuf,
    /// The capabilities that it is part of.
    pub capabilities: CapabilitySet,
    /// The hardware beside the GPUs that it is for; such a file is for every capability.
    pub peripheral: Option<Peripheral>,
    /// The library with a version of its own that it leads to, by stem.
    pub library: Option<&'static str>,
    /// The absolute path by which it names its library, where that is no name for the loader to
    /// find: NixOS writes store paths.
    pub names: Option<PathBuf>,
    /// A link in its directory that leads to it, by name.
    pub link: Option<&'static str>,
}

impl DriverFile {
    /// A file at `path` that belongs at `target` in a container, and has nothing special about it.
    pub(crate) fn at(
        kind: FileKind,
        path: PathBuf,
        target: PathBuf,
        capabilities: CapabilitySet,
    ) -> DriverFile {
        DriverFile {
            kind,
            path,
            home: Home::Root,
            target,
            capabilities,
            peripheral: None,
            library: None,
            names: None,
            link: None,
        }
    }
}
