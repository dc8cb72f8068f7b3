//! Whose the mounts below a container's root are: its own, or volumes that others see as well.

#![allow(
    clippy::disallowed_methods,
    reason = "files of our own process in the host's procfs"
)]

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::statfs::{FsType, TMPFS_MAGIC, fstatfs};
use oci_gpu::container::Mount;
use oci_gpu_sys::stat::mount_facts;

use crate::loader_cache::read_bounded;

/// The mounts that config.json has the runtime make for this container alone, by the numbers that
/// they have in this mount namespace. Any other mount is a volume's.
#[derive(Debug)]
pub(crate) struct Listed(HashSet<u64>);

impl Listed {
    /// Looks each of `mounts` up, below a root that lies on the mount `root`.
    ///
    /// `plain` follows no link: an image, or somebody who renames, must not have a volume taken for
    /// one of the runtime's own mounts. A volume that lies on an earlier one of these, or on the way
    /// to it, has its place, also by a link of the image: `led` follows links as runtimes do. Where
    /// a volume's place cannot be told, nothing is believed.
    pub(crate) fn of(
        mounts: &[Mount],
        root: Option<u64>,
        plain: impl Fn(&Path) -> Result<OwnedFd, Errno>,
        led: impl Fn(&Path) -> Result<OwnedFd, Errno>,
    ) -> Listed {
        // Each with the mounts that the way to it leads over.
        let mut fresh: Vec<(u64, HashSet<u64>)> = Vec::new();
        for mount in mounts {
            let found = match plain(&mount.destination) {
                Err(_) if !mount.fresh => led(&mount.destination),
                other => other,
            };
            let place = match found {
                Ok(place) => place,
                // Another mount lies on its place, or on the way there.
                Err(Errno::ENOENT | Errno::ENOTDIR) => continue,
                Err(_) if mount.fresh => continue,
                Err(_) => return Listed(HashSet::new()),
            };
            let Some(number) = id(place.as_fd()) else {
                return Listed(HashSet::new());
            };
            // What lies on the root's own mount is hidden, or was never mounted.
            if Some(number) != root {
                fresh.retain(|(_, way)| !way.contains(&number));
            }
            if mount.fresh && is_in_memory(&place) && is_root(&place) {
                let way = mount.destination.ancestors();
                let way = way.filter_map(|p| id(plain(p).ok()?.as_fd()));
                fresh.push((number, way.collect()));
            }
        }
        Listed(fresh.into_iter().map(|(id, _)| id).collect())
    }

    /// Whether what is created on the mount `id` changes this container's files and no others.
    pub(crate) fn is_fresh(&self, id: u64) -> bool {
        self.0.contains(&id)
    }
}

/// Whether `place` is in a file system of the kinds that runtimes make for one container.
fn is_in_memory(place: &OwnedFd) -> bool {
    const PROC: FsType = FsType(libc::PROC_SUPER_MAGIC);
    fstatfs(place).is_ok_and(|s| matches!(s.filesystem_type(), TMPFS_MAGIC | PROC))
}

/// Whether `place` is the root of its mount; what is not told (before Linux 5.8) is believed.
fn is_root(place: &OwnedFd) -> bool {
    mount_facts(place.as_fd()).ok().and_then(|f| f.is_root) != Some(false)
}

/// The number of the mount that `file` lies on: by statx(2) since Linux 5.8, else from
/// /proc/self/fdinfo (proc_pid_fdinfo(5)).
pub(crate) fn id(file: BorrowedFd<'_>) -> Option<u64> {
    mount_facts(file).ok().and_then(|f| f.id).or_else(|| {
        let path = format!("/proc/self/fdinfo/{}", file.as_raw_fd());
        let text = read_bounded(File::open(path).ok()?, 4096).ok()?;
        let text = String::from_utf8(text).ok()?;
        let line = text.lines().find_map(|l| l.strip_prefix("mnt_id:"))?;
        line.trim().parse().ok()
    })
}

/// Whether what is mounted on the mount `id` appears in other mount namespaces, too: it has peers
/// (mount_namespaces(7)). A mount that is not in /proc/self/mountinfo counts as one that does.
pub(crate) fn is_shared(id: u64) -> std::io::Result<bool> {
    let number = id.to_string();
    let mut lines = BufReader::new(File::open("/proc/self/mountinfo")?);
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(true);
        }
        let mut fields = line.split(|b| *b == b' ');
        if fields.next() == Some(number.as_bytes()) {
            // The optional fields are the seventh and following, up to a hyphen.
            let mut optional = fields.skip(5).take_while(|f| *f != b"-");
            return Ok(optional.any(|f| f.starts_with(b"shared:")));
        }
    }
}
