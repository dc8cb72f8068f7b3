//! The application profile that shows EGL the container's GPUs and no others.

use std::path::PathBuf;

use super::{FileEntry, Operation, Plan};
use crate::capability::Capability::{Display, Graphics};
use crate::select::Grant;

/// Where the driver's graphics libraries look for profiles of the machine.
const DIRECTORY: &str = "/etc/nvidia/nvidia-application-profiles-rc.d";

/// EGL's device enumeration goes over all GPUs that the kernel has, and fails on those whose node
/// the container lacks. The setting EGLVisibleDGPUDevices is a mask of minor numbers, of 64 bits.
pub(super) fn plan(plan: &mut Plan, grant: &Grant) {
    let graphics = grant.capabilities.contains(Graphics) || grant.capabilities.contains(Display);
    if !graphics || grant.gpus.is_empty() || grant.management {
        return;
    }
    let mut mask = 0u64;
    for gpu in &grant.gpus {
        match 1u64.checked_shl(gpu.minor) {
            Some(bit) => mask |= bit,
            None => {
                let why = format!(
                    "GPU {} has minor number {}, and EGL's mask ends at 63",
                    gpu.index, gpu.minor
                );
                return plan.skip(DIRECTORY, why);
            }
        }
    }
    let profile = format!(
        "{{\"profiles\": [{{\"name\": \"_container_\", \"settings\": [\"EGLVisibleDGPUDevices\", \
         {mask:#x}]}}], \"rules\": [{{\"pattern\": [], \"profile\": \"_container_\"}}]}}\n"
    );
    let entry = FileEntry {
        path: PathBuf::from("10-container.conf"),
        content: Some(profile.into_bytes()),
        mode: 0o444,
    };
    let files = Operation::Files {
        target: PathBuf::from(DIRECTORY),
        entries: vec![entry],
    };
    plan.add(
        files,
        false,
        "EGL sees the container's GPUs only".to_owned(),
    );
}
