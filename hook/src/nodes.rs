//! Device nodes of the host, made in udev's place where the administrator wants that
//! (`create-device-nodes`): before a container is entered, and with capabilities that are given up
//! again before that.

use oci_gpu::Request;
use oci_gpu::discover::{KernelNode, needed_nodes};
use oci_gpu::finding::{Code, Finding};
use oci_gpu::host::Host;
use oci_gpu::inventory::NodeState;
use oci_gpu_inject::confine;
use oci_gpu_inject::host_nodes::make_node;

use crate::log::Log;

/// Makes what the container of `request` needs of the host's nodes and is missing or wrong. What it
/// can do without is no reason to fail.
///
/// Other hooks may do the same at the same time, and so may nvidia-modprobe.
pub(crate) fn complete(host: &Host, request: &Request, log: &Log) -> Result<(), Finding> {
    confine::to_make_nodes()?;
    for wanted in needed_nodes(host, request)? {
        if wanted.node.state == NodeState::Present {
            continue;
        }
        match make(host, &wanted) {
            Ok(()) => log.done(&format!("made the device node {}", name(&wanted))),
            Err(finding) if wanted.required => return Err(finding),
            Err(finding) => log.note(&finding),
        }
    }
    Ok(())
}

fn make(host: &Host, wanted: &KernelNode) -> Result<(), Finding> {
    if wanted.may_modify {
        return make_node(host, wanted);
    }
    Err(Finding::new(
        Code::NodeMissing,
        format!(
            "the device node {} is missing or wrong on the host, and the driver forbids that tools make it (ModifyDeviceFiles or DeviceFileModify is not 1)",
            name(wanted)
        ),
        "load the nvidia module with NVreg_ModifyDeviceFiles=1, or run `oci-gpu system create-device-nodes --force` on the host",
    ))
}

fn name(wanted: &KernelNode) -> String {
    let node = &wanted.node;
    format!("{} ({}:{})", node.path.display(), node.major, node.minor)
}
