//! Every built-in host: GPUs, device nodes, MIG instances, IMEX channels.

use std::path::Path;

use oci_gpu::inventory::{ControlRole, DeviceNode, MigAccess, NodeState};
use oci_gpu_sim::{Gpu, HostSpec, Layout, Module};

use crate::built_in::Checked;

impl Checked<'_> {
    /// GPUs in PCI order, their nodes, DRM nodes and MIG instances.
    pub(crate) fn gpus(&self) {
        let name = self.name;
        let described = self.sim.spec.gpu_list().unwrap();
        assert_eq!(self.inventory.gpus.len(), described.len(), "{name}");
        assert!(
            self.inventory.gpus.is_sorted_by_key(|g| g.bus_id.clone()),
            "{name}"
        );
        for (gpu, described) in self.inventory.gpus.iter().zip(&described) {
            let what = format!("{name}: GPU {}", described.index);
            assert_eq!(gpu.index, described.index, "{what}");
            assert_eq!(gpu.uuid.as_ref(), Some(&described.uuid), "{what}");
            assert_eq!(gpu.minor, described.minor, "{what}");
            assert_eq!(gpu.bus_id, described.bus_id, "{what}");
            assert_eq!(gpu.model, described.model.name, "{what}");
            let proc = format!("/proc/driver/nvidia/gpus/{}", described.bus_id);
            assert_eq!(gpu.proc_dir, Path::new(&proc), "{what}");
            let path = format!("/dev/nvidia{}", described.minor);
            self.node(&gpu.node, &path, 195, described.minor, 0o666);
            self.drm(gpu, described);
            self.mig(gpu, described);
        }
    }

    fn drm(&self, gpu: &oci_gpu::inventory::Gpu, described: &Gpu) {
        let mut expected = Vec::new();
        let link = |kind| format!("/dev/dri/by-path/pci-{}-{kind}", described.bus_id);
        let card = described
            .card
            .map(|n| (format!("/dev/dri/card{n}"), n, link("card")));
        let render = described
            .render
            .map(|n| (format!("/dev/dri/renderD{n}"), n, link("render")));
        expected.extend(card.into_iter().chain(render));
        assert_eq!(gpu.drm.len(), expected.len(), "{}", self.name);
        for (drm, (path, minor, link)) in gpu.drm.iter().zip(&expected) {
            self.node(&drm.node, path, 226, *minor, 0o660);
            let has_nodes = drm.node.state == NodeState::Present;
            assert_eq!(
                drm.by_path.as_deref(),
                has_nodes.then_some(Path::new(link)),
                "{}",
                self.name
            );
        }
    }

    /// Every compute instance, with the nodes that the kernel's table has for it (nv-caps.c).
    fn mig(&self, gpu: &oci_gpu::inventory::Gpu, described: &Gpu) {
        let name = self.name;
        let mut expected = Vec::new();
        for gi in &described.mig {
            expected.extend(gi.ci.iter().map(|ci| (gi.gi, *ci)));
        }
        expected.sort_unstable();
        let seen: Vec<(u32, u32)> = gpu.mig.iter().map(|m| (m.gi, m.ci)).collect();
        assert_eq!(seen, expected, "{name}: GPU {}", gpu.index);
        assert_eq!(gpu.mig_enabled, !expected.is_empty(), "{name}");
        for instance in &gpu.mig {
            let gi_minor = 3 + (gpu.minor * 15 + instance.gi) * 9;
            let directory = format!("capabilities/gpu{}/mig/gi{}", gpu.minor, instance.gi);
            self.access(
                &instance.gi_access,
                &format!("{directory}/access"),
                gi_minor,
                0o444,
            );
            let file = format!("{directory}/ci{}/access", instance.ci);
            self.access(
                &instance.ci_access,
                &file,
                gi_minor + 1 + instance.ci,
                0o444,
            );
            assert_eq!(instance.uuid, None, "{name}");
        }
    }

    fn access(&self, access: &MigAccess, proc: &str, minor: u32, mode: u32) {
        let proc = Path::new("/proc/driver/nvidia").join(proc);
        assert_eq!(access.proc_file, proc, "{}", self.name);
        let path = format!("/dev/nvidia-caps/nvidia-cap{minor}");
        self.node(&access.node, &path, self.sim.spec.majors.caps, minor, mode);
    }

    pub(crate) fn mig_rights(&self) {
        let rights = [
            (
                &self.inventory.mig_config,
                "capabilities/mig/config",
                1,
                0o400,
            ),
            (
                &self.inventory.mig_monitor,
                "capabilities/mig/monitor",
                2,
                0o444,
            ),
        ];
        for (right, proc, minor, mode) in rights {
            let right = right
                .as_ref()
                .unwrap_or_else(|| panic!("{}: {proc}", self.name));
            self.access(right, proc, minor, mode);
        }
    }

    fn has_module(&self, module: Module) -> bool {
        let driver = self.sim.spec.driver.as_ref().unwrap();
        driver.modules.contains(&module)
    }

    /// The nodes of the modules that are loaded, no others.
    pub(crate) fn control(&self) {
        let uvm = self.sim.spec.majors.uvm;
        let mut expected = vec![(ControlRole::Control, "/dev/nvidiactl", 195, 255)];
        if self.has_module(Module::Modeset) {
            expected.push((ControlRole::Modeset, "/dev/nvidia-modeset", 195, 254));
        }
        if self.has_module(Module::Uvm) {
            expected.push((ControlRole::Uvm, "/dev/nvidia-uvm", uvm, 0));
            expected.push((ControlRole::UvmTools, "/dev/nvidia-uvm-tools", uvm, 1));
        }
        let roles: Vec<ControlRole> = self.inventory.control.iter().map(|c| c.role).collect();
        let expected_roles: Vec<ControlRole> = expected.iter().map(|e| e.0).collect();
        assert_eq!(roles, expected_roles, "{}", self.name);
        for (control, (_, path, major, minor)) in self.inventory.control.iter().zip(expected) {
            self.node(&control.node, path, major, minor, 0o666);
        }
    }

    pub(crate) fn imex_channels(&self) {
        let channels = &self.inventory.imex_channels;
        let ids: Vec<u32> = channels.iter().map(|c| c.id).collect();
        assert_eq!(ids, self.sim.spec.imex_channels, "{}", self.name);
        for channel in channels {
            let path = format!("/dev/nvidia-caps-imex-channels/channel{}", channel.id);
            let major = self.sim.spec.majors.imex;
            self.node(&channel.node, &path, major, channel.id, 0o666);
        }
    }

    /// A node: where it is on the host and in a container, its numbers, and what was found there.
    fn node(&self, node: &DeviceNode, path: &str, major: u32, minor: u32, mode: u32) {
        let (name, spec) = (self.name, &self.sim.spec);
        // A driver container makes its nodes in its own /dev.
        let dev_root = match spec.layout {
            Layout::DriverContainer => "/run/nvidia/driver",
            _ => "",
        };
        assert_eq!(node.path, Path::new(&format!("{dev_root}{path}")), "{name}");
        assert_eq!(node.target, Path::new(path), "{name}");
        assert_eq!((node.major, node.minor), (major, minor), "{name}: {path}");
        let is = |list: &[String]| list.iter().any(|p| p == path);
        let state = match () {
            () if has_no_nodes(spec) || is(&spec.faults.missing_nodes) => NodeState::Missing,
            () if is(&spec.faults.regular_nodes) => {
                NodeState::Wrong("it is not a character device".to_owned())
            }
            () if is(&spec.faults.wrong_nodes) => NodeState::Wrong(format!(
                "it is device {}:{minor}, and the kernel says {major}:{minor}",
                major + 1
            )),
            // Nobody makes the nodes of MIG where no GPU can be split.
            () if path.contains("nvidia-caps/") && !can_split(spec) => NodeState::Missing,
            () => NodeState::Present,
        };
        assert_eq!(node.state, state, "{name}: {path}");
        if node.state == NodeState::Present {
            assert_eq!(node.owner.unwrap().mode, mode, "{name}: {path}");
        }
    }
}

/// Whether nobody has made any node yet.
fn has_no_nodes(spec: &HostSpec) -> bool {
    let named = spec.paths.dev.as_ref().is_some_and(Vec::is_empty);
    named || spec.layout == Layout::Microvm
}

fn can_split(spec: &HostSpec) -> bool {
    spec.gpu_list().unwrap().iter().any(|g| g.model.mig)
}
