//! Device nodes of a plan.

use super::{Operation, Plan};
use crate::capability::Capability::{Display, Graphics};
use crate::finding::{Code, Finding};
use crate::inventory::{ControlRole, DeviceNode, DrmNode, NodeState, Platform};
use crate::select::Grant;

/// Control nodes by capability, GPUs, MIG rights, IMEX channels, and DRM nodes for graphics.
pub(super) fn plan(plan: &mut Plan, grant: &Grant) -> Result<(), Finding> {
    control(plan, grant)?;
    for gpu in &grant.gpus {
        device(
            plan,
            &gpu.node,
            true,
            format!("GPU {} ({})", gpu.index, gpu.model),
        )?;
    }
    for (gpu, m) in &grant.mig {
        let why = format!("MIG instance {}/{} of GPU {gpu}", m.gi, m.ci);
        device(
            plan,
            &m.gi_access.node,
            true,
            format!("{why}, its GPU instance"),
        )?;
        device(plan, &m.ci_access.node, true, why)?;
    }
    for right in &grant.mig_rights {
        device(
            plan,
            &right.node,
            true,
            format!("the right of {}", right.proc_file.display()),
        )?;
    }
    for channel in &grant.imex_channels {
        device(
            plan,
            &channel.node,
            true,
            format!("IMEX channel {}", channel.id),
        )?;
    }
    for peripheral in &grant.peripherals {
        let kind = peripheral.kind;
        let why = format!("nvidia.com/{}=all or {}", kind.class(), kind.variable());
        device(plan, &peripheral.node, true, why).map_err(|finding| Finding {
            remedy: kind.remedy().to_owned(),
            ..finding
        })?;
    }
    if grant.capabilities.contains(Graphics) || grant.capabilities.contains(Display) {
        drm(plan, grant)?;
    }
    Ok(())
}

fn control(plan: &mut Plan, grant: &Grant) -> Result<(), Finding> {
    for control in &grant.control {
        let why = control.role.users();
        match control.role.need(grant.capabilities) {
            Some(required) => device(plan, &control.node, required, why.to_owned())?,
            None => {
                let reason = format!("it is for {why}, which was not asked for");
                plan.skip(control.node.path.display().to_string(), reason);
            }
        }
    }
    if grant.platform != Platform::Native {
        return Ok(());
    }
    let loaded = |role| grant.control.iter().any(|c| c.role == role);
    let lacks = |role: ControlRole| role.need(grant.capabilities).filter(|_| !loaded(role));
    match lacks(ControlRole::Uvm) {
        Some(true) => {
            return Err(Finding::new(
                Code::NodeMissing,
                "/dev/nvidia-uvm, which capability compute needs, has no driver: /proc/devices does not name nvidia-uvm",
                "load the module: oci-gpu system load-modules",
            ));
        }
        Some(false) => plan.skip(
            "/dev/nvidia-uvm",
            "its kernel module, nvidia-uvm, is not loaded; the video codecs need it",
        ),
        None => {}
    }
    if lacks(ControlRole::Modeset).is_some() {
        plan.skip(
            "/dev/nvidia-modeset",
            "its kernel module, nvidia-modeset, is not loaded; screens need it, rendering does not",
        );
    }
    if !loaded(ControlRole::Control) {
        return Err(Finding::new(
            Code::NodeMissing,
            "/dev/nvidiactl has no driver: /proc/devices does not name nvidia",
            "load the module: oci-gpu system load-modules",
        ));
    }
    Ok(())
}

/// DRM nodes are the display server's way to a GPU: graphics work without them in part, so a
/// host that lacks them is not an error.
fn drm(plan: &mut Plan, grant: &Grant) -> Result<(), Finding> {
    for gpu in &grant.gpus {
        if gpu.mig_enabled && !grant.management {
            // Only a profile with graphics may use them, and the kernel's files tell no profile.
            for drm in &gpu.drm {
                let why = "its GPU is split into MIG instances, which compute only";
                plan.skip(drm.node.path.display().to_string(), why);
            }
            continue;
        }
        for drm in &gpu.drm {
            let why = format!(
                "DRM node of GPU {}, capability graphics or display",
                gpu.index
            );
            device(plan, &drm.node, false, why)?;
            link(plan, gpu.index, drm);
        }
    }
    Ok(())
}

/// Links to DRM nodes by PCI address, for nodes that the container has.
pub(super) fn links(plan: &mut Plan, grant: &Grant) {
    for gpu in &grant.gpus {
        gpu.drm.iter().for_each(|drm| link(plan, gpu.index, drm));
    }
}

fn link(plan: &mut Plan, gpu: u32, drm: &DrmNode) {
    if let (Some(link), NodeState::Present) = (&drm.by_path, &drm.node.state)
        && let Some(name) = drm.node.target.file_name()
    {
        let points_to = std::path::Path::new("..").join(name);
        let link = Operation::Symlink {
            target: link.clone(),
            points_to,
        };
        let why = format!("the host's link to it, by GPU {gpu}'s PCI address");
        plan.add(link, false, why);
    }
}

/// The group without which a process that is not root cannot open `node`: "video" and "render" of
/// DRM nodes, say. Owners of the container's process are its own matter.
fn needed_group(node: &DeviceNode) -> Option<u32> {
    let owner = node.owner.filter(|_| node.state == NodeState::Present)?;
    let everybody = owner.mode & 0o006 == 0o006;
    (!everybody && owner.gid != 0 && owner.mode & 0o060 == 0o060).then_some(owner.gid)
}

fn device(plan: &mut Plan, node: &DeviceNode, required: bool, why: String) -> Result<(), Finding> {
    if let Some(group) = needed_group(node) {
        let why = format!("{} is for its group only", node.path.display());
        plan.group(group, why);
    }
    let path = node.path.display();
    let remedy = "run `oci-gpu system create-device-nodes` on the host";
    let problem = match &node.state {
        NodeState::Present => {
            let what = Operation::Device {
                source: node.path.clone(),
                target: node.target.clone(),
                major: node.major,
                minor: node.minor,
                owner: node.owner,
            };
            plan.add(what, required, why);
            return Ok(());
        }
        NodeState::Missing => Finding::new(
            Code::NodeMissing,
            format!(
                "the device node {path} ({}:{}) is missing on the host; it is needed for {why}",
                node.major, node.minor
            ),
            remedy,
        ),
        NodeState::Wrong(what) => Finding::new(
            Code::NodeWrong,
            format!("the device node {path} is wrong: {what}; it is needed for {why}"),
            remedy,
        ),
    };
    if required {
        return Err(problem);
    }
    plan.skip(node.path.display().to_string(), problem.message);
    Ok(())
}
