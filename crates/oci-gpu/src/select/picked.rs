//! Names of devices -> places in the inventory.

use crate::discover::stored::FILE;
use crate::finding::{Code, Finding};
use crate::inventory::{Gpu, Inventory, MigInstance, Platform, StoredState};
use crate::request::DeviceId;

const REFRESH: &str = "run oci-gpu refresh, or name the instance as GPU:INSTANCE (0:1) or as MIG-<GPU UUID>/<GPU instance>/<compute instance>";

/// Places in the inventory of what was picked, each once.
pub(super) struct Picked<'a> {
    pub(super) inventory: &'a Inventory,
    pub(super) gpus: Vec<usize>,
    pub(super) mig: Vec<(usize, usize)>,
}

impl Picked<'_> {
    pub(super) fn whole(&mut self, gpu: usize) {
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

    pub(super) fn device(&mut self, id: &DeviceId) -> Result<(), Finding> {
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
