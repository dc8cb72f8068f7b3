//! What a container asks for: `NVIDIA_*` variables, volume-mount requests, and the policy on them.
//!
//! - `NVIDIA_VISIBLE_DEVICES`: a comma list of [`DeviceId`]s. With `void` in it, empty or unset, the
//!   container is no GPU container; else the first of `all` and `none` decides (`none`: driver files
//!   without a device). The variables of [`Policy::swarm_resources`] replace it where one is set.
//! - Mounts of /dev/null below /var/run/nvidia-container-devices replace both, where policy takes
//!   them: a device's name, imex/N, cdi/VENDOR/CLASS/DEVICE.
//! - `CUDA_VERSION` without `NVIDIA_REQUIRE_CUDA`, and none of the above: an image from before these
//!   variables. All devices, all capabilities, and that version of CUDA required.
//! - `NVIDIA_DRIVER_CAPABILITIES`: a comma list of [`Capability`](crate::Capability) words, or
//!   `all`. Unset or empty: utility and compute.
//! - `NVIDIA_REQUIRE_*`: a [`Requirement`] each, except `NVIDIA_REQUIRE_JETPACK*`. None with
//!   `NVIDIA_DISABLE_REQUIRE=true`.
//! - `NVIDIA_MIG_CONFIG_DEVICES`, `NVIDIA_MIG_MONITOR_DEVICES`: `all`, in privileged containers.
//! - `NVIDIA_GDS`, `NVIDIA_GDRCOPY`, `NVIDIA_MOFED`, `NVIDIA_NVSWITCH`: `enabled`
//!   ([`Peripheral`]).
//! - `NVIDIA_IMEX_CHANNELS`: a comma list of channel numbers. imex/N mounts win over it.
//!
//! This is the reference's grammar (nvidia-container-toolkit, internal/config/image). Where it
//! passes a text on unchecked, the text is checked here. Annotations ask for nothing here.

mod cdi;
mod env;
mod mounts;
mod names;
mod read;
pub mod require;

use std::borrow::Cow;

use crate::capability::CapabilitySet;
use crate::container::Container;
use crate::finding::Finding;
use crate::peripheral::Peripheral;

pub use names::{BadName, DeviceId, NAME_LIMIT};

const VISIBLE: &str = "NVIDIA_VISIBLE_DEVICES";
const CUDA_VERSION: &str = "CUDA_VERSION";

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
    /// Hardware beside the GPUs (`NVIDIA_GDS=enabled` and the like), ascending, without repeats.
    pub peripherals: Vec<Peripheral>,
    /// Whether everything that manages GPUs is asked for (`management.nvidia.com/gpu=all`).
    pub management: bool,
    /// Whether all of L4T's lists are asked for on a Tegra host, not only those of the driver
    /// (`NVIDIA_REQUIRE_JETPACK=csv-mounts=all`).
    pub every_list: bool,
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
    /// A request for `devices` and `capabilities`, and for nothing else that a field can hold.
    /// `source` says where it was read from.
    pub fn new(
        devices: Devices,
        capabilities: CapabilitySet,
        source: impl Into<String>,
    ) -> Request {
        Request {
            devices,
            capabilities,
            requirements: Vec::new(),
            imex_channels: Vec::new(),
            mig_config: false,
            mig_monitor: false,
            peripherals: Vec::new(),
            management: false,
            every_list: false,
            source: source.into(),
        }
    }

    /// The conditions of a container that others gave its GPUs to: `NVIDIA_REQUIRE_*`, unless it or
    /// `policy` turns them off.
    ///
    /// # Errors
    /// A finding of the 0200 range: more conditions than are read.
    pub fn conditions(container: &Container, policy: &Policy) -> Result<Vec<Requirement>, Finding> {
        read::conditions(container, policy)
    }

    /// Whether it can depend on what only NVML knows: a MIG UUID, a compute capability, a brand, a
    /// CUDA version. `false` is certain.
    pub fn needs_nvml(&self) -> bool {
        let by_name = match &self.devices {
            Devices::All | Devices::DriverOnly => false,
            Devices::List(ids) => ids.iter().any(|id| match id {
                DeviceId::MigUuid(_) => true,
                DeviceId::Cdi(name) => {
                    let device = name.rsplit_once('=').map(|(_, device)| device.parse());
                    matches!(device, Some(Ok(DeviceId::MigUuid(_))))
                }
                _ => false,
            }),
        };
        let words = ["cuda", "arch", "brand"];
        let asks = |r: &Requirement| words.iter().any(|word| r.expression.contains(word));
        by_name || self.requirements.iter().any(asks)
    }

    /// Whether the container of this config.json can ask for a GPU at all, told from the bytes:
    /// a few searches, nothing is parsed or copied. `false` is certain; `true` means that
    /// [`Container::parse`] and [`Request::read`] must decide.
    ///
    /// A container that asks for nothing is so never troubled by what else is wrong with its
    /// config.json, and costs the hook well below a millisecond.
    pub fn possible(config: &[u8], policy: &Policy) -> bool {
        // `from_utf8_lossy` takes 15 times as long where nothing is wrong.
        let text = match std::str::from_utf8(config) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => String::from_utf8_lossy(config),
        };
        let swarm = &policy.swarm_resources;
        text.contains(VISIBLE)
            || text.contains(CUDA_VERSION)
            || (policy.volume_mounts && text.contains("nvidia-container-devices"))
            || swarm
                .iter()
                .any(|name| text.contains(name.as_str()) || may_be_escaped(name))
            || has_spelled_out_characters(&text)
    }

    /// Reads what `container` asks for under `policy`.
    ///
    /// # Errors
    /// A finding of the 0200 range: bad syntax, an unknown capability, something not allowed. A
    /// container that asks for no GPU gives none, however its other variables look.
    pub fn read(container: &Container, policy: &Policy) -> Result<Asked, Finding> {
        read::read(container, policy)
    }
}

/// Whether encoders of JSON may escape characters of `name` though they need not, or must: a name
/// that an administrator chose and that cannot be searched for.
fn may_be_escaped(name: &str) -> bool {
    let plain = |b: u8| matches!(b, b' '..=b'~') && !b"\"\\/&<>".contains(&b);
    !name.bytes().all(plain)
}

/// Whether `config` has characters that JSON need not escape but that are escaped: names that are
/// written so cannot be searched for. Encoders escape `&`, `<`, `>` and control characters.
fn has_spelled_out_characters(config: &str) -> bool {
    // Looking for the first one is five times as fast as an iterator over all.
    config.contains("\\u00")
        && config.match_indices("\\u00").any(|(at, _)| {
            let digits = config.get(at + 4..at + 6).unwrap_or_default();
            let code = u8::from_str_radix(digits, 16).unwrap_or(b'A');
            !matches!(code, 0..=0x1f | b'&' | b'<' | b'>' | 0x7f..)
        })
}

#[cfg(test)]
mod tests;
