//! Inventory and Request -> Grant: exact devices, or an error that says what there is instead.

use std::collections::HashMap;
use std::path::Path;

use serde::Serialize;

use crate::capability::CapabilitySet;
use crate::discover::stored::FILE;
use crate::finding::{Code, Finding};
use crate::inventory::{
    ControlNode, DeviceNode, Gpu, ImexChannel, Inventory, MigAccess, MigInstance, PeripheralNode,
    Platform, StoredState,
};
use crate::request::require::{self, DeviceTraits, RequireFacts};
use crate::request::{DeviceId, Devices, Request};

const REFRESH: &str = "run oci-gpu refresh, or name the instance as GPU:INSTANCE (0:1) or as MIG-<GPU UUID>/<GPU instance>/<compute instance>";

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
/// [`Code::UnknownDevice`], [`Code::AmbiguousDevice`], [`Code::Mig`], [`Code::ImexChannel`] and
/// [`Code::Requirement`]; each names what there is instead.
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
    requirements(inventory, &gpus, request)?;
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

/// What a container has been given by others, told by `exists` from the nodes in its root.
pub fn present(inventory: &Inventory, exists: impl Fn(&Path) -> bool) -> Grant {
    let has = |node: &DeviceNode| exists(&node.target);
    let mut mig = Vec::new();
    let mut gpus = Vec::new();
    for gpu in inventory.gpus.iter().filter(|g| has(&g.node)) {
        let mut gpu = gpu.clone();
        gpu.drm.retain(|d| has(&d.node));
        let given = |m: &&MigInstance| has(&m.gi_access.node) && has(&m.ci_access.node);
        mig.extend(gpu.mig.iter().filter(given).map(|m| (gpu.index, m.clone())));
        gpus.push(gpu);
    }
    let rights = [&inventory.mig_config, &inventory.mig_monitor];
    let rights: Vec<MigAccess> = rights.into_iter().flatten().cloned().collect();
    let all = rights.iter().all(|r| has(&r.node)) && !rights.is_empty();
    Grant {
        platform: inventory.platform,
        // Everything that there is, and the right to change it.
        management: all && gpus.len() == inventory.gpus.len(),
        mig_rights: rights.into_iter().filter(|r| has(&r.node)).collect(),
        gpus,
        mig,
        control: Vec::new(),
        imex_channels: Vec::new(),
        peripherals: Vec::new(),
        capabilities: CapabilitySet::all(),
    }
}

/// Places in the inventory of what was picked, each once.
struct Picked<'a> {
    inventory: &'a Inventory,
    gpus: Vec<usize>,
    mig: Vec<(usize, usize)>,
}

impl Picked<'_> {
    fn whole(&mut self, gpu: usize) {
        self.gpu(gpu);
        for instance in 0..self.inventory.gpus[gpu].mig.len() {
            self.instance(gpu, instance);
        }
    }

    fn gpu(&mut self, gpu: usize) {
        if !self.gpus.contains(&gpu) {
            self.gpus.push(gpu);
        }
    }

    fn instance(&mut self, gpu: usize, instance: usize) {
        self.gpu(gpu);
        if !self.mig.contains(&(gpu, instance)) {
            self.mig.push((gpu, instance));
        }
    }

    fn device(&mut self, id: &DeviceId) -> Result<(), Finding> {
        if self.inventory.platform != Platform::Native {
            return self.of_platform(id);
        }
        let gpus = &self.inventory.gpus;
        match id {
            DeviceId::Index(i) if (*i as usize) < gpus.len() => self.whole(*i as usize),
            DeviceId::Uuid(uuid) => {
                let gpu = self.by_uuid(id, uuid)?;
                self.whole(gpu);
            }
            DeviceId::BusId(bus_id) => match gpus.iter().position(|g| g.bus_id == *bus_id) {
                Some(gpu) => self.whole(gpu),
                None => return Err(self.unknown(id)),
            },
            DeviceId::MigIndex(g, m) => {
                let (g, m) = (*g as usize, *m as usize);
                match gpus.get(g) {
                    None => return Err(self.unknown(id)),
                    Some(gpu) if m >= gpu.mig.len() => return Err(no_instance(id, gpu)),
                    Some(_) => self.instance(g, m),
                }
            }
            DeviceId::MigNumbers { gpu, gi, ci } => {
                let g = self.by_uuid(id, gpu)?;
                let instances = &gpus[g].mig;
                match instances.iter().position(|m| (m.gi, m.ci) == (*gi, *ci)) {
                    Some(m) => self.instance(g, m),
                    None => return Err(no_instance(id, &gpus[g])),
                }
            }
            DeviceId::MigUuid(uuid) => {
                let at = gpus.iter().enumerate().find_map(|(g, gpu)| {
                    let known = |m: &MigInstance| m.uuid.as_deref() == Some(uuid);
                    Some((g, gpu.mig.iter().position(known)?))
                });
                match at {
                    Some((g, m)) => self.instance(g, m),
                    None => return Err(self.unknown_mig_uuid(id)),
                }
            }
            DeviceId::Cdi(name) => self.cdi(id, name)?,
            DeviceId::Index(_) => return Err(self.unknown(id)),
        }
        Ok(())
    }

    /// Where one device stands for all GPUs, only that can be named: by the index 0, or `all`.
    fn of_platform(&self, id: &DeviceId) -> Result<(), Finding> {
        let names = ["nvidia.com/gpu=all", "nvidia.com/gpu=0"];
        match id {
            DeviceId::Index(0) => Ok(()),
            DeviceId::Cdi(name) if names.contains(&name.as_str()) => Ok(()),
            _ => {
                let why = match self.inventory.platform {
                    Platform::Tegra => "a Tegra host has one GPU, its processor's own",
                    _ => "WSL2 has all GPUs behind one device",
                };
                Err(Finding::new(
                    Code::UnknownDevice,
                    format!("the host has no GPU '{id}': {why}"),
                    "ask for 'all', or for '0'",
                ))
            }
        }
    }

    /// A CDI name of NVIDIA's GPUs, whose device is `all` or any other name of a device. The class
    /// of runtime.nvidia.com is that of specifications made on demand.
    fn cdi(&mut self, id: &DeviceId, name: &str) -> Result<(), Finding> {
        let device = ["nvidia.com/gpu=", "runtime.nvidia.com/gpu="]
            .iter()
            .find_map(|kind| name.strip_prefix(kind));
        let count = self.inventory.gpus.len();
        match device {
            Some("all") if count > 0 => {
                (0..count).for_each(|gpu| self.whole(gpu));
                Ok(())
            }
            // A device of a CDI name has no "=" in it, so this goes one level deep.
            Some(device) => match device.parse() {
                Ok(device) => self.device(&device),
                Err(_) => Err(self.unknown(id)),
            },
            None => Err(self.unknown(id)),
        }
    }

    /// The GPU whose UUID is `wanted`, or begins with it if no other does.
    fn by_uuid(&self, id: &DeviceId, wanted: &str) -> Result<usize, Finding> {
        let gpus = &self.inventory.gpus;
        let uuid = |g: usize| gpus[g].uuid.as_deref().unwrap_or_default().as_bytes();
        let wanted = wanted.as_bytes();
        let begins = |g: &usize| {
            let begin = uuid(*g).get(..wanted.len());
            begin.is_some_and(|b| b.eq_ignore_ascii_case(wanted))
        };
        let fits: Vec<usize> = (0..gpus.len()).filter(begins).collect();
        match fits[..] {
            [one] => Ok(one),
            [] => Err(self.unknown(id)),
            _ => {
                if let Some(exact) = fits.iter().find(|&&g| uuid(g).len() == wanted.len()) {
                    return Ok(*exact);
                }
                let names: Vec<String> = fits.iter().map(|&g| name(&gpus[g])).collect();
                Err(Finding::new(
                    Code::AmbiguousDevice,
                    format!(
                        "'{id}' begins the UUID of several GPUs: {}",
                        names.join(", ")
                    ),
                    "write more of the UUID, or the GPU's index",
                ))
            }
        }
    }

    fn unknown(&self, id: &DeviceId) -> Finding {
        let gpus = &self.inventory.gpus;
        let there = match gpus.len() {
            0 => "it has none".to_owned(),
            _ => format!(
                "it has {}",
                gpus.iter().map(name).collect::<Vec<_>>().join(", ")
            ),
        };
        Finding::new(
            Code::UnknownDevice,
            format!("the host has no GPU '{id}'; {there}"),
            "ask for one of these, by index, UUID or PCI address, or for 'all'",
        )
    }

    fn has_unnamed_instance(&self) -> bool {
        let mut instances = self.inventory.gpus.iter().flat_map(|g| &g.mig);
        instances.any(|m| m.uuid.is_none())
    }

    fn unknown_mig_uuid(&self, id: &DeviceId) -> Finding {
        let instances: Vec<String> = self
            .inventory
            .gpus
            .iter()
            .flat_map(|g| (0..g.mig.len()).map(|m| format!("{}:{m}", g.index)))
            .collect();
        if instances.is_empty() {
            return Finding::new(
                Code::Mig,
                format!("'{id}' was asked for, but no GPU of the host is split into MIG instances"),
                "split a GPU with nvidia-smi mig -cgi, or ask for a whole GPU",
            );
        }
        let there = instances.join(", ");
        let (why, remedy) = match &self.inventory.stored {
            StoredState::Used if self.has_unnamed_instance() => (
                format!("NVML did not tell the UUID of each instance when {FILE} was written"),
                REFRESH,
            ),
            StoredState::Used => (
                "no instance of the host has it".to_owned(),
                "ask for one that oci-gpu list shows; after a change of the instances run oci-gpu refresh",
            ),
            StoredState::Refused { why } => (
                format!("{FILE}, which tells MIG UUIDs, is stale or not to be believed: {why}"),
                REFRESH,
            ),
            StoredState::Absent | StoredState::NotRead => {
                (format!("{FILE}, which tells MIG UUIDs, is absent"), REFRESH)
            }
        };
        Finding::new(
            Code::Mig,
            format!("'{id}' cannot be looked up: {why}; the host has the instances {there}"),
            remedy,
        )
    }
}

/// A GPU in a message: index, UUID or address, and model.
fn name(gpu: &Gpu) -> String {
    let id = gpu.uuid.as_deref().unwrap_or(&gpu.bus_id);
    format!("{} ({id}, {})", gpu.index, gpu.model)
}

fn no_instance(id: &DeviceId, gpu: &Gpu) -> Finding {
    let there: Vec<String> = gpu
        .mig
        .iter()
        .enumerate()
        .map(|(m, i)| {
            format!(
                "{}:{m} (GPU instance {}, compute instance {})",
                gpu.index, i.gi, i.ci
            )
        })
        .collect();
    let there = match there.is_empty() {
        true => "is not split into MIG instances".to_owned(),
        false => format!("has {}", there.join(", ")),
    };
    Finding::new(
        Code::Mig,
        format!(
            "the host has no MIG instance '{id}': GPU {} {there}",
            gpu.index
        ),
        "ask for one that exists, or create it with nvidia-smi mig -cgi",
    )
}

fn requirements(inventory: &Inventory, gpus: &[Gpu], request: &Request) -> Result<(), Finding> {
    if request.requirements.is_empty() {
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
    require::check(&request.requirements, &facts)
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
                format!("{}, or unset {}", kind.remedy(), kind.variable()),
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
