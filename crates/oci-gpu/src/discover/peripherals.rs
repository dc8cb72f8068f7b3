//! Nodes of hardware beside the GPUs.

use std::path::Path;

use super::nodes::{Majors, Nodes};
use crate::inventory::{NodeState, PeripheralNode};
use crate::peripheral::Peripheral;

/// Every node of every kind that the host has, in order of kind and name. Their numbers are given
/// out by the kernel at load time; those of the node count, unless /proc/devices says otherwise.
pub(super) fn find(nodes: &Nodes) -> Vec<PeripheralNode> {
    let devices = nodes.host.files().read_text(Path::new("/proc/devices"));
    let devices = devices.unwrap_or_default();
    let mut found = Vec::new();
    for kind in Peripheral::ALL {
        let before = found.len();
        for names in kind.nodes() {
            let directory = nodes.on_host(names.directory);
            let files = nodes.host.files().list(&directory).unwrap_or_default();
            for name in files.iter().filter(|n| names.has(n)) {
                let path = format!("{}/{name}", names.directory);
                let Some(mut node) = nodes.found(&path) else {
                    continue;
                };
                let major = names.driver.and_then(|d| Majors::of(&devices, d));
                if let Some(major) = major.filter(|m| *m != node.major) {
                    node = nodes.inspect(&path, major, node.minor);
                }
                if !matches!(node.state, NodeState::Missing) {
                    found.push(PeripheralNode { kind, node });
                }
            }
        }
        if let Some(these) = found.get_mut(before..) {
            these.sort_by(|a, b| a.node.path.cmp(&b.node.path));
        }
    }
    found
}
