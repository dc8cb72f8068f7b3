//! Hardware beside the GPUs, and EGL's application profile, in real containers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use oci_gpu_sim::{HostSpec, Peripheral};
use oci_gpu_tests::gpu::{GpuHost, STAGES};
use oci_gpu_tests::rootfs::Kind;
use oci_gpu_tests::runtime::{CgroupMode, Runtime};

fn host() -> GpuHost {
    GpuHost::with(|dir| {
        let mut spec = HostSpec::named("debian-8").unwrap();
        spec.peripherals = vec![
            Peripheral::Gds,
            Peripheral::Gdrcopy,
            Peripheral::Mofed,
            Peripheral::Nvswitch,
        ];
        spec.create(dir).map(drop).unwrap();
        Ok(())
    })
    .unwrap()
}

const NODES: [&str; 9] = [
    "/dev/nvidia-fs0",
    "/dev/nvidia-fs1",
    "/dev/gdrdrv",
    "/dev/infiniband/uverbs0",
    "/dev/infiniband/uverbs1",
    "/dev/infiniband/rdma_cm",
    "/dev/nvidia-nvswitchctl",
    "/dev/nvidia-nvswitch0",
    "/dev/infiniband/umad0",
];

/// What a node that may be opened answers here, where no driver stands behind it.
const ALLOWED: [&str; 2] = ["ENXIO", "ENODEV"];

#[test]
fn containers_open_what_they_asked_for_and_nothing_else() {
    let host = host();
    let runtimes = [
        Runtime::runc(CgroupMode::V1).unwrap(),
        Runtime::crun(CgroupMode::V1).unwrap(),
    ];
    let arguments: Vec<&str> = NODES.iter().flat_map(|n| ["--open", n]).collect();
    for (runtime, stage) in runtimes.iter().zip(STAGES) {
        let env = [
            "NVIDIA_VISIBLE_DEVICES=0",
            "NVIDIA_GDS=enabled",
            "NVIDIA_MOFED=enabled",
        ];
        let bundle = host.bundle(Kind::Bookworm, &env).unwrap();
        let mut arguments = arguments.clone();
        arguments.extend([
            "--read",
            "/run/udev/data/b259:0",
            "--read",
            "/etc/cufile.json",
        ]);
        let report = host.run(runtime, bundle, stage, &arguments).unwrap();
        for node in NODES {
            let asked = node.starts_with("/dev/nvidia-fs")
                || node.starts_with("/dev/infiniband") && !node.ends_with("umad0");
            let opened = report.open(node);
            match asked {
                true => assert!(ALLOWED.contains(&opened), "{runtime}: {node}: {opened}"),
                false => assert_eq!(opened, "ENOENT", "{runtime}: {node}"),
            }
        }
        let read = |path: &str| report.read(path).unwrap_or_default().to_owned();
        assert!(read("/run/udev/data/b259:0").contains("simulated"));
        assert!(read("/etc/cufile.json").contains("logging"));
    }
    host.assert_untouched().unwrap();
}

/// The profile is there, read-only, in images with and without the directory and with a read-only
/// root; a second run of the hook changes nothing.
#[test]
fn the_application_profile_lies_where_drivers_look() {
    const AT: &str = "/etc/nvidia/nvidia-application-profiles-rc.d";
    let host = host();
    let env = [
        "NVIDIA_VISIBLE_DEVICES=1,3",
        "NVIDIA_DRIVER_CAPABILITIES=graphics",
    ];
    let profile = format!("{AT}/10-container.conf");
    let runtimes = [
        Runtime::runc(CgroupMode::V1).unwrap(),
        Runtime::crun(CgroupMode::V1).unwrap(),
    ];
    for (runtime, stage) in runtimes.iter().zip(STAGES) {
        for (there, readonly) in [(false, false), (true, false), (false, true), (true, true)] {
            let what = format!("{runtime}, {}, {there}, {readonly}", stage.name());
            let mut bundle = host.bundle(Kind::Bookworm, &env).unwrap();
            bundle.readonly = readonly;
            if there {
                std::fs::create_dir_all(bundle.rootfs.path.join(&AT[1..])).unwrap();
            }
            bundle.hooks.push(host.hook(stage));
            let arguments = ["--read", &profile, "--write", &profile, "--list", AT];
            let report = host.run(runtime, bundle, stage, &arguments).unwrap();
            let text = report.read(&profile).unwrap_or_default();
            assert!(
                text.contains("\"EGLVisibleDGPUDevices\", 0xa]"),
                "{what}: {text}"
            );
            let written = report.write(&profile);
            assert!(["EROFS", "EACCES"].contains(&written), "{what}: {written}");
            assert_eq!(report.list(AT), Some(vec!["10-container.conf"]), "{what}");
        }
    }
    host.assert_untouched().unwrap();
}
