//! The stored inventory's text: one JSON document.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::finding::one_line;
use crate::inventory::{Gpu, Inventory, MigInstance};
use crate::request::DeviceId;

/// The version of this format. A file of another one is as good as none.
pub const FORMAT: u32 = 1;

/// Longest brand that is taken, in bytes; real ones are below 20.
const BRAND_LIMIT: usize = 64;

/// What NVML told about a host, and the host that it was told about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stored {
    /// [`FORMAT`].
    pub format: u32,
    /// The kernel's driver version.
    pub driver_version: String,
    /// /proc/sys/kernel/random/boot_id: another one after each start of the machine.
    pub boot_id: String,
    /// The newest CUDA version that the driver supports, major and minor.
    pub cuda: Option<(u32, u32)>,
    /// The GPUs in PCI order.
    pub gpus: Vec<StoredGpu>,
}

/// A GPU of a stored inventory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoredGpu {
    /// `GPU-...`, as the kernel tells it.
    pub uuid: Option<String>,
    /// PCI address.
    pub bus_id: String,
    /// Minor number of its node.
    pub minor: u32,
    /// Brand as NVML names it.
    pub brand: Option<String>,
    /// Compute capability, major and minor.
    pub arch: Option<(u32, u32)>,
    /// Its MIG instances, in ascending order of GPU and compute instance.
    pub mig: Vec<StoredInstance>,
}

/// A MIG instance of a stored inventory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoredInstance {
    /// GPU instance number.
    pub gi: u32,
    /// Compute instance number.
    pub ci: u32,
    /// Minor number of the GPU instance's capability node.
    pub gi_minor: u32,
    /// Minor number of the compute instance's capability node.
    pub ci_minor: u32,
    /// `MIG-...`, in the spelling of [`DeviceId`].
    pub uuid: Option<String>,
}

impl Stored {
    /// What is known of `inventory`, on a machine that was started as `boot_id`.
    pub fn of(inventory: &Inventory, boot_id: &str) -> Stored {
        Stored {
            format: FORMAT,
            driver_version: inventory.driver.version.clone(),
            boot_id: boot_id.to_owned(),
            cuda: inventory.driver.cuda,
            gpus: inventory.gpus.iter().map(StoredGpu::of).collect(),
        }
    }

    /// Reads the text of a stored inventory.
    ///
    /// # Errors
    /// Why it is none: not JSON of this form, of another format, or with a name that no device has.
    /// Whether it is about this host is not known here.
    pub fn parse(text: &[u8]) -> Result<Stored, String> {
        // The number comes first: a later format need not have this one's members.
        #[derive(Deserialize)]
        struct Numbered {
            format: u32,
        }
        let malformed = |e: serde_json::Error| one_line(&format!("it is malformed: {e}"));
        let Numbered { format } = serde_json::from_slice(text).map_err(malformed)?;
        if format != FORMAT {
            return Err(format!(
                "it has format {format}, where this version reads format {FORMAT}"
            ));
        }
        let stored: Stored = serde_json::from_slice(text).map_err(malformed)?;
        stored.check()?;
        Ok(stored)
    }

    /// The text, for the file.
    pub fn to_text(&self) -> String {
        // Strings and numbers in structs always have a JSON text.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Names become part of a decision: they have their form, and each MIG UUID is there once.
    fn check(&self) -> Result<(), String> {
        let mut seen = HashSet::new();
        for gpu in &self.gpus {
            if let Some(brand) = &gpu.brand
                && (brand.len() > BRAND_LIMIT || brand.chars().any(char::is_control))
            {
                return Err("it is malformed: a brand is no short word".to_owned());
            }
            for uuid in gpu.mig.iter().filter_map(|m| m.uuid.as_deref()) {
                if !is_mig_uuid(uuid) {
                    return Err("it is malformed: a MIG UUID does not have its form".to_owned());
                }
                if !seen.insert(uuid) {
                    return Err(format!("it is malformed: {uuid} is there twice"));
                }
            }
        }
        Ok(())
    }

    /// Whether nothing is missing that NVML could tell.
    pub fn is_complete(&self) -> bool {
        self.cuda.is_some()
            && self
                .gpus
                .iter()
                .all(|g| g.arch.is_some() && g.mig.iter().all(|m| m.uuid.is_some()))
    }
}

impl StoredGpu {
    fn of(gpu: &Gpu) -> StoredGpu {
        StoredGpu {
            uuid: gpu.uuid.clone(),
            bus_id: gpu.bus_id.clone(),
            minor: gpu.minor,
            brand: gpu.brand.clone(),
            arch: gpu.arch,
            mig: gpu.mig.iter().map(StoredInstance::of).collect(),
        }
    }
}

impl StoredInstance {
    fn of(instance: &MigInstance) -> StoredInstance {
        StoredInstance {
            gi: instance.gi,
            ci: instance.ci,
            gi_minor: instance.gi_access.node.minor,
            ci_minor: instance.ci_access.node.minor,
            uuid: instance.uuid.clone(),
        }
    }
}

/// Whether `text` names a MIG instance in the one spelling that requests are brought into.
fn is_mig_uuid(text: &str) -> bool {
    match text.parse::<DeviceId>() {
        Ok(id @ (DeviceId::MigUuid(_) | DeviceId::MigNumbers { .. })) => id.to_string() == text,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"format":1,"driverVersion":"550.163.01","bootId":"b","cuda":[12,4],
        "gpus":[{"uuid":"GPU-1","busId":"0000:1a:00.0","minor":0,"brand":"Nvidia","arch":[9,0],
        "mig":[{"gi":1,"ci":0,"giMinor":12,"ciMinor":13,
        "uuid":"MIG-0a1b2c3d-0001-5000-8000-000000000700"}]}]}"#;

    #[test]
    fn what_is_written_reads_as_the_same() {
        let stored = Stored::parse(GOOD.as_bytes()).unwrap();
        assert!(stored.is_complete());
        assert_eq!(Stored::parse(stored.to_text().as_bytes()), Ok(stored));
    }

    #[test]
    fn other_texts_are_refused_with_the_reason() {
        let uuid = "MIG-0a1b2c3d-0001-5000-8000-000000000700";
        let rows = [
            (r#""format":1"#, r#""format":2"#, "it has format 2"),
            (r#""format":1"#, r#""format":-1"#, "malformed"),
            (r#""minor":0"#, r#""minor":4294967296"#, "malformed"),
            (r#""minor":0"#, r#""minor":0,"x":1"#, "unknown field `x`"),
            (uuid, "MIG-1", "a MIG UUID does not have its form"),
            (uuid, "GPU-0a1b2c3d-0001-5000-8000-000000000700", "its form"),
            (uuid, "MIG-0A1B2C3D-0001-5000-8000-000000000700", "its form"),
            ("Nvidia", "a\\nb", "a brand is no short word"),
            (
                r#""format":1"#,
                r#""format":1,"format":1"#,
                "duplicate field",
            ),
        ];
        for (from, to, why) in rows {
            assert!(GOOD.contains(from), "{from}");
            let refused = Stored::parse(GOOD.replace(from, to).as_bytes()).unwrap_err();
            assert!(refused.contains(why), "{to}: {refused}");
        }
    }

    #[test]
    fn a_uuid_of_two_instances_is_refused() {
        let one = GOOD.split_once(r#""mig":["#).unwrap().1;
        let one = one.split_once(']').unwrap().0;
        let two = GOOD.replace(
            one,
            &format!("{one},{}", one.replace(r#""ci":0"#, r#""ci":1"#)),
        );
        let refused = Stored::parse(two.as_bytes()).unwrap_err();
        assert!(refused.contains("is there twice"), "{refused}");
    }
}
