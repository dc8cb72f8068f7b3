//! Host -> Inventory: the driver, its files, the GPUs and their nodes, from files alone.
//!
//! Nothing is executed and no library is loaded: NVML takes seconds to start without persistence
//! mode, and would run the driver's code as root at every container start. What only NVML knows
//! (MIG UUIDs, compute capability) is in the file that `oci-gpu refresh` keeps ([`stored`]).
//!
//! | question | answered by |
//! |---|---|
//! | which driver does the kernel run? | /sys/module/nvidia/version, /proc/driver/nvidia/version ([`version`]) |
//! | where are user-space files of exactly that version? | the order of evidence in [`userland`] |
//! | which GPUs? | /proc/driver/nvidia/gpus/*/information, in PCI order ([`gpus`]) |
//! | is it Tegra? | /etc/nv_tegra_release and the like, with L4T's lists ([`tegra`]) |
//! | is it WSL2? | /dev/dxg, where the kernel runs no driver of NVIDIA's ([`wsl`]) |
//! | which nodes, with which numbers? | majors of /proc/devices, minors of the driver's own files ([`nodes`]) |
//! | what does NVML say? | /run/oci-gpu/inventory.json, where it is about this host ([`stored`]) |

mod char_nodes;
mod directories;
mod files;
mod gpus;
mod kernel_modules;
mod kernel_nodes;
mod libraries;
mod mig;
mod missing;
mod needed_nodes;
mod nodes;
mod peripherals;
pub mod proc_driver;
pub mod stored;
mod tegra;
mod userland;
mod version;
mod wsl;

pub use char_nodes::{existing_nodes, possible_nodes};
pub use directories::DIRECTORIES;
pub use kernel_modules::{KernelModule, ModuleState, loads_no_modules, modprobe};
pub use kernel_nodes::{KernelNode, KernelNodeKind, imex_nodes, kernel_nodes};
pub use needed_nodes::{needed_nodes, with_nodes};
pub use nodes::Majors;
pub use version::pci_gpus;

use std::path::{Path, PathBuf};

use self::nodes::{IMEX_DIR, Nodes, control};
use crate::capability::{Capability, CapabilitySet};
use crate::finding::{Code, Finding};
use crate::host::Host;
use crate::inventory::{Candidate, Inventory, Platform, StoredState};
use crate::request::Request;

/// Why a host's GPUs cannot be told: a finding of the 0300 range.
pub type DiscoverError = Finding;

/// Where the driver's kernel side shows itself.
pub(crate) const PROC_DRIVER: &str = "/proc/driver/nvidia";

/// Where the driver says which number each of its capabilities has.
const PROC_DRIVER_CAPS: &str = "/proc/driver/nvidia-caps";

/// Where the GPU operator's validator says that a driver container is ready, and where its root
/// and its nodes are: lines `KEY=VALUE`.
pub(crate) const DRIVER_READY: &str = "/run/nvidia/validations/driver-ready";

/// How much of a host is looked at: what a container with these capabilities can get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Libraries, files and nodes of these capabilities.
    pub capabilities: CapabilitySet,
    /// IMEX channels, of which a host can have thousands.
    pub imex_channels: bool,
    /// Hardware beside the GPUs.
    pub peripherals: bool,
    /// All of L4T's lists, not only those of the driver (Tegra).
    pub every_list: bool,
    /// What only NVML knows, from the file that `oci-gpu refresh` keeps.
    pub stored: bool,
}

impl Scope {
    /// Everything, of L4T's lists those of the driver.
    pub fn all() -> Scope {
        Scope {
            capabilities: CapabilitySet::all(),
            imex_channels: true,
            peripherals: true,
            every_list: false,
            stored: true,
        }
    }

    /// What `request` can be granted from.
    pub fn of(request: &Request) -> Scope {
        Scope {
            capabilities: request.capabilities,
            imex_channels: request.management || !request.imex_channels.is_empty(),
            peripherals: !request.peripherals.is_empty(),
            every_list: request.every_list,
            stored: request.needs_nvml(),
        }
    }

    fn has(&self, capability: Capability) -> bool {
        self.capabilities.contains(capability)
    }
}

/// Reads the host, without any other effect. GPUs without a node, wrong nodes and unreadable
/// libraries do not stop it: they are in the inventory with the reason, and matter only to a
/// container that asks for them.
///
/// # Errors
/// [`crate::Code::NoDriver`] where the kernel runs no NVIDIA driver, [`crate::Code::NoUserland`]
/// where no user-space files of its version were found, [`crate::Code::Malformed`] and
/// [`crate::Code::HostRead`] where the kernel's own files cannot be understood or read.
pub fn discover(host: &Host) -> Result<Inventory, DiscoverError> {
    discover_within(host, &Scope::all())
}

/// [`discover`], as far as `scope` goes: at a container's start every microsecond counts.
///
/// # Errors
/// As [`discover`].
pub fn discover_within(host: &Host, scope: &Scope) -> Result<Inventory, DiscoverError> {
    let mut findings = Vec::new();
    if tegra::is_here(host) {
        return tegra::discover(host, scope);
    }
    let kernel = match version::kernel(host, &mut findings) {
        Err(e) if e.code == Code::NoDriver && wsl::is_here(host) => {
            return wsl::discover(host, scope);
        }
        other => other?,
    };
    let user = userland::locate(host, &kernel.version, scope).map_err(|n| n.finding)?;
    let nodes = Nodes::of(host)?;
    let mut gpus = gpus::read(&nodes, scope, &mut findings)?;
    let mut candidates = user.candidates;
    let libraries = libraries::sweep(
        &user.root,
        &user.directories,
        &kernel.version,
        scope,
        &mut candidates,
    );
    let search = files::Search {
        host,
        root: &user.root,
        libraries: &user.directories,
        version: &kernel.version,
        scope,
    };
    let files = search.all(&mut candidates);
    let imex_channels = match scope.imex_channels {
        true => nodes::imex_channels(&nodes),
        false => Vec::new(),
    };
    let peripherals = match scope.peripherals {
        true => peripherals::find(&nodes),
        false => Vec::new(),
    };
    let mut driver = kernel.into_driver(host, user.root.on_host(), candidates);
    let stored = match scope.stored {
        true => stored::complete(host, &mut driver, &mut gpus, &mut findings),
        false => StoredState::NotRead,
    };
    Ok(Inventory {
        platform: Platform::Native,
        driver,
        stored,
        gpus,
        control: control(&nodes),
        mig_config: mig::right(&nodes, "config")?,
        mig_monitor: mig::right(&nodes, "monitor")?,
        imex_channels,
        peripherals,
        libraries,
        files,
        links: Vec::new(),
        findings,
    })
}

/// What is known of a driver even where [`discover`] finds nothing of it in user space.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Evidence {
    /// The version that the kernel runs.
    pub version: String,
    /// The file that told it.
    pub version_source: PathBuf,
    /// Which kernel modules they are, as [`crate::inventory::Driver::flavour`].
    pub flavour: Option<&'static str>,
    /// Every place that was looked at for user-space files, in the order of trial.
    pub candidates: Vec<Candidate>,
}

/// Looks for the driver alone, and tells what was looked at whether something was found or not.
///
/// # Errors
/// As [`discover`], without [`crate::Code::NoUserland`].
pub fn evidence(host: &Host) -> Result<Evidence, DiscoverError> {
    let kernel = version::kernel(host, &mut Vec::new())?;
    let candidates = match userland::locate(host, &kernel.version, &Scope::all()) {
        Ok(found) => found.candidates,
        Err(nothing) => nothing.candidates,
    };
    Ok(Evidence {
        version: kernel.version,
        version_source: kernel.source,
        flavour: kernel.flavour,
        candidates,
    })
}

/// The first line of `text` that begins with `key`, without it and surrounding white space.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|l| l.trim_start().strip_prefix(key))
        .map(str::trim)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Finding {
    Finding::new(
        crate::Code::HostRead,
        format!("read {}: {error}", path.display()),
        "the file belongs to the kernel or the driver: check its permissions and the driver's installation",
    )
}
