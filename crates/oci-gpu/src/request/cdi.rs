//! CDI names that stand for something else than a GPU.

use super::{DeviceId, Devices};
use crate::finding::{Code, Finding};
use crate::peripheral::Peripheral;

/// What was asked for by CDI names beside GPUs.
#[derive(Debug, Default)]
pub(super) struct Named {
    pub(super) peripherals: Vec<Peripheral>,
    pub(super) channels: Vec<u32>,
    pub(super) management: bool,
}

/// Takes names of peripherals (`nvidia.com/gds=all`), of IMEX channels
/// (`nvidia.com/imex-channel=0`) and of management (`management.nvidia.com/gpu=all`) out of
/// `devices`. A list that is empty then asks for the driver alone.
///
/// # Errors
/// [`Code::RequestDenied`] for management by a container that is not privileged: it is all that the
/// host has, the rights to reconfigure it included.
pub(super) fn take(devices: &mut Devices, privileged: bool) -> Result<Named, Finding> {
    let mut named = Named::default();
    let Devices::List(list) = devices else {
        return Ok(named);
    };
    list.retain(|id| match id {
        DeviceId::Cdi(name) => !named.takes(name),
        _ => true,
    });
    if named.management && !privileged {
        return Err(Finding::new(
            Code::RequestDenied,
            "management.nvidia.com/gpu=all is for privileged containers only",
            "run the container with CAP_SYS_ADMIN, or ask for GPUs by nvidia.com/gpu",
        ));
    }
    if named.management {
        *devices = Devices::All;
    } else if list.is_empty() {
        *devices = Devices::DriverOnly;
    }
    Ok(named)
}

impl Named {
    fn takes(&mut self, name: &str) -> bool {
        let kind = |k: &&Peripheral| name.strip_prefix("nvidia.com/") == Some(&class_all(**k));
        if name == "management.nvidia.com/gpu=all" {
            self.management = true;
        } else if let Some(kind) = Peripheral::ALL.iter().find(kind) {
            self.peripherals.push(*kind);
        } else if let Some(channel) = name.strip_prefix("nvidia.com/imex-channel=")
            && let Some(channel) = super::names::decimal(channel)
        {
            self.channels.push(channel);
        } else {
            return false;
        }
        true
    }
}

fn class_all(kind: Peripheral) -> String {
    format!("{}=all", kind.class())
}
