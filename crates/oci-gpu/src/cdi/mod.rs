//! CDI specifications: the plan as engines take it (Container Device Interface, SPEC.md 0.3 to 0.7).
//!
//! A specification has edits for every container and edits for each device. What a container gets
//! without a GPU is common; what it gets beyond that with one is that GPU's own. What no
//! specification can say (links, the loader's cache, the view of procfs) one hook does in the
//! container, from what it finds there: `oci-gpu-hook cdi`.

mod edits;
mod emit;

pub use emit::{Mode, NameStrategy, Options, generate};

use std::path::PathBuf;

use serde::Serialize;

/// A specification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The lowest version of the format that has all that is used.
    pub cdi_version: &'static str,
    /// VENDOR/CLASS, "nvidia.com/gpu".
    pub kind: String,
    /// Devices, by name.
    pub devices: Vec<Device>,
    /// For every container that gets one of the devices.
    pub container_edits: Edits,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Its name: what follows `=`.
    pub name: String,
    /// For containers that get it.
    pub container_edits: Edits,
}

/// Changes to a container's config.json.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Edits {
    /// Variables, NAME=VALUE.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Device nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_nodes: Vec<DeviceNode>,
    /// Hooks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
    /// Mounts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Supplementary groups (since 0.7.0).
    #[serde(rename = "additionalGids", skip_serializing_if = "Vec::is_empty")]
    pub additional_gids: Vec<u32>,
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceNode {
    /// In the container.
    pub path: PathBuf,
    /// On the host, where that is another (since 0.5.0).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_path: Option<PathBuf>,
    /// `c`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_mode: Option<u32>,
    /// What the device cgroup allows.
    pub permissions: &'static str,
    /// Group, where it is not root's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

/// A hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hook {
    /// Its stage.
    pub hook_name: &'static str,
    /// The program.
    pub path: PathBuf,
    /// Its arguments, its name first.
    pub args: Vec<String>,
}

/// A bind mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// On the host.
    pub host_path: PathBuf,
    /// In the container.
    pub container_path: PathBuf,
    /// Options of mount(8).
    pub options: Vec<&'static str>,
}

impl Edits {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        *self == Edits::default()
    }
}
