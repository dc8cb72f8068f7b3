//! The GPUs of a host: models, and what a description makes of them.

use std::collections::BTreeSet;

use oci_gpu::finding::Finding;

use crate::caps::MIG_GPUS;
use crate::check::refusal;
use crate::driver::Module;
use crate::spec::{GpuInstance, GpuSpec, HostSpec, Minors};

/// A GPU model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// The word in a host description.
    pub key: &'static str,
    /// The marketing name, as the driver writes it.
    pub name: &'static str,
    /// PCI device number.
    pub device: u16,
    /// PCI subsystem number, of NVIDIA's own boards.
    pub subsystem: u16,
    /// PCI class: 0x030200 (3D controller) or 0x030000 (VGA).
    pub class: u32,
    /// Video BIOS version.
    pub video_bios: &'static str,
    /// Bits of the DMA mask.
    pub dma_bits: u32,
    /// Whether it can be split into MIG instances.
    pub mig: bool,
}

/// Every model that a description can name.
pub const MODELS: &[Model] = &[
    Model {
        key: "h100",
        name: "NVIDIA H100 80GB HBM3",
        device: 0x2330,
        subsystem: 0x16c1,
        class: 0x03_0200,
        video_bios: "96.00.99.00.01",
        dma_bits: 52,
        mig: true,
    },
    Model {
        key: "a100",
        name: "NVIDIA A100-SXM4-80GB",
        device: 0x20b2,
        subsystem: 0x1463,
        class: 0x03_0200,
        video_bios: "92.00.45.00.03",
        dma_bits: 47,
        mig: true,
    },
    Model {
        key: "t4",
        name: "Tesla T4",
        device: 0x1eb8,
        subsystem: 0x12a2,
        class: 0x03_0200,
        video_bios: "90.04.96.00.01",
        dma_bits: 47,
        mig: false,
    },
    Model {
        key: "l40s",
        name: "NVIDIA L40S",
        device: 0x26b9,
        subsystem: 0x1851,
        class: 0x03_0200,
        video_bios: "95.02.66.00.02",
        dma_bits: 47,
        mig: false,
    },
    // As the guest driver of NVIDIA's vGPU software names a slice of an A100.
    Model {
        key: "a100-vgpu",
        name: "GRID A100D-40C",
        device: 0x20b5,
        subsystem: 0x1594,
        class: 0x03_0200,
        video_bios: "00.00.00.00.00",
        dma_bits: 47,
        mig: false,
    },
    Model {
        key: "geforce-rtx-4090",
        name: "NVIDIA GeForce RTX 4090",
        device: 0x2684,
        subsystem: 0x16f4,
        class: 0x03_0000,
        video_bios: "95.02.18.00.87",
        dma_bits: 47,
        mig: false,
    },
];

/// The most GPUs: DRM has 64 minor numbers for render nodes (admin-guide/devices.txt).
pub(crate) const GPU_LIMIT: u32 = 64;

/// A GPU of a simulated host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gpu {
    /// Its place in the description.
    pub index: u32,
    /// What it is.
    pub model: &'static Model,
    /// `GPU-...`.
    pub uuid: String,
    /// PCI address as the kernel names it: "0000:1a:00.0".
    pub bus_id: String,
    /// Minor number of its node.
    pub minor: u32,
    /// Number N of its DRM card (/dev/dri/cardN), where nvidia_drm is loaded. A management
    /// controller's display counts among cards, so it need not be the index.
    pub card: Option<u32>,
    /// Number N of its DRM render node (/dev/dri/renderDN), where nvidia_drm is loaded.
    pub render: Option<u32>,
    /// NUMA node, -1 for none.
    pub numa_node: i32,
    /// MIG instances.
    pub mig: Vec<GpuInstance>,
}

impl HostSpec {
    /// The GPUs that the description makes, by index.
    ///
    /// UUIDs and PCI addresses that it does not name are the same in every host, so that tests can
    /// name them: GPU 0 is GPU-5ca1ab1e-1d5e-4f0c-9a3b-a0b1c2d3e400 at 0000:1a:00.0.
    ///
    /// # Errors
    /// [`Code::Sim`](oci_gpu::Code::Sim) for an unknown model, more than 64 GPUs, an address, UUID
    /// or minor that is malformed or given twice, and MIG instances that cannot be.
    pub fn gpu_list(&self) -> Result<Vec<Gpu>, Finding> {
        let count = self.gpus.count;
        if count > GPU_LIMIT {
            return Err(refusal(
                format!("{count} GPUs: there are minor numbers for {GPU_LIMIT}"),
                "lower gpus.count",
            ));
        }
        for (place, own) in self.gpu.iter().enumerate() {
            let index = own.index;
            if index >= count {
                return Err(refusal(
                    format!("[[gpu]] with index {index}, but there are {count} GPUs"),
                    "raise gpus.count or lower the index (from 0)",
                ));
            }
            if self.gpu.iter().take(place).any(|g| g.index == index) {
                return Err(refusal(
                    format!("two [[gpu]] tables with index {index}"),
                    "merge them",
                ));
            }
        }
        let gpus = (0..count)
            .map(|index| self.gpu_at(index))
            .collect::<Result<Vec<Gpu>, Finding>>()?;
        distinct("PCI address", gpus.iter().map(|g| g.bus_id.clone()))?;
        distinct("UUID", gpus.iter().map(|g| g.uuid.clone()))?;
        distinct("minor number", gpus.iter().map(|g| g.minor.to_string()))?;
        Ok(gpus)
    }

    fn gpu_at(&self, index: u32) -> Result<Gpu, Finding> {
        let default = GpuSpec::default();
        let own = self
            .gpu
            .iter()
            .find(|own| own.index == index)
            .unwrap_or(&default);
        let model = model(own.model.as_deref().unwrap_or(&self.gpus.model))?;
        let bus_id = own.bus_id.clone().unwrap_or_else(|| default_bus_id(index));
        if !is_bus_id(&bus_id) {
            return Err(refusal(
                format!("GPU {index}: bus-id {bus_id:?} is not a PCI address"),
                "write it in lower case as \"0000:1a:00.0\"",
            ));
        }
        let uuid = own.uuid.clone().unwrap_or_else(|| default_uuid(index));
        if !is_uuid(&uuid) {
            return Err(refusal(
                format!("GPU {index}: {uuid:?} is not a GPU's UUID"),
                "write it as \"GPU-5ca1ab1e-1d5e-4f0c-9a3b-a0b1c2d3e400\"",
            ));
        }
        let minor = own.minor.unwrap_or(match self.gpus.minors {
            Minors::Pci => index,
            Minors::Reversed => self.gpus.count - 1 - index,
        });
        // 254 and 255 are nvidia-modeset and nvidiactl.
        if minor >= GPU_LIMIT {
            return Err(refusal(
                format!("GPU {index}: minor {minor} is not below {GPU_LIMIT}"),
                "lower it",
            ));
        }
        check_mig(index, minor, model, &own.mig)?;
        let has_drm = self.has_module(Module::Drm);
        Ok(Gpu {
            index,
            model,
            uuid,
            bus_id,
            minor,
            card: has_drm.then_some(index + u32::from(self.gpus.bmc)),
            render: has_drm.then_some(index + 128),
            numa_node: own.numa_node.unwrap_or(match self.gpus.count {
                0..=4 => -1,
                // Two sockets, as servers of that size have.
                count => i32::from(index >= count / 2),
            }),
            mig: own.mig.clone(),
        })
    }
}

/// The model of that key.
fn model(key: &str) -> Result<&'static Model, Finding> {
    MODELS.iter().find(|model| model.key == key).ok_or_else(|| {
        let keys: Vec<&str> = MODELS.iter().map(|model| model.key).collect();
        refusal(
            format!("no GPU model {key:?}"),
            format!("use one of {}", keys.join(", ")),
        )
    })
}

/// Eight addresses of a server with two sockets; every further eight lie in the next PCI domain.
fn default_bus_id(index: u32) -> String {
    const BUSES: [u8; 8] = [0x1a, 0x1b, 0x4a, 0x4b, 0x8a, 0x8b, 0xca, 0xcb];
    let bus = BUSES.get(index as usize % 8).copied().unwrap_or(0x1a);
    format!("{:04x}:{bus:02x}:00.0", index / 8)
}

fn default_uuid(index: u32) -> String {
    let n = (index & 0xff) as u8;
    let [a, b, c, d] = [0x5c, 0xa1, 0xab, 0x1e_u8].map(|byte| byte.wrapping_add(n));
    format!("GPU-{a:02x}{b:02x}{c:02x}{d:02x}-1d5e-4f0c-9a3b-a0b1c2d3e4{n:02x}")
}

fn is_bus_id(text: &str) -> bool {
    let is_hex = |part: &str, len: usize| {
        part.len() == len && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let parts: Vec<&str> = text.split([':', '.']).collect();
    match parts.as_slice() {
        [domain, bus, device, function] => {
            is_hex(domain, 4)
                && is_hex(bus, 2)
                && is_hex(device, 2)
                && is_hex(function, 1)
                && text.as_bytes().get(10) == Some(&b'.')
        }
        _ => false,
    }
}

fn is_uuid(text: &str) -> bool {
    let Some(digits) = text.strip_prefix("GPU-") else {
        return false;
    };
    let lengths: Vec<usize> = digits.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && digits.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
}

fn check_mig(index: u32, minor: u32, model: &Model, mig: &[GpuInstance]) -> Result<(), Finding> {
    if !mig.is_empty() && minor >= MIG_GPUS {
        return Err(refusal(
            format!(
                "GPU {index}: the driver has MIG's minor numbers for GPUs with minors below {MIG_GPUS}, not for {minor}"
            ),
            "split GPUs with lower minor numbers",
        ));
    }
    if !mig.is_empty() && !model.mig {
        return Err(refusal(
            format!(
                "GPU {index}: {} cannot be split into MIG instances",
                model.name
            ),
            "use the model h100 or a100",
        ));
    }
    distinct(
        &format!("GPU instance of GPU {index}"),
        mig.iter().map(|instance| instance.gi.to_string()),
    )?;
    for instance in mig {
        if instance.gi > 14 || instance.ci.iter().any(|ci| *ci > 7) {
            return Err(refusal(
                format!("GPU {index}: MIG instance {instance:?} is out of range"),
                "gi is 0 to 14, ci 0 to 7",
            ));
        }
        distinct(
            &format!("compute instance of GPU {index}, gi {}", instance.gi),
            instance.ci.iter().map(u32::to_string),
        )?;
    }
    Ok(())
}

fn distinct(what: &str, values: impl Iterator<Item = String>) -> Result<(), Finding> {
    let mut seen = BTreeSet::new();
    for value in values {
        if !seen.insert(value.clone()) {
            return Err(refusal(
                format!("{what} {value} is given twice"),
                "change one",
            ));
        }
    }
    Ok(())
}
