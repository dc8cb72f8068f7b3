//! The container's root file system by descriptor: every path resolves below it, in the kernel.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat, mkdirat};

use oci_gpu::container::Mount;
use oci_gpu::finding::{Code, Finding};
use oci_gpu_sys::mount::{attr, clone_tree, set_attributes};
use oci_gpu_sys::stat::mount_facts;

use crate::attach::own;
use crate::fail::failed;
use crate::mounts::{self, Listed};
use crate::resolve::{Scope, resolve};
use crate::target::{CreateError, bad_target, entry};
use crate::undo::Undo;

/// The container's root.
#[derive(Debug)]
pub(crate) struct Rootfs {
    root: OwnedFd,
    mount: Option<u64>,
    mounts: Vec<Mount>,
    /// The SELinux context of file systems that are made for the container.
    pub(crate) label: Option<CString>,
    listed: OnceCell<Listed>,
    /// Those that we made.
    made: RefCell<Vec<u64>>,
    writable: OnceCell<OwnedFd>,
    // Some fifty files lie in five directories: each is resolved once, and held.
    directories: RefCell<HashMap<PathBuf, Rc<Directory>>>,
}

/// A directory of the container, held open.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
    /// Whether what is created in it changes the container's own root, or a mount that the runtime
    /// made, and nothing else.
    ours: bool,
    /// The same directory in the writable copy of the root's mount, where it was needed.
    copy: OnceCell<OwnedFd>,
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Directory {
    /// Whether what was created is not in the container's own mount, but in a copy of it.
    pub(crate) fn has_copy(&self) -> bool {
        self.copy.get().is_some()
    }

    /// The descriptor by which something was created, and can be removed again.
    pub(crate) fn writer(&self) -> BorrowedFd<'_> {
        self.copy.get().unwrap_or(&self.fd).as_fd()
    }
}

impl Rootfs {
    /// The directory at `path` as seen from `from`, which is some mount namespace's root, with
    /// what config.json mounts in it.
    pub(crate) fn open(
        from: BorrowedFd<'_>,
        path: &Path,
        mounts: &[Mount],
    ) -> Result<Rootfs, Finding> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let root = in_root(from, path, flags).map_err(|e| {
            failed(
                Code::Enter,
                format!("open the container's root {}", path.display()),
                e,
            )
        })?;
        Ok(Rootfs {
            mount: mounts::id(root.as_fd()),
            root,
            mounts: mounts.to_vec(),
            label: None,
            listed: OnceCell::new(),
            made: RefCell::default(),
            writable: OnceCell::new(),
            directories: RefCell::default(),
        })
    }

    /// Whether the root is the root of a mount, as every runtime makes it.
    pub(crate) fn is_mount_root(&self) -> bool {
        let told = mount_facts(self.root.as_fd()).ok().and_then(|m| m.is_root);
        told.unwrap_or_else(|| {
            let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
            let above = openat(&self.root, "..", flags, Mode::empty());
            above.is_ok_and(|above| mounts::id(above.as_fd()) != self.mount)
        })
    }

    /// Whether the root is the directory `other`.
    pub(crate) fn is(&self, other: BorrowedFd<'_>) -> bool {
        let same = |a: FileStat, b: FileStat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
        matches!((fstat(&self.root), fstat(other)), (Ok(a), Ok(b)) if same(a, b))
    }

    /// A file system that config.json has the runtime mount for this container, and that is not
    /// there; `None` where the first one is.
    pub(crate) fn missing_mount(&self) -> Option<&Path> {
        let first = self.mounts.iter().find(|m| m.fresh)?;
        let there = self.find(&first.destination, OFlag::O_PATH);
        let there = there.is_ok_and(|place| mounts::id(place.as_fd()) != self.mount);
        (!there).then_some(&first.destination)
    }

    /// Whether `path` leads to something in the container. What cannot be reached does not.
    ///
    /// # Errors
    /// Where neither can be said, as with a file system that fails.
    pub(crate) fn exists(&self, path: &Path) -> Result<bool, Errno> {
        match self.find(path, OFlag::O_PATH) {
            Ok(_) => Ok(true),
            Err(
                Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EACCES | Errno::ENAMETOOLONG,
            ) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Opens what is at `path` itself: no link is followed, in no component.
    fn find_plain(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let mut here: Option<OwnedFd> = None;
        for component in path.components() {
            let Component::Normal(name) = component else {
                continue;
            };
            let from = here.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
            here = Some(entry(from, name, OFlag::O_PATH | OFlag::O_DIRECTORY)?);
        }
        here.ok_or(Errno::EINVAL)
    }

    /// Opens what `path` leads to; links resolve in the container.
    pub(crate) fn find(&self, path: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
        in_root(self.root.as_fd(), path, flags)
    }

    /// What is now at the name that `file`, which was opened below the root, has now. Somebody who
    /// can rename there may be ahead: the caller checks what was found.
    pub(crate) fn find_again(&self, file: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        let name = |fd| readlinkat(AT_FDCWD, own(fd).as_str()).map(PathBuf::from);
        let (root, file) = (name(self.root.as_fd())?, name(file)?);
        let below = file.strip_prefix(&root).map_err(|_| Errno::EXDEV)?;
        self.find(below, OFlag::O_PATH | OFlag::O_NOFOLLOW)
    }

    /// The directory at `path`, made with all its parents where missing (0755, owned by the
    /// container's root).
    pub(crate) fn directory(&self, path: &Path, undo: &mut Undo) -> Result<Rc<Directory>, Finding> {
        if let Some(known) = self.directories.borrow().get(path) {
            return Ok(Rc::clone(known));
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let found = match self.find(path, flags) {
            Err(Errno::ENOENT) => self.make_directory(path, undo)?,
            other => other.map_err(|e| bad_target(path, e))?,
        };
        let ours = self.is_ours(found.as_fd());
        let found = Rc::new(Directory {
            fd: found,
            path: path.to_path_buf(),
            ours,
            copy: OnceCell::new(),
        });
        self.directories
            .borrow_mut()
            .insert(path.to_path_buf(), Rc::clone(&found));
        Ok(found)
    }

    fn make_directory(&self, path: &Path, undo: &mut Undo) -> Result<OwnedFd, Finding> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(bad_target(path, Errno::EINVAL));
        };
        let parent = self.directory(parent, undo)?;
        let made = |at: BorrowedFd<'_>| mkdirat(at, name, Mode::from_bits_truncate(0o755));
        if self
            .create(&parent, made)
            .map_err(|e| e.at(path))?
            .is_some()
        {
            undo.remove_directory(&parent, name);
        }
        self.find(path, OFlag::O_PATH | OFlag::O_DIRECTORY)
            .map_err(|e| bad_target(path, e))
    }

    /// Runs `make`, which creates something in `parent`. Returns what it made, and `None` if the
    /// name was there already.
    ///
    /// A root that is read-only already (crun's stage createContainer) is written through a private
    /// copy of its mount without that flag.
    pub(crate) fn create<T>(
        &self,
        parent: &Directory,
        make: impl Fn(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<Option<T>, CreateError> {
        if !parent.ours {
            return Err(CreateError::Volume);
        }
        let made = match make(parent.as_fd()) {
            Err(Errno::EROFS) => {
                self.make_writable(parent)?;
                make(parent.writer())
            }
            other => other,
        };
        match made {
            Ok(made) => Ok(Some(made)),
            Err(Errno::EEXIST) => Ok(None),
            Err(e) => Err(CreateError::Os(e)),
        }
    }

    /// Runs `replace`, which puts something in `parent` in the place of something else.
    pub(crate) fn replace(
        &self,
        parent: &Directory,
        replace: impl Fn(BorrowedFd<'_>) -> Result<(), Errno>,
    ) -> Result<(), CreateError> {
        match self.create(parent, replace)? {
            Some(()) => Ok(()),
            None => Err(CreateError::Os(Errno::EEXIST)),
        }
    }

    /// Whether what is created in `directory` changes this container's files and no others: it
    /// lies on the root's own mount, or on one that the runtime made for this container.
    fn is_ours(&self, directory: BorrowedFd<'_>) -> bool {
        let Some(id) = mounts::id(directory) else {
            return false;
        };
        Some(id) == self.mount || self.listed().is_fresh(id)
    }

    fn listed(&self) -> &Listed {
        self.listed.get_or_init(|| {
            let led = |path: &Path| self.find(path, OFlag::O_PATH);
            Listed::of(&self.mounts, self.mount, |path| self.find_plain(path), led)
        })
    }

    /// `mount` is the root of a mount that we made, so it is private.
    pub(crate) fn made(&self, mount: BorrowedFd<'_>) {
        self.made.borrow_mut().extend(mounts::id(mount));
    }

    /// Refuses `place`, which is to be mounted on, where that mount would appear on the host, too.
    ///
    /// # Errors
    /// [`Code::Target`].
    pub(crate) fn check_private(&self, place: BorrowedFd<'_>, path: &Path) -> Result<(), Finding> {
        let id = mounts::id(place).ok_or_else(|| bad_target(path, Errno::EBADF))?;
        let ours = Some(id) == self.mount || self.made.borrow().contains(&id);
        if ours || self.listed().is_fresh(id) {
            return Ok(());
        }
        match mounts::is_shared(id) {
            Ok(false) => Ok(()),
            Ok(true) => Err(Finding::new(
                Code::Target,
                format!(
                    "{} of the container lies on a volume that shares its mounts with the host",
                    path.display()
                ),
                "mount the volume elsewhere, or without the option shared or rshared",
            )),
            Err(e) => Err(failed(Code::Target, "read /proc/self/mountinfo", e)),
        }
    }

    /// Opens `directory` in a copy of the root's mount that can be written, once: who can rename in
    /// the root must not come between what is done there and its undoing.
    fn make_writable(&self, directory: &Directory) -> Result<(), CreateError> {
        if directory.has_copy() {
            return Ok(());
        }
        if self.writable.get().is_none() {
            let copy = clone_tree(self.root.as_fd())?;
            set_attributes(copy.as_fd(), 0, attr::RDONLY)?;
            // Nobody else can have set it: the cell belongs to this thread.
            let _ = self.writable.set(copy);
        }
        let Some(copy) = self.writable.get() else {
            return Err(CreateError::Os(Errno::EROFS));
        };
        let found = in_root(
            copy.as_fd(),
            &directory.path,
            OFlag::O_PATH | OFlag::O_DIRECTORY,
        )?;
        let same = |a: FileStat, b: FileStat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
        if !same(fstat(&found)?, fstat(directory)?) {
            // The path leads through another mount: there is no writable view of that one.
            return Err(CreateError::Os(Errno::EROFS));
        }
        let _ = directory.copy.set(found);
        Ok(())
    }
}

fn in_root(root: BorrowedFd<'_>, path: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    let relative = match relative.as_os_str().is_empty() {
        true => Path::new("."),
        false => relative,
    };
    resolve(root, relative, flags, Mode::empty(), Scope::InRoot)
}
