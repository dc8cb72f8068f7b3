//! The nodes that a container of some request gets: what a hook makes in udev's place.

use std::path::Path;

use super::kernel_nodes::{Kernel, KernelNode, KernelNodeKind, NOTHING, each_once};
use super::proc_driver::imex_channel_count;
use super::{
    DiscoverError, Scope, control, gpus, mig, nodes, peripherals, stored, tegra, version, wsl,
};
use crate::finding::Code;
use crate::host::Host;
use crate::inventory::{
    DeviceNode, ImexChannel, Inventory, NodeOwner, NodeState, Platform, StoredState,
};
use crate::request::Request;
use crate::select::select;

/// The nodes that a container of `request` gets, whether they are there or not; IMEX channels as
/// well that have no node yet. Nodes of hardware beside the GPUs, DRM's, and all nodes of Tegra and
/// WSL2 are others' to make.
///
/// # Errors
/// As [`super::kernel_nodes()`] and [`select`].
pub fn needed_nodes(host: &Host, request: &Request) -> Result<Vec<KernelNode>, DiscoverError> {
    if tegra::is_here(host) {
        return Ok(Vec::new());
    }
    let kernel = match Kernel::of(host) {
        Err(e) if e.code == Code::NoDriver && wsl::is_here(host) => return Ok(Vec::new()),
        other => other?,
    };
    let grant = select(&kernel.inventory(request)?, request)?;
    let mut needed = Vec::new();
    for c in grant.control {
        if let Some(required) = c.role.need(request.capabilities) {
            needed.push(kernel.control(c.role, c.node, required));
        }
    }
    let gpus = grant.gpus.into_iter();
    needed.extend(gpus.map(|g| kernel.own(g.node, KernelNodeKind::Gpu)));
    for (_, instance) in grant.mig {
        needed.push(kernel.right(instance.gi_access));
        needed.push(kernel.right(instance.ci_access));
    }
    needed.extend(grant.mig_rights.into_iter().map(|r| kernel.right(r)));
    needed.extend(grant.imex_channels.into_iter().map(|c| kernel.imex(c)));
    Ok(each_once(needed))
}

/// `inventory` as it is once `made` are on the host: what a hook that makes nodes
/// (`create-device-nodes`) will find.
pub fn with_nodes(mut inventory: Inventory, made: &[KernelNode]) -> Inventory {
    let mark = |node: &mut DeviceNode| {
        if let Some(made) = made.iter().find(|m| m.node.path == node.path) {
            let owner = made.owner;
            node.state = NodeState::Present;
            node.owner = Some(NodeOwner {
                mode: owner.mode,
                uid: owner.uid,
                gid: owner.gid,
            });
        }
    };
    for channel in made
        .iter()
        .filter(|m| m.kind == KernelNodeKind::ImexChannel)
    {
        let channel = ImexChannel {
            id: channel.node.minor,
            node: channel.node.clone(),
        };
        if !inventory.imex_channels.iter().any(|c| c.id == channel.id) {
            inventory.imex_channels.push(channel);
        }
    }
    inventory.imex_channels.sort_by_key(|c| c.id);
    inventory
        .imex_channels
        .iter_mut()
        .for_each(|c| mark(&mut c.node));
    inventory.control.iter_mut().for_each(|c| mark(&mut c.node));
    let rights = [&mut inventory.mig_config, &mut inventory.mig_monitor];
    rights.into_iter().flatten().for_each(|r| mark(&mut r.node));
    for gpu in &mut inventory.gpus {
        mark(&mut gpu.node);
        for instance in &mut gpu.mig {
            mark(&mut instance.gi_access.node);
            mark(&mut instance.ci_access.node);
        }
    }
    inventory
}

impl Kernel<'_> {
    /// As much of the host as [`select`] looks at, with the IMEX channels that could have a node.
    fn inventory(&self, request: &Request) -> Result<Inventory, DiscoverError> {
        let host = self.nodes.host;
        let driver = version::kernel(host, &mut Vec::new())?;
        let scope = Scope::of(request);
        let imex_channels = match request.management {
            true => nodes::imex_channels(&self.nodes),
            false => {
                let ids = request.imex_channels.iter();
                let channels = ids.filter_map(|id| self.channel(*id));
                // A container makes no node of a number that the driver does not say it has.
                let bounded = imex_channel_count(&self.params).is_some();
                channels
                    .filter(|c| bounded || c.node.state == NodeState::Present)
                    .collect()
            }
        };
        let mut driver = driver.into_driver(host, Path::new("/"), Vec::new());
        let mut gpus = gpus::read(&self.nodes, &NOTHING, &mut Vec::new())?;
        let stored = match scope.stored {
            true => stored::complete(host, &mut driver, &mut gpus, &mut Vec::new()),
            false => StoredState::NotRead,
        };
        Ok(Inventory {
            platform: Platform::Native,
            stored,
            driver,
            gpus,
            control: control(&self.nodes),
            mig_config: mig::right(&self.nodes, "config")?,
            mig_monitor: mig::right(&self.nodes, "monitor")?,
            imex_channels,
            peripherals: match scope.peripherals {
                true => peripherals::find(&self.nodes),
                false => Vec::new(),
            },
            libraries: Vec::new(),
            files: Vec::new(),
            links: Vec::new(),
            findings: Vec::new(),
        })
    }
}
