//! MIG instances, from /proc/driver/nvidia/capabilities.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::nodes::Majors;
use super::proc_driver::capability_minor;
use super::{PROC_DRIVER, unreadable};
use crate::finding::{Code, Finding};
use crate::host::Host;
use crate::inventory::{DeviceNode, MigAccess, MigInstance};

/// The compute instances of the GPU with that minor number, in ascending order. The driver shows
/// capabilities/gpuN/mig for every GPU; it is empty where MIG is off.
pub(super) fn instances(
    host: &Host,
    majors: &Majors,
    gpu_minor: u32,
) -> Result<Vec<MigInstance>, Finding> {
    let mig = Path::new(PROC_DRIVER).join(format!("capabilities/gpu{gpu_minor}/mig"));
    let mut found = Vec::new();
    for (gi, gi_dir) in numbered(host, &mig, "gi")? {
        let computes = numbered(host, &gi_dir, "ci")?;
        if computes.is_empty() {
            continue;
        }
        let gi_access = access(host, majors, gi_dir.join("access"))?;
        for (ci, ci_dir) in computes {
            found.push(MigInstance {
                gi,
                ci,
                uuid: None,
                gi_access: gi_access.clone(),
                ci_access: access(host, majors, ci_dir.join("access"))?,
            });
        }
    }
    Ok(found)
}

/// The driver-wide right of that name ("config", "monitor"), where the driver has it.
pub(super) fn right(
    host: &Host,
    majors: &Majors,
    name: &str,
) -> Result<Option<MigAccess>, Finding> {
    let file = Path::new(PROC_DRIVER).join("capabilities/mig").join(name);
    match host.files().exists(&file) {
        true => access(host, majors, file).map(Some),
        false => Ok(None),
    }
}

/// Sub-directories `<prefix>N` of `directory` by ascending number.
fn numbered(host: &Host, directory: &Path, prefix: &str) -> Result<Vec<(u32, PathBuf)>, Finding> {
    let names = match host.files().list(directory) {
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
fn access(host: &Host, majors: &Majors, file: PathBuf) -> Result<MigAccess, Finding> {
    let text = host
        .files()
        .read_text(&file)
        .map_err(|e| unreadable(&file, &e))?;
    match (capability_minor(&text), majors.caps) {
        (Some(minor), Some(major)) => Ok(MigAccess {
            proc_file: file,
            node: DeviceNode::inspect(
                host,
                &format!("/dev/nvidia-caps/nvidia-cap{minor}"),
                major,
                minor,
            ),
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
