//! Whether a container's loader can load a library that was built for some other system.
//!
//! The driver's own libraries need a glibc of 2009 or later and little else. Libraries beside them
//! that a distribution built (EGL's window systems) need what that distribution has: given to an
//! image with an older glibc they break programs that would work without them.

use std::collections::{BTreeMap, BTreeSet};

use super::view::RootView;
use super::{ContainerFacts, Libc, native};
use crate::elf::{self, Class, Machine};
use crate::inventory::{ForeignNeeds, Inventory, Library};
use crate::ldcache;

/// Directories that loaders search by themselves, 64-bit (glibc's sysdeps and the distributions'
/// slibdir) and what administrators add.
const DIRECTORIES: [&str; 9] = [
    native::MULTIARCH,
    native::MULTIARCH_LIB,
    "/usr/lib64",
    "/lib64",
    "/usr/lib",
    "/lib",
    "/usr/local/lib64",
    "/usr/local/lib",
    native::MULTIARCH_LOCAL,
];

const DIRECTORIES_32: [&str; 6] = [
    "/usr/lib/i386-linux-gnu",
    "/lib/i386-linux-gnu",
    "/usr/lib32",
    "/lib32",
    "/usr/lib",
    "/lib",
];

/// How many paths of one soname in a container's ld.so.cache are looked at: the loader takes the
/// first that it can use, and glibc has four levels of processors (glibc-hwcaps).
const CACHED: usize = 16;

/// What the loader of one word size has to offer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoaderFacts {
    /// The versions that the C library defines ("GLIBC_2.34"); `None` where there is no glibc.
    pub glibc: Option<BTreeSet<String>>,
    /// Libraries that the container has of its own, by soname, with their paths: those that were
    /// asked for.
    pub own: BTreeMap<String, String>,
}

impl ContainerFacts {
    /// Adds what decides over the libraries of `inventory` that are not of the driver's own build.
    /// Nothing is read where it has none.
    pub fn with_loader(mut self, view: &impl RootView, inventory: &Inventory) -> ContainerFacts {
        if self.libc != Libc::Glibc {
            return self;
        }
        let foreign = |native: bool| {
            let of = move |l: &&Library| ((l.class, l.machine) == self.native) == native;
            inventory
                .libraries
                .iter()
                .filter(of)
                .filter_map(|l| Some((l, l.foreign.as_ref()?)))
                .collect::<Vec<_>>()
        };
        let (ours, theirs) = (foreign(true), foreign(false));
        let cache = match ours.is_empty() && theirs.is_empty() {
            true => return self,
            false => read_cache(view),
        };
        self.loader = look(view, &cache, self.native, &DIRECTORIES, &ours);
        if self.native.1 == Machine::X86_64 {
            let i386 = (Class::Elf32, Machine::X86);
            self.loader32 = look(view, &cache, i386, &DIRECTORIES_32, &theirs);
        }
        self
    }

    /// Whether the container can load `library`, and lacks one of its own. `given` tells which
    /// sonames the driver brings along.
    ///
    /// # Errors
    /// The reason why it gets none.
    pub fn takes(
        &self,
        library: &Library,
        needs: &ForeignNeeds,
        given: impl Fn(&str) -> bool,
    ) -> Result<(), String> {
        if self.unseen {
            return Ok(());
        }
        if self.libc == Libc::Musl {
            return Err("it is built for glibc, and the container's C library is musl".to_owned());
        }
        let facts = match (library.class, library.machine) == self.native {
            true => &self.loader,
            false => &self.loader32,
        };
        let soname = library.soname.as_deref().unwrap_or_default();
        if let Some(path) = facts.own.get(soname) {
            return Err(format!("the container has its own, {path}"));
        }
        let Some(glibc) = &facts.glibc else {
            return Err("it is built for glibc, and the container has none of its kind".to_owned());
        };
        if let Some(missing) = needs.glibc.iter().find(|v| !glibc.contains(*v)) {
            return Err(format!(
                "it needs {missing}, and the container's C library ends at {}",
                newest(glibc)
            ));
        }
        let lacks = |soname: &&String| !facts.own.contains_key(*soname) && !given(soname);
        match needs.libraries.iter().find(lacks) {
            Some(soname) => Err(format!("it needs {soname}, which the container lacks")),
            None => Ok(()),
        }
    }
}

fn look(
    view: &impl RootView,
    cache: &[(String, String, u32)],
    kind: (Class, Machine),
    directories: &[&str],
    foreign: &[(&Library, &ForeignNeeds)],
) -> LoaderFacts {
    let mut facts = LoaderFacts::default();
    if foreign.is_empty() {
        return facts;
    }
    let flags = ldcache::flags_for(kind.0, kind.1);
    let find = |soname: &str| {
        let cached = cache
            .iter()
            .filter(|(name, _, f)| name == soname && Some(*f) == flags);
        let cached = cached.map(|(_, path, _)| path.clone()).take(CACHED);
        let searched = directories.iter().map(|d| format!("{d}/{soname}"));
        cached.chain(searched).find(|path| {
            let facts = view.open(path).map(|f| elf::read(&f));
            facts.is_some_and(|f| f.is_ok_and(|f| (f.class, f.machine) == kind))
        })
    };
    let libc = find("libc.so.6").and_then(|path| view.open(&path));
    let versions = libc.and_then(|f| elf::version_definitions(&f).ok());
    facts.glibc = versions.map(|v| v.into_iter().collect());
    let sonames: BTreeSet<&str> = foreign
        .iter()
        .flat_map(|(library, needs)| library.soname.iter().chain(&needs.libraries))
        .map(String::as_str)
        .collect();
    for soname in sonames {
        if let Some(path) = find(soname) {
            facts.own.insert(soname.to_owned(), path);
        }
    }
    facts
}

/// The entries of the container's ld.so.cache: soname, path, flags.
fn read_cache(view: &impl RootView) -> Vec<(String, String, u32)> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let read = view
        .open("/etc/ld.so.cache")
        .and_then(|f| f.take(ldcache::SIZE_LIMIT + 1).read_to_end(&mut bytes).ok());
    if read.is_none_or(|n| n as u64 > ldcache::SIZE_LIMIT) {
        return Vec::new();
    }
    let Ok(cache) = ldcache::parse(&bytes) else {
        return Vec::new();
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    cache
        .entries
        .iter()
        .filter_map(|e| Some((text(&e.soname)?, text(&e.path)?, e.flags)))
        .collect()
}

/// The newest of the versions that are numbers.
fn newest(versions: &BTreeSet<String>) -> &str {
    let number = |v: &&String| {
        let (major, minor) = v.strip_prefix("GLIBC_")?.split_once('.')?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    };
    let numbered = versions.iter().filter(|v| number(v).is_some());
    numbered
        .max_by_key(number)
        .map_or("nothing", String::as_str)
}
