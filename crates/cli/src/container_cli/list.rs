//! `nvidia-container-cli list`: one path a line, in the reference's order.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use oci_gpu::capability::{Capability, CapabilitySet};
use oci_gpu::elf::Class;
use oci_gpu::host::Host;
use oci_gpu::inventory::{ControlRole, DriverFile, FileKind, Inventory, MigAccess, NodeState};
use oci_gpu::request::Devices;
use oci_gpu::select::Grant;
use oci_gpu::{Request, Scope, discover_within, select};

use super::args::{List, Without};
use super::components;
use super::fail::{At, Failure, Stage};
use super::log::Log;
use super::{print, request};

const CAPABILITIES: &str = "/proc/driver/nvidia/capabilities";
const MIG_MINORS: &str = "/proc/driver/nvidia-caps/mig-minors";

pub(super) fn run(host: &Host, list: &List, log: &mut Log) -> Result<(), Failure> {
    let mut capabilities: CapabilitySet = CapabilitySet::all();
    if !list.compat32 {
        let compat32: CapabilitySet = [Capability::Compat32].into_iter().collect();
        capabilities = capabilities.without(compat32);
    }
    let scope = Scope {
        capabilities,
        imex_channels: !list.imex.is_empty(),
        peripherals: false,
        every_list: false,
        stored: true,
    };
    let mut inventory = discover_within(host, &scope).at(Stage::Detection)?;
    log.inventory(&inventory);
    leave_out(&mut inventory, list.without);
    let grant = grant(&inventory, list)?;
    let mut lines = Lines {
        host,
        inventory: &inventory,
        text: String::new(),
    };
    if list.devices.is_some() {
        lines.devices(&grant);
    }
    for channel in &grant.imex_channels {
        lines.line(&channel.node.target);
    }
    for right in &grant.mig_rights {
        lines.right(right, &grant);
    }
    if list.binaries {
        lines.files(&[FileKind::Binary]);
    }
    if list.libraries {
        lines.libraries(Class::Elf64);
        if list.compat32 {
            lines.libraries(Class::Elf32);
        }
    }
    if list.ipcs {
        lines.files(&[FileKind::Socket, FileKind::Directory]);
    }
    if list.firmwares {
        lines.files(&[FileKind::Firmware]);
    }
    print(&lines.text)
}

/// Takes out of the inventory what options leave out.
pub(super) fn leave_out(inventory: &mut Inventory, without: Without) {
    let wanted = |file: &DriverFile| {
        let persistenced = file.target.ends_with("nvidia-persistenced/socket");
        let fabricmanager = file.target.ends_with("nvidia-fabricmanager/socket");
        let firmware = file.kind == FileKind::Firmware;
        !(without.persistenced && persistenced
            || without.fabricmanager && fabricmanager
            || without.gsp_firmware && firmware)
    };
    inventory.files.retain(wanted);
}

fn grant(inventory: &Inventory, list: &List) -> Result<Grant, Failure> {
    let items = list.devices.as_deref().unwrap_or_default();
    let devices = match request::devices(items)? {
        // The driver's files are there to be listed without a GPU.
        Devices::All if inventory.gpus.is_empty() => Devices::DriverOnly,
        devices => devices,
    };
    let (mig_config, mig_monitor) = request::mig(&list.mig, &devices, inventory)?;
    let source = "nvidia-container-cli list";
    let mut request = Request::new(devices, CapabilitySet::all(), source);
    request.mig_config = mig_config;
    request.mig_monitor = mig_monitor;
    request.imex_channels = request::channels(&list.imex)?;
    select(inventory, &request)
        .at(Stage::Device)
        .map_err(|failure| request::unknown_device(failure, items))
}

/// What is printed so far.
struct Lines<'a> {
    host: &'a Host,
    inventory: &'a Inventory,
    text: String,
}

impl Lines<'_> {
    fn line(&mut self, path: &Path) {
        let _ = writeln!(self.text, "{}", path.display());
    }

    /// A file of the driver: its path in the driver root.
    fn driver_file(&mut self, path: &Path) {
        let inside = path.strip_prefix(&self.inventory.driver.root);
        let path = inside.map_or_else(|_| path.to_owned(), |inside| Path::new("/").join(inside));
        self.line(&path);
    }

    /// Control nodes, GPUs, MIG instances. A node that is missing is listed where a container
    /// cannot do without it: whoever mounts what is listed must notice.
    fn devices(&mut self, grant: &Grant) {
        const ORDER: [(ControlRole, bool); 4] = [
            (ControlRole::Control, true),
            (ControlRole::Uvm, true),
            (ControlRole::UvmTools, false),
            (ControlRole::Modeset, false),
        ];
        for (role, needed) in ORDER {
            for control in grant.control.iter().filter(|c| c.role == role) {
                if needed || control.node.state == NodeState::Present {
                    self.line(&control.node.target);
                }
            }
        }
        for gpu in &grant.gpus {
            self.line(&gpu.node.target);
        }
        if !grant.mig_rights.is_empty() {
            return;
        }
        for (_, instance) in &grant.mig {
            for access in [&instance.gi_access, &instance.ci_access] {
                self.line(&access.proc_file);
                self.line(&access.node.target);
            }
        }
    }

    /// A right over all of MIG: its own file and node, and for each listed GPU that can be split its
    /// directory and the nodes of all instances that it can ever have.
    fn right(&mut self, right: &MigAccess, grant: &Grant) {
        self.line(&right.proc_file);
        self.line(&right.node.target);
        let minors = self.host.files().read_text(Path::new(MIG_MINORS));
        let minors = minors.unwrap_or_default();
        for gpu in &grant.gpus {
            let directory = PathBuf::from(format!("{CAPABILITIES}/gpu{}", gpu.minor));
            if !self.host.files().exists(&directory.join("mig")) {
                continue;
            }
            self.line(&directory);
            self.line(Path::new("/dev/nvidia-caps"));
            let prefix = format!("gpu{}/", gpu.minor);
            for line in minors.lines().filter(|line| line.starts_with(&prefix)) {
                let minor = line.rsplit(' ').next().and_then(|m| m.parse::<u32>().ok());
                if let Some(minor) = minor {
                    let node = format!("/dev/nvidia-caps/nvidia-cap{minor}");
                    self.line(Path::new(&node));
                }
            }
        }
    }

    fn libraries(&mut self, class: Class) {
        for library in components::libraries(self.inventory, class) {
            self.driver_file(&library.path);
        }
    }

    fn files(&mut self, kinds: &[FileKind]) {
        let files = self.inventory.files.iter();
        let mut files: Vec<_> = files.filter(|f| kinds.contains(&f.kind)).collect();
        if kinds.contains(&FileKind::Binary) {
            files.sort_by_key(|file| components::program(file));
        }
        for file in files {
            match file.kind == FileKind::Firmware && self.is_in_place(file) {
                // The reference names firmware by the path that the kernel's loader takes.
                true => self.line(&file.target),
                false => self.driver_file(&file.path),
            }
        }
    }

    fn is_in_place(&self, file: &DriverFile) -> bool {
        let root = self.host.root_at(&self.inventory.driver.root);
        root.is_ok_and(|root| root.exists(&file.target))
    }
}
