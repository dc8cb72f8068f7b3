//! Inventory and Request -> Grant: exact devices, or an error that says what there is instead.

mod picked;
mod present;

pub use present::present;

use std::collections::HashMap;

use serde::Serialize;

use self::picked::Picked;
use crate::capability::CapabilitySet;
use crate::finding::{Code, Finding};
use crate::inventory::{
    ControlNode, Gpu, ImexChannel, Inventory, MigAccess, MigInstance, PeripheralNode, Platform,
};
use crate::request::require::{self, DeviceTraits, RequireFacts};
use crate::request::{Devices, Request, Requirement};

/// Why a request cannot be met: a finding of the 0200 or 0400 range.
pub type SelectError = Finding;

/// What a container is granted.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Grant {
    /// How the host's GPUs are reached.
    #[serde(skip)]
    pub platform: Platform,
    /// GPUs, in PCI order. Those that are granted by an instance only are here too.
    pub gpus: Vec<Gpu>,
    /// MIG instances, each with the index of its GPU, in ascending order.
    pub mig: Vec<(u32, MigInstance)>,
    /// Control nodes of the host; which of them a container gets depends on its capabilities.
    pub control: Vec<ControlNode>,
    /// Driver-wide MIG rights: configuration, monitoring.
    pub mig_rights: Vec<MigAccess>,
    /// IMEX channels.
    pub imex_channels: Vec<ImexChannel>,
    /// Nodes of hardware beside the GPUs.
    pub peripherals: Vec<PeripheralNode>,
    /// Whether this is all that manages GPUs: the container sees what the host sees.
    pub management: bool,
    /// Parts of the driver.
    #[serde(skip)]
    pub capabilities: CapabilitySet,
}

/// Picks what `request` names from `inventory`, and checks the request's conditions. A GPU that is
/// split into MIG instances is granted with all of them, for it cannot be used otherwise.
///
/// # Errors
/// [`Code::UnknownDevice`], [`Code::AmbiguousDevice`], [`Code::Mig`], [`Code::ImexChannel`],
/// [`Code::Peripheral`] and [`Code::Requirement`]; each names what there is instead.
pub fn select(inventory: &Inventory, request: &Request) -> Result<Grant, SelectError> {
    let mut picked = Picked {
        inventory,
        gpus: Vec::new(),
        mig: Vec::new(),
    };
    match &request.devices {
        Devices::DriverOnly => {}
        Devices::All if inventory.platform != Platform::Native => {}
        Devices::All if inventory.gpus.is_empty() => {
            return Err(Finding::new(
                Code::UnknownDevice,
                format!(
                    "all GPUs were asked for, but driver {} has none",
                    inventory.driver.version
                ),
                "see dmesg and lspci for GPUs that the driver did not take, or ask for 'none'",
            ));
        }
        Devices::All => (0..inventory.gpus.len()).for_each(|i| picked.whole(i)),
        Devices::List(ids) => {
            for id in ids {
                picked.device(id)?;
            }
        }
    }
    picked.gpus.sort_unstable();
    picked.mig.sort_unstable();
    let gpus: Vec<Gpu> = picked
        .gpus
        .iter()
        .map(|&i| inventory.gpus[i].clone())
        .collect();
    let mig = picked
        .mig
        .iter()
        .map(|&(g, m)| (inventory.gpus[g].index, inventory.gpus[g].mig[m].clone()))
        .collect();
    check(inventory, &gpus, &request.requirements)?;
    Ok(Grant {
        platform: inventory.platform,
        gpus,
        mig,
        control: inventory.control.clone(),
        mig_rights: mig_rights(inventory, request)?,
        imex_channels: match request.management {
            true => inventory.imex_channels.clone(),
            false => imex_channels(inventory, request)?,
        },
        peripherals: peripherals(inventory, request)?,
        management: request.management,
        capabilities: request.capabilities,
    })
}

/// Whether conditions hold for `gpus` of this host.
///
/// # Errors
/// [`Code::Requirement`], with each term that fails.
pub fn check(
    inventory: &Inventory,
    gpus: &[Gpu],
    requirements: &[Requirement],
) -> Result<(), Finding> {
    if requirements.is_empty() {
        return Ok(());
    }
    let traits = |g: &Gpu| DeviceTraits {
        index: g.index,
        arch: g.arch,
        brand: g.brand.clone(),
    };
    let devices: Vec<DeviceTraits> = gpus.iter().map(traits).collect();
    let driver = &inventory.driver;
    let facts = RequireFacts {
        driver: &driver.version,
        cuda: driver.cuda,
        devices: &devices,
    };
    require::check(requirements, &facts)
}

fn mig_rights(inventory: &Inventory, request: &Request) -> Result<Vec<MigAccess>, Finding> {
    let asked = [
        (
            request.mig_config,
            "NVIDIA_MIG_CONFIG_DEVICES",
            &inventory.mig_config,
        ),
        (
            request.mig_monitor,
            "NVIDIA_MIG_MONITOR_DEVICES",
            &inventory.mig_monitor,
        ),
    ];
    if request.management {
        let all = [&inventory.mig_config, &inventory.mig_monitor];
        return Ok(all.into_iter().flatten().cloned().collect());
    }
    let mut rights = Vec::new();
    for (asked, variable, right) in asked {
        match (asked, right) {
            (true, Some(right)) => rights.push(right.clone()),
            (true, None) => {
                return Err(Finding::new(
                    Code::Mig,
                    format!(
                        "{variable} is set, but the driver has no such right below /proc/driver/nvidia/capabilities/mig"
                    ),
                    "use a driver and a GPU that support MIG, or unset the variable",
                ));
            }
            (false, _) => {}
        }
    }
    Ok(rights)
}

fn peripherals(inventory: &Inventory, request: &Request) -> Result<Vec<PeripheralNode>, Finding> {
    let mut granted = Vec::new();
    for kind in &request.peripherals {
        let of_kind = inventory.peripherals.iter().filter(|p| p.kind == *kind);
        let before = granted.len();
        granted.extend(of_kind.cloned());
        if granted.len() == before {
            return Err(Finding::new(
                Code::Peripheral,
                format!(
                    "{} was asked for, and the host has no node of it",
                    kind.class()
                ),
                format!(
                    "{}, or do not ask for it ({}, nvidia.com/{}=all)",
                    kind.remedy(),
                    kind.variable(),
                    kind.class()
                ),
            ));
        }
    }
    Ok(granted)
}

fn imex_channels(inventory: &Inventory, request: &Request) -> Result<Vec<ImexChannel>, Finding> {
    let known = inventory.imex_channels.iter().map(|c| (c.id, c));
    let known: HashMap<u32, &ImexChannel> = match request.imex_channels.is_empty() {
        true => HashMap::new(),
        false => known.collect(),
    };
    let find = |id: &u32| {
        let found = known.get(id).copied();
        found.cloned().ok_or_else(|| {
            let there = match inventory.imex_channels.len() {
                0 => "no channel".to_owned(),
                n => format!("{n} channels"),
            };
            Finding::new(
                Code::ImexChannel,
                format!("IMEX channel {id} has no node in /dev/nvidia-caps-imex-channels; the host has {there}"),
                "create the node (oci-gpu system create-device-nodes --imex-channels), or load the driver with NVreg_CreateImexChannel0=1",
            )
        })
    };
    request.imex_channels.iter().map(find).collect()
}
