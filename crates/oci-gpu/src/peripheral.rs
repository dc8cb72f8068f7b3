//! Hardware beside the GPUs: each kind is asked for by a variable of its own.
//!
//! | kind | variable | CDI name | nodes |
//! |---|---|---|---|
//! | GPUDirect Storage | `NVIDIA_GDS=enabled` | nvidia.com/gds=all | /dev/nvidia-fs*, with /run/udev and /etc/cufile.json |
//! | GDRCopy | `NVIDIA_GDRCOPY=enabled` | nvidia.com/gdrcopy=all | /dev/gdrdrv |
//! | InfiniBand (MOFED) | `NVIDIA_MOFED=enabled` | nvidia.com/mofed=all | /dev/infiniband/uverbs*, rdma_cm |
//! | NVSwitch | `NVIDIA_NVSWITCH=enabled` | nvidia.com/nvswitch=all | /dev/nvidia-nvswitchctl, /dev/nvidia-nvswitchN |
//!
//! Variables, kinds and nodes are those of the toolkit (internal/discover: gds.go, gdrcopy.go,
//! mofed.go, nvswitch.go).

use serde::Serialize;

/// A kind of hardware beside the GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Peripheral {
    /// GPUDirect Storage.
    Gds,
    /// GDRCopy.
    Gdrcopy,
    /// InfiniBand verbs, as Mellanox's drivers have them.
    Mofed,
    /// NVSwitch.
    Nvswitch,
}

/// Nodes of a peripheral: those in `directory` whose name is `prefix`, or begins so and goes on as
/// `numbered` says.
pub(crate) struct NodeNames {
    pub(crate) directory: &'static str,
    pub(crate) prefix: &'static str,
    pub(crate) numbered: bool,
    /// The driver's name in /proc/devices, where its number is to be held against that.
    pub(crate) driver: Option<&'static str>,
}

const fn names(
    directory: &'static str,
    prefix: &'static str,
    numbered: bool,
    driver: Option<&'static str>,
) -> NodeNames {
    NodeNames {
        directory,
        prefix,
        numbered,
        driver,
    }
}

impl Peripheral {
    /// Every kind, in alphabetical order.
    pub const ALL: [Peripheral; 4] = [
        Peripheral::Gds,
        Peripheral::Gdrcopy,
        Peripheral::Mofed,
        Peripheral::Nvswitch,
    ];

    /// The class of its CDI name, "gds" in nvidia.com/gds=all.
    pub fn class(self) -> &'static str {
        match self {
            Peripheral::Gds => "gds",
            Peripheral::Gdrcopy => "gdrcopy",
            Peripheral::Mofed => "mofed",
            Peripheral::Nvswitch => "nvswitch",
        }
    }

    /// The variable that asks for it, with the value `enabled`.
    pub fn variable(self) -> &'static str {
        match self {
            Peripheral::Gds => "NVIDIA_GDS",
            Peripheral::Gdrcopy => "NVIDIA_GDRCOPY",
            Peripheral::Mofed => "NVIDIA_MOFED",
            Peripheral::Nvswitch => "NVIDIA_NVSWITCH",
        }
    }

    pub(crate) fn nodes(self) -> &'static [NodeNames] {
        const FS: &[NodeNames] = &[
            names("/dev", "nvidia-fs", true, Some("nvidia-fs")),
            names("/dev", "nvidia-fs", false, Some("nvidia-fs")),
        ];
        const GDR: &[NodeNames] = &[names("/dev", "gdrdrv", false, Some("gdrdrv"))];
        const IB: &[NodeNames] = &[
            names("/dev/infiniband", "uverbs", true, None),
            names("/dev/infiniband", "rdma_cm", false, None),
        ];
        const SWITCH: &[NodeNames] = &[
            names("/dev", "nvidia-nvswitch", true, Some("nvidia-nvswitch")),
            names("/dev", "nvidia-nvswitchctl", false, Some("nvidia-nvswitch")),
        ];
        match self {
            Peripheral::Gds => FS,
            Peripheral::Gdrcopy => GDR,
            Peripheral::Mofed => IB,
            Peripheral::Nvswitch => SWITCH,
        }
    }

    /// What an administrator does where it is missing.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Peripheral::Gds => "load the module: modprobe nvidia-fs",
            Peripheral::Gdrcopy => "load the module: modprobe gdrdrv",
            Peripheral::Mofed => "load the modules: modprobe ib_uverbs rdma_ucm",
            Peripheral::Nvswitch => "run the container on a machine with NVSwitches",
        }
    }
}

impl NodeNames {
    /// Whether a file of that name is one of these nodes.
    pub(crate) fn has(&self, name: &str) -> bool {
        match name.strip_prefix(self.prefix) {
            Some("") => !self.numbered,
            Some(number) => self.numbered && number.bytes().all(|b| b.is_ascii_digit()),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_go_by_their_names() {
        let has = |kind: Peripheral, name: &str| kind.nodes().iter().any(|n| n.has(name));
        let rows = [
            (Peripheral::Gds, "nvidia-fs0", true),
            (Peripheral::Gds, "nvidia-fs", true),
            (Peripheral::Gds, "nvidia-fsx", false),
            (Peripheral::Gdrcopy, "gdrdrv", true),
            (Peripheral::Gdrcopy, "gdrdrv0", false),
            (Peripheral::Mofed, "uverbs12", true),
            (Peripheral::Mofed, "uverbs", false),
            (Peripheral::Mofed, "rdma_cm", true),
            (Peripheral::Mofed, "umad0", false),
            (Peripheral::Nvswitch, "nvidia-nvswitch3", true),
            (Peripheral::Nvswitch, "nvidia-nvswitchctl", true),
            (Peripheral::Nvswitch, "nvidia-nvswitchx", false),
        ];
        for (kind, name, expected) in rows {
            assert_eq!(has(kind, name), expected, "{kind:?} {name}");
        }
    }
}
