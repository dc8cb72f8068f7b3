//! /proc, as the driver's kernel modules fill it.
//!
//! Formats: kernel-open/nvidia/nv-procfs.c, nv-caps.c and nv-reg.h of NVIDIA's open kernel modules,
//! branches 535 and 550.

use std::fmt::Write;

use oci_gpu::finding::Finding;

use crate::caps::{self, Capability};
use crate::check::version_branch;
use crate::dev::{DRIVER_MAJOR, DRM_MAJOR};
use crate::driver::{Driver, Flavour, Module};
use crate::gpu::Gpu;
use crate::spec::{Arch, HostSpec};
use crate::tree::Tree;

/// Mode of procfs files that everybody may read.
const READ_ONLY: u32 = 0o444;

/// Writes /proc of the host.
pub(crate) fn create(spec: &HostSpec, gpus: &[Gpu], tree: &mut Tree) -> Result<(), Finding> {
    tree.directory("/proc/driver")?;
    proc_file(tree, "/proc/devices", &devices(spec)?)?;
    proc_file(tree, "/proc/modules", &modules(spec))?;
    // The kernel's own: another one after each start, the same one on each host made here.
    proc_file(
        tree,
        "/proc/sys/kernel/random/boot_id",
        "b0071d00-5ca1-4ab1-8e00-000000000001\n",
    )?;
    let Some(driver) = spec.driver.as_ref().filter(|driver| driver.loaded) else {
        return Ok(());
    };
    let branch = version_branch(&driver.version)?;
    let nvidia = "/proc/driver/nvidia";
    proc_file(
        tree,
        &format!("{nvidia}/version"),
        &version(spec.arch, driver),
    )?;
    proc_file(tree, &format!("{nvidia}/params"), &params(branch))?;
    proc_file(tree, &format!("{nvidia}/registry"), "Binary: \"\"\n")?;
    proc_file(
        tree,
        &format!("{nvidia}/suspend"),
        "suspend hibernate resume\n",
    )?;
    proc_file(
        tree,
        &format!("{nvidia}/suspend_depth"),
        "default modeset uvm\n",
    )?;
    tree.directory(&format!("{nvidia}/warnings"))?;
    tree.directory(&format!("{nvidia}/patches"))?;
    tree.directory(&format!("{nvidia}/gpus"))?;
    for gpu in gpus {
        gpu_directory(driver, gpu, tree)?;
    }
    for capability in caps::present(branch, gpus) {
        proc_file(tree, &capability.proc_path, &access(&capability))?;
    }
    for gpu in gpus.iter().filter(|gpu| gpu.minor < caps::MIG_GPUS) {
        // Registered when the GPU is attached, MIG or not.
        tree.directory(&format!("{nvidia}/capabilities/gpu{}/mig", gpu.minor))?;
    }
    let caps = "/proc/driver/nvidia-caps";
    proc_file(tree, &format!("{caps}/mig-minors"), &caps::mig_minors())?;
    let nvlink = format!("fabric-mgmt {}\n", caps::FABRIC_MANAGEMENT);
    proc_file(tree, &format!("{caps}/nvlink-minors"), &nvlink)?;
    if branch >= caps::IMEX_BRANCH {
        let sys = format!("fabric-imex-mgmt {}\n", caps::IMEX_MANAGEMENT);
        proc_file(tree, &format!("{caps}/sys-minors"), &sys)?;
    }
    Ok(())
}

fn proc_file(tree: &mut Tree, path: &str, text: &str) -> Result<(), Finding> {
    tree.file_with_mode(path, text.as_bytes(), READ_ONLY)
}

/// /proc/devices: the drivers of a small server, and NVIDIA's.
fn devices(spec: &HostSpec) -> Result<String, Finding> {
    let mut table: Vec<(u32, &str)> = vec![
        (1, "mem"),
        (4, "tty"),
        (5, "/dev/tty"),
        (5, "/dev/console"),
        (5, "/dev/ptmx"),
        (10, "misc"),
        (13, "input"),
        (29, "fb"),
        (128, "ptm"),
        (136, "pts"),
        (DRM_MAJOR, "drm"),
    ];
    if let Some(driver) = spec.driver.as_ref().filter(|driver| driver.loaded) {
        // One registration for all minors up to branch 535, one per kind of node since.
        if version_branch(&driver.version)? < 545 {
            table.push((DRIVER_MAJOR, "nvidia-frontend"));
        } else {
            table.push((DRIVER_MAJOR, "nvidia"));
            table.push((DRIVER_MAJOR, "nvidiactl"));
            if spec.has_module(Module::Modeset) {
                table.push((DRIVER_MAJOR, "nvidia-modeset"));
            }
        }
        table.push((spec.majors.caps, "nvidia-caps"));
        if version_branch(&driver.version)? >= caps::IMEX_BRANCH || !spec.imex_channels.is_empty() {
            table.push((spec.majors.imex, "nvidia-caps-imex-channels"));
        }
        if spec.has_module(Module::Uvm) {
            table.push((spec.majors.uvm, "nvidia-uvm"));
        }
    }
    table.extend(spec.peripherals.iter().map(|kind| kind.driver()));
    table.sort_by_key(|(major, _)| *major);
    let mut text = "Character devices:\n".to_owned();
    for (major, name) in table {
        let _ = writeln!(text, "{major:3} {name}");
    }
    text.push_str("\nBlock devices:\n  7 loop\n  8 sd\n254 mdp\n259 blkext\n");
    Ok(text)
}

/// /proc/modules: name, size, users, dependants, state, address, taint.
fn modules(spec: &HostSpec) -> String {
    let mut text = String::new();
    if let Some(driver) = spec.driver.as_ref().filter(|driver| driver.loaded) {
        let taint = match driver.flavour {
            Flavour::Proprietary => "POE",
            Flavour::Open => "OE",
        };
        let has = |module| spec.has_module(module);
        let mut line = |name: &str, size: u32, users: &[&str]| {
            let dependants = if users.is_empty() {
                "-".to_owned()
            } else {
                users.join(",") + ","
            };
            let count = users.len();
            let _ = writeln!(
                text,
                "{name} {size} {count} {dependants} Live 0x0000000000000000 ({taint})"
            );
        };
        if has(Module::Drm) {
            line("nvidia_drm", 122_880, &[]);
        }
        if has(Module::Modeset) {
            let users = has(Module::Drm).then_some("nvidia_drm");
            line("nvidia_modeset", 1_359_872, users.as_slice());
        }
        if has(Module::Uvm) {
            line("nvidia_uvm", 4_661_248, &[]);
        }
        let users: Vec<&str> = [
            (Module::Uvm, "nvidia_uvm"),
            (Module::Modeset, "nvidia_modeset"),
        ]
        .iter()
        .filter(|(module, _)| has(*module))
        .map(|(_, name)| *name)
        .collect();
        line("nvidia", 54_071_296, &users);
    }
    text.push_str("overlay 212992 0 - Live 0x0000000000000000\n");
    text.push_str("ext4 1130496 1 - Live 0x0000000000000000\n");
    text
}

/// /proc/driver/nvidia/version.
fn version(arch: Arch, driver: &Driver) -> String {
    let (arch, version) = (arch.as_str(), &driver.version);
    let module = match driver.flavour {
        Flavour::Proprietary => {
            format!("NVIDIA UNIX {arch} Kernel Module  {version}  Tue Apr  8 12:41:17 UTC 2025")
        }
        Flavour::Open => format!(
            "NVIDIA UNIX Open Kernel Module for {arch}  {version}  Release Build  \
             (oci-gpu-sim@localhost)  Tue Apr  8 12:41:17 UTC 2025"
        ),
    };
    format!("NVRM version: {module}\nGCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n")
}

/// /proc/driver/nvidia/params: the module's parameters with their defaults (nv-reg.h).
fn params(branch: u32) -> String {
    let mut text = String::from(
        "ResmanDebugLevel: 4294967295\n\
         RmLogonRC: 1\n\
         ModifyDeviceFiles: 1\n\
         DeviceFileUID: 0\n\
         DeviceFileGID: 0\n\
         DeviceFileMode: 438\n\
         InitializeSystemMemoryAllocations: 1\n\
         UsePageAttributeTable: 4294967295\n\
         EnableMSI: 1\n\
         EnablePCIeGen3: 0\n\
         MemoryPoolSize: 0\n\
         KMallocHeapMaxSize: 0\n\
         VMallocHeapMaxSize: 0\n\
         IgnoreMMIOCheck: 0\n\
         TCEBypassMode: 0\n\
         EnableStreamMemOPs: 0\n\
         EnableUserNUMAManagement: 1\n\
         NvLinkDisable: 0\n\
         RmProfilingAdminOnly: 1\n\
         PreserveVideoMemoryAllocations: 0\n\
         EnableS0ixPowerManagement: 0\n\
         S0ixPowerManagementVideoMemoryThreshold: 256\n\
         DynamicPowerManagement: 3\n\
         DynamicPowerManagementVideoMemoryThreshold: 200\n\
         RegisterPCIDriver: 1\n\
         EnablePCIERelaxedOrderingMode: 0\n\
         EnableResizableBar: 0\n\
         EnableGpuFirmware: 18\n\
         EnableGpuFirmwareLogs: 2\n\
         EnableDbgBreakpoint: 0\n\
         OpenRmEnableUnsupportedGpus: 1\n\
         DmaRemapPeerMmio: 1\n",
    );
    if branch >= caps::IMEX_BRANCH {
        text.push_str("ImexChannelCount: 2048\n");
    }
    for name in [
        "RegistryDwords",
        "RegistryDwordsPerDevice",
        "RmMsg",
        "GpuBlacklist",
        "TemporaryFilePath",
        "ExcludedGpus",
    ] {
        let _ = writeln!(text, "{name}: \"\"");
    }
    text
}

/// /proc/driver/nvidia/gpus/ADDRESS.
fn gpu_directory(driver: &Driver, gpu: &Gpu, tree: &mut Tree) -> Result<(), Finding> {
    let directory = format!("/proc/driver/nvidia/gpus/{}", gpu.bus_id);
    let information = format!(
        "Model: \t\t {}\n\
         IRQ:   \t\t {}\n\
         GPU UUID: \t {}\n\
         Video BIOS: \t {}\n\
         Bus Type: \t PCIe\n\
         DMA Size: \t {} bits\n\
         DMA Mask: \t 0x{:x}\n\
         Bus Location: \t {}\n\
         Device Minor: \t {}\n\
         GPU Firmware: \t {}\n\
         GPU Excluded:\t No\n",
        gpu.model.name,
        100 + gpu.index,
        gpu.uuid,
        gpu.model.video_bios,
        gpu.model.dma_bits,
        (1_u64 << gpu.model.dma_bits) - 1,
        gpu.bus_id,
        gpu.minor,
        driver.version,
    );
    proc_file(tree, &format!("{directory}/information"), &information)?;
    proc_file(tree, &format!("{directory}/registry"), "Binary: \"\"\n")?;
    let power = "Runtime D3 status:          Disabled by default\n\
                 Video Memory:               Active\n\
                 \n\
                 GPU Hardware Support:\n \
                 Video Memory Self Refresh: Not Supported\n \
                 Video Memory Off:          Not Supported\n\
                 \n\
                 Power Limits:\n \
                 Default:                   N/A milliwatts\n \
                 GPU Boost:                 N/A milliwatts\n";
    proc_file(tree, &format!("{directory}/power"), power)
}

/// A capability's access file.
fn access(capability: &Capability) -> String {
    format!(
        "DeviceFileMinor: {}\nDeviceFileMode: {}\nDeviceFileModify: 1\n",
        capability.minor, capability.mode
    )
}
