//! The grant of a container that others have given its nodes to.

use super::Grant;
use crate::capability::CapabilitySet;
use crate::inventory::{DeviceNode, Inventory, MigAccess, MigInstance};

/// What a container has been given by others: the nodes that it `has`.
pub fn present(inventory: &Inventory, has: impl Fn(&DeviceNode) -> bool) -> Grant {
    let mut mig = Vec::new();
    let mut gpus = Vec::new();
    for gpu in inventory.gpus.iter().filter(|g| has(&g.node)) {
        let mut gpu = gpu.clone();
        gpu.drm.retain(|d| has(&d.node));
        let given = |m: &&MigInstance| has(&m.gi_access.node) && has(&m.ci_access.node);
        mig.extend(gpu.mig.iter().filter(given).map(|m| (gpu.index, m.clone())));
        gpus.push(gpu);
    }
    let rights = [&inventory.mig_config, &inventory.mig_monitor];
    let rights: Vec<MigAccess> = rights.into_iter().flatten().cloned().collect();
    let all = rights.iter().all(|r| has(&r.node)) && !rights.is_empty();
    Grant {
        platform: inventory.platform,
        // Everything that there is, and the right to change it.
        management: all && gpus.len() == inventory.gpus.len(),
        mig_rights: rights.into_iter().filter(|r| has(&r.node)).collect(),
        gpus,
        mig,
        control: Vec::new(),
        imex_channels: Vec::new(),
        peripherals: Vec::new(),
        capabilities: CapabilitySet::all(),
    }
}
