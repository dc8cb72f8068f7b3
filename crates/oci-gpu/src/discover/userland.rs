//! Where user-space files of the kernel's driver version are: roots and evidence, in order.
//!
//! | order | evidence | typical hosts |
//! |---|---|---|
//! | 0 | the driver root that the administrator named | any |
//! | 1 | `NVIDIA_DRIVER_ROOT` of /run/nvidia/validations/driver-ready | GPU operator |
//! | 2 | /run/nvidia/driver, /run/kata-extensions/gpu as roots of their own; then the host; then /driver-root, /host and a snap's hostfs | driver containers, Kata guests; most; containers that manage a host |
//! | 3 | /run/opengl-driver/lib | NixOS |
//! | 4 | ld.so.cache of the root, and that of a glibc beside musl | most; Talos, Alpine |
//! | 5 | well-known directories of the root, and Debian's below them | hosts without a cache, with a stale one, whose alternatives lead to another driver; microVMs |
//! | 6 | directories of the root's ld.so.conf, and of musl's path file | hosts that never ran ldconfig |
//!
//! 3 to 6 are tried in each root. docs/platforms.md tells which platform is found by what.
//! The first place with a file of exactly the kernel's version wins; every place that was looked
//! at before it is kept with the reason why it was refused.

use std::io;
use std::path::{Path, PathBuf};

use super::directories::{
    DEBIAN, DIRECTORIES, DRIVER_ROOTS, HOST_ROOTS, NIX_DIRECTORIES, OTHER_CACHES, configured,
    expand,
};
use super::{DRIVER_READY, Scope, field, missing};
use crate::capability::Capability;
use crate::elf::{Class, Machine};
use crate::finding::Finding;
use crate::host::{Host, Root};
use crate::inventory::Candidate;
use crate::ldcache;

const WELL_KNOWN: &str = "well-known directory";

/// Libraries whose presence marks a driver directory: any CUDA or NVML installation has one.
const MARKERS: [&str; 2] = ["libcuda.so", "libnvidia-ml.so"];

/// The accepted place.
pub(super) struct Userland {
    /// The driver root.
    pub(super) root: Root,
    /// Directories in it that hold the driver's libraries.
    pub(super) directories: Vec<Directory>,
    /// Everything that was looked at.
    pub(super) candidates: Vec<Candidate>,
}

/// A directory of driver libraries and what led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    pub(super) evidence: &'static str,
}

/// Nothing was accepted: why, and what was looked at.
pub(super) struct Nothing {
    pub(super) finding: Finding,
    pub(super) candidates: Vec<Candidate>,
}

/// Looks for user-space files of `version`.
///
/// 32-bit directories are looked for where `scope` has compat32.
pub(super) fn locate(host: &Host, version: &str, scope: &Scope) -> Result<Userland, Nothing> {
    let mut search = Search::new(host, version, scope);
    let roots = match host.driver_root() {
        Some(named) => vec![(named.to_path_buf(), "driver root by configuration")],
        None => known_roots(host),
    };
    if let Some((root, directories)) = search.in_roots(host, &roots) {
        let candidates = search.candidates;
        return Ok(Userland {
            root,
            directories,
            candidates,
        });
    }
    Err(Nothing {
        finding: missing::explain(
            host,
            version,
            &search.others,
            elsewhere(host, version, scope),
        ),
        candidates: search.candidates,
    })
}

/// The root that would have been found if the administrator had named none.
fn elsewhere(host: &Host, version: &str, scope: &Scope) -> Option<PathBuf> {
    host.driver_root()?;
    let roots = known_roots(host);
    let (root, _) = Search::new(host, version, scope).in_roots(host, &roots)?;
    Some(root.on_host().to_path_buf())
}

/// The roots that are known, in the order of trial, each once.
fn known_roots(host: &Host) -> Vec<(PathBuf, &'static str)> {
    let mut roots: Vec<(PathBuf, &'static str)> = Vec::new();
    if let Ok(text) = host.files().read_text(Path::new(DRIVER_READY))
        && let Some(root) = field(&text, "NVIDIA_DRIVER_ROOT=")
        && root.starts_with('/')
    {
        roots.push((PathBuf::from(root), "driver-ready"));
    }
    let published = DRIVER_ROOTS.map(|root| (root, "driver container"));
    let outer = HOST_ROOTS.map(|root| (root, "host of this container"));
    for (root, evidence) in published.into_iter().chain([("/", "host")]).chain(outer) {
        let root = Path::new(root);
        if !roots.iter().any(|(known, _)| known == root) && host.files().exists(root) {
            roots.push((root.to_path_buf(), evidence));
        }
    }
    roots
}

struct Search<'a> {
    version: &'a str,
    wants_32: bool,
    ld_cache: &'a Path,
    candidates: Vec<Candidate>,
    /// Versions that were found instead, for the message.
    others: Vec<(String, PathBuf)>,
}

impl<'a> Search<'a> {
    fn new(host: &'a Host, version: &'a str, scope: &Scope) -> Search<'a> {
        Search {
            version,
            wants_32: scope.has(Capability::Compat32),
            ld_cache: host.ld_cache(),
            candidates: Vec::new(),
            others: Vec::new(),
        }
    }

    /// The first of `roots` that has libraries of the version, and where it has them.
    fn in_roots(
        &mut self,
        host: &Host,
        roots: &[(PathBuf, &'static str)],
    ) -> Option<(Root, Vec<Directory>)> {
        for (path, evidence) in roots {
            match host.root_at(path) {
                Ok(root) => {
                    let directories = self.in_root(&root);
                    if !directories.is_empty() {
                        return Some((root, directories));
                    }
                }
                Err(e) => self.refuse(path, evidence, &absent_or(&e)),
            }
        }
        None
    }

    fn refuse(&mut self, path: &Path, evidence: &'static str, why: &str) {
        self.keep(path, evidence, false, why.to_owned());
    }

    fn accept(&mut self, path: &Path, evidence: &'static str, why: String) {
        self.keep(path, evidence, true, why);
    }

    /// Several names lead to one file; it is kept once.
    fn keep(&mut self, path: &Path, evidence: &'static str, accepted: bool, why: String) {
        if !self
            .candidates
            .iter()
            .any(|c| c.path == path && c.accepted == accepted)
        {
            let path = path.to_path_buf();
            self.candidates.push(Candidate {
                path,
                evidence,
                accepted,
                why,
            });
        }
    }

    /// The directories of `root` that hold libraries of the version: empty where it has none.
    fn in_root(&mut self, root: &Root) -> Vec<Directory> {
        let mut found = Vec::new();
        for path in NIX_DIRECTORIES {
            self.look(root, Path::new(path), "NixOS driver link", &mut found);
        }
        if !found.is_empty() {
            return found;
        }
        if self.cache(root, self.ld_cache, &mut found) {
            return found;
        }
        for path in OTHER_CACHES.iter().map(Path::new) {
            if root.exists(path) && self.cache(root, path, &mut found) {
                return found;
            }
        }
        for (path, _) in DIRECTORIES {
            for path in expand(root, path) {
                self.look(root, &path, WELL_KNOWN, &mut found);
            }
            if DEBIAN.contains(path) {
                self.debian(root, Path::new(path), &mut found);
            }
        }
        if found.is_empty() {
            for (path, evidence) in configured(root) {
                self.look(root, &path, evidence, &mut found);
            }
        }
        found
    }

    /// Where the cache at `path` says that the loader finds the markers: the directory of the name in the
    /// cache and that of the file behind its links, for Debian keeps public libraries in one and
    /// private ones in the other. Whether it leads to 64-bit ones: 32-bit ones alone are no driver.
    fn cache(&mut self, root: &Root, path: &Path, found: &mut Vec<Directory>) -> bool {
        let evidence = "ld.so.cache";
        let read = root.read(path, ldcache::SIZE_LIMIT);
        let parsed = read
            .map_err(|e| absent_or(&e))
            .and_then(|bytes| ldcache::parse(&bytes).map_err(|e| e.to_string()));
        let cache = match parsed {
            Ok(cache) => cache,
            Err(why) => {
                self.refuse(&root.host_path(path), evidence, &why);
                return false;
            }
        };
        let flags_32 = [Machine::X86, Machine::Arm].map(|m| ldcache::flags_for(Class::Elf32, m));
        let (mut named, mut seen, mut leads) = (false, Vec::new(), false);
        for entry in &cache.entries {
            if !MARKERS
                .iter()
                .any(|m| entry.soname.starts_with(m.as_bytes()))
            {
                continue;
            }
            named = true;
            let is_32 = flags_32.contains(&Some(entry.flags));
            let Ok(name) = std::str::from_utf8(&entry.path) else {
                continue;
            };
            if is_32 && !self.wants_32 || seen.contains(&name) {
                continue;
            }
            seen.push(name);
            match root.link_chain(Path::new(name)) {
                Ok(chain) => leads |= self.chain(root, &chain, evidence, found) && !is_32,
                Err(e) => self.refuse(&root.host_path(Path::new(name)), evidence, &absent_or(&e)),
            }
        }
        if !named {
            let why = "it names neither libcuda nor libnvidia-ml";
            self.refuse(&root.host_path(path), evidence, why);
        }
        leads
    }

    /// Accepts the directories of a chain of links if its end is a file of the version.
    fn chain(
        &mut self,
        root: &Root,
        chain: &[PathBuf],
        evidence: &'static str,
        found: &mut Vec<Directory>,
    ) -> bool {
        let Some(file) = chain.last() else {
            return false;
        };
        let on_host = root.host_path(file);
        match version_of(file) {
            Some(v) if v == self.version => {
                self.accept(
                    &on_host,
                    evidence,
                    format!("its version is the kernel's, {v}"),
                );
                for link in chain {
                    let Some(parent) = link.parent() else {
                        continue;
                    };
                    let etc = parent.starts_with("/etc");
                    if !etc && !found.iter().any(|d| d.path == parent) {
                        found.push(Directory {
                            path: parent.to_path_buf(),
                            evidence,
                        });
                    }
                }
                return true;
            }
            Some(v) => {
                self.others.push((v.to_owned(), on_host.clone()));
                let why = format!("its version is {v}, the kernel's is {}", self.version);
                self.refuse(&on_host, evidence, &why);
            }
            None => self.refuse(&on_host, evidence, "its name ends in no driver version"),
        }
        false
    }

    /// Looks at each driver that Debian's packages put below `directory`, and accepts `directory`
    /// itself with one of the version: the driver's private libraries lie there.
    fn debian(&mut self, root: &Root, directory: &Path, found: &mut Vec<Directory>) {
        let below = directory.join("nvidia");
        let before = found.len();
        for name in root.list(&below).unwrap_or_default() {
            self.look(root, &below.join(name), WELL_KNOWN, found);
        }
        match root.resolve(directory) {
            Ok(real) if found.len() > before && !found.iter().any(|d| d.path == real) => {
                found.push(Directory {
                    path: real,
                    evidence: WELL_KNOWN,
                });
            }
            _ => {}
        }
    }

    /// Accepts `directory` if it holds a marker of the version.
    fn look(
        &mut self,
        root: &Root,
        directory: &Path,
        evidence: &'static str,
        found: &mut Vec<Directory>,
    ) {
        let Ok(real) = root.resolve(directory) else {
            return;
        };
        if found.iter().any(|d| d.path == real) {
            return;
        }
        for marker in MARKERS {
            let file = real.join(format!("{marker}.{}", self.version));
            if root.exists(&file) {
                let why = format!("it holds {marker}.{}", self.version);
                self.accept(&root.host_path(&real), evidence, why);
                found.push(Directory {
                    path: real,
                    evidence,
                });
                return;
            }
        }
        let names = root.list(&real).unwrap_or_default();
        let other = names.iter().find_map(|name| {
            let marker = MARKERS.iter().find(|m| name.starts_with(*m))?;
            let version = name.strip_prefix(marker)?.strip_prefix('.')?;
            version
                .contains('.')
                .then(|| (version.to_owned(), real.join(name)))
        });
        if let Some((version, file)) = other {
            let on_host = root.host_path(&file);
            let why = format!("its version is {version}, the kernel's is {}", self.version);
            self.refuse(&on_host, evidence, &why);
            self.others.push((version, on_host));
        }
    }
}

/// Why a file cannot be used that could not be opened or read.
fn absent_or(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it does not exist".to_owned(),
        _ => error.to_string(),
    }
}

/// The version in a driver library's file name: what follows ".so.", if it has a dot.
fn version_of(file: &Path) -> Option<&str> {
    let (_, version) = file.file_name()?.to_str()?.split_once(".so.")?;
    version.contains('.').then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_in_file_names() {
        let of = |n: &str| version_of(Path::new(n)).map(str::to_owned);
        assert_eq!(
            of("/l/libcuda.so.550.163.01").as_deref(),
            Some("550.163.01")
        );
        assert_eq!(of("/l/libcuda.so.1"), None);
        assert_eq!(of("/l/libcuda.so"), None);
    }
}
