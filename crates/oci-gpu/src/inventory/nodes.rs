//! Device nodes of a host: where they are, their numbers, and what was found there.

use std::path::PathBuf;

use serde::Serialize;

use crate::capability::Capability::{Compute, Display, Graphics, Video};
use crate::capability::CapabilitySet;
use crate::peripheral::Peripheral;

/// A DRM node of a GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DrmNode {
    /// /dev/dri/cardN or /dev/dri/renderDN.
    pub node: DeviceNode,
    /// The link below /dev/dri/by-path that leads to it, if the host has one.
    pub by_path: Option<PathBuf>,
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
    /// /dev/nvidia-uvm: compute, and video, which can do without.
    Uvm,
    /// /dev/nvidia-uvm-tools: compute and video, optional.
    UvmTools,
    /// /dev/nvidia-modeset: display and graphics, optional.
    Modeset,
    /// A node of another platform than NVIDIA's kernel modules (/dev/dxg): every GPU container.
    Platform,
}

impl ControlRole {
    /// Whether containers with these capabilities get the node: `Some(true)` where they cannot do
    /// without.
    pub(crate) fn need(self, capabilities: CapabilitySet) -> Option<bool> {
        let has = |c| capabilities.contains(c);
        // The video codecs run on CUDA.
        let cuda = has(Compute) || has(Video);
        match self {
            ControlRole::Control | ControlRole::Platform => Some(true),
            ControlRole::Uvm => cuda.then_some(has(Compute)),
            ControlRole::UvmTools => cuda.then_some(false),
            ControlRole::Modeset => (has(Display) || has(Graphics)).then_some(false),
        }
    }

    /// Who gets the node, in words.
    pub(crate) fn users(self) -> &'static str {
        match self {
            ControlRole::Control => "every GPU container",
            ControlRole::Platform => "the platform's own device",
            ControlRole::Uvm | ControlRole::UvmTools => "capability compute or video",
            ControlRole::Modeset => "capability display or graphics",
        }
    }
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
