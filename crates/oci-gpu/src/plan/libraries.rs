//! Libraries of a plan: the files, the links that find them, and the loader's cache.

use std::path::{Path, PathBuf};

use super::{Action, BindKind, CacheEntry, Operation, Plan, Skipped};
use crate::capability::{Capability, CapabilitySet};
use crate::container::{ContainerFacts, Libc, compat};
use crate::driver_files::{
    BELOW, LINKS, LinkTarget, REQUIRED, capabilities_of, has_development_link,
};
use crate::elf::{Class, Machine};
use crate::finding::{Code, Finding};
use crate::inventory::{Inventory, Library, Platform};
use crate::ldcache;
use crate::select::Grant;

/// Libraries of the granted capabilities, for the container's native programs, and 32-bit ones
/// where compat32 was granted. Returns what the loader must be told, which comes last: renaming
/// its cache into place is the one step that is not undone.
pub(super) fn plan(
    plan: &mut Plan,
    inventory: &Inventory,
    grant: &Grant,
    facts: &ContainerFacts,
) -> Result<Option<Action>, Finding> {
    let mut entries = Vec::new();
    let mut directories: Vec<PathBuf> = Vec::new();
    let mut unwanted: Vec<&Library> = Vec::new();
    for library in &inventory.libraries {
        if !library.capabilities.intersects(grant.capabilities) {
            unwanted.push(library);
            continue;
        }
        let given = |soname: &str| {
            let of_driver = inventory.libraries.iter().filter(|l| l.foreign.is_none());
            let mut given = of_driver.filter(|l| l.capabilities.intersects(grant.capabilities));
            given.any(|l| l.soname.as_deref() == Some(soname))
        };
        let loadable = match &library.foreign {
            Some(needs) => facts.takes(library, needs, given),
            None => Ok(()),
        };
        let directory = match place(library, grant, facts).and_then(|d| loadable.map(|()| d)) {
            Ok(directory) => directory,
            Err(why) => {
                plan.skip(library.path.display().to_string(), why);
                continue;
            }
        };
        // Elsewhere libraries find each other by their paths on the host.
        let own = library.path.parent().map(Path::to_path_buf);
        let directory = match (grant.platform, own) {
            (Platform::Native, _) | (_, None) => directory.clone(),
            (_, Some(own)) => own,
        };
        if !directories.contains(&directory) {
            directories.push(directory.clone());
        }
        let below = BELOW.iter().find(|(stem, _)| *stem == library.stem);
        let directory = match below {
            Some((_, below)) => &directory.join(below),
            None => &directory,
        };
        one(plan, library, directory, grant.capabilities, &mut entries);
    }
    for library in unwanted {
        let why = format!(
            "it is for {}, which was not asked for",
            library.capabilities
        );
        plan.skip(library.path.display().to_string(), why);
    }
    required(inventory, grant, facts)?;
    plan.unusable = unusable(inventory, grant);
    if directories.is_empty() {
        return Ok(None);
    }
    Ok(Some(loader(
        plan,
        inventory,
        grant,
        facts,
        entries,
        directories,
    )))
}

/// What the loader is told.
fn loader(
    plan: &mut Plan,
    inventory: &Inventory,
    grant: &Grant,
    facts: &ContainerFacts,
    mut entries: Vec<CacheEntry>,
    directories: Vec<PathBuf>,
) -> Action {
    let mut why = match facts.libc {
        Libc::Glibc => "glibc's loader finds libraries by soname in /etc/ld.so.cache",
        Libc::Musl => {
            entries.clear();
            "musl's loader finds libraries by the directories of its path file"
        }
    }
    .to_owned();
    if let Some(newer) = forward_compatible(plan, inventory, grant, facts, &mut entries) {
        why.push_str(&newer);
    }
    let what = Operation::LdCache {
        entries,
        directories,
    };
    Action {
        what,
        why,
        required: true,
    }
}

/// Names the libraries of the image's own CUDA forward compatibility in place of the driver's,
/// where they fit: why, or `None`. The loader takes a name of its cache before all that lies in its
/// directories.
fn forward_compatible(
    plan: &mut Plan,
    inventory: &Inventory,
    grant: &Grant,
    facts: &ContainerFacts,
    entries: &mut [CacheEntry],
) -> Option<String> {
    let compat = facts.compat.as_ref()?;
    if !grant.capabilities.contains(Capability::Compute) || facts.libc == Libc::Musl {
        return None;
    }
    if grant.platform != Platform::Native {
        let what = format!("{}: the image's newer CUDA", compat::DIRECTORY);
        plan.skip(what, "it is for NVIDIA's kernel modules on a PCI GPU");
        return None;
    }
    let brands = grant.gpus.iter().filter_map(|g| g.brand.as_deref());
    if let Err(why) = compat.fits(&inventory.driver.version, brands) {
        plan.skip(
            format!("{}: the image's newer CUDA", compat::DIRECTORY),
            why,
        );
        return None;
    }
    let native = ldcache::flags_for(facts.native.0, facts.native.1)?;
    for (soname, path) in &compat.libraries {
        let stem = soname.split(".so").next().unwrap_or_default();
        let development = format!("{stem}.so");
        let same = |e: &&mut CacheEntry| {
            e.flags == native && (e.soname == *soname || e.soname == development)
        };
        entries
            .iter_mut()
            .filter(same)
            .for_each(|e| e.path.clone_from(path));
    }
    Some(format!(
        "; the image's CUDA libraries of {} in {} come first, for they are made for this driver",
        compat.version,
        compat::DIRECTORY
    ))
}

/// Links and entries of the loader's cache for libraries that lie in the container already, each with
/// its place there.
pub(super) fn name_libraries(
    plan: &mut Plan,
    inventory: &Inventory,
    grant: &Grant,
    facts: &ContainerFacts,
    given: &[(&Library, PathBuf)],
) -> Option<Action> {
    let mut entries = Vec::new();
    let mut directories: Vec<PathBuf> = Vec::new();
    for (library, target) in given {
        let Some(directory) = target.parent() else {
            continue;
        };
        // Whoever mounted it has not seen the container: without a name nobody loads it.
        let of_driver = |soname: &str| {
            let mut given = given.iter().filter(|(l, _)| l.foreign.is_none());
            given.any(|(l, _)| l.soname.as_deref() == Some(soname))
        };
        let loadable = library.foreign.as_ref();
        if let Some(Err(why)) = loadable.map(|needs| facts.takes(library, needs, of_driver)) {
            plan.skip(library.path.display().to_string(), why);
            continue;
        }
        one(plan, library, directory, CapabilitySet::all(), &mut entries);
        let below = BELOW.iter().any(|(stem, _)| *stem == library.stem);
        if !below && !directories.iter().any(|d| d == directory) {
            directories.push(directory.to_path_buf());
        }
    }
    (!directories.is_empty()).then(|| loader(plan, inventory, grant, facts, entries, directories))
}

/// The directory for a library, or why the container cannot use it.
fn place<'a>(
    library: &Library,
    grant: &Grant,
    facts: &'a ContainerFacts,
) -> Result<&'a PathBuf, String> {
    if (library.class, library.machine) == facts.native {
        return Ok(&facts.lib_dir);
    }
    let runs_32 = (library.class, library.machine) == (Class::Elf32, Machine::X86)
        && facts.native.1 == Machine::X86_64;
    match &facts.lib32_dir {
        Some(directory) if runs_32 => match grant.capabilities.contains(Capability::Compat32) {
            true => Ok(directory),
            false => Err("it is 32-bit, and compat32 was not asked for".to_owned()),
        },
        _ => Err(for_others(library, facts)),
    }
}

fn for_others(library: &Library, facts: &ContainerFacts) -> String {
    let (theirs, ours) = (library.machine, facts.native.1);
    format!("it is for {theirs}, and the container's programs are for {ours}")
}

/// The file, its soname link, its development link, and its names in the cache.
///
/// The cache names the file itself rather than a link, so that the loader finds the driver's
/// library even where the image has a file of its own in the link's place.
fn one(
    plan: &mut Plan,
    library: &Library,
    directory: &Path,
    granted: CapabilitySet,
    entries: &mut Vec<CacheEntry>,
) {
    let Some(name) = library.path.file_name() else {
        return;
    };
    let target = directory.join(name);
    let because = library.capabilities.intersection(granted);
    let why = format!("capability {because}; {}", library.evidence);
    let source = library.path.clone();
    let bind = Operation::Bind {
        kind: BindKind::Library,
        source,
        target: target.clone(),
    };
    if !plan.add(bind, true, why) {
        return;
    }
    let Some(flags) = ldcache::flags_for(library.class, library.machine) else {
        return;
    };
    let mut cache = |soname: &str| {
        entries.push(CacheEntry {
            soname: soname.to_owned(),
            path: target.clone(),
            flags,
        });
    };
    // A file without a soname is loaded by the name of one of its links.
    let soname = library.soname.as_deref().filter(|s| is_file_name(s));
    if let Some(soname) = soname {
        cache(soname);
        if Path::new(soname) != Path::new(name) {
            let link = Operation::Symlink {
                target: directory.join(soname),
                points_to: name.into(),
            };
            plan.add(link, false, "its soname".to_owned());
        }
        if has_development_link(&library.stem) {
            let development = format!("{}.so", library.stem);
            cache(&development);
            let target = directory.join(development);
            let link = Operation::Symlink {
                target,
                points_to: soname.into(),
            };
            plan.add(
                link,
                false,
                "the name that programs are linked with".to_owned(),
            );
        }
    }
    let links = LINKS.iter().filter(|l| l.stem == library.stem);
    for link in links.filter(|l| granted.contains(l.capability)) {
        let points_to = match (link.leads_to, soname) {
            (LinkTarget::Soname, Some(soname)) => Path::new(soname),
            _ => Path::new(name),
        };
        // Loaders look for names, not for paths below their directories.
        let below = Path::new(link.path).components().count() - 1;
        if below == 0 {
            cache(link.path);
        }
        let link = Operation::Symlink {
            target: directory.join(link.path),
            points_to: Path::new(&"../".repeat(below)).join(points_to),
        };
        plan.add(
            link,
            false,
            "a link that the driver's installer makes".to_owned(),
        );
    }
}

/// A soname comes from a file: only a plain file name may become part of a path.
fn is_file_name(soname: &str) -> bool {
    !soname.is_empty()
        && soname.len() <= 255
        && soname != "."
        && soname != ".."
        && !soname.contains(['/', '\0'])
}

/// Libraries of the granted capabilities that discovery refused, and no other file of that name is
/// in their place.
pub(super) fn unusable(inventory: &Inventory, grant: &Grant) -> Vec<Skipped> {
    let suffix = suffix(inventory);
    let candidates = inventory.driver.candidates.iter().filter(|c| {
        let stem = stem_of(&c.path, &suffix);
        let wanted = |stem| capabilities_of(stem).intersects(grant.capabilities);
        let replaced = |stem| inventory.libraries.iter().any(|l| l.stem == stem);
        !c.accepted && stem.is_some_and(|stem| wanted(stem) && !replaced(stem))
    });
    let told = candidates.map(|c| Skipped {
        what: c.path.display().to_string(),
        why: c.why.clone(),
    });
    told.collect()
}

/// What the names of the driver's libraries go on with: the version, but for platforms whose files
/// have numbers of their own.
fn suffix(inventory: &Inventory) -> String {
    match inventory.platform {
        Platform::Native => format!(".so.{}", inventory.driver.version),
        _ => ".so".to_owned(),
    }
}

/// "libcuda" of a library's path.
fn stem_of<'a>(path: &'a Path, suffix: &str) -> Option<&'a str> {
    let (stem, rest) = path.file_name()?.to_str()?.split_once(suffix)?;
    // "libcuda.so.550.1" is no library of driver 550.
    (rest.is_empty() || suffix == ".so").then_some(stem)
}

/// A capability without its main library is a container that starts and cannot work.
fn required(inventory: &Inventory, grant: &Grant, facts: &ContainerFacts) -> Result<(), Finding> {
    for (capability, stem) in REQUIRED {
        let native = |l: &&Library| l.stem == *stem && (l.class, l.machine) == facts.native;
        let optional = grant.platform == Platform::Tegra && *capability == Capability::Utility;
        if optional
            || !grant.capabilities.contains(*capability)
            || inventory.libraries.iter().any(|l| native(&l))
        {
            continue;
        }
        let version = &inventory.driver.version;
        let suffix = suffix(inventory);
        let name = format!("{stem}{suffix}");
        let mut refused = inventory.driver.candidates.iter().filter(|c| !c.accepted);
        let refused = refused.find(|c| stem_of(&c.path, &suffix) == Some(stem));
        let others = inventory.libraries.iter().find(|l| l.stem == *stem);
        let message = match (refused, others) {
            (Some(c), _) => format!("{} cannot be used: {}", c.path.display(), c.why),
            (None, Some(l)) => {
                format!(
                    "{} cannot be used: {}",
                    l.path.display(),
                    for_others(l, facts)
                )
            }
            (None, None) => format!(
                "driver {version} has no {name} for {} in {}",
                facts.native.1,
                inventory.driver.root.display()
            ),
        };
        return Err(Finding::new(
            Code::MissingFile,
            format!("{message}; capability {capability} needs it"),
            "install the driver's user-space packages for this machine, or ask for fewer capabilities in NVIDIA_DRIVER_CAPABILITIES",
        ));
    }
    Ok(())
}
