//! MIG instances, from /proc/driver/nvidia/capabilities.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::nodes::Nodes;
use super::proc_driver::{capability_minor, capability_mode};
use super::{PROC_DRIVER, unreadable};
use crate::finding::{Code, Finding};
use crate::inventory::{MigAccess, MigInstance};

/// The compute instances of the GPU with that minor number, in ascending order. The driver shows
/// capabilities/gpuN/mig for every GPU; it is empty where MIG is off.
pub(super) fn instances(nodes: &Nodes, gpu_minor: u32) -> Result<Vec<MigInstance>, Finding> {
    let mig = Path::new(PROC_DRIVER).join(format!("capabilities/gpu{gpu_minor}/mig"));
    let mut found = Vec::new();
    for (gi, gi_dir) in numbered(nodes, &mig, "gi")? {
        let computes = numbered(nodes, &gi_dir, "ci")?;
        if computes.is_empty() {
            continue;
        }
        let gi_access = access(nodes, gi_dir.join("access"))?;
        for (ci, ci_dir) in computes {
            found.push(MigInstance {
                gi,
                ci,
                uuid: None,
                gi_access: gi_access.clone(),
                ci_access: access(nodes, ci_dir.join("access"))?,
            });
        }
    }
    Ok(found)
}

/// The driver-wide right of that name ("config", "monitor"), where the driver has it.
pub(super) fn right(nodes: &Nodes, name: &str) -> Result<Option<MigAccess>, Finding> {
    let file = Path::new(PROC_DRIVER).join("capabilities/mig").join(name);
    match nodes.host.files().exists(&file) {
        true => access(nodes, file).map(Some),
        false => Ok(None),
    }
}

/// Sub-directories `<prefix>N` of `directory` by ascending number.
fn numbered(nodes: &Nodes, directory: &Path, prefix: &str) -> Result<Vec<(u32, PathBuf)>, Finding> {
    let names = match nodes.host.files().list(directory) {
        Ok(names) => names,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(unreadable(directory, &e)),
    };
    let mut found: Vec<(u32, PathBuf)> = names
        .iter()
        .filter_map(|n| Some((n.strip_prefix(prefix)?.parse().ok()?, directory.join(n))))
        .collect();
    found.sort();
    Ok(found)
}

/// The access file of an instance, and the capability node whose minor number it names.
fn access(nodes: &Nodes, file: PathBuf) -> Result<MigAccess, Finding> {
    let files = nodes.host.files();
    let text = files.read_text(&file).map_err(|e| unreadable(&file, &e))?;
    match (capability_minor(&text), nodes.majors.caps) {
        (Some(minor), Some(major)) => Ok(MigAccess {
            proc_file: file,
            node: nodes.inspect(&format!("/dev/nvidia-caps/nvidia-cap{minor}"), major, minor),
            // A right that cannot be read is nobody's but root's.
            mode: capability_mode(&text).unwrap_or(0o400) & 0o777,
        }),
        (None, _) => Err(Finding::new(
            Code::Malformed,
            format!("{} has no 'DeviceFileMinor:' with a number", file.display()),
            "reload the nvidia kernel module",
        )),
        (_, None) => Err(Finding::new(
            Code::Malformed,
            "/proc/devices has no line 'nvidia-caps', though the driver shows MIG instances",
            "load the driver with NVreg_EnableMIG capabilities (nvidia-caps), or reload it",
        )),
    }
}
