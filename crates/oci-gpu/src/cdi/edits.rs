//! Actions of a plan -> edits of a specification.

use super::{Device, DeviceNode, Edits, Mount};
use crate::plan::{Action, BindKind, Operation};

/// What a specification can say of `actions`.
pub(super) fn edits(actions: &[Action]) -> Edits {
    let mut edits = Edits::default();
    for action in actions {
        match &action.what {
            Operation::Device {
                source,
                target,
                major,
                minor,
                owner,
            } => edits.device_nodes.push(DeviceNode {
                path: target.clone(),
                host_path: (source != target).then(|| source.clone()),
                kind: "c",
                major: *major,
                minor: *minor,
                file_mode: owner.map(|o| o.mode & 0o777),
                permissions: "rwm",
                gid: owner.map(|o| o.gid).filter(|gid| *gid != 0),
            }),
            Operation::Bind {
                kind,
                source,
                target,
            } => edits.mounts.push(Mount {
                host_path: source.clone(),
                container_path: target.clone(),
                options: mount_options(*kind),
            }),
            Operation::Env { name, value } => edits.env.push(format!("{name}={value}")),
            Operation::Group { gid } => edits.additional_gids.push(*gid),
            // The hook's.
            Operation::Symlink { .. } | Operation::Files { .. } | Operation::LdCache { .. } => {}
        }
    }
    // A directory comes before what lies in it.
    edits.mounts.sort_by(|a, b| {
        let depth = |m: &Mount| m.container_path.components().count();
        (depth(a), &a.container_path).cmp(&(depth(b), &b.container_path))
    });
    edits
}

/// The flags that the injector gives these files.
fn mount_options(kind: BindKind) -> Vec<&'static str> {
    let mut options = vec!["rbind", "rprivate", "nosuid", "nodev"];
    match kind {
        BindKind::Library | BindKind::Binary | BindKind::Module | BindKind::Tree => {
            options.push("ro")
        }
        BindKind::Firmware | BindKind::Config | BindKind::Data | BindKind::Proc => {
            options.extend(["ro", "noexec"]);
        }
        BindKind::Socket | BindKind::Directory => options.push("noexec"),
    }
    options
}

/// The lowest version that has all that is used (SPEC.md, "Version history").
pub(super) fn version(common: &Edits, devices: &[Device]) -> &'static str {
    let all = || std::iter::once(common).chain(devices.iter().map(|d| &d.container_edits));
    if all().any(|e| !e.additional_gids.is_empty()) {
        return "0.7.0";
    }
    let digit = |d: &Device| d.name.starts_with(|c: char| c.is_ascii_digit());
    let elsewhere = |e: &Edits| e.device_nodes.iter().any(|n| n.host_path.is_some());
    match devices.iter().any(digit) || all().any(elsewhere) {
        true => "0.5.0",
        false => "0.3.0",
    }
}
