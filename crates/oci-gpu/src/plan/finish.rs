//! The rest of a plan for a container that has its nodes and files already, by a CDI specification:
//! links, the loader's cache, the view of procfs.

use std::path::{Path, PathBuf};

use super::libraries::{self, name_libraries};
use super::{BindKind, Operation, Plan, devices, files, procfs, profile};
use crate::capability::Capability::{Display, Graphics};
use crate::capability::CapabilitySet;
use crate::container::{ContainerFacts, Mount};
use crate::host::Host;
use crate::inventory::Inventory;
use crate::select::Grant;

impl Plan {
    /// Decides what a container still needs that has the nodes of `grant` and, by `mounts`, files of
    /// the driver. Nothing is mounted but views of procfs and the application profile.
    pub fn finish(
        host: &Host,
        inventory: &Inventory,
        grant: &Grant,
        facts: &ContainerFacts,
        mounts: &[Mount],
    ) -> Plan {
        let place = |source: &Path| -> Option<PathBuf> {
            let source = host.on_disk(source);
            let mount = mounts.iter().find(|m| m.source == source)?;
            Some(mount.destination.clone())
        };
        let mut plan = Plan::default();
        devices::links(&mut plan, grant);
        let given = inventory.libraries.iter();
        let given = given.filter_map(|l| Some((l, place(&l.path)?)));
        let given: Vec<_> = given.collect();
        let loader = name_libraries(&mut plan, inventory, grant, facts, &given);
        for file in &inventory.files {
            if let Some(target) = place(&file.path) {
                files::links(&mut plan, file, &target, facts);
            }
        }
        let drawing: CapabilitySet = [Display, Graphics].into_iter().collect();
        if given
            .iter()
            .any(|(l, _)| l.capabilities.intersects(drawing))
        {
            profile::plan(&mut plan, grant);
        }
        procfs::plan(&mut plan, inventory, grant, facts);
        // While the plan still has the places of all files: they are no places for links.
        super::links(&mut plan, inventory);
        plan.actions.retain(|a| match &a.what {
            Operation::Bind { kind, .. } => *kind == BindKind::Proc,
            Operation::Device { .. } | Operation::Env { .. } | Operation::Group { .. } => false,
            _ => true,
        });
        plan.unusable = libraries::unusable(inventory, grant);
        plan.actions.extend(loader);
        plan
    }
}
