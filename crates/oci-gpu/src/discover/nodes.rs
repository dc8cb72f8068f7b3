//! Device nodes: the numbers that the kernel demands, and what the host has at their places.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{DRIVER_READY, directories, field, unreadable};
use crate::finding::Finding;
use crate::host::{Host, numbers};
use crate::inventory::{ControlNode, ControlRole, DeviceNode, ImexChannel, NodeOwner, NodeState};

/// The directory of the IMEX channels.
pub(super) const IMEX_DIR: &str = "/dev/nvidia-caps-imex-channels";

/// Minor numbers that the driver's modules fix (nv-frontend / nvidia-modeset / nvidia-uvm).
const CONTROL_MINOR: u32 = 255;
const MODESET_MINOR: u32 = 254;
const UVM_MINOR: u32 = 0;
const UVM_TOOLS_MINOR: u32 = 1;

/// Major numbers of the driver's character devices, from /proc/devices. All but the first are
/// given out by the kernel at load time and differ from boot to boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Majors {
    /// GPUs, nvidiactl and nvidia-modeset: "nvidia", or "nvidia-frontend" in older drivers.
    pub nvidia: Option<u32>,
    /// nvidia-modeset: the same number, where its module is loaded.
    pub modeset: Option<u32>,
    /// "nvidia-uvm".
    pub uvm: Option<u32>,
    /// "nvidia-caps".
    pub caps: Option<u32>,
    /// "nvidia-caps-imex-channels".
    pub imex: Option<u32>,
}

impl Majors {
    /// Reads /proc/devices.
    ///
    /// # Errors
    /// [`crate::Code::HostRead`].
    pub fn read(host: &Host) -> Result<Majors, Finding> {
        let path = Path::new("/proc/devices");
        let text = host
            .files()
            .read_text(path)
            .map_err(|e| unreadable(path, &e))?;
        let mut majors = Majors::parse(&text);
        // Older drivers register one range for all their modules, as nvidia-frontend.
        if majors.modeset.is_none() && host.files().exists(Path::new("/sys/module/nvidia_modeset"))
        {
            majors.modeset = majors.nvidia;
        }
        Ok(majors)
    }

    /// The number of the character device that is called `name`.
    pub(super) fn of(text: &str, name: &str) -> Option<u32> {
        let lines = text.lines().map(str::trim);
        let mut lines = lines.take_while(|l| !l.starts_with("Block devices"));
        lines.find_map(|line| {
            let (number, found) = line.split_once(' ')?;
            (found.trim() == name).then(|| number.parse().ok())?
        })
    }

    /// Picks the driver's lines of the section "Character devices:".
    pub fn parse(text: &str) -> Majors {
        let mut majors = Majors::default();
        let lines = text.lines().map(str::trim);
        for line in lines.take_while(|l| !l.starts_with("Block devices")) {
            let Some((number, name)) = line.split_once(' ') else {
                continue;
            };
            let Ok(number) = number.parse::<u32>() else {
                continue;
            };
            let slot = match name.trim() {
                "nvidia" | "nvidia-frontend" => &mut majors.nvidia,
                "nvidia-modeset" => &mut majors.modeset,
                "nvidia-uvm" => &mut majors.uvm,
                "nvidia-caps" => &mut majors.caps,
                "nvidia-caps-imex-channels" => &mut majors.imex,
                _ => continue,
            };
            slot.get_or_insert(number);
        }
        majors
    }
}

/// The directory of the host whose dev holds the driver's nodes: the one that the administrator
/// named; else `/`, unless nvidiactl is in a driver root only. Drivers in containers make their
/// nodes in their own /dev, and the GPU operator says where that is.
fn dev_root(host: &Host) -> PathBuf {
    if let Some(named) = host.dev_root() {
        return named.to_path_buf();
    }
    let has_nodes = |root: &Path| {
        let control = root.join("dev/nvidiactl");
        host.files().metadata_nofollow(&control).is_ok()
    };
    let own = PathBuf::from("/");
    if has_nodes(&own) {
        return own;
    }
    let ready = host.files().read_text(Path::new(DRIVER_READY));
    let ready = ready.unwrap_or_default();
    let ready = field(&ready, "NVIDIA_DEV_ROOT=").filter(|root| root.starts_with('/'));
    let roots = host.driver_root().into_iter().chain(ready.map(Path::new));
    let known = directories::DRIVER_ROOTS
        .iter()
        .chain(&directories::HOST_ROOTS);
    let mut roots = roots.chain(known.map(Path::new));
    roots
        .find(|root| has_nodes(root))
        .map_or(own, Path::to_path_buf)
}

/// A host's device nodes: where they lie, and the numbers of their drivers.
pub(super) struct Nodes<'a> {
    pub(super) host: &'a Host,
    pub(super) majors: Majors,
    dev_root: PathBuf,
}

impl Nodes<'_> {
    /// # Errors
    /// As [`Majors::read`].
    pub(super) fn of(host: &Host) -> Result<Nodes<'_>, Finding> {
        Ok(Nodes {
            host,
            majors: Majors::read(host)?,
            dev_root: dev_root(host),
        })
    }

    /// Where `path` ("/dev/nvidia0") lies on the host.
    pub(super) fn on_host(&self, path: &str) -> PathBuf {
        self.dev_root.join(path.trim_start_matches('/'))
    }

    /// What a container calls the node at `path` of the host.
    pub(super) fn in_container(&self, path: &Path) -> Option<String> {
        let below = path.strip_prefix(&self.dev_root).ok()?;
        Some(format!("/{}", below.to_str()?))
    }

    /// The character device at `path` with the numbers that it has; `None` where there is none.
    pub(super) fn found(&self, path: &str) -> Option<DeviceNode> {
        let found = self
            .host
            .files()
            .metadata_nofollow(&self.on_host(path))
            .ok()?;
        let (major, minor) = numbers(&found);
        found
            .file_type()
            .is_char_device()
            .then(|| self.inspect(path, major, minor))
    }

    /// Looks at `path`.
    pub(super) fn inspect(&self, path: &str, major: u32, minor: u32) -> DeviceNode {
        let on_host = self.on_host(path);
        let (state, owner) = match self.host.files().metadata_nofollow(&on_host) {
            Err(_) => (NodeState::Missing, None),
            Ok(found) => (state_of(&found, major, minor), Some(owner_of(&found))),
        };
        DeviceNode {
            path: on_host,
            target: PathBuf::from(path),
            major,
            minor,
            state,
            owner,
        }
    }
}

fn state_of(found: &Metadata, major: u32, minor: u32) -> NodeState {
    if !found.file_type().is_char_device() {
        return NodeState::Wrong("it is not a character device".to_owned());
    }
    let (has_major, has_minor) = numbers(found);
    if (has_major, has_minor) == (major, minor) {
        NodeState::Present
    } else {
        NodeState::Wrong(format!(
            "it is device {has_major}:{has_minor}, and the kernel says {major}:{minor}"
        ))
    }
}

fn owner_of(found: &Metadata) -> NodeOwner {
    NodeOwner {
        mode: found.mode() & 0o7777,
        uid: found.uid(),
        gid: found.gid(),
    }
}

/// The nodes that belong to no single GPU, as far as the kernel has their drivers.
pub(super) fn control(nodes: &Nodes) -> Vec<ControlNode> {
    let majors = &nodes.majors;
    let table = [
        (
            ControlRole::Control,
            "/dev/nvidiactl",
            majors.nvidia,
            CONTROL_MINOR,
        ),
        (
            ControlRole::Modeset,
            "/dev/nvidia-modeset",
            majors.modeset,
            MODESET_MINOR,
        ),
        (ControlRole::Uvm, "/dev/nvidia-uvm", majors.uvm, UVM_MINOR),
        (
            ControlRole::UvmTools,
            "/dev/nvidia-uvm-tools",
            majors.uvm,
            UVM_TOOLS_MINOR,
        ),
    ];
    table
        .into_iter()
        .filter_map(|(role, path, major, minor)| {
            Some(ControlNode {
                role,
                node: nodes.inspect(path, major?, minor),
            })
        })
        .collect()
}

/// IMEX channels that have a node, in ascending order.
pub(super) fn imex_channels(nodes: &Nodes) -> Vec<ImexChannel> {
    let Some(major) = nodes.majors.imex else {
        return Vec::new();
    };
    let files = nodes.host.files();
    let names = files.list(&nodes.on_host(IMEX_DIR)).unwrap_or_default();
    let mut ids: Vec<u32> = names
        .iter()
        .filter_map(|n| n.strip_prefix("channel").and_then(|n| n.parse().ok()))
        .collect();
    ids.sort_unstable();
    ids.into_iter()
        .map(|id| {
            let path = format!("{IMEX_DIR}/channel{id}");
            ImexChannel {
                id,
                node: nodes.inspect(&path, major, id),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn majors_of_old_and_new_drivers() {
        let new = "Character devices:\n  1 mem\n195 nvidia\n195 nvidiactl\n195 nvidia-modeset\n\
                   508 nvidia-uvm\n510 nvidia-caps\n509 nvidia-caps-imex-channels\n\nBlock devices:\n8 sd\n";
        let m = Majors::parse(new);
        assert_eq!(
            (m.nvidia, m.modeset, m.uvm, m.caps, m.imex),
            (Some(195), Some(195), Some(508), Some(510), Some(509))
        );
        let old = Majors::parse(
            "Character devices:\n195 nvidia-frontend\n\nBlock devices:\n7 nvidia-uvm\n",
        );
        assert_eq!((old.nvidia, old.modeset, old.uvm), (Some(195), None, None));
        assert_eq!(
            Majors::parse("x\n-1 nvidia\n99999999999 nvidia\n"),
            Majors::default()
        );
    }
}
