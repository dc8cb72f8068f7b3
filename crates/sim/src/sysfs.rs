//! /sys: kernel modules and PCI devices.

use oci_gpu::finding::Finding;

use crate::dev::DRM_MAJOR;
use crate::driver::{Flavour, Module};
use crate::gpu::Gpu;
use crate::spec::{HostSpec, Layout};
use crate::tree::Tree;

/// Modes of sysfs files.
const READ_ONLY: u32 = 0o444;
const READ_WRITE: u32 = 0o644;

/// Writes /sys of the host.
pub(crate) fn create(spec: &HostSpec, gpus: &[Gpu], tree: &mut Tree) -> Result<(), Finding> {
    modules(spec, tree)?;
    tree.directory("/sys/bus/pci/devices")?;
    if spec.is_loaded() {
        tree.directory("/sys/bus/pci/drivers/nvidia")?;
    }
    for gpu in gpus {
        gpu_device(spec, gpu, tree)?;
    }
    if spec.gpus.bmc {
        bmc_device(tree)?;
    }
    Ok(())
}

fn modules(spec: &HostSpec, tree: &mut Tree) -> Result<(), Finding> {
    let firmware = match (&spec.paths.firmware, spec.layout) {
        (Some(named), _) => named,
        // The driver container points the kernel at its own root.
        (None, Layout::DriverContainer) => "/run/nvidia/driver/lib/firmware",
        (None, Layout::Nixos) => "/run/current-system/firmware",
        _ => "",
    };
    tree.file_with_mode(
        "/sys/module/firmware_class/parameters/path",
        format!("{firmware}\n").as_bytes(),
        READ_WRITE,
    )?;
    let Some(driver) = spec.driver.as_ref().filter(|driver| driver.loaded) else {
        return Ok(());
    };
    let taint = match driver.flavour {
        Flavour::Proprietary => "POE\n",
        Flavour::Open => "OE\n",
    };
    let names = [
        (true, "nvidia"),
        (spec.has_module(Module::Uvm), "nvidia_uvm"),
        (spec.has_module(Module::Modeset), "nvidia_modeset"),
        (spec.has_module(Module::Drm), "nvidia_drm"),
    ];
    for (_, name) in names.into_iter().filter(|(loaded, _)| *loaded) {
        let version = format!("{}\n", driver.version);
        for (file, text) in [
            ("version", version.as_str()),
            ("initstate", "live\n"),
            ("taint", taint),
            ("refcnt", "0\n"),
        ] {
            let path = format!("/sys/module/{name}/{file}");
            tree.file_with_mode(&path, text.as_bytes(), READ_ONLY)?;
        }
        tree.directory(&format!("/sys/module/{name}/parameters"))?;
    }
    if spec.has_module(Module::Drm) {
        let path = "/sys/module/nvidia_drm/parameters/modeset";
        tree.file_with_mode(path, b"Y\n", READ_ONLY)?;
    }
    Ok(())
}

/// A PCI function: its place among /sys/devices and the numbers in it.
struct Function<'a> {
    bus_id: &'a str,
    vendor: u16,
    device: u16,
    subsystem: (u16, u16),
    class: u32,
    numa_node: i32,
    driver: Option<&'a str>,
}

impl Function<'_> {
    /// Below /sys/devices, without that.
    fn place(&self) -> String {
        let bridge = self.bus_id.get(..7).unwrap_or(self.bus_id);
        format!("pci{bridge}/{}", self.bus_id)
    }

    fn create(&self, tree: &mut Tree) -> Result<(), Finding> {
        let (bus_id, place) = (self.bus_id, self.place());
        let device = format!("/sys/devices/{place}");
        let (subsystem_vendor, subsystem_device) = self.subsystem;
        let files = [
            ("vendor", format!("0x{:04x}\n", self.vendor)),
            ("device", format!("0x{:04x}\n", self.device)),
            ("class", format!("0x{:06x}\n", self.class)),
            ("subsystem_vendor", format!("0x{subsystem_vendor:04x}\n")),
            ("subsystem_device", format!("0x{subsystem_device:04x}\n")),
            ("revision", "0xa1\n".to_owned()),
            ("enable", "1\n".to_owned()),
            ("numa_node", format!("{}\n", self.numa_node)),
            ("uevent", self.uevent()),
        ];
        for (name, text) in files {
            tree.file_with_mode(&format!("{device}/{name}"), text.as_bytes(), READ_ONLY)?;
        }
        tree.file_with_mode(&format!("{device}/config"), &self.config(), READ_WRITE)?;
        tree.link(&format!("{device}/subsystem"), "../../../bus/pci")?;
        if let Some(driver) = self.driver {
            let target = format!("../../../bus/pci/drivers/{driver}");
            tree.link(&format!("{device}/driver"), &target)?;
            let bound = format!("/sys/bus/pci/drivers/{driver}/{bus_id}");
            tree.link(&bound, &format!("../../../../devices/{place}"))?;
        }
        let listed = format!("/sys/bus/pci/devices/{bus_id}");
        tree.link(&listed, &format!("../../../devices/{place}"))
    }

    fn uevent(&self) -> String {
        let driver = self
            .driver
            .map(|driver| format!("DRIVER={driver}\n"))
            .unwrap_or_default();
        let (subsystem_vendor, subsystem_device) = self.subsystem;
        format!(
            "{driver}PCI_CLASS={:X}\nPCI_ID={:04X}:{:04X}\n\
             PCI_SUBSYS_ID={subsystem_vendor:04X}:{subsystem_device:04X}\nPCI_SLOT_NAME={}\n",
            self.class, self.vendor, self.device, self.bus_id
        )
    }

    /// The header of the PCI configuration space (PCI Local Bus Specification 3.0, 6.1).
    fn config(&self) -> [u8; 64] {
        let mut config = [0; 64];
        let mut put = |at: usize, bytes: &[u8]| {
            if let Some(place) = config.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        };
        put(0, &self.vendor.to_le_bytes());
        put(2, &self.device.to_le_bytes());
        put(4, &[0x47, 0x05, 0x10, 0x00, 0xa1]);
        let [low, middle, high, _] = self.class.to_le_bytes();
        put(9, &[low, middle, high]);
        put(0x2c, &self.subsystem.0.to_le_bytes());
        put(0x2e, &self.subsystem.1.to_le_bytes());
        config
    }
}

fn gpu_device(spec: &HostSpec, gpu: &Gpu, tree: &mut Tree) -> Result<(), Finding> {
    const NVIDIA: u16 = 0x10de;
    let function = Function {
        bus_id: &gpu.bus_id,
        vendor: NVIDIA,
        device: gpu.model.device,
        subsystem: (NVIDIA, gpu.model.subsystem),
        class: gpu.model.class,
        numa_node: gpu.numa_node,
        driver: spec.is_loaded().then_some("nvidia"),
    };
    function.create(tree)?;
    if let Some(card) = gpu.card {
        drm(&function, &format!("card{card}"), card, tree)?;
    }
    if let Some(render) = gpu.render {
        drm(&function, &format!("renderD{render}"), render, tree)?;
    }
    Ok(())
}

/// The display of a server's management controller: a DRM card that is no GPU of ours.
fn bmc_device(tree: &mut Tree) -> Result<(), Finding> {
    let function = Function {
        bus_id: "0000:03:00.0",
        vendor: 0x1a03,
        device: 0x2000,
        subsystem: (0x1a03, 0x2000),
        class: 0x03_0000,
        numa_node: 0,
        driver: Some("ast"),
    };
    tree.directory("/sys/bus/pci/drivers/ast")?;
    function.create(tree)?;
    drm(&function, "card0", 0, tree)
}

/// A DRM device of a PCI function, and the two places that lead to it.
fn drm(function: &Function, name: &str, minor: u32, tree: &mut Tree) -> Result<(), Finding> {
    let place = format!("{}/drm/{name}", function.place());
    let directory = format!("/sys/devices/{place}");
    let number = format!("{DRM_MAJOR}:{minor}");
    tree.file_with_mode(
        &format!("{directory}/dev"),
        format!("{number}\n").as_bytes(),
        READ_ONLY,
    )?;
    let uevent =
        format!("MAJOR={DRM_MAJOR}\nMINOR={minor}\nDEVNAME=dri/{name}\nDEVTYPE=drm_minor\n");
    tree.file_with_mode(
        &format!("{directory}/uevent"),
        uevent.as_bytes(),
        READ_WRITE,
    )?;
    tree.link(
        &format!("{directory}/device"),
        &format!("../../../{}", function.bus_id),
    )?;
    tree.link(
        &format!("/sys/class/drm/{name}"),
        &format!("../../devices/{place}"),
    )?;
    tree.link(
        &format!("/sys/dev/char/{number}"),
        &format!("../../devices/{place}"),
    )
}
