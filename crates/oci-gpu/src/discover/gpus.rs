//! The GPUs, from /proc/driver/nvidia/gpus, in PCI order.

use std::io::ErrorKind;
use std::path::Path;

use super::nodes::Nodes;
use super::proc_driver::Information;
use super::{PROC_DRIVER, Scope, mig, unreadable};
use crate::capability::Capability::{Display, Graphics};
use crate::finding::{Code, Finding};
use crate::inventory::{DrmNode, Gpu};

/// Reads every GPU that the driver is bound to. The index of a GPU is its place in PCI order,
/// which is what NVML and CUDA (`CUDA_DEVICE_ORDER=PCI_BUS_ID`) count by.
pub(super) fn read(
    nodes: &Nodes,
    scope: &Scope,
    findings: &mut Vec<Finding>,
) -> Result<Vec<Gpu>, Finding> {
    let files = nodes.host.files();
    let directory = Path::new(PROC_DRIVER).join("gpus");
    let names = match files.list(&directory) {
        Ok(names) => names,
        Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(unreadable(&directory, &e)),
    };
    let Some(major) = nodes.majors.nvidia.or(names.is_empty().then_some(0)) else {
        return Err(Finding::new(
            Code::Malformed,
            "/proc/devices has no line 'nvidia' or 'nvidia-frontend', though the driver shows GPUs",
            "reload the nvidia kernel module",
        ));
    };
    let mut gpus = Vec::with_capacity(names.len());
    // Addresses have a fixed width, so their alphabetical order is the order of the bus.
    for name in names {
        let path = directory.join(&name).join("information");
        let text = files.read_text(&path).map_err(|e| unreadable(&path, &e))?;
        let information = Information::parse(&text);
        let Some(minor) = information.minor else {
            return Err(Finding::new(
                Code::Malformed,
                format!("{} has no 'Device Minor:' with a number", path.display()),
                "reload the nvidia kernel module",
            ));
        };
        if information.uuid.is_none() {
            findings.push(Finding::new(
                Code::Malformed,
                format!(
                    "{} tells no UUID (the GPU was never opened, or this is an unprivileged guest)",
                    path.display()
                ),
                "name this GPU by its index or PCI address, or enable persistence mode",
            ));
        }
        let bus_id = name.to_ascii_lowercase();
        let instances = mig::instances(nodes, minor)?;
        let model = information.model.unwrap_or_else(|| "unknown".to_owned());
        gpus.push(Gpu {
            index: gpus.len() as u32,
            uuid: information.uuid,
            minor,
            brand: brand_of(&model).map(str::to_owned),
            model,
            arch: None,
            node: nodes.inspect(&format!("/dev/nvidia{minor}"), major, minor),
            proc_dir: directory.join(&name),
            drm: match scope.has(Graphics) || scope.has(Display) {
                true => drm_nodes(nodes, &bus_id),
                false => Vec::new(),
            },
            mig_enabled: !instances.is_empty(),
            mig: instances,
            bus_id,
        });
    }
    Ok(gpus)
}

/// The DRM nodes of the GPU at `bus_id`, matched by PCI address: /sys/bus/pci/devices/B/drm/*.
fn drm_nodes(nodes: &Nodes, bus_id: &str) -> Vec<DrmNode> {
    let files = nodes.host.files();
    let directory = Path::new("/sys/bus/pci/devices").join(bus_id).join("drm");
    let names = files.list(&directory).unwrap_or_default();
    let mut found = Vec::new();
    for name in names {
        let kind = match () {
            () if name.starts_with("card") => "card",
            () if name.starts_with("renderD") => "render",
            () => continue,
        };
        let Ok(dev) = files.read_text(&directory.join(&name).join("dev")) else {
            continue;
        };
        let Some((major, minor)) = dev.split_once(':') else {
            continue;
        };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else {
            continue;
        };
        let by_path = format!("/dev/dri/by-path/pci-{bus_id}-{kind}");
        let has_link = files.read_link(&nodes.on_host(&by_path)).is_ok();
        found.push(DrmNode {
            node: nodes.inspect(&format!("/dev/dri/{name}"), major, minor),
            by_path: has_link.then(|| by_path.into()),
        });
    }
    found
}

/// The brand as NVML names it (nvml.h, nvmlBrandType_t), as far as the model's name tells: Tesla,
/// Quadro and GeForce are in the names; datacentre GPUs since Ampere are of the brand "NVIDIA".
fn brand_of(model: &str) -> Option<&'static str> {
    const WORDS: [(&str, &str); 7] = [
        // The guest of a vGPU.
        ("GRID", "GRID"),
        ("Tesla", "Tesla"),
        ("Quadro RTX", "QuadroRTX"),
        ("Quadro", "Quadro"),
        ("GeForce", "GeForce"),
        ("TITAN", "Titan"),
        ("NVIDIA RTX", "NvidiaRTX"),
    ];
    let word = WORDS
        .iter()
        .find(|(word, _)| model.contains(word))
        .map(|(_, brand)| *brand);
    word.or_else(|| model.starts_with("NVIDIA ").then_some("Nvidia"))
}
