//! Inventory -> specification, by way of plans.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::edits::{edits, version};
use super::{Device, Edits, Hook, Spec};
use crate::capability::CapabilitySet;
use crate::container::{ContainerFacts, ProcDriver};
use crate::finding::{Code, Finding};
use crate::host::Host;
use crate::inventory::{Inventory, Platform};
use crate::peripheral::Peripheral;
use crate::plan::{Action, Plan};
use crate::request::{DeviceId, Devices, Request};
use crate::select::select;

/// What a specification is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// GPUs and MIG instances (`nvidia.com/gpu`).
    Gpu,
    /// All that manages GPUs (`management.nvidia.com/gpu`).
    Management,
    /// Hardware beside the GPUs (`nvidia.com/gds` and the like).
    Peripheral(Peripheral),
    /// IMEX channels (`nvidia.com/imex-channel`).
    Imex,
}

/// How devices are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameStrategy {
    /// `0`, `0:1`.
    Index,
    /// `gpu0`, `mig0:1`.
    TypeIndex,
    /// `GPU-...`, `MIG-...`.
    Uuid,
}

/// What the caller decides.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// What it is about.
    pub mode: Mode,
    /// Names of each device; a device has one of each.
    pub names: Vec<NameStrategy>,
    /// "nvidia.com"; by mode where it is `None`.
    pub vendor: Option<String>,
    /// "gpu"; by mode where it is `None`.
    pub class: Option<String>,
    /// The hook's program on the host.
    pub hook: PathBuf,
    /// Whether there is a device `all`.
    pub all: bool,
    /// Parts of the driver.
    pub capabilities: CapabilitySet,
}

impl Default for Options {
    /// GPUs, by index and UUID and all, with everything that the driver has.
    fn default() -> Options {
        Options {
            mode: Mode::Gpu,
            names: vec![NameStrategy::Index, NameStrategy::Uuid],
            vendor: None,
            class: None,
            hook: PathBuf::from("/usr/bin/oci-gpu-hook"),
            all: true,
            capabilities: CapabilitySet::all(),
        }
    }
}

/// Makes the specification of `host`, on which `inventory` was found. The order of everything in it
/// is that of the inventory, so two runs on one host give the same text.
///
/// # Errors
/// Those of a plan ([`Plan::new`]) for a GPU that cannot be given, [`Code::UnknownDevice`],
/// [`Code::Peripheral`] and [`Code::ImexChannel`] where there is nothing to name.
pub fn generate(host: &Host, inventory: &Inventory, options: &Options) -> Result<Spec, Finding> {
    let maker = Maker {
        inventory,
        options,
        facts: facts(host),
    };
    let (vendor, class) = match options.mode {
        Mode::Gpu => ("nvidia.com", "gpu"),
        Mode::Management => ("management.nvidia.com", "gpu"),
        Mode::Peripheral(kind) => ("nvidia.com", kind.class()),
        Mode::Imex => ("nvidia.com", "imex-channel"),
    };
    let vendor = options.vendor.as_deref().unwrap_or(vendor);
    let class = options.class.as_deref().unwrap_or(class);
    let (common, devices) = match options.mode {
        Mode::Gpu => maker.gpus()?,
        Mode::Management => {
            let mut request = maker.request(Devices::All);
            request.management = true;
            let mut edits = edits(&maker.plan(&request)?.actions);
            edits.hooks.push(maker.hook());
            (edits, vec![device("all", with_something(Edits::default()))])
        }
        Mode::Peripheral(kind) => {
            let mut request = maker.request(Devices::DriverOnly);
            request.peripherals = vec![kind];
            (
                Edits::default(),
                vec![device("all", maker.beyond(&maker.base()?, &request)?)],
            )
        }
        Mode::Imex => (Edits::default(), maker.channels()?),
    };
    Ok(Spec {
        cdi_version: version(&common, &devices),
        kind: format!("{vendor}/{class}"),
        devices,
        container_edits: common,
    })
}

/// Facts about containers that nobody has seen yet: they are taken to be of the host's own kind.
/// Where that is wrong, the loader's cache leads to the libraries all the same.
fn facts(host: &Host) -> ContainerFacts {
    let mut facts = ContainerFacts::of(|path| host.files().exists(Path::new(path)));
    // The hook makes the view, of what it finds in the container.
    facts.proc_driver = ProcDriver::Absent;
    facts.unseen = true;
    facts
}

struct Maker<'a> {
    inventory: &'a Inventory,
    options: &'a Options,
    facts: ContainerFacts,
}

impl Maker<'_> {
    fn request(&self, devices: Devices) -> Request {
        Request::new(devices, self.options.capabilities, "cdi generate")
    }

    fn plan(&self, request: &Request) -> Result<Plan, Finding> {
        let mut grant = select(self.inventory, request)?;
        if self.options.mode == Mode::Imex || matches!(self.options.mode, Mode::Peripheral(_)) {
            // Beside a GPU's own specification, or without any.
            grant.capabilities = CapabilitySet::EMPTY;
        }
        Plan::new(self.inventory, &grant, &self.facts)
    }

    /// What every GPU container gets, and what each GPU and instance has beyond that.
    fn gpus(&self) -> Result<(Edits, Vec<Device>), Finding> {
        let base = self.base()?;
        let mut common = edits(&base.actions);
        // Whoever else looks at the container (a shim, a hook) is told that its GPUs are given.
        common.env.push("NVIDIA_VISIBLE_DEVICES=void".to_owned());
        common.hooks.push(self.hook());
        let mut named: BTreeMap<Name, Edits> = BTreeMap::new();
        if self.inventory.platform != Platform::Native {
            let whole = with_something(self.beyond(&base, &self.request(Devices::All))?);
            let by_index = self.options.names.contains(&NameStrategy::Index);
            let names = [("0", by_index), ("all", self.options.all)];
            let devices = names.iter().filter(|(_, wanted)| *wanted);
            let devices: Vec<_> = devices.map(|(n, _)| device(n, whole.clone())).collect();
            return match devices.is_empty() {
                false => Ok((common, devices)),
                true => Err(Finding::new(
                    Code::UnknownDevice,
                    "nothing was to be named: this platform's one device has an index and no UUID",
                    "name it by index, or all",
                )),
            };
        }
        for gpu in &self.inventory.gpus {
            // A split GPU is used by its instances only.
            let instances: Vec<Option<usize>> = match gpu.mig_enabled {
                true => (0..gpu.mig.len()).map(Some).collect(),
                false => vec![None],
            };
            for instance in instances {
                let id = match instance {
                    Some(m) => DeviceId::MigIndex(gpu.index, m as u32),
                    None => DeviceId::Index(gpu.index),
                };
                let edits = self.beyond(&base, &self.request(Devices::List(vec![id])))?;
                for strategy in &self.options.names {
                    let uuid = match instance {
                        Some(m) => gpu.mig.get(m).and_then(|m| m.uuid.clone()),
                        None => gpu.uuid.clone(),
                    };
                    let name = match (strategy, instance, uuid) {
                        (NameStrategy::Index, None, _) => gpu.index.to_string(),
                        (NameStrategy::Index, Some(m), _) => format!("{}:{m}", gpu.index),
                        (NameStrategy::TypeIndex, None, _) => format!("gpu{}", gpu.index),
                        (NameStrategy::TypeIndex, Some(m), _) => format!("mig{}:{m}", gpu.index),
                        (NameStrategy::Uuid, _, Some(uuid)) => uuid,
                        // NVML was never asked: it goes by its index.
                        (NameStrategy::Uuid, _, None) => continue,
                    };
                    named.insert(Name(name), edits.clone());
                }
            }
        }
        if named.is_empty() {
            return Err(Finding::new(
                Code::UnknownDevice,
                format!(
                    "driver {} has no GPU to name",
                    self.inventory.driver.version
                ),
                "see `oci-gpu list`; `oci-gpu info` says what was looked at",
            ));
        }
        let mut devices: Vec<Device> = named.into_iter().map(|(n, e)| device(&n.0, e)).collect();
        if self.options.all {
            let all = self.beyond(&base, &self.request(Devices::All))?;
            devices.push(device("all", all));
        }
        Ok((common, devices))
    }

    /// What the driver alone gives.
    fn base(&self) -> Result<Plan, Finding> {
        self.plan(&self.request(Devices::DriverOnly))
    }

    /// What makes the rest of a container that has the driver's files.
    fn hook(&self) -> Hook {
        Hook {
            hook_name: "createContainer",
            path: self.options.hook.clone(),
            args: vec!["oci-gpu-hook".to_owned(), "cdi".to_owned()],
        }
    }

    /// What `request` gives beyond `base`.
    fn beyond(&self, base: &Plan, request: &Request) -> Result<Edits, Finding> {
        let plan = self.plan(request)?;
        let new = plan
            .actions
            .iter()
            .filter(|a| !base.actions.iter().any(|b| b.what == a.what));
        let new: Vec<Action> = new.cloned().collect();
        Ok(edits(&new))
    }

    fn channels(&self) -> Result<Vec<Device>, Finding> {
        let mut devices = Vec::new();
        let base = self.base()?;
        for channel in &self.inventory.imex_channels {
            let mut request = self.request(Devices::DriverOnly);
            request.imex_channels = vec![channel.id];
            devices.push(device(
                &channel.id.to_string(),
                self.beyond(&base, &request)?,
            ));
        }
        if devices.is_empty() {
            return Err(Finding::new(
                Code::ImexChannel,
                "no IMEX channel has a node in /dev/nvidia-caps-imex-channels",
                "load the driver with NVreg_CreateImexChannel0=1, or `oci-gpu system create-device-nodes`",
            ));
        }
        Ok(devices)
    }
}

/// Names in the order that people count in: 2 before 10.
#[derive(PartialEq, Eq)]
struct Name(String);

impl Ord for Name {
    fn cmp(&self, other: &Name) -> std::cmp::Ordering {
        let key = |n: &Name| {
            let numbers: Vec<u64> = n.0.split(':').filter_map(|p| p.parse().ok()).collect();
            (numbers.is_empty(), numbers, n.0.clone())
        };
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Name) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

fn device(name: &str, edits: Edits) -> Device {
    Device {
        name: name.to_owned(),
        container_edits: edits,
    }
}

/// A device without edits is refused by engines; on a platform whose nodes are common it has a
/// variable that says nothing new.
fn with_something(mut edits: Edits) -> Edits {
    if edits.is_empty() {
        edits.env.push("NVIDIA_VISIBLE_DEVICES=void".to_owned());
    }
    edits
}
