//! Hardware beside the GPUs: GPUDirect Storage, GDRCopy, InfiniBand, NVSwitch.

use oci_gpu::finding::Finding;
use serde::{Deserialize, Serialize};

use crate::spec::HostSpec;
use crate::tree::{Node, Tree};

/// A kind of hardware beside the GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Peripheral {
    /// GPUDirect Storage: two nodes, udev's database, and its configuration.
    Gds,
    /// GDRCopy: one node.
    Gdrcopy,
    /// Mellanox's InfiniBand drivers: two devices, and the connection manager's node.
    Mofed,
    /// Two NVSwitches, and their control node.
    Nvswitch,
}

/// Major numbers: InfiniBand's is fixed (admin-guide/devices.txt), the others are given out at boot.
const FS_MAJOR: u32 = 505;
const GDR_MAJOR: u32 = 504;
const SWITCH_MAJOR: u32 = 503;
const VERBS_MAJOR: u32 = 231;
const MISC_MAJOR: u32 = 10;

impl Peripheral {
    /// Path, major, minor and mode of each node.
    fn nodes(self) -> &'static [(&'static str, u32, u32, u32)] {
        match self {
            Peripheral::Gds => &[
                ("/dev/nvidia-fs0", FS_MAJOR, 0, 0o666),
                ("/dev/nvidia-fs1", FS_MAJOR, 1, 0o666),
            ],
            Peripheral::Gdrcopy => &[("/dev/gdrdrv", GDR_MAJOR, 0, 0o666)],
            Peripheral::Mofed => &[
                ("/dev/infiniband/uverbs0", VERBS_MAJOR, 192, 0o666),
                ("/dev/infiniband/uverbs1", VERBS_MAJOR, 193, 0o666),
                ("/dev/infiniband/rdma_cm", MISC_MAJOR, 122, 0o666),
                // Not for containers: it sees the whole fabric.
                ("/dev/infiniband/umad0", VERBS_MAJOR, 0, 0o600),
            ],
            Peripheral::Nvswitch => &[
                ("/dev/nvidia-nvswitchctl", SWITCH_MAJOR, 255, 0o666),
                ("/dev/nvidia-nvswitch0", SWITCH_MAJOR, 0, 0o666),
                ("/dev/nvidia-nvswitch1", SWITCH_MAJOR, 1, 0o666),
            ],
        }
    }

    /// Its driver's line of /proc/devices.
    pub(crate) fn driver(self) -> (u32, &'static str) {
        match self {
            Peripheral::Gds => (FS_MAJOR, "nvidia-fs"),
            Peripheral::Gdrcopy => (GDR_MAJOR, "gdrdrv"),
            Peripheral::Mofed => (VERBS_MAJOR, "infiniband_verbs"),
            Peripheral::Nvswitch => (SWITCH_MAJOR, "nvidia-nvswitch"),
        }
    }
}

/// The nodes of all kinds of the host.
pub(crate) fn nodes(spec: &HostSpec) -> impl Iterator<Item = Node> {
    let nodes = spec.peripherals.iter().flat_map(|kind| kind.nodes());
    nodes.map(|(path, major, minor, mode)| Node {
        path: (*path).to_owned(),
        major: *major,
        minor: *minor,
        mode: *mode,
        gid: 0,
    })
}

/// Makes the files that belong to them.
pub(crate) fn files(spec: &HostSpec, tree: &mut Tree) -> Result<(), Finding> {
    if spec.peripherals.contains(&Peripheral::Gds) {
        tree.file("/run/udev/data/b259:0", "E:ID_MODEL=simulated\n")?;
        tree.file("/etc/cufile.json", "{ \"logging\": {} }\n")?;
    }
    Ok(())
}
