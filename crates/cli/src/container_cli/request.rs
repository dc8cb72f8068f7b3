//! The devices, MIG rights and IMEX channels that options name.

use oci_gpu::finding::Code;
use oci_gpu::inventory::Inventory;
use oci_gpu::request::{DeviceId, Devices};

use super::args::Mig;
use super::fail::{Failure, Stage};

/// IMEX channels have 20-bit numbers.
const CHANNEL_LIMIT: u32 = 1 << 20;

/// The devices of `--device`. As in the reference, `all` (in any case) ends the list, and no item at
/// all means the driver without a device.
pub(super) fn devices(items: &[String]) -> Result<Devices, Failure> {
    let mut ids: Vec<DeviceId> = Vec::new();
    for item in items {
        if item.eq_ignore_ascii_case("all") {
            return Ok(Devices::All);
        }
        let id = item.parse::<DeviceId>().map_err(|why| {
            Failure::new(
                Stage::Device,
                Code::UnknownDevice,
                format!("{item}: unknown device: it is no device name: {why}"),
                "see docs/requests.md for the names that a device has, or oci-gpu list",
            )
        })?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    match ids.is_empty() {
        true => Ok(Devices::DriverOnly),
        false => Ok(Devices::List(ids)),
    }
}

/// The channels of `--imex-channel`, ascending.
pub(super) fn channels(items: &[String]) -> Result<Vec<u32>, Failure> {
    let mut channels = Vec::new();
    for item in items {
        let digits = item.bytes().all(|b| b.is_ascii_digit());
        match item.parse::<u32>() {
            Ok(channel) if digits && channel < CHANNEL_LIMIT => channels.push(channel),
            _ => {
                return Err(Failure::new(
                    Stage::Input,
                    Code::ImexChannel,
                    format!("unsupported IMEX channel value: {item}"),
                    format!("name channels by number, below {CHANNEL_LIMIT}"),
                ));
            }
        }
    }
    channels.sort_unstable();
    channels.dedup();
    Ok(channels)
}

/// Whether all of MIG's configuration, and of its monitoring, is asked for beside `devices`.
pub(super) fn mig(
    mig: &Mig,
    devices: &Devices,
    inventory: &Inventory,
) -> Result<(bool, bool), Failure> {
    let right = |items: &[String], stage, option, there: bool| -> Result<bool, Failure> {
        let wrong = |what: String, remedy: &str| Failure::new(stage, Code::Mig, what, remedy);
        match items.iter().find(|item| !item.eq_ignore_ascii_case("all")) {
            _ if items.is_empty() => Ok(false),
            Some(item) => Err(wrong(
                format!("--{option}={item}: only 'all' devices are currently supported"),
                "use all, or leave the option out",
            )),
            None if names_instances(devices) => Err(wrong(
                format!("cannot enable {option} with specific MIG devices selected"),
                "select whole GPUs, or leave the option out",
            )),
            None if !there => Err(wrong(
                "the driver has no such right below /proc/driver/nvidia/capabilities/mig"
                    .to_owned(),
                "use a driver and a GPU that support MIG, or leave the option out",
            )),
            None => Ok(true),
        }
    };
    let config = inventory.mig_config.is_some();
    let monitor = inventory.mig_monitor.is_some();
    Ok((
        right(&mig.config, Stage::MigConfig, "mig-config", config)?,
        right(&mig.monitor, Stage::MigMonitor, "mig-monitor", monitor)?,
    ))
}

fn names_instances(devices: &Devices) -> bool {
    let Devices::List(ids) = devices else {
        return false;
    };
    ids.iter().any(|id| {
        matches!(
            id,
            DeviceId::MigIndex(..) | DeviceId::MigUuid(_) | DeviceId::MigNumbers { .. }
        )
    })
}

/// A device that does not exist, with the words that the reference has for it.
pub(super) fn unknown_device(mut failure: Failure, items: &[String]) -> Failure {
    let finding = &mut failure.finding;
    if matches!(finding.code, Code::UnknownDevice | Code::Mig) {
        // The message has the one spelling that is kept of a name.
        let is_named = |item: &&String| {
            let id = item.parse::<DeviceId>();
            id.is_ok_and(|id| finding.message.contains(&format!("'{id}'")))
        };
        if let Some(item) = items.iter().find(is_named) {
            finding.message = format!("{item}: unknown device: {}", finding.message);
        }
    }
    failure
}
