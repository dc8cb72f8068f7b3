//! Inventory and Request -> Grant: exact devices, or an error that says what there is instead.

use serde::Serialize;

use crate::capability::CapabilitySet;
use crate::finding::Finding;
use crate::inventory::{ControlNode, Gpu, ImexChannel, Inventory, MigInstance};
use crate::request::Request;

/// Why a request cannot be met: a finding of the 0200 or 0400 range.
pub type SelectError = Finding;

/// What a container is granted.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Grant {
    /// GPUs, in PCI order. Those that are granted by an instance only are here too.
    pub gpus: Vec<Gpu>,
    /// MIG instances, each with the index of its GPU.
    pub mig: Vec<(u32, MigInstance)>,
    /// Control nodes.
    pub control: Vec<ControlNode>,
    /// IMEX channels.
    pub imex_channels: Vec<ImexChannel>,
    /// Parts of the driver.
    #[serde(skip)]
    pub capabilities: CapabilitySet,
}

/// Picks what `request` names from `inventory`.
pub fn select(_inventory: &Inventory, _request: &Request) -> Result<Grant, SelectError> {
    Err(Finding::new(
        crate::Code::UnknownDevice,
        "not selected yet",
        "",
    ))
}
