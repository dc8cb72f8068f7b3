//! What simulated hosts hold, host by host.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests are tests

mod common;

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use common::{SimHost, is_root, skip};
use nix::sys::stat::{major, minor};
use oci_gpu_sim::HostSpec;

/// A node's major, minor and permission bits.
fn node(host: &SimHost, path: &str) -> (u64, u64, u32) {
    let metadata =
        std::fs::symlink_metadata(host.at(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    assert!(metadata.file_type().is_char_device(), "{path}");
    let (device, mode) = (metadata.rdev(), metadata.permissions().mode() & 0o7777);
    (major(device), minor(device), mode)
}

/// The value of a key in /proc/driver/nvidia/gpus/ADDRESS/information.
fn information(host: &SimHost, bus_id: &str, key: &str) -> String {
    let text = host.text(&format!("/proc/driver/nvidia/gpus/{bus_id}/information"));
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
        .unwrap_or_else(|| panic!("no {key} in {text}"))
        .trim()
        .to_owned()
}

#[test]
fn every_built_in_host_is_made_and_described() {
    let mut count = 0;
    for name in HostSpec::names() {
        let spec = HostSpec::named(name).unwrap();
        assert!(spec.description.ends_with('.'), "{name}");
        let host = SimHost::of(spec);
        assert!(host.created.files > 0, "{name}");
        assert!(host.exists("/proc/devices"), "{name}");
        assert_eq!(
            host.exists("/proc/driver/nvidia/version"),
            host.spec.is_loaded(),
            "{name}"
        );
        count += 1;
    }
    let files = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("hosts")).unwrap();
    assert_eq!(count, files.count(), "each description is built in");
}

#[test]
fn the_kernel_describes_each_gpu_in_all_its_places() {
    let host = SimHost::named("run-8");
    let gpus = host.spec.gpu_list().unwrap();
    assert_eq!(gpus.len(), 8);
    for gpu in &gpus {
        let bus_id = &gpu.bus_id;
        assert_eq!(information(&host, bus_id, "GPU UUID"), gpu.uuid);
        assert_eq!(information(&host, bus_id, "Model"), "NVIDIA H100 80GB HBM3");
        assert_eq!(information(&host, bus_id, "Bus Location"), *bus_id);
        assert_eq!(
            information(&host, bus_id, "Device Minor"),
            gpu.minor.to_string()
        );
        // Minors run against the order of addresses, and card 0 is the management controller's.
        assert_eq!(gpu.minor, 7 - gpu.index);
        assert_eq!(
            (gpu.card, gpu.render),
            (Some(gpu.index + 1), Some(gpu.index + 128))
        );

        let device = format!("/sys/bus/pci/devices/{bus_id}");
        assert_eq!(host.text(&format!("{device}/vendor")), "0x10de\n");
        assert_eq!(host.text(&format!("{device}/device")), "0x2330\n");
        assert_eq!(host.text(&format!("{device}/class")), "0x030200\n");
        assert_eq!(
            host.text(&format!("{device}/numa_node")),
            format!("{}\n", gpu.index / 4)
        );
        assert_eq!(
            host.resolve(&format!("{device}/driver")),
            "/sys/bus/pci/drivers/nvidia"
        );
        assert_eq!(
            host.resolve(&format!("/sys/bus/pci/drivers/nvidia/{bus_id}")),
            host.resolve(&device)
        );
        let card = format!("card{}", gpu.index + 1);
        let render = format!("renderD{}", gpu.index + 128);
        assert_eq!(
            host.names(&format!("{device}/drm")),
            [card.clone(), render.clone()]
        );
        assert_eq!(
            host.resolve(&format!("/sys/class/drm/{card}/device")),
            host.resolve(&device)
        );
    }
    assert_eq!(gpus[0].uuid, "GPU-5ca1ab1e-1d5e-4f0c-9a3b-a0b1c2d3e400");
    assert_eq!(gpus[7].uuid, "GPU-63a8b225-1d5e-4f0c-9a3b-a0b1c2d3e407");
    assert_eq!(host.text("/sys/module/nvidia/version"), "550.163.01\n");
    let version = host.text("/proc/driver/nvidia/version");
    assert!(
        version.starts_with("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.163.01  "),
        "{version}"
    );
    let params = host.text("/proc/driver/nvidia/params");
    assert!(params.contains("\nModifyDeviceFiles: 1\n") && params.contains("\nImexChannelCount: "));
    let devices = host.text("/proc/devices");
    for line in [
        "195 nvidia\n",
        "195 nvidiactl\n",
        "195 nvidia-modeset\n",
        "237 nvidia-caps\n",
        "508 nvidia-uvm\n",
    ] {
        assert!(devices.contains(line), "{line}{devices}");
    }
}

#[test]
fn nodes_have_the_numbers_that_the_kernel_gave_out() {
    if !is_root() {
        return skip("device nodes need root");
    }
    let host = SimHost::named("run-8");
    for (path, expected) in [
        ("/dev/nvidiactl", (195, 255, 0o666)),
        ("/dev/nvidia-modeset", (195, 254, 0o666)),
        ("/dev/nvidia0", (195, 0, 0o666)),
        ("/dev/nvidia7", (195, 7, 0o666)),
        ("/dev/nvidia-uvm", (508, 0, 0o666)),
        ("/dev/nvidia-uvm-tools", (508, 1, 0o666)),
        ("/dev/nvidia-caps/nvidia-cap1", (237, 1, 0o400)),
        ("/dev/nvidia-caps/nvidia-cap2", (237, 2, 0o444)),
        (
            "/dev/nvidia-caps-imex-channels/channel2047",
            (234, 2047, 0o666),
        ),
        ("/dev/dri/card0", (226, 0, 0o660)),
        ("/dev/dri/card8", (226, 8, 0o660)),
        ("/dev/dri/renderD128", (226, 128, 0o660)),
    ] {
        assert_eq!(node(&host, path), expected, "{path}");
    }
    let gid = |path: &str| std::fs::metadata(host.at(path)).unwrap().gid();
    assert_eq!(
        (gid("/dev/dri/card1"), gid("/dev/dri/renderD128")),
        (44, 105)
    );
    assert_eq!(
        host.resolve("/dev/dri/by-path/pci-0000:1a:00.0-card"),
        "/dev/dri/card1"
    );
    // nvidiactl, modeset, uvm and its tools; 8 GPUs, 9 cards, 8 render nodes; 2 capabilities of
    // MIG; 3 channels.
    assert_eq!(host.created.nodes, 4 + 8 + 9 + 8 + 2 + 3);
}

#[test]
fn mig_instances_have_access_files_and_nodes() {
    let host = SimHost::named("run-8-mig");
    let capabilities = "/proc/driver/nvidia/capabilities";
    assert_eq!(
        host.names(&format!("{capabilities}/gpu1/mig")),
        ["gi10", "gi11", "gi12", "gi13", "gi7", "gi8", "gi9"]
    );
    assert_eq!(
        host.names(&format!("{capabilities}/gpu6/mig/gi0")),
        ["access", "ci0", "ci1"]
    );
    // Attached GPUs have the directory, split or not.
    assert!(host.names(&format!("{capabilities}/gpu0/mig")).is_empty());
    let gi = host.text(&format!("{capabilities}/gpu1/mig/gi7/access"));
    assert_eq!(
        gi,
        "DeviceFileMinor: 201\nDeviceFileMode: 292\nDeviceFileModify: 1\n"
    );
    let minors = host.text("/proc/driver/nvidia-caps/mig-minors");
    assert!(minors.starts_with("config 1\nmonitor 2\ngpu0/gi0/access 3\n"));
    assert!(minors.contains("\ngpu1/gi7/access 201\ngpu1/gi7/ci0/access 202\n"));
    if !is_root() {
        return skip("device nodes need root");
    }
    assert_eq!(
        node(&host, "/dev/nvidia-caps/nvidia-cap201"),
        (237, 201, 0o444)
    );
    assert_eq!(
        node(&host, "/dev/nvidia-caps/nvidia-cap202"),
        (237, 202, 0o444)
    );
    // config, monitor, 7 + 3 + 1 GPU instances and 7 + 3 + 2 compute instances.
    assert_eq!(host.names("/dev/nvidia-caps").len(), 2 + 11 + 12);
}

#[test]
fn a_driver_before_545_registers_its_nodes_under_one_name() {
    let host = SimHost::named("missing-uvm");
    let devices = host.text("/proc/devices");
    assert!(devices.contains("195 nvidia-frontend\n"), "{devices}");
    assert!(!devices.contains("195 nvidia\n"), "{devices}");
    assert!(!host.text("/proc/driver/nvidia/params").contains("Imex"));
    assert!(!host.exists("/proc/driver/nvidia-caps/sys-minors"));
    // The module is loaded; only the node is missing.
    assert!(devices.contains("508 nvidia-uvm\n"), "{devices}");
    assert!(!host.exists("/dev/nvidia-uvm"));
}

#[test]
fn debian_leads_through_its_alternatives() {
    let host = SimHost::named("debian-8");
    let chain = |path: &str| {
        let chain = host.host().files().link_chain(Path::new(path)).unwrap();
        let paths: Vec<String> = chain.iter().map(|p| p.display().to_string()).collect();
        paths
    };
    assert_eq!(
        chain("/usr/lib/x86_64-linux-gnu/libcuda.so.1"),
        [
            "/usr/lib/x86_64-linux-gnu/libcuda.so.1",
            "/etc/alternatives/nvidia--libcuda.so.1-x86_64-linux-gnu",
            "/usr/lib/x86_64-linux-gnu/nvidia/current/libcuda.so.1",
            "/usr/lib/x86_64-linux-gnu/nvidia/current/libcuda.so.550.163.01",
        ]
    );
    assert_eq!(
        chain("/usr/lib/i386-linux-gnu/libnvidia-ml.so.1")
            .last()
            .unwrap(),
        "/usr/lib/i386-linux-gnu/nvidia/current/libnvidia-ml.so.550.163.01"
    );
    assert_eq!(
        chain("/usr/lib/x86_64-linux-gnu/libnvidia-cfg.so.1"),
        [
            "/usr/lib/x86_64-linux-gnu/libnvidia-cfg.so.1",
            "/etc/alternatives/glx--libnvidia-cfg.so.1-x86_64-linux-gnu",
            "/usr/lib/x86_64-linux-gnu/nvidia/libnvidia-cfg.so.1",
            "/etc/alternatives/nvidia--libnvidia-cfg.so.1-x86_64-linux-gnu",
            "/usr/lib/x86_64-linux-gnu/nvidia/current/libnvidia-cfg.so.1",
            "/usr/lib/x86_64-linux-gnu/nvidia/current/libnvidia-cfg.so.550.163.01",
        ]
    );
    for (path, real) in [
        ("/usr/bin/nvidia-smi", "/usr/lib/nvidia/current/nvidia-smi"),
        (
            "/usr/lib/xorg/modules/extensions/libglxserver_nvidia.so",
            "/usr/lib/nvidia/current/libglxserver_nvidia.so.550.163.01",
        ),
        (
            "/usr/share/nvidia/nvoptix.bin",
            "/usr/lib/x86_64-linux-gnu/nvidia/current/nvoptix.bin",
        ),
        (
            "/usr/lib/x86_64-linux-gnu/gbm/nvidia-drm_gbm.so",
            "/usr/lib/x86_64-linux-gnu/nvidia/current/libnvidia-allocator.so.550.163.01",
        ),
        (
            "/usr/lib/x86_64-linux-gnu/libnvidia-glcore.so.550.163.01",
            "/usr/lib/x86_64-linux-gnu/libnvidia-glcore.so.550.163.01",
        ),
    ] {
        assert_eq!(host.resolve(path), real);
    }
    assert!(!host.exists("/usr/bin/nvidia-xconfig"), "Debian has none");
}

#[test]
fn a_preferred_decoy_has_the_links_and_the_driver_keeps_its_files() {
    let debian = SimHost::named("debian-decoy");
    let lib = "/usr/lib/x86_64-linux-gnu";
    assert_eq!(
        debian.resolve(&format!("{lib}/libcuda.so.1")),
        format!("{lib}/nvidia/tesla-535/libcuda.so.535.261.03")
    );
    assert!(debian.exists(&format!("{lib}/nvidia/current/libcuda.so.550.163.01")));

    let run =
        SimHost::of_toml("[driver]\nversion = \"550.163.01\"\n[[decoy]]\nversion = \"535.261.03\"");
    assert_eq!(
        run.resolve(&format!("{lib}/libcuda.so.1")),
        format!("{lib}/libcuda.so.550.163.01")
    );
    assert!(run.exists(&format!("{lib}/libcuda.so.535.261.03")));
}

#[test]
fn a_half_done_upgrade_has_two_versions() {
    let host = SimHost::named("half-upgraded");
    assert_eq!(host.text("/sys/module/nvidia/version"), "550.163.01\n");
    let lib = "/usr/lib/x86_64-linux-gnu";
    assert!(host.exists(&format!("{lib}/libcuda.so.560.35.03")));
    assert!(!host.exists(&format!("{lib}/libcuda.so.550.163.01")));
    assert!(host.exists("/lib/firmware/nvidia/560.35.03/gsp_ga10x.bin"));
}

#[test]
fn a_driver_container_is_a_root_of_its_own() {
    let host = SimHost::named("driver-container-8");
    let lib = "usr/lib/x86_64-linux-gnu/libcuda.so.1";
    assert!(host.exists(&format!("/run/nvidia/driver/{lib}")));
    assert!(!host.exists(&format!("/{lib}")));
    assert!(host.exists("/etc/ld.so.cache") && host.exists("/run/nvidia/driver/etc/ld.so.cache"));
    let ready = host.text("/run/nvidia/validations/driver-ready");
    assert!(
        ready.contains("NVIDIA_DRIVER_ROOT=/run/nvidia/driver\n"),
        "{ready}"
    );
    let firmware = host.text("/sys/module/firmware_class/parameters/path");
    assert!(host.exists(&format!(
        "{}/nvidia/550.163.01/gsp_ga10x.bin",
        firmware.trim()
    )));
    if !is_root() {
        return skip("device nodes need root");
    }
    assert_eq!(
        node(&host, "/run/nvidia/driver/dev/nvidia3"),
        (195, 3, 0o666)
    );
    assert!(!host.exists("/dev/nvidia3"));
}

#[test]
fn a_microvm_has_files_and_neither_cache_nor_nodes() {
    let host = SimHost::named("microvm-1");
    assert_eq!(
        host.resolve("/usr/local/nvidia/lib64/libcuda.so.1"),
        "/usr/local/nvidia/lib64/libcuda.so.570.124.06"
    );
    assert!(host.exists("/usr/local/nvidia/bin/nvidia-smi"));
    assert!(!host.exists("/etc/ld.so.cache"));
    assert!(host.names("/dev").is_empty());
    assert_eq!(host.created.nodes, 0);
    let version = host.text("/proc/driver/nvidia/version");
    assert!(version.contains("NVIDIA UNIX Open Kernel Module for x86_64  570.124.06  Release"));
}

#[test]
fn nixos_links_lead_into_the_store() {
    let host = SimHost::named("nixos-1");
    for (path, tail) in [
        (
            "/run/opengl-driver/lib/libcuda.so.1",
            "/lib/libcuda.so.565.77",
        ),
        (
            "/run/opengl-driver-32/lib/libcuda.so",
            "/lib/libcuda.so.565.77",
        ),
        (
            "/run/opengl-driver/lib/vdpau/libvdpau_nvidia.so.1",
            "/libvdpau_nvidia.so.565.77",
        ),
        (
            "/run/opengl-driver/share/glvnd/egl_vendor.d/10_nvidia.json",
            "/10_nvidia.json",
        ),
        ("/run/current-system/sw/bin/nvidia-smi", "/bin/nvidia-smi"),
    ] {
        let real = host.resolve(path);
        assert!(real.starts_with("/nix/store/"), "{path}: {real}");
        assert!(
            real.contains("-nvidia-x11-565.77") && real.ends_with(tail),
            "{path}: {real}"
        );
    }
    assert!(!host.exists("/etc/ld.so.cache") && !host.exists("/usr/lib"));
}

#[test]
fn rpm_packages_use_lib64() {
    let host = SimHost::named("rpm-8");
    assert_eq!(
        host.resolve("/lib64/libcuda.so.1"),
        "/usr/lib64/libcuda.so.560.35.03"
    );
    assert_eq!(
        host.resolve("/lib/libcuda.so.1"),
        "/usr/lib/libcuda.so.560.35.03"
    );
    assert!(host.exists("/usr/share/vulkan/icd.d/nvidia_icd.x86_64.json"));
}

#[test]
fn hosts_without_driver_or_gpu_say_so() {
    let bare = SimHost::named("no-gpu");
    assert!(!bare.exists("/proc/driver/nvidia") && !bare.exists("/sys/module/nvidia"));
    assert!(!bare.text("/proc/devices").contains("nvidia"));
    assert!(!bare.exists("/usr/lib/x86_64-linux-gnu/libcuda.so.1"));

    let idle = SimHost::named("no-devices");
    assert!(idle.names("/proc/driver/nvidia/gpus").is_empty());
    assert!(idle.exists("/usr/lib/x86_64-linux-gnu/libcuda.so.1"));

    let unloaded = SimHost::of_toml(
        "[driver]\nversion = \"550.163.01\"\nloaded = false\n[gpus]\ncount = 2\nmodel = \"t4\"",
    );
    assert!(!unloaded.exists("/proc/driver/nvidia"));
    // The bus knows the GPU; no driver is bound to it.
    assert!(unloaded.exists("/sys/bus/pci/devices/0000:1a:00.0/vendor"));
    assert!(!unloaded.exists("/sys/bus/pci/devices/0000:1a:00.0/driver"));
    assert!(unloaded.exists("/usr/lib/x86_64-linux-gnu/libcuda.so.1"));
}

#[test]
fn faults_hit_what_they_name() {
    let host = SimHost::of_toml(
        r#"
        layout = "debian"
        [driver]
        version = "550.163.01"
        packages = ["compute"]
        [faults]
        missing = ["libcuda"]
        dangling = ["libnvidia-ml"]
        truncated = ["libnvidia-nvvm"]
        "#,
    );
    let lib = "/usr/lib/x86_64-linux-gnu";
    let is_link = |path: &str| std::fs::symlink_metadata(host.at(path)).is_ok();
    assert!(!is_link(&format!("{lib}/libcuda.so.1")));
    assert!(is_link(&format!("{lib}/libnvidia-ml.so.1")));
    assert!(!host.exists(&format!("{lib}/libnvidia-ml.so.1")));
    let nvvm = host.at(&host.resolve(&format!("{lib}/libnvidia-nvvm.so.4")));
    assert_eq!(std::fs::metadata(nvvm).unwrap().len(), 100);

    let wrong = SimHost::named("wrong-major");
    assert!(
        std::fs::metadata(wrong.at("/dev/nvidia1"))
            .unwrap()
            .is_file()
    );
    if !is_root() {
        return skip("device nodes need root");
    }
    assert_eq!(node(&wrong, "/dev/nvidia0"), (196, 0, 0o666));
}

#[test]
fn services_have_sockets_and_programs() {
    let host = SimHost::named("run-8");
    for path in [
        "/run/nvidia-persistenced/socket",
        "/run/nvidia-fabricmanager/socket",
        "/tmp/nvidia-mps/control",
    ] {
        let metadata = std::fs::metadata(host.at(path)).unwrap();
        assert!(metadata.file_type().is_socket(), "{path}");
    }
    for name in [
        "nv-fabricmanager",
        "nvidia-imex",
        "nvidia-cuda-mps-server",
        "nvidia-xconfig",
    ] {
        let mode = std::fs::metadata(host.at(&format!("/usr/bin/{name}"))).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o755, "{name}");
    }
}

#[test]
fn an_aarch64_host_has_its_own_names() {
    let host = SimHost::named("aarch64-1");
    assert!(host.exists("/usr/lib/aarch64-linux-gnu/libcuda.so.1"));
    assert!(!host.exists("/usr/lib/x86_64-linux-gnu"));
    let version = host.text("/proc/driver/nvidia/version");
    assert!(
        version.contains("Open Kernel Module for aarch64"),
        "{version}"
    );
    let bytes = std::fs::read(host.at("/etc/ld.so.cache")).unwrap();
    let cache = oci_gpu::ldcache::parse(&bytes).unwrap();
    assert!(cache.lookup(b"libcuda.so.1", 0xa03).is_some());
}

#[test]
fn sixteen_gpus_lie_in_two_pci_domains() {
    let host = SimHost::named("run-16");
    let gpus = host.names("/proc/driver/nvidia/gpus");
    assert_eq!(gpus.len(), 16);
    assert_eq!(
        (gpus[0].as_str(), gpus[15].as_str()),
        ("0000:1a:00.0", "0001:cb:00.0")
    );
    assert_eq!(information(&host, "0001:1a:00.0", "Device Minor"), "8");
}
