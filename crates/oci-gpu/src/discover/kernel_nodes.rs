//! The device nodes that the kernel's driver should have on a host, with the owner and the mode
//! that the driver wants them to have. No user-space driver is looked for.
//!
//! | node | number | owner and mode |
//! |---|---|---|
//! | nvidiactl, nvidia-modeset, nvidiaN | major of nvidia; 255, 254, N | /proc/driver/nvidia/params |
//! | nvidia-uvm, nvidia-uvm-tools | major of nvidia-uvm; 0, 1 | root, 0666 |
//! | nvidia-nvlink, nvidia-nvswitchctl | major of that name; 0, 255 | its file `permissions` |
//! | nvidia-caps/nvidia-capN | major of nvidia-caps; N | root, the mode of its access file |
//! | nvidia-caps-imex-channels/channelN | major of that name; N | /proc/driver/nvidia/params |
//!
//! Source: nvidia-modprobe-utils.c of NVIDIA's nvidia-modprobe, which libnvidia-container uses too.

use std::collections::HashSet;
use std::path::Path;

use super::nodes::{IMEX_DIR, Majors, Nodes};
use super::proc_driver::{imex_channel_count, may_modify};
use super::{DiscoverError, PROC_DRIVER, Scope, control, gpus, mig, version};
use crate::capability::CapabilitySet;
use crate::finding::{Code, Finding};
use crate::host::Host;
use crate::inventory::{ControlRole, DeviceFileParams, DeviceNode, ImexChannel, MigAccess};

/// A device node that the kernel's driver should have on a host.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KernelNode {
    /// Where it belongs, its numbers, and what is there.
    pub node: DeviceNode,
    /// What it is.
    pub kind: KernelNodeKind,
    /// Owner and mode that the driver wants it to have.
    pub owner: DeviceFileParams,
    /// Whether the driver lets tools make it and change it (`ModifyDeviceFiles`,
    /// `DeviceFileModify`); an administrator can forbid that by a parameter of the module.
    pub may_modify: bool,
    /// Whether whoever asked for it cannot do without.
    pub required: bool,
}

/// What a node of the driver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KernelNodeKind {
    /// It belongs to no single GPU.
    Control,
    /// A GPU.
    Gpu,
    /// A right over MIG, or a MIG instance.
    Capability,
    /// An IMEX channel.
    ImexChannel,
}

/// Lists control nodes, GPUs, and the capability nodes of MIG, each once. IMEX channels are
/// [`imex_nodes`].
///
/// # Errors
/// As [`super::discover`] on a machine with NVIDIA's own kernel driver, without
/// [`Code::NoUserland`].
pub fn kernel_nodes(host: &Host) -> Result<Vec<KernelNode>, DiscoverError> {
    let kernel = Kernel::of(host)?;
    let mut all: Vec<KernelNode> = control(&kernel.nodes)
        .into_iter()
        .map(|c| kernel.control(c.role, c.node, true))
        .collect();
    all.extend(kernel.fabric());
    for gpu in gpus::read(&kernel.nodes, &NOTHING, &mut Vec::new())? {
        all.push(kernel.own(gpu.node, KernelNodeKind::Gpu));
        for instance in gpu.mig {
            all.push(kernel.right(instance.gi_access));
            all.push(kernel.right(instance.ci_access));
        }
    }
    for name in ["config", "monitor"] {
        all.extend(mig::right(&kernel.nodes, name)?.map(|r| kernel.right(r)));
    }
    Ok(each_once(all))
}

/// The nodes of IMEX channels: those numbers, or all that the driver has for `None`.
///
/// # Errors
/// As [`kernel_nodes`]; [`Code::ImexChannel`] where the driver has no channels, fewer than that,
/// or does not say how many.
pub fn imex_nodes(host: &Host, ids: Option<&[u32]>) -> Result<Vec<KernelNode>, DiscoverError> {
    let kernel = Kernel::of(host)?;
    let count = imex_channel_count(&kernel.params);
    let all: Vec<u32>;
    let ids = match (ids, count) {
        (Some(ids), _) => ids,
        (None, Some(count)) => {
            all = (0..count).collect();
            &all
        }
        (None, None) => {
            return Err(Finding::new(
                Code::ImexChannel,
                "/proc/driver/nvidia/params has no ImexChannelCount: how many IMEX channels the driver has is not known",
                "name the channels by number, or use driver 550 or later",
            ));
        }
    };
    if kernel.nodes.majors.imex.is_none() {
        return Err(Finding::new(
            Code::ImexChannel,
            "the driver has no IMEX channels: /proc/devices does not name nvidia-caps-imex-channels",
            "use a driver and GPUs that have them",
        ));
    }
    let channel = |id: &u32| {
        kernel.channel(*id).ok_or_else(|| {
            Finding::new(
                Code::ImexChannel,
                format!(
                    "there is no IMEX channel {id}: the driver has {}, from 0",
                    count.unwrap_or_default()
                ),
                "name one that there is, or load the driver with a larger NVreg_ImexChannelCount",
            )
        })
    };
    let channels = ids.iter().map(channel).collect::<Result<Vec<_>, _>>()?;
    let nodes = channels.into_iter().map(|c| kernel.imex(c));
    Ok(each_once(nodes.collect()))
}

/// No part of the driver's user-space files, nor DRM nodes.
pub(super) const NOTHING: Scope = Scope {
    capabilities: CapabilitySet::EMPTY,
    imex_channels: false,
    peripherals: false,
    every_list: false,
    stored: false,
};

/// Compute instances share their GPU instance's node.
pub(super) fn each_once(mut nodes: Vec<KernelNode>) -> Vec<KernelNode> {
    let mut seen = HashSet::new();
    nodes.retain(|n| seen.insert(n.node.path.clone()));
    nodes
}

/// What the kernel's driver says of its nodes.
pub(super) struct Kernel<'a> {
    pub(super) nodes: Nodes<'a>,
    /// /proc/driver/nvidia/params; empty where there is none.
    pub(super) params: String,
}

impl Kernel<'_> {
    pub(super) fn of(host: &Host) -> Result<Kernel<'_>, DiscoverError> {
        version::kernel(host, &mut Vec::new())?;
        Ok(Kernel {
            nodes: Nodes::of(host)?,
            params: text(host, &format!("{PROC_DRIVER}/params")),
        })
    }

    /// The channel of that number, if the driver has it.
    pub(super) fn channel(&self, id: u32) -> Option<ImexChannel> {
        let major = self.nodes.majors.imex?;
        let there = imex_channel_count(&self.params).is_none_or(|count| id < count);
        let path = format!("{IMEX_DIR}/channel{id}");
        there.then(|| ImexChannel {
            id,
            node: self.nodes.inspect(&path, major, id),
        })
    }

    /// The control nodes of NVLink and NVSwitch, where these drivers are loaded.
    fn fabric(&self) -> Vec<KernelNode> {
        let host = self.nodes.host;
        let devices = text(host, "/proc/devices");
        let table = [
            ("nvidia-nvlink", "/dev/nvidia-nvlink", 0),
            ("nvidia-nvswitch", "/dev/nvidia-nvswitchctl", 255),
        ];
        let nodes = table.into_iter().filter_map(|(driver, path, minor)| {
            let major = Majors::of(&devices, driver)?;
            let permissions = text(host, &format!("/proc/driver/{driver}/permissions"));
            Some(KernelNode {
                node: self.nodes.inspect(path, major, minor),
                kind: KernelNodeKind::Control,
                owner: DeviceFileParams::parse(&permissions),
                may_modify: may_modify(&permissions) && may_modify(&self.params),
                required: true,
            })
        });
        nodes.collect()
    }

    pub(super) fn control(
        &self,
        role: ControlRole,
        node: DeviceNode,
        required: bool,
    ) -> KernelNode {
        let owner = match role {
            // Of a module of its own, that has no such parameters.
            ControlRole::Uvm | ControlRole::UvmTools | ControlRole::Platform => {
                DeviceFileParams::default()
            }
            ControlRole::Control | ControlRole::Modeset => DeviceFileParams::parse(&self.params),
        };
        KernelNode {
            owner,
            required,
            ..self.own(node, KernelNodeKind::Control)
        }
    }

    /// A node whose owner and mode are parameters of the driver's module.
    pub(super) fn own(&self, node: DeviceNode, kind: KernelNodeKind) -> KernelNode {
        KernelNode {
            node,
            kind,
            owner: DeviceFileParams::parse(&self.params),
            may_modify: may_modify(&self.params),
            required: true,
        }
    }

    pub(super) fn imex(&self, channel: ImexChannel) -> KernelNode {
        self.own(channel.node, KernelNodeKind::ImexChannel)
    }

    pub(super) fn right(&self, right: MigAccess) -> KernelNode {
        let access = self.nodes.host.files().read_text(&right.proc_file);
        let may = access.is_ok_and(|text| may_modify(&text)) && may_modify(&self.params);
        KernelNode {
            owner: DeviceFileParams {
                mode: right.mode,
                ..DeviceFileParams::default()
            },
            may_modify: may,
            ..self.own(right.node, KernelNodeKind::Capability)
        }
    }
}

fn text(host: &Host, path: &str) -> String {
    host.files().read_text(Path::new(path)).unwrap_or_default()
}
