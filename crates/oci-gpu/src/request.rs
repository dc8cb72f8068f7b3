//! What a container asks for: `NVIDIA_*` variables, volume-mount requests, and the policy on them.

use std::fmt;

use serde::Serialize;

use crate::capability::CapabilitySet;
use crate::container::Container;
use crate::finding::Finding;

/// What the administrator allows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// Capabilities that containers may have (`supported-driver-capabilities`).
    pub capabilities: CapabilitySet,
    /// Whether unprivileged containers may ask by environment variable
    /// (`accept-nvidia-visible-devices-envvar-when-unprivileged`).
    pub env_when_unprivileged: bool,
    /// Whether containers may ask by volume mounts
    /// (`accept-nvidia-visible-devices-as-volume-mounts`).
    pub volume_mounts: bool,
    /// Variables that replace NVIDIA_VISIBLE_DEVICES when one is set (`swarm-resource`).
    pub swarm_resources: Vec<String>,
    /// Whether NVIDIA_REQUIRE_* is not looked at (`disable-require`).
    pub disable_require: bool,
    /// Whether NVIDIA_IMEX_CHANNELS is not looked at (`features.ignore-imex-channel-requests`).
    pub ignore_imex: bool,
}

impl Default for Policy {
    /// The reference's defaults.
    fn default() -> Policy {
        Policy {
            capabilities: CapabilitySet::all(),
            env_when_unprivileged: true,
            volume_mounts: false,
            swarm_resources: Vec::new(),
            disable_require: false,
            ignore_imex: false,
        }
    }
}

/// A container's request for GPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// Which devices.
    pub devices: Devices,
    /// Which parts of the driver.
    pub capabilities: CapabilitySet,
    /// Conditions that must hold (`NVIDIA_REQUIRE_*`), all of them.
    pub requirements: Vec<Requirement>,
    /// IMEX channels by number, ascending, without repeats.
    pub imex_channels: Vec<u32>,
    /// Whether all of MIG's configuration is asked for (`NVIDIA_MIG_CONFIG_DEVICES=all`).
    pub mig_config: bool,
    /// Whether all of MIG's monitoring is asked for (`NVIDIA_MIG_MONITOR_DEVICES=all`).
    pub mig_monitor: bool,
    /// What the request was read from ("NVIDIA_VISIBLE_DEVICES", "volume mounts").
    pub source: String,
}

/// Which devices a container asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Devices {
    /// All of the host's.
    All,
    /// None: driver files and control nodes only (`none`).
    DriverOnly,
    /// These, in order, without repeats.
    List(Vec<DeviceId>),
}

/// A device by one of its names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub enum DeviceId {
    /// A GPU by its place in PCI order.
    Index(u32),
    /// A GPU by its UUID ("GPU-..."), or a beginning of it that fits one GPU only. Lower case.
    Uuid(String),
    /// A GPU by its PCI address, normalised to "dddd:bb:dd.f" in lower case.
    BusId(String),
    /// A MIG instance by its GPU's index and its place in that GPU ("0:1").
    MigIndex(u32, u32),
    /// A MIG instance by its UUID ("MIG-...").
    MigUuid(String),
    /// A MIG instance by its GPU's UUID and its two numbers ("MIG-GPU-.../1/0").
    MigNumbers {
        /// The GPU's UUID.
        gpu: String,
        /// GPU instance number.
        gi: u32,
        /// Compute instance number.
        ci: u32,
    },
    /// A fully qualified CDI name ("nvidia.com/gpu=0").
    Cdi(String),
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceId::Index(i) => write!(f, "{i}"),
            DeviceId::Uuid(s) | DeviceId::BusId(s) | DeviceId::MigUuid(s) | DeviceId::Cdi(s) => {
                f.write_str(s)
            }
            DeviceId::MigIndex(gpu, mig) => write!(f, "{gpu}:{mig}"),
            DeviceId::MigNumbers { gpu, gi, ci } => write!(f, "MIG-{gpu}/{gi}/{ci}"),
        }
    }
}

/// A condition on the driver or the devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The variable that it comes from ("NVIDIA_REQUIRE_CUDA").
    pub name: String,
    /// The expression ("cuda>=12.4 brand=tesla,driver>=535,driver<536").
    pub expression: String,
}

/// What reading a request gave: the request, if there is one, and what was ignored and why.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The request; `None` for a container that asks for no GPU.
    pub request: Option<Request>,
    /// What was ignored by policy.
    pub notes: Vec<Finding>,
}

impl Request {
    /// Reads what `container` asks for under `policy`.
    ///
    /// # Errors
    /// A finding of the 0200 range: bad syntax, an unknown capability, something not allowed.
    pub fn read(c: &Container, _policy: &Policy) -> Result<Asked, Finding> {
        let Some(d) = c.env("NVIDIA_VISIBLE_DEVICES").filter(|d| !d.is_empty() && *d != "void") else { return Ok(Asked::default()) };
        let devices = match d { "all" => Devices::All, "none" => Devices::DriverOnly, l => Devices::List(l.split(',').map(|w| match w.parse() { Ok(i) => DeviceId::Index(i), _ => DeviceId::Uuid(w.to_owned()) }).collect()) };
        let capabilities = match c.env("NVIDIA_DRIVER_CAPABILITIES") { Some("all") => CapabilitySet::all(), Some(l) if !l.is_empty() => l.split(',').filter_map(crate::Capability::from_word).collect(), _ => CapabilitySet::default_set() };
        Ok(Asked { request: Some(Request { devices, capabilities, requirements: vec![], imex_channels: vec![], mig_config: false, mig_monitor: false, source: "NVIDIA_VISIBLE_DEVICES".into() }), notes: vec![] })
    }
}

/// TEMP.
pub mod require {
    use super::*;
    /// x
    pub struct RequireFacts;
    impl RequireFacts {
        /// x
        pub fn of(_: &crate::inventory::Inventory, _: &[crate::inventory::Gpu]) -> Self { RequireFacts }
    }
    /// x
    pub fn check(_: &[Requirement], _: &RequireFacts) -> Result<(), Finding> { Ok(()) }
}
