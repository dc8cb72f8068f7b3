//! Where the host's files are: the real host, a simulated one, a driver container's root.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

/// As many symbolic links as the kernel follows in one path (path_resolution(7)).
const MAX_LINKS: u32 = 40;

/// Largest text file that discovery reads, in bytes; /proc/driver/nvidia files are far below it.
pub const TEXT_LIMIT: u64 = 1 << 20;

/// The machine whose GPUs are looked for.
///
/// Every path that the library returns is a path *on that machine*: below `/` for the running
/// system, and without the prefix for a host that lies in a directory ([`Host::at`]).
#[derive(Debug)]
pub struct Host {
    files: Root,
    driver_root: Option<PathBuf>,
    dev_root: Option<PathBuf>,
    mps_directory: Option<PathBuf>,
    ld_cache: PathBuf,
    trusted_owner: Option<u32>,
}

impl Host {
    /// The running system.
    pub fn system() -> Host {
        Host::at("/")
    }

    /// A host whose proc, sys, dev, etc and usr lie below `dir`: a simulated or a mounted one.
    pub fn at(dir: impl Into<PathBuf>) -> Host {
        Host {
            files: Root::new(dir.into(), PathBuf::from("/")),
            driver_root: None,
            dev_root: None,
            mps_directory: None,
            ld_cache: PathBuf::from("/etc/ld.so.cache"),
            trusted_owner: None,
        }
    }

    /// Takes the driver's user-space files from `path` (on this host) instead of looking for them.
    pub fn with_driver_root(mut self, path: impl Into<PathBuf>) -> Host {
        self.driver_root = Some(path.into());
        self
    }

    /// Takes the device nodes from `path/dev` (on this host) instead of looking for them.
    pub fn with_dev_root(mut self, path: impl Into<PathBuf>) -> Host {
        self.dev_root = Some(path.into());
        self
    }

    /// Takes the pipes of the MPS daemon from `path` (on this host) instead of /tmp/nvidia-mps,
    /// whoever owns it: what CUDA_MPS_PIPE_DIRECTORY is to the daemon.
    pub fn with_mps_directory(mut self, path: impl Into<PathBuf>) -> Host {
        self.mps_directory = Some(path.into());
        self
    }

    /// Takes `path` (in the driver root) for the loader's cache there instead of /etc/ld.so.cache.
    pub fn with_ld_cache(mut self, path: impl Into<PathBuf>) -> Host {
        self.ld_cache = path.into();
        self
    }

    /// Believes the stored inventory where user `uid` owns it, not only where root does: the caller,
    /// on a simulated host that he made.
    pub fn with_trusted_owner(mut self, uid: u32) -> Host {
        self.trusted_owner = Some(uid);
        self
    }

    /// The user that is believed beside root, if any.
    pub fn trusted_owner(&self) -> Option<u32> {
        self.trusted_owner
    }

    /// The host's own files: its proc, sys, etc and run.
    pub fn files(&self) -> &Root {
        &self.files
    }

    /// The driver root that the administrator named, if any.
    pub fn driver_root(&self) -> Option<&Path> {
        self.driver_root.as_deref()
    }

    /// The directory whose `dev` holds the device nodes, if the administrator named one.
    pub fn dev_root(&self) -> Option<&Path> {
        self.dev_root.as_deref()
    }

    /// The directory of the MPS daemon's pipes, if the administrator named one.
    pub fn mps_directory(&self) -> Option<&Path> {
        self.mps_directory.as_deref()
    }

    /// The loader's cache, in the driver root.
    pub fn ld_cache(&self) -> &Path {
        &self.ld_cache
    }

    /// A directory of this host as a root of its own: links in it resolve inside it.
    pub fn root_at(&self, path: &Path) -> io::Result<Root> {
        let inside = self.files.resolve(path)?;
        Ok(Root::new(self.files.on_disk(&inside), inside))
    }

    /// Major and minor number of the character device that `path` leads to, if it does.
    pub fn device(&self, path: &Path) -> Option<(u32, u32)> {
        let found = self.files.metadata(path).ok()?;
        found.file_type().is_char_device().then(|| numbers(&found))
    }

    /// The path that opens `path` of this host from the calling process.
    pub fn on_disk(&self, path: &Path) -> PathBuf {
        self.files.on_disk(path)
    }
}

/// Major and minor number of a device, in Linux's encoding of dev_t in user space (glibc,
/// sysdeps/unix/sysv/linux/sys/sysmacros.h).
pub(crate) fn numbers(device: &fs::Metadata) -> (u32, u32) {
    let rdev = device.rdev();
    let major = ((rdev >> 32) & 0xffff_f000) as u32 | ((rdev >> 8) & 0xfff) as u32;
    let minor = ((rdev >> 12) & 0xffff_ff00) as u32 | (rdev & 0xff) as u32;
    (major, minor)
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// Whether it is a symbolic link.
    pub is_link: bool,
}

/// A directory that is `/` to the files in it. Symbolic links are resolved inside it, never
/// against the caller's own root, whether they are absolute or climb by `..`.
#[derive(Debug)]
pub struct Root {
    disk: PathBuf,
    on_host: PathBuf,
    // Driver libraries lie in few directories: each is resolved once.
    directories: RefCell<HashMap<PathBuf, PathBuf>>,
}

impl Root {
    fn new(disk: PathBuf, on_host: PathBuf) -> Root {
        Root {
            disk,
            on_host,
            directories: RefCell::default(),
        }
    }

    /// Where this root lies on its host; `/` for the host's own files.
    pub fn on_host(&self) -> &Path {
        &self.on_host
    }

    /// The path that opens `path` of this root from the calling process. `path` must be resolved.
    pub fn on_disk(&self, path: &Path) -> PathBuf {
        self.disk.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The host's path of `path` in this root.
    pub fn host_path(&self, path: &Path) -> PathBuf {
        self.on_host.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The path in this root that `path` leads to once every link is followed.
    ///
    /// # Errors
    /// `NotFound` where a component is missing, and an error that names the path after 40 links.
    pub fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let mut links = 0;
        self.walk(path, &mut links)
    }

    /// The chain of paths from `path` to the file that it leads to: `path` itself first.
    /// Links inside directory components are resolved and do not appear.
    pub fn link_chain(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let mut chain = Vec::new();
        let mut next = path.to_path_buf();
        for _ in 0..MAX_LINKS {
            let (Some(parent), Some(name)) = (next.parent(), next.file_name()) else {
                break;
            };
            let here = self.directory(parent, &mut 0)?.join(name);
            chain.push(here.clone());
            match fs::read_link(self.on_disk(&here)) {
                Ok(target) => {
                    next = here.parent().unwrap_or(Path::new("/")).join(target);
                }
                Err(e) if e.kind() == io::ErrorKind::InvalidInput => return Ok(chain),
                Err(e) => return Err(e),
            }
        }
        Err(too_many_links(path))
    }

    /// The content of the file at `path`, which must be regular (or a procfs or sysfs file) and
    /// no longer than `limit` bytes.
    pub fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let mut file = self.open(path)?;
        let mut content = Vec::new();
        let mut part = [0; 4096];
        // Files of procfs have no length to ask for; most fit into one part.
        loop {
            match file.read(&mut part) {
                Ok(0) => return Ok(content),
                Ok(n) => content.extend_from_slice(&part[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
            if content.len() as u64 > limit {
                let why = format!("{} is larger than {limit} bytes", path.display());
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
            }
        }
    }

    /// [`Root::read`] as text without trailing white space; bytes that are not UTF-8 are replaced.
    pub fn read_text(&self, path: &Path) -> io::Result<String> {
        let content = self.read(path, TEXT_LIMIT)?;
        Ok(String::from_utf8_lossy(&content).trim_end().to_owned())
    }

    /// Opens the file at `path` for reading. What is no regular file opens without waiting, and
    /// gives nothing or an error when it is read.
    pub fn open(&self, path: &Path) -> io::Result<fs::File> {
        self.open_resolved(&self.resolve(path)?)
    }

    /// [`Root::open`] for a path whose links have been followed; a link there now is an error.
    pub fn open_resolved(&self, path: &Path) -> io::Result<fs::File> {
        let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_NOCTTY;
        fs::File::options()
            .read(true)
            .custom_flags(flags)
            .open(self.on_disk(path))
    }

    /// Facts about the file that `path` leads to.
    pub fn metadata(&self, path: &Path) -> io::Result<fs::Metadata> {
        fs::symlink_metadata(self.on_disk(&self.resolve(path)?))
    }

    /// Facts about what is at `path` itself, a link included; directory components are resolved.
    pub fn metadata_nofollow(&self, path: &Path) -> io::Result<fs::Metadata> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return self.metadata(path);
        };
        fs::symlink_metadata(self.on_disk(&self.directory(parent, &mut 0)?.join(name)))
    }

    /// Whether `path` leads to something.
    pub fn exists(&self, path: &Path) -> bool {
        self.metadata(path).is_ok()
    }

    /// The names in the directory at `path`, sorted.
    pub fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names: Vec<String> = self.entries(path)?.into_iter().map(|e| e.name).collect();
        names.sort();
        Ok(names)
    }

    /// What is in the directory at `path`, in no order. Names that are not UTF-8 are left out: no
    /// driver has one.
    pub fn entries(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(self.on_disk(&self.resolve(path)?))? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                let is_link = entry.file_type().is_ok_and(|t| t.is_symlink());
                entries.push(Entry { name, is_link });
            }
        }
        Ok(entries)
    }

    /// What the link at `path` holds; its parent directory is resolved.
    pub fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        fs::read_link(self.on_disk(&self.directory(parent, &mut 0)?.join(name)))
    }

    fn walk(&self, path: &Path, links: &mut u32) -> io::Result<PathBuf> {
        match (path.parent(), path.components().next_back()) {
            (None, _) | (_, None) => Ok(PathBuf::from("/")),
            (Some(parent), Some(Component::ParentDir)) => {
                let up = self.walk(parent, links)?;
                Ok(up
                    .parent()
                    .map_or_else(|| PathBuf::from("/"), Path::to_path_buf))
            }
            (Some(parent), Some(Component::Normal(name))) => {
                let directory = self.directory(parent, links)?;
                let here = directory.join(name);
                match fs::read_link(self.on_disk(&here)) {
                    Ok(target) => {
                        *links += 1;
                        if *links > MAX_LINKS {
                            return Err(too_many_links(path));
                        }
                        self.walk(&directory.join(target), links)
                    }
                    Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(here),
                    Err(e) => Err(e),
                }
            }
            (Some(parent), Some(_)) => self.walk(parent, links),
        }
    }

    fn directory(&self, path: &Path, links: &mut u32) -> io::Result<PathBuf> {
        if let Some(known) = self.directories.borrow().get(path) {
            return Ok(known.clone());
        }
        let found = self.walk(path, links)?;
        self.directories
            .borrow_mut()
            .insert(path.to_path_buf(), found.clone());
        Ok(found)
    }
}

fn too_many_links(path: &Path) -> io::Error {
    io::Error::other(format!(
        "{}: more than {MAX_LINKS} symbolic links",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("usr/lib/x/current")).unwrap();
        fs::create_dir_all(root.join("etc/alternatives")).unwrap();
        fs::write(root.join("usr/lib/x/current/liba.so.1.2"), "a").unwrap();
        symlink("usr/lib", root.join("lib")).unwrap();
        symlink("liba.so.1.2", root.join("usr/lib/x/current/liba.so.1")).unwrap();
        symlink(
            "/usr/lib/x/current/liba.so.1",
            root.join("etc/alternatives/a"),
        )
        .unwrap();
        symlink("/etc/alternatives/a", root.join("usr/lib/x/liba.so.1")).unwrap();
        symlink("../../../../../../etc", root.join("usr/up")).unwrap();
        symlink("loop-b", root.join("loop-a")).unwrap();
        symlink("loop-a", root.join("loop-b")).unwrap();
        dir
    }

    #[test]
    fn absolute_links_stay_inside_the_root() {
        let dir = tree();
        let host = Host::at(dir.path());
        let real = host.files().resolve(Path::new("/lib/x/liba.so.1")).unwrap();
        assert_eq!(real, Path::new("/usr/lib/x/current/liba.so.1.2"));
        assert_eq!(
            host.files()
                .read_text(Path::new("/lib/x/liba.so.1"))
                .unwrap(),
            "a"
        );
    }

    #[test]
    fn climbing_stops_at_the_root() {
        let dir = tree();
        let root = Host::at(dir.path());
        assert_eq!(
            root.files()
                .resolve(Path::new("/usr/up/alternatives/../.."))
                .unwrap(),
            Path::new("/")
        );
        assert_eq!(
            root.files().resolve(Path::new("/../etc")).unwrap(),
            Path::new("/etc")
        );
    }

    #[test]
    fn loops_end_in_an_error() {
        let dir = tree();
        let host = Host::at(dir.path());
        let e = host.files().resolve(Path::new("/loop-a")).unwrap_err();
        assert!(e.to_string().contains("more than 40 symbolic links"), "{e}");
        assert!(host.files().link_chain(Path::new("/loop-a")).is_err());
    }

    #[test]
    fn chains_name_every_link_once() {
        let dir = tree();
        let host = Host::at(dir.path());
        let chain = host
            .files()
            .link_chain(Path::new("/lib/x/liba.so.1"))
            .unwrap();
        let names: Vec<_> = chain.iter().map(|p| p.to_str().unwrap()).collect();
        assert_eq!(
            names,
            [
                "/usr/lib/x/liba.so.1",
                "/etc/alternatives/a",
                "/usr/lib/x/current/liba.so.1",
                "/usr/lib/x/current/liba.so.1.2"
            ]
        );
    }

    #[test]
    fn a_root_inside_the_host_resolves_against_itself() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("run/nvidia/driver/usr/lib64");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("f"), "inner").unwrap();
        symlink("/usr/lib64/f", dir.path().join("run/nvidia/driver/link")).unwrap();
        let host = Host::at(dir.path());
        let root = host.root_at(Path::new("/run/nvidia/driver")).unwrap();
        assert_eq!(root.read_text(Path::new("/link")).unwrap(), "inner");
        assert_eq!(
            root.host_path(Path::new("/usr/lib64/f")),
            Path::new("/run/nvidia/driver/usr/lib64/f")
        );
    }

    #[test]
    fn large_and_special_files_are_refused() {
        let dir = tree();
        fs::write(dir.path().join("big"), vec![b'x'; 101]).unwrap();
        let host = Host::at(dir.path());
        assert!(host.files().read(Path::new("/big"), 100).is_err());
        assert_eq!(
            host.files().read(Path::new("/big"), 101).unwrap().len(),
            101
        );
        assert!(host.files().read(Path::new("/usr"), 100).is_err());
    }
}
