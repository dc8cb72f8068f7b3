//! The device nodes of a host.

use std::collections::BTreeSet;

use oci_gpu::finding::Finding;

use crate::caps;
use crate::check::{refusal, version_branch};
use crate::driver::Module;
use crate::gpu::Gpu;
use crate::peripherals;
use crate::spec::{HostSpec, Layout};
use crate::tegra;
use crate::tree::{Node, Tree};
use crate::wsl;

/// The driver's own major number (admin-guide/devices.txt of the kernel).
pub(crate) const DRIVER_MAJOR: u32 = 195;
/// That of DRM.
pub(crate) const DRM_MAJOR: u32 = 226;

const MODESET_MINOR: u32 = 254;
const CONTROL_MINOR: u32 = 255;

/// Groups that own DRM nodes, with the numbers that Debian gives them first: video and render.
const VIDEO_GROUP: u32 = 44;
const RENDER_GROUP: u32 = 105;

/// Makes the device nodes of the host.
pub(crate) fn create(spec: &HostSpec, gpus: &[Gpu], tree: &mut Tree) -> Result<(), Finding> {
    tree.directory("/dev")?;
    let directories = directories(spec);
    let nodes = nodes(spec, gpus)?;
    check_faults(spec, &nodes)?;
    for directory in &directories {
        for node in &nodes {
            create_node(spec, node, directory, tree)?;
        }
        for gpu in gpus {
            by_path_links(gpu, directory, tree)?;
        }
    }
    Ok(())
}

/// The directories that hold the nodes.
fn directories(spec: &HostSpec) -> Vec<String> {
    match (&spec.paths.dev, spec.layout) {
        (Some(named), _) => named.clone(),
        (None, Layout::Microvm) => Vec::new(),
        // The driver's own container makes them, in its own /dev.
        (None, Layout::DriverContainer) => vec!["/run/nvidia/driver/dev".to_owned()],
        (None, _) => vec!["/dev".to_owned()],
    }
}

/// Every node that the kernel modules of the host have, as paths in /dev.
fn nodes(spec: &HostSpec, gpus: &[Gpu]) -> Result<Vec<Node>, Finding> {
    let mut nodes = Vec::new();
    nodes.extend(peripherals::nodes(spec));
    if spec.layout == Layout::Wsl {
        nodes.push(wsl::node());
    }
    if spec.layout == Layout::Tegra {
        nodes.extend(tegra::nodes());
    }
    if spec.gpus.bmc {
        nodes.push(drm_node("card", 0, VIDEO_GROUP));
    }
    let Some(driver) = spec.driver.as_ref().filter(|driver| driver.loaded) else {
        return Ok(nodes);
    };
    let node = |path: String, major, minor, mode| Node {
        path,
        major,
        minor,
        mode,
        gid: 0,
    };
    let own = |name: &str, major, minor| node(format!("/dev/{name}"), major, minor, 0o666);
    nodes.push(own("nvidiactl", DRIVER_MAJOR, CONTROL_MINOR));
    for gpu in gpus {
        nodes.push(own(
            &format!("nvidia{}", gpu.minor),
            DRIVER_MAJOR,
            gpu.minor,
        ));
    }
    if spec.has_module(Module::Uvm) {
        nodes.push(own("nvidia-uvm", spec.majors.uvm, 0));
        nodes.push(own("nvidia-uvm-tools", spec.majors.uvm, 1));
    }
    if spec.has_module(Module::Modeset) {
        nodes.push(own("nvidia-modeset", DRIVER_MAJOR, MODESET_MINOR));
    }
    let instances = gpus.iter().any(|gpu| !gpu.mig.is_empty());
    if instances || gpus.iter().any(|gpu| gpu.model.mig) {
        for capability in caps::present(version_branch(&driver.version)?, gpus) {
            // nvidia-smi and NVML make the nodes of MIG; nobody asks for the fabric's.
            if capability.proc_path.contains("/mig/") {
                let path = format!("/dev/nvidia-caps/nvidia-cap{}", capability.minor);
                let (major, minor) = (spec.majors.caps, capability.minor);
                nodes.push(node(path, major, minor, capability.mode));
            }
        }
    }
    for channel in &spec.imex_channels {
        let name = format!("nvidia-caps-imex-channels/channel{channel}");
        nodes.push(own(&name, spec.majors.imex, *channel));
    }
    for gpu in gpus {
        nodes.extend(gpu.card.map(|n| drm_node("card", n, VIDEO_GROUP)));
        nodes.extend(gpu.render.map(|n| drm_node("renderD", n, RENDER_GROUP)));
    }
    Ok(nodes)
}

fn drm_node(kind: &str, minor: u32, gid: u32) -> Node {
    Node {
        path: format!("/dev/dri/{kind}{minor}"),
        major: DRM_MAJOR,
        minor,
        mode: 0o660,
        gid,
    }
}

fn create_node(
    spec: &HostSpec,
    node: &Node,
    directory: &str,
    tree: &mut Tree,
) -> Result<(), Finding> {
    let named = |list: &[String]| list.contains(&node.path);
    if named(&spec.faults.missing_nodes) {
        return Ok(());
    }
    let name = node.path.strip_prefix("/dev").unwrap_or(&node.path);
    let path = format!("{directory}{name}");
    if named(&spec.faults.regular_nodes) {
        return tree.file(&path, "");
    }
    let wrong = u32::from(named(&spec.faults.wrong_nodes));
    tree.node(&Node {
        path,
        major: node.major + wrong,
        ..node.clone()
    })
}

/// Links by PCI address, as udev's rules make them.
fn by_path_links(gpu: &Gpu, directory: &str, tree: &mut Tree) -> Result<(), Finding> {
    let by_path = format!("{directory}/dri/by-path/pci-{}", gpu.bus_id);
    if let Some(card) = gpu.card {
        tree.link(&format!("{by_path}-card"), &format!("../card{card}"))?;
    }
    if let Some(render) = gpu.render {
        tree.link(&format!("{by_path}-render"), &format!("../renderD{render}"))?;
    }
    Ok(())
}

/// A fault that hits nothing is a mistake in the description.
fn check_faults(spec: &HostSpec, nodes: &[Node]) -> Result<(), Finding> {
    let paths: BTreeSet<&str> = nodes.iter().map(|node| node.path.as_str()).collect();
    let faults = &spec.faults;
    let lists = [
        &faults.missing_nodes,
        &faults.wrong_nodes,
        &faults.regular_nodes,
    ];
    match lists
        .into_iter()
        .flatten()
        .find(|path| !paths.contains(path.as_str()))
    {
        Some(path) => Err(refusal(
            format!("faults name {path:?}, which this host would not have"),
            "name a node by its path in /dev, like \"/dev/nvidia-uvm\"",
        )),
        None => Ok(()),
    }
}
