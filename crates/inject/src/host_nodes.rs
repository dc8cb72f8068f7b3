//! Device nodes of the *host*, and links to them: what udev does elsewhere, on hosts that have none.
//!
//! Before a container is entered, and in the host's own tree. All the same nothing is taken on
//! trust: a directory is resolved below the host's root and held by descriptor; a node is made under
//! a temporary name, checked, given its owner and mode by descriptor, and then its own name, so that
//! nothing is ever half made. No node is opened: that would wake the driver.
//!
//! Any number of processes may do the same at the same time. The temporary name of a node is
//! derived from its own, so that whoever made it, it is right, and a killed process leaves nothing
//! that the next one does not use.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, renameat};
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, fchmod, fchmodat, fstat, makedev, mkdirat, mknodat,
};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, linkat, unlinkat};

use oci_gpu::discover::KernelNode;
use oci_gpu::finding::{Code, Finding};
use oci_gpu::host::Host;

use crate::attach::own;
use crate::resolve::{Scope, resolve};
use crate::target::entry;
use crate::temporary::{PREFIX, replace_link};

/// How often a node is made anew that somebody else keeps taking away.
const ATTEMPTS: u32 = 8;

/// Makes `wanted`, with the directories that it lies in, in the place of whatever file or link is
/// there. A node with these numbers stays, and gets the owner and the mode.
///
/// # Errors
/// [`Code::Privilege`] without CAP_MKNOD and in user namespaces, [`Code::NodeWrong`] where a
/// directory is in the way, [`Code::NodeMissing`] otherwise. Nothing is left half made.
pub fn make_node(host: &Host, wanted: &KernelNode) -> Result<(), Finding> {
    let path = &wanted.node.path;
    let (directory, name) = place(host, path).map_err(|e| failed("find the place of", path, e))?;
    put(directory.as_fd(), name, wanted).map_err(|e| failed("make the node", path, e))
}

/// Makes `path` a link that holds `points_to`, with the directories that it lies in, in the place of
/// whatever file or link is there.
///
/// # Errors
/// As [`make_node`].
pub fn make_link(host: &Host, path: &Path, points_to: &Path) -> Result<(), Finding> {
    let (directory, name) = place(host, path).map_err(|e| failed("find the place of", path, e))?;
    replace_link(directory.as_fd(), name, points_to).map_err(|e| failed("make the link", path, e))
}

fn failed(what: &str, path: &Path, error: Errno) -> Finding {
    let (code, remedy) = match error {
        Errno::EPERM | Errno::EACCES => (
            Code::Privilege,
            "run it as root with CAP_MKNOD, outside of a user namespace",
        ),
        Errno::EROFS => (Code::NodeMissing, "mount the host's /dev writable"),
        Errno::EISDIR => (Code::NodeWrong, "remove the directory in the node's place"),
        _ => (Code::NodeMissing, ""),
    };
    let error = io::Error::from(error);
    Finding::new(code, format!("{what} {}: {error}", path.display()), remedy)
}

/// The directory of `path`, made where it is missing, and the name in it.
fn place<'a>(host: &Host, path: &'a Path) -> Result<(OwnedFd, &'a OsStr), Errno> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::EINVAL);
    };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    #[allow(clippy::disallowed_methods, reason = "the host's root")]
    let root = nix::fcntl::open(&host.on_disk(Path::new("/")), flags, Mode::empty())?;
    Ok((directory(root.as_fd(), parent)?, name))
}

/// The directory at `path` below `root`; links lead to places below it. What is missing is made
/// (0755, whatever the umask), but not at the end of a link that leads nowhere.
fn directory(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    match resolve(root, path, flags, Mode::empty(), Scope::InRoot) {
        Err(Errno::ENOENT) => {}
        other => return other,
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::ENOENT);
    };
    let parent = directory(root, parent)?;
    let mode = Mode::from_bits_truncate(0o755);
    match mkdirat(&parent, name, mode) {
        Ok(()) => {
            let made = entry(parent.as_fd(), name, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
            fchmod(&made, mode)?;
        }
        Err(Errno::EEXIST) => {}
        Err(e) => return Err(e),
    }
    entry(parent.as_fd(), name, flags)
}

/// Makes the node under its temporary name and gives it its own, unless somebody who wants the same
/// was faster: theirs may be on its way into a container, which a second one in its place would stop.
fn put(directory: BorrowedFd<'_>, name: &OsStr, wanted: &KernelNode) -> Result<(), Errno> {
    let mut temporary = OsString::from(format!("{PREFIX}."));
    temporary.push(name);
    let temporary = temporary.as_os_str();
    let remove = || unlinkat(directory, temporary, UnlinkatFlags::NoRemoveDir);
    for _ in 0..ATTEMPTS {
        if let Some(node) = right(directory, name, wanted) {
            return give(node.as_fd(), wanted);
        }
        let made = make(directory, temporary, wanted)
            .and_then(|()| linkat(directory, temporary, directory, name, AtFlags::empty()));
        match made {
            Ok(()) => {
                let _ = remove();
                return Ok(());
            }
            // Somebody took it, as theirs.
            Err(Errno::ENOENT) => continue,
            // Something is there; or the file system has no second names, or not for us.
            Err(Errno::EEXIST | Errno::EPERM) => {}
            Err(e) => {
                let _ = remove();
                return Err(e);
            }
        }
        if right(directory, name, wanted).is_some() {
            let _ = remove();
            continue;
        }
        match renameat(directory, temporary, directory, name) {
            Ok(()) => return Ok(()),
            Err(Errno::ENOENT) => {}
            Err(e) => {
                let _ = remove();
                return Err(e);
            }
        }
    }
    Err(Errno::EBUSY)
}

/// Makes the node `name`, or takes the one that is there and right, and gives it owner and mode.
fn make(directory: BorrowedFd<'_>, name: &OsStr, wanted: &KernelNode) -> Result<(), Errno> {
    let mode = Mode::from_bits_truncate(wanted.owner.mode);
    let made = mknodat(directory, name, SFlag::S_IFCHR, mode, number(wanted));
    match (made, right(directory, name, wanted)) {
        (Ok(()) | Err(Errno::EEXIST), Some(node)) => give(node.as_fd(), wanted),
        // Of a process that was killed, for a driver that had other numbers; or gone meanwhile.
        (Ok(()) | Err(Errno::EEXIST), None) => {
            unlinkat(directory, name, UnlinkatFlags::NoRemoveDir)?;
            Err(Errno::ENOENT)
        }
        (Err(e), _) => Err(e),
    }
}

/// Gives `node` the owner and the mode that the driver wants. mknod(2) takes the umask away from the
/// mode, and chown(2) may take bits away too.
fn give(node: BorrowedFd<'_>, wanted: &KernelNode) -> Result<(), Errno> {
    let (uid, gid) = (wanted.owner.uid, wanted.owner.gid);
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    fchownat(node, "", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH)?;
    let mode = Mode::from_bits_truncate(wanted.owner.mode);
    let path = own(node);
    fchmodat(AT_FDCWD, path.as_str(), mode, FchmodatFlags::FollowSymlink)
}

/// The entry `name`, if it is a character device with the numbers of `wanted`; no link is followed.
fn right(directory: BorrowedFd<'_>, name: &OsStr, wanted: &KernelNode) -> Option<OwnedFd> {
    let node = entry(directory, name, OFlag::O_PATH).ok()?;
    let found = fstat(&node).ok()?;
    let is_device = found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits();
    (is_device && found.st_rdev == number(wanted)).then_some(node)
}

fn number(wanted: &KernelNode) -> u64 {
    makedev(wanted.node.major.into(), wanted.node.minor.into())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "trees of the tests' own")]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};

    use oci_gpu::discover::kernel_nodes;

    /// A host that has nothing but a driver without GPUs: three control nodes.
    fn host() -> (tempfile::TempDir, Vec<KernelNode>) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("sys/module/nvidia/version", "550.163.01\n"),
            (
                "proc/devices",
                "Character devices:\n195 nvidia\n508 nvidia-uvm\n",
            ),
            ("proc/driver/nvidia/params", "DeviceFileMode: 432\n"),
        ] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let nodes = kernel_nodes(&Host::at(dir.path())).unwrap();
        assert_eq!(nodes.len(), 3);
        (dir, nodes)
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    type Fill = (&'static str, fn(&Path));

    /// Whatever lies in the place of a node, or under its temporary name, goes; nothing that a link
    /// leads to is touched.
    #[test]
    fn what_is_in_the_way_is_replaced_and_never_followed() {
        let (dir, nodes) = host();
        let outside = tempfile::tempdir().unwrap();
        let victim = outside.path().join("victim");
        fs::write(&victim, "left alone").unwrap();
        let target = victim.clone();
        let fill: [Fill; 4] = [
            ("nothing", |_| {}),
            ("a file", |path| fs::write(path, "").unwrap()),
            ("another device", |path| {
                let mode = Mode::from_bits_truncate(0o600);
                nix::sys::stat::mknod(path, SFlag::S_IFCHR, mode, makedev(1, 3)).unwrap();
            }),
            ("a FIFO", |path| {
                nix::unistd::mkfifo(path, Mode::from_bits_truncate(0o666)).unwrap();
            }),
        ];
        let wanted = &nodes[0];
        let dev = dir.path().join("dev");
        for name in ["nvidiactl", ".oci-gpu.tmp.nvidiactl"] {
            for (what, fill) in fill {
                fs::create_dir(&dev).unwrap();
                fill(&dev.join(name));
                make_node(&Host::at(dir.path()), wanted).unwrap();
                assert_made(&dev, what);
            }
            fs::create_dir(&dev).unwrap();
            symlink(&target, dev.join(name)).unwrap();
            make_node(&Host::at(dir.path()), wanted).unwrap();
            assert_made(&dev, "a link");
        }
        assert_eq!(fs::read_to_string(&victim).unwrap(), "left alone");
        assert_eq!(fs::metadata(&victim).unwrap().mode() & 0o777, 0o644);
    }

    /// The node is there and right, and nothing else; then it all goes.
    fn assert_made(dev: &Path, what: &str) {
        let made = fs::symlink_metadata(dev.join("nvidiactl")).unwrap();
        assert!(made.file_type().is_char_device(), "{what}");
        assert_eq!(
            (made.rdev(), made.mode() & 0o7777),
            (makedev(195, 255), 0o660)
        );
        assert_eq!(names(dev), ["nvidiactl"], "{what}");
        fs::remove_dir_all(dev).unwrap();
    }

    /// A node that is right stays the same file, with the driver's owner and mode.
    #[test]
    fn what_is_right_stays() {
        let (dir, nodes) = host();
        let host = Host::at(dir.path());
        make_node(&host, &nodes[0]).unwrap();
        let path = dir.path().join("dev/nvidiactl");
        let before = fs::metadata(&path).unwrap().ino();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        make_node(&host, &nodes[0]).unwrap();
        let after = fs::metadata(&path).unwrap();
        assert_eq!((after.ino(), after.mode() & 0o777), (before, 0o660));
    }

    /// Many at once: from the first moment that a node is there, it is right and stays the same
    /// file, and nothing is left.
    #[test]
    fn many_make_the_same_nodes() {
        for wrong in [false, true] {
            for _ in 0..50 {
                let (dir, nodes) = host();
                let dev = dir.path().join("dev");
                fs::create_dir(&dev).unwrap();
                if wrong {
                    fs::write(dev.join("nvidiactl"), "").unwrap();
                }
                let seen: Vec<u64> = std::thread::scope(|scope| {
                    let make = || {
                        nodes
                            .iter()
                            .for_each(|n| make_node(&Host::at(dir.path()), n).unwrap());
                        fs::metadata(dev.join("nvidia-uvm")).unwrap().ino()
                    };
                    let threads: Vec<_> = (0..4).map(|_| scope.spawn(make)).collect();
                    threads.into_iter().map(|t| t.join().unwrap()).collect()
                });
                assert!(seen.iter().all(|inode| *inode == seen[0]), "{seen:?}");
                assert_eq!(names(&dev), ["nvidia-uvm", "nvidia-uvm-tools", "nvidiactl"]);
            }
        }
    }

    /// Directories are made (0755) and links lead to places in the host, never to this machine's.
    #[test]
    fn directories_are_the_hosts_own() {
        let (dir, mut nodes) = host();
        let outside = tempfile::tempdir().unwrap();
        let wanted = &mut nodes[0];
        wanted.node.path = "/dev/deep/below/nvidiactl".into();
        symlink(outside.path(), dir.path().join("dev")).unwrap();
        let e = make_node(&Host::at(dir.path()), wanted).unwrap_err();
        assert_eq!(e.code, Code::NodeMissing, "{e}");
        let inside = dir.path().join(outside.path().strip_prefix("/").unwrap());
        fs::create_dir_all(&inside).unwrap();
        make_node(&Host::at(dir.path()), wanted).unwrap();
        assert_eq!(names(outside.path()), [""; 0]);
        assert_eq!(names(&inside.join("deep/below")), ["nvidiactl"]);
        let mode = fs::metadata(inside.join("deep")).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o755);
    }
}
