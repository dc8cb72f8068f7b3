//! Programs, firmware, sockets, configuration and X.Org modules of a plan.

use std::path::{Path, PathBuf};

use super::{BindKind, Operation, Plan};
use crate::container::ContainerFacts;
use crate::inventory::{DriverFile, FileKind, Home, Inventory};
use crate::select::Grant;

/// The files of the granted capabilities. A container works without any one of them, so what goes
/// wrong with one is a note and no failure; programs excepted, for users call them by name.
pub(super) fn plan(plan: &mut Plan, inventory: &Inventory, grant: &Grant, facts: &ContainerFacts) {
    for file in &inventory.files {
        if let Some(kind) = file.peripheral {
            if !grant.peripherals.iter().any(|p| p.kind == kind) {
                let why = format!("it is for {}, which was not asked for", kind.class());
                plan.skip(file.path.display().to_string(), why);
                continue;
            }
            one(plan, file, format!("{}=enabled", kind.variable()), facts);
            continue;
        }
        if !grant.capabilities.intersects(file.capabilities) {
            let why = format!("it is for {}, which was not asked for", file.capabilities);
            plan.skip(file.path.display().to_string(), why);
            continue;
        }
        if let Some(stem) = file.library
            && !has_library(plan, inventory, facts, stem)
        {
            let why = format!("it leads to {stem}, which the container has not");
            plan.skip(file.path.display().to_string(), why);
            continue;
        }
        let because = file.capabilities.intersection(grant.capabilities);
        one(plan, file, format!("capability {because}"), facts);
    }
}

fn one(plan: &mut Plan, file: &DriverFile, why: String, facts: &ContainerFacts) {
    let kind = match file.kind {
        FileKind::Binary => BindKind::Binary,
        FileKind::Firmware => BindKind::Firmware,
        FileKind::Socket => BindKind::Socket,
        FileKind::Directory => BindKind::Directory,
        FileKind::Config => BindKind::Config,
        FileKind::Module => BindKind::Module,
        FileKind::Data => BindKind::Data,
        FileKind::Tree => BindKind::Tree,
    };
    let target = match file.home {
        Home::Root => file.target.clone(),
        Home::Libraries => facts.lib_dir.join(&file.target),
        Home::Xorg => facts.xorg_dir().join(&file.target),
    };
    let required = file.kind == FileKind::Binary;
    let bind = Operation::Bind {
        kind,
        source: file.path.clone(),
        target: target.clone(),
    };
    if !plan.add(bind, required, why) {
        return;
    }
    links(plan, file, &target, facts);
}

/// Links that lead to a file at `target`, or from where it looks for its library.
pub(super) fn links(plan: &mut Plan, file: &DriverFile, target: &Path, facts: &ContainerFacts) {
    if let (Some(link), Some(name)) = (file.link, target.file_name()) {
        let link = Operation::Symlink {
            target: target.with_file_name(link),
            points_to: PathBuf::from(name),
        };
        plan.add(link, false, "the name by which it is loaded".to_owned());
    }
    // NixOS: the configuration names a library of the host's store.
    if let Some(named) = &file.names
        && let Some(name) = named.file_name()
    {
        let link = Operation::Symlink {
            target: named.clone(),
            points_to: facts.lib_dir.join(name),
        };
        let why = format!("{} names its library so", target.display());
        plan.add(link, false, why);
    }
}

/// Whether the container gets the library of that stem, or has it.
fn has_library(plan: &Plan, inventory: &Inventory, facts: &ContainerFacts, stem: &str) -> bool {
    let mut of_stem = inventory.libraries.iter().filter(|l| l.stem == stem);
    of_stem.any(|l| {
        let own = l
            .soname
            .as_ref()
            .is_some_and(|s| facts.loader.own.contains_key(s));
        own || plan.binds(&l.path)
    })
}

impl Plan {
    fn binds(&self, path: &Path) -> bool {
        let is =
            |what: &Operation| matches!(what, Operation::Bind { source, .. } if source == path);
        self.actions.iter().any(|a| is(&a.what))
    }
}
