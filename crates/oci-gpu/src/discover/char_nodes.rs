//! Nodes that links of /dev/char are made for: those that are there, and those that there could be.
//!
//! systemd looks a device of a unit's rules up by /dev/char/MAJOR:MINOR. The kernel's devtmpfs and
//! udev make these links for nodes that the kernel announces, which NVIDIA's driver does not.

use std::path::Path;

use super::nodes::Nodes;
use super::{DiscoverError, IMEX_DIR, PROC_DRIVER_CAPS, gpus, kernel_nodes};
use crate::host::Host;
use crate::inventory::DeviceNode;

/// Directories of nodes below /dev: where they are, and what the names of the driver's begin with.
const PLACES: [(&str, &str); 3] = [
    ("/dev", "nvidia"),
    ("/dev/nvidia-caps", "nvidia-cap"),
    (IMEX_DIR, "channel"),
];

/// The character devices that the host has in the driver's places, in order of path, with the
/// numbers that they have.
///
/// # Errors
/// [`crate::Code::HostRead`] where /proc/devices cannot be read.
pub fn existing_nodes(host: &Host) -> Result<Vec<DeviceNode>, DiscoverError> {
    let nodes = Nodes::of(host)?;
    let mut found = Vec::new();
    for (directory, prefix) in PLACES {
        let names = host.files().list(&nodes.on_host(directory));
        for name in names.unwrap_or_default() {
            if name.starts_with(prefix) {
                found.extend(nodes.found(&format!("{directory}/{name}")));
            }
        }
    }
    Ok(found)
}

/// The nodes that the driver can have: [`kernel_nodes()`], and the capability node of every MIG
/// instance that could be made on the host's GPUs (/proc/driver/nvidia-caps/mig-minors), so that
/// links need not be made anew when instances are.
///
/// # Errors
/// As [`kernel_nodes()`].
pub fn possible_nodes(host: &Host) -> Result<Vec<DeviceNode>, DiscoverError> {
    let all = kernel_nodes(host)?;
    let mut all: Vec<DeviceNode> = all.into_iter().map(|n| n.node).collect();
    let nodes = Nodes::of(host)?;
    let Some(major) = nodes.majors.caps else {
        return Ok(all);
    };
    let table = host
        .files()
        .read_text(&Path::new(PROC_DRIVER_CAPS).join("mig-minors"));
    let table = table.unwrap_or_default();
    for gpu in gpus::read(&nodes, &super::kernel_nodes::NOTHING, &mut Vec::new())? {
        let prefix = format!("gpu{}/", gpu.minor);
        let minors = table.lines().filter(|l| l.starts_with(&prefix));
        for minor in minors.filter_map(|l| l.rsplit(' ').next()?.parse::<u32>().ok()) {
            let node = nodes.inspect(&format!("/dev/nvidia-caps/nvidia-cap{minor}"), major, minor);
            if !all.contains(&node) {
                all.push(node);
            }
        }
    }
    Ok(all)
}
