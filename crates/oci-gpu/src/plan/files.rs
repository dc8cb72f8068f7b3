//! Programs, firmware, sockets and configuration of a plan.

use super::{BindKind, Operation, Plan};
use crate::inventory::{FileKind, Inventory};
use crate::select::Grant;

/// The files of the granted capabilities. A container works without any one of them, so what goes
/// wrong with one is a note and no failure; programs excepted, for users call them by name.
pub(super) fn plan(plan: &mut Plan, inventory: &Inventory, grant: &Grant) {
    for file in &inventory.files {
        if !grant.capabilities.contains(file.capability) {
            let why = format!("it is for {}, which was not asked for", file.capability);
            plan.skip(file.path.display().to_string(), why);
            continue;
        }
        let kind = match file.kind {
            FileKind::Binary => BindKind::Binary,
            FileKind::Firmware => BindKind::Firmware,
            FileKind::Socket => BindKind::Socket,
            FileKind::Directory => BindKind::Directory,
            FileKind::Config => BindKind::Config,
        };
        let required = file.kind == FileKind::Binary;
        let (source, target) = (file.path.clone(), file.target.clone());
        let why = format!("capability {}", file.capability);
        plan.add(
            Operation::Bind {
                kind,
                source,
                target,
            },
            required,
            why,
        );
    }
}
