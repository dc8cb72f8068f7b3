//! The driver's libraries: a sweep of the accepted directories for files of the version.

use std::path::Path;

use super::Scope;
use super::userland::Directory;
use crate::driver_files;
use crate::elf::{self, Class};
use crate::host::Root;
use crate::inventory::{Candidate, ForeignNeeds, Library};

/// Sonames of glibc's own libraries begin so; every glibc has them all.
const GLIBC_PARTS: [&str; 8] = [
    "libc.so.",
    "libm.so.",
    "libdl.so.",
    "libpthread.so.",
    "librt.so.",
    "libutil.so.",
    "libresolv.so.",
    "ld-linux",
];

/// Every library of the driver, 64-bit first, each list sorted by path: those whose file name ends
/// in the version, and those of the table that have a version of their own, by their sonames. What
/// has the name and is no usable library is refused with its reason.
///
/// The sweep finds libraries that are loaded by name at run time and appear in no DT_NEEDED list,
/// which is how most of the driver's libraries refer to each other.
pub(super) fn sweep(
    root: &Root,
    directories: &[Directory],
    version: &str,
    scope: &Scope,
    candidates: &mut Vec<Candidate>,
) -> Vec<Library> {
    let suffix = format!(".so.{version}");
    let mut libraries: Vec<Library> = Vec::new();
    for directory in directories {
        let below = driver_files::BELOW.iter();
        let below = below.map(|(_, below)| directory.path.join(below));
        for place in std::iter::once(directory.path.clone()).chain(below) {
            // A directory of links (NixOS) has links to such directories too.
            let Ok(place) = root.resolve(&place) else {
                continue;
            };
            let Ok(entries) = root.entries(&place) else {
                continue;
            };
            for entry in entries {
                let (stem, foreign) = match entry.name.strip_suffix(&suffix) {
                    Some(stem) => (stem, false),
                    None => match driver_files::own_version(&entry.name) {
                        Some(stem) => (stem, true),
                        None => continue,
                    },
                };
                let capabilities = driver_files::capabilities_of(stem);
                if !capabilities.intersects(scope.capabilities) {
                    continue;
                }
                let path = place.join(&entry.name);
                let mut refused = |path: &Path, why: String| {
                    candidates.push(Candidate {
                        path: root.host_path(path),
                        evidence: directory.evidence,
                        accepted: false,
                        why,
                    });
                };
                let path = match entry.is_link.then(|| root.resolve(&path)) {
                    None => path,
                    Some(Ok(path)) => path,
                    Some(Err(e)) => {
                        refused(&path, format!("it is a link that leads nowhere: {e}"));
                        continue;
                    }
                };
                let on_host = root.host_path(&path);
                if libraries.iter().any(|l| l.path == on_host) {
                    continue;
                }
                match read(root, &path, stem, directory.evidence, foreign) {
                    // The first directory has it: what lies in a later one is another's.
                    Ok(library) if foreign && libraries.iter().any(|l| is_twin(l, &library)) => {
                        refused(
                            &path,
                            "another directory of the driver has it too".to_owned(),
                        );
                    }
                    Ok(library) => libraries.push(library),
                    Err(why) => refused(&path, why),
                }
            }
        }
    }
    libraries.sort_by(|a, b| {
        let class = |l: &Library| l.class == Class::Elf32;
        (class(a), &a.path).cmp(&(class(b), &b.path))
    });
    libraries
}

fn is_twin(a: &Library, b: &Library) -> bool {
    (&a.stem, a.class, a.machine) == (&b.stem, b.class, b.machine)
}

fn read(
    root: &Root,
    path: &Path,
    stem: &str,
    evidence: &str,
    foreign: bool,
) -> Result<Library, String> {
    let unusable = |e: elf::ElfError| format!("it is no usable ELF file: {e}");
    let file = root.open_resolved(path).map_err(|e| e.to_string())?;
    let facts = elf::read(&file).map_err(unusable)?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    let foreign = match foreign {
        true => Some(needs(&file, &facts.needed).map_err(unusable)?),
        false => None,
    };
    Ok(Library {
        path: root.host_path(path),
        soname: facts.soname,
        class: facts.class,
        machine: facts.machine,
        capabilities: driver_files::capabilities_of(stem),
        evidence: format!("{} of {evidence}", root.host_path(directory).display()),
        stem: stem.to_owned(),
        foreign,
    })
}

/// What a library of somebody else's build needs of the container.
fn needs(file: &std::fs::File, needed: &[String]) -> Result<ForeignNeeds, elf::ElfError> {
    let versions = elf::version_needs(file)?.into_iter();
    let mut glibc: Vec<String> = versions
        .flat_map(|need| need.versions)
        .filter(|version| version.starts_with("GLIBC_"))
        .collect();
    glibc.sort();
    glibc.dedup();
    let of_glibc = |soname: &String| GLIBC_PARTS.iter().any(|p| soname.starts_with(p));
    Ok(ForeignNeeds {
        glibc,
        libraries: needed.iter().filter(|n| !of_glibc(n)).cloned().collect(),
    })
}
