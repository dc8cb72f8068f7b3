//! The container loader's list of libraries: glibc's ld.so.cache, musl's path file.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{SFlag, fstat};

use oci_gpu::finding::{Code, Finding};
use oci_gpu::ldcache::{self, Cache, Entry};
use oci_gpu::plan::{CacheEntry, Skipped};

use crate::fail::failed;
use crate::peek::read_from;
use crate::rootfs::Rootfs;
use crate::steps::Outcome;
use crate::target::CreateError;
use crate::temporary::replace_file;
use crate::undo::Undo;

/// Directories that musl searches without a path file (ldso/dynlink.c).
const MUSL_DEFAULT: [&str; 3] = ["/lib", "/usr/local/lib", "/usr/lib"];

/// Largest musl path file that is read, in bytes.
const PATH_FILE_LIMIT: u64 = 64 << 10;

/// Makes the container's loader find the libraries. Without `entries` the loader is musl's.
///
/// The new file is written beside the old one and renamed over it, as the last thing that happens
/// to a container: nothing after it can fail, so it needs no undoing.
pub(crate) fn update(
    root: &Rootfs,
    entries: &[CacheEntry],
    directories: &[PathBuf],
    undo: &mut Undo,
) -> Result<Outcome, Finding> {
    match entries.is_empty() {
        false => glibc(root, entries, undo),
        true => musl(root, directories, undo),
    }
}

/// Merges `entries` into ld.so.cache. One that is missing, or that is none by what its format says,
/// is replaced by one with our entries only: the loader goes on to its default directories.
fn glibc(root: &Rootfs, entries: &[CacheEntry], undo: &mut Undo) -> Result<Outcome, Finding> {
    let name = "ld.so.cache";
    let ours: Vec<Entry> = entries
        .iter()
        .map(|e| Entry::plain(e.flags, e.soname.as_bytes(), e.path.as_os_str().as_bytes()))
        .collect();
    let (mut cache, lost) = match read(root, name, ldcache::SIZE_LIMIT)? {
        Found::Nothing => (Cache::default(), None),
        Found::Unusable(why) => (Cache::default(), Some(why)),
        Found::Content(bytes) => match ldcache::parse(&bytes) {
            Ok(cache) => (cache, None),
            Err(e) => (Cache::default(), Some(e.to_string())),
        },
    };
    if ours.iter().all(|e| is_only(&cache, e)) {
        return Ok(Outcome::Present);
    }
    cache.merge(&ours).map_err(|e| {
        Finding::new(
            Code::LdCache,
            format!("merge the container's /etc/{name}: {e}"),
            "reinstall the driver's user-space packages",
        )
    })?;
    replace(root, name, &cache.write(), undo)?;
    Ok(done(name, lost))
}

fn done(name: &str, lost: Option<String>) -> Outcome {
    match lost {
        None => Outcome::Done,
        Some(why) => Outcome::Instead(Skipped {
            what: format!("the image's own /etc/{name}"),
            why,
        }),
    }
}

fn is_only(cache: &Cache, entry: &Entry) -> bool {
    let mut all = cache.lookup_all(&entry.soname, entry.flags);
    all.next()
        .is_some_and(|e| e.path == entry.path && e.hwcap == 0)
        && all.next().is_none()
}

/// Adds `directories` to musl's path file, which replaces its default directories where it exists.
fn musl(root: &Rootfs, directories: &[PathBuf], undo: &mut Undo) -> Result<Outcome, Finding> {
    let name = match cfg!(target_arch = "aarch64") {
        true => "ld-musl-aarch64.path",
        false => "ld-musl-x86_64.path",
    };
    let defaults = || MUSL_DEFAULT.join("\n").into_bytes();
    let (mut text, lost) = match read(root, name, PATH_FILE_LIMIT)? {
        Found::Nothing => (defaults(), None),
        Found::Unusable(why) => (defaults(), Some(why)),
        Found::Content(text) => (text, None),
    };
    let missing: Vec<&PathBuf> = directories
        .iter()
        .filter(|d| {
            !text
                .split(|b| matches!(b, b'\n' | b':'))
                .any(|l| OsStr::from_bytes(l) == d.as_os_str())
        })
        .collect();
    if missing.is_empty() && lost.is_none() {
        return Ok(Outcome::Present);
    }
    for directory in missing {
        if !text.is_empty() && !text.ends_with(b"\n") {
            text.push(b'\n');
        }
        text.extend(directory.as_os_str().as_bytes());
        text.push(b'\n');
    }
    replace(root, name, &text, undo)?;
    Ok(done(name, lost))
}

/// A file of the container's /etc.
enum Found {
    Nothing,
    /// Something that the loader could make nothing of either, or of that size only.
    Unusable(String),
    Content(Vec<u8>),
}

/// Reads a file of the container's /etc.
fn read(root: &Rootfs, name: &str, limit: u64) -> Result<Found, Finding> {
    let path = Path::new("/etc").join(name);
    let cannot = |what: &str, e: io::Error| {
        let what = format!("{what} {} of the container", path.display());
        failed(Code::LdCache, what, e)
    };
    // By a descriptor that cannot be read from, so that no FIFO blocks and no device wakes up.
    let found = match root.find(&path, OFlag::O_PATH) {
        Ok(found) => found,
        Err(Errno::ENOENT) => return Ok(Found::Nothing),
        Err(e @ (Errno::ELOOP | Errno::ENOTDIR | Errno::EACCES | Errno::ENAMETOOLONG)) => {
            return Ok(Found::Unusable(format!(
                "it is a link that leads nowhere: {}",
                e.desc()
            )));
        }
        Err(e) => return Err(cannot("open", e.into())),
    };
    let stat = fstat(&found).map_err(|e| cannot("stat", e.into()))?;
    if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFREG.bits() {
        return Ok(Found::Unusable("it is no regular file".to_owned()));
    }
    match read_from(&found).and_then(|f| read_bounded(f, limit)) {
        Ok(content) => Ok(Found::Content(content)),
        Err(e) if e.kind() == io::ErrorKind::FileTooLarge => {
            Ok(Found::Unusable(format!("it has more than {limit} bytes")))
        }
        // What the container's loader may be able to read is not replaced.
        Err(e) => Err(cannot("read", e)),
    }
}

/// All of a file, which may change or shrink meanwhile, up to `limit` bytes.
pub(crate) fn read_bounded(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(limit + 1).read_to_end(&mut content)?;
    match content.len() as u64 > limit {
        true => Err(io::Error::from(io::ErrorKind::FileTooLarge)),
        false => Ok(content),
    }
}

fn replace(root: &Rootfs, name: &str, content: &[u8], undo: &mut Undo) -> Result<(), Finding> {
    let etc = Path::new("/etc");
    let directory = root.directory(etc, undo)?;
    let make = |at: BorrowedFd<'_>| replace_file(at, OsStr::new(name), content);
    root.replace(&directory, make).map_err(|e| {
        let mut finding = match e {
            CreateError::Os(e @ (Errno::EISDIR | Errno::EBUSY)) => {
                let why = if e == Errno::EISDIR {
                    "it is a directory"
                } else {
                    "something is mounted on it"
                };
                Finding::new(
                    Code::LdCache,
                    format!("replace /etc/{name} of the container: {why}"),
                    "remove it from the image or the mounts",
                )
            }
            other => other.at(&etc.join(name)),
        };
        finding.code = Code::LdCache;
        finding
    })
}
