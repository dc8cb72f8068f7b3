//! What NVML told, as the program `oci-gpu-nvml` prints it, and what an inventory takes from it.
//!
//! NVML runs in that program alone: it executes the driver's code, and may hang or crash with a
//! GPU. Its answer is matched with what the kernel tells; where the two disagree, the kernel is
//! right and the answer is left out with a finding.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::finding::{Code, Finding};
use crate::inventory::{Gpu, Inventory};
use crate::request::DeviceId;

/// NVML's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// Version of the driver ("550.163.01").
    pub driver_version: Option<String>,
    /// The newest CUDA version that the driver supports, major and minor.
    pub cuda: Option<(u32, u32)>,
    /// The GPUs that NVML could open, by its index.
    pub gpus: Vec<GpuAnswer>,
    /// What it was asked and did not tell, and what it said instead.
    pub notes: Vec<String>,
}

/// NVML's answer about one GPU. Absent is what it did not tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuAnswer {
    /// NVML's index.
    pub index: u32,
    /// `GPU-...`.
    pub uuid: Option<String>,
    /// PCI address as the kernel writes it: "0000:1a:00.0".
    pub bus_id: String,
    /// Minor number of its node.
    pub minor: Option<u32>,
    /// Brand in the words of libnvidia-container ("Tesla"), which images ask for.
    pub brand: Option<String>,
    /// Compute capability, major and minor.
    pub arch: Option<(u32, u32)>,
    /// Its MIG instances.
    pub mig: Vec<InstanceAnswer>,
}

/// NVML's answer about one MIG instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceAnswer {
    /// GPU instance number.
    pub gi: u32,
    /// Compute instance number.
    pub ci: u32,
    /// `MIG-...`.
    pub uuid: String,
}

impl Answer {
    /// Reads what the program printed.
    ///
    /// # Errors
    /// [`Code::Nvml`] where it is no answer.
    pub fn parse(text: &[u8]) -> Result<Answer, Finding> {
        serde_json::from_slice(text).map_err(|e| finding(format!("its answer is malformed: {e}")))
    }

    /// Completes `inventory`, and returns what is missing all the same, and why.
    ///
    /// # Errors
    /// [`Code::Nvml`] where the answer is that of another driver; the inventory is as it was then.
    pub fn complete(&self, inventory: &mut Inventory) -> Result<Vec<Finding>, Finding> {
        let kernel = &inventory.driver.version;
        if let Some(version) = self.driver_version.as_ref().filter(|v| *v != kernel) {
            return Err(finding(format!(
                "it is of driver {version}, and the kernel runs {kernel}"
            )));
        }
        let mut findings: Vec<Finding> = self.notes.iter().map(finding).collect();
        inventory.driver.cuda = self.cuda.or(inventory.driver.cuda);
        for gpu in &mut inventory.gpus {
            match self.gpus.iter().find(|a| a.bus_id == gpu.bus_id) {
                None => findings.push(finding(format!(
                    "it does not show GPU {} ({})",
                    gpu.index, gpu.bus_id
                ))),
                Some(answer) if !answer.is_of(gpu) => findings.push(finding(format!(
                    "it shows another GPU at {}: UUID {}, minor {}; the kernel says {}, {}",
                    gpu.bus_id,
                    Shown(&answer.uuid),
                    Shown(&answer.minor),
                    Shown(&gpu.uuid),
                    gpu.minor
                ))),
                Some(answer) => answer.complete(gpu, &mut findings),
            }
        }
        Ok(findings)
    }
}

impl GpuAnswer {
    /// Whether what is known on both sides is the same.
    fn is_of(&self, gpu: &Gpu) -> bool {
        let uuid = match (&self.uuid, &gpu.uuid) {
            (Some(told), Some(known)) => told.eq_ignore_ascii_case(known),
            _ => true,
        };
        uuid && self.minor.is_none_or(|minor| minor == gpu.minor)
    }

    fn complete(&self, gpu: &mut Gpu, findings: &mut Vec<Finding>) {
        gpu.brand = self.brand.clone().or(gpu.brand.take());
        gpu.arch = self.arch.or(gpu.arch);
        for instance in &mut gpu.mig {
            let numbers = (instance.gi, instance.ci);
            let told = self.mig.iter().find(|m| (m.gi, m.ci) == numbers);
            match told.map(|m| (&m.uuid, m.uuid.parse())) {
                Some((_, Ok(id @ (DeviceId::MigUuid(_) | DeviceId::MigNumbers { .. })))) => {
                    instance.uuid = Some(id.to_string());
                }
                Some((other, _)) => findings.push(finding(format!(
                    "the UUID of GPU instance {} and compute instance {} of GPU {} is '{other}'",
                    numbers.0, numbers.1, gpu.index
                ))),
                None => findings.push(finding(format!(
                    "it does not show GPU instance {} and compute instance {} of GPU {}",
                    numbers.0, numbers.1, gpu.index
                ))),
            }
        }
    }
}

/// A value that may be unknown, in a message.
struct Shown<'a, T>(&'a Option<T>);

impl<T: fmt::Display> fmt::Display for Shown<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

/// A finding about NVML.
pub fn finding(what: impl fmt::Display) -> Finding {
    Finding::new(
        Code::Nvml,
        format!("NVML: {what}"),
        "see nvidia-smi and dmesg; --no-nvml leaves NVML out",
    )
}
