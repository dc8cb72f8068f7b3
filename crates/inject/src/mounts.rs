//! Whose the mounts below a container's root are: its own, or volumes that others see as well.

#![allow(
    clippy::disallowed_methods,
    reason = "files of our own process in the host's procfs"
)]

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use oci_gpu::container::Mount;
use oci_gpu_sys::stat::mount_facts;

use crate::loader_cache::read_bounded;

/// The mounts that config.json lists, by the numbers that they have in this mount namespace, and
/// whether the runtime made them for this container alone.
///
/// A mount that is not listed is a volume's: one that was below its source.
#[derive(Debug)]
pub(crate) struct Listed(HashMap<u64, bool>);

impl Listed {
    /// Looks each of `mounts` up. A later one that lies on an earlier one has its place.
    pub(crate) fn of(mounts: &[Mount], find: impl Fn(&Path) -> Result<OwnedFd, Errno>) -> Listed {
        let found = mounts.iter().filter_map(|mount| {
            let place = find(&mount.destination).ok()?;
            Some((id(place.as_fd())?, mount.fresh))
        });
        Listed(found.collect())
    }

    /// Whether what is created on the mount `id` changes this container's files and no others.
    pub(crate) fn is_fresh(&self, id: u64) -> bool {
        self.0.get(&id).is_some_and(|fresh| *fresh)
    }
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
