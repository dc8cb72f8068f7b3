//! A GPU in a runc and in a crun container, by the hook, in every stage.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use oci_gpu_tests::bundle::Stage;
use oci_gpu_tests::gpu::{GpuHost, STAGES};
use oci_gpu_tests::probe::{Loaded, Report};
use oci_gpu_tests::rootfs::Kind;
use oci_gpu_tests::runtime::{CgroupMode, Runtime};

const VERSION: &str = "550.163.01";

/// Two of eight GPUs, under every runtime, in every stage, with both versions of control groups:
/// exactly their nodes, allowed by the device cgroup, the driver's libraries by soname, programs,
/// procfs; nothing else, and nothing on the host.
#[test]
fn two_of_eight_gpus_under_every_runtime_in_every_stage() {
    let host = GpuHost::new("debian-8").unwrap();
    for runtime in Runtime::all(&host.setting.debs).unwrap() {
        for stage in STAGES {
            let what = format!("{runtime}, {}", stage.name());
            let mut bundle = host
                .bundle(Kind::Bookworm, &["NVIDIA_VISIBLE_DEVICES=1,3"])
                .unwrap();
            // Permission bits do not hold root back: what refuses a write is the mount.
            bundle.capabilities.push("CAP_DAC_OVERRIDE");
            // A node of a GPU that was not granted, as an image might bring one.
            let planted = bundle.rootfs.on_host("/planted-nvidia0");
            let device = nix::sys::stat::makedev(195, 0);
            let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
            nix::sys::stat::mknod(&planted, nix::sys::stat::SFlag::S_IFCHR, mode, device).unwrap();
            let report = host
                .run(
                    &runtime,
                    bundle,
                    stage,
                    &[
                        "--list",
                        "/dev",
                        "--open",
                        "/dev/nvidia1",
                        "--open",
                        "/dev/nvidia3",
                        "--open",
                        "/dev/nvidiactl",
                        "--open",
                        "/dev/nvidia-uvm",
                        "--open",
                        "/planted-nvidia0",
                        "--stat",
                        "/dev/nvidia1",
                        "--stat",
                        "/dev/nvidia3",
                        "--stat",
                        "/dev/nvidiactl",
                        "--dlopen",
                        "libcuda.so.1",
                        "--dlopen",
                        "libcuda.so",
                        "--dlopen",
                        "libnvidia-ml.so.1",
                        "--dlopen",
                        "libnvidia-encode.so.1",
                        "--stat",
                        "/usr/bin/nvidia-smi",
                        "--list",
                        "/proc/driver/nvidia/gpus",
                        "--read",
                        "/proc/driver/nvidia/params",
                        "--write",
                        "/proc/driver/nvidia/params",
                        "--write",
                        "/usr/lib/x86_64-linux-gnu/libcuda.so.550.163.01",
                    ],
                )
                .unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(
                nvidia_nodes(&report),
                [
                    "nvidia-uvm",
                    "nvidia-uvm-tools",
                    "nvidia1",
                    "nvidia3",
                    "nvidiactl"
                ],
                "{what}"
            );
            assert_eq!(
                report.stat("/dev/nvidia1").unwrap().device,
                (195, 1),
                "{what}"
            );
            assert_eq!(
                report.stat("/dev/nvidiactl").unwrap().device,
                (195, 255),
                "{what}"
            );
            for granted in [
                "/dev/nvidia1",
                "/dev/nvidia3",
                "/dev/nvidiactl",
                "/dev/nvidia-uvm",
            ] {
                assert_eq!(report.open(granted), "ENXIO", "{what}: {granted}");
            }
            let denied = if runtime.cgroups == CgroupMode::Disabled {
                "ENXIO"
            } else {
                "EPERM"
            };
            assert_eq!(report.open("/planted-nvidia0"), denied, "{what}");
            assert_loads(&report, "libcuda.so.1", "libcuda", &what);
            assert_loads(&report, "libcuda.so", "libcuda", &what);
            assert_loads(&report, "libnvidia-ml.so.1", "libnvidia-ml", &what);
            // Capability video was not asked for.
            assert!(
                matches!(report.dlopen("libnvidia-encode.so.1"), Loaded::Failed(_)),
                "{what}"
            );
            assert_eq!(
                report.stat("/usr/bin/nvidia-smi").unwrap().kind,
                "file",
                "{what}"
            );
            let gpus = report.list("/proc/driver/nvidia/gpus").unwrap();
            assert_eq!(gpus.len(), 2, "{what}: {gpus:?}");
            let params = report.read("/proc/driver/nvidia/params").unwrap();
            assert!(params.contains("ModifyDeviceFiles: 0"), "{what}: {params}");
            assert_eq!(
                report.write("/proc/driver/nvidia/params"),
                "EROFS",
                "{what}"
            );
            assert_eq!(
                report.write("/usr/lib/x86_64-linux-gnu/libcuda.so.550.163.01"),
                "EROFS",
                "{what}"
            );
            host.assert_untouched().unwrap();
        }
    }
}

fn nvidia_nodes(report: &Report) -> Vec<&str> {
    let names = report.list("/dev").unwrap();
    names
        .into_iter()
        .filter(|n| n.starts_with("nvidia"))
        .collect()
}

fn assert_loads(report: &Report, name: &str, stem: &str, what: &str) {
    match report.dlopen(name) {
        Loaded::Found {
            version: Some(version),
            ..
        } => {
            assert_eq!(version, format!("{stem} {VERSION}"), "{what}: {name}");
        }
        other => panic!("{what}: {name}: {other:?}"),
    }
}

/// No request: the container starts although the host has no driver, and nothing is touched.
#[test]
fn without_a_request_nothing_happens_even_without_a_driver() {
    let host = GpuHost::new("no-gpu").unwrap();
    for runtime in Runtime::all(&host.setting.debs).unwrap() {
        for env in [
            &[][..],
            &["NVIDIA_VISIBLE_DEVICES=void"],
            &["NVIDIA_VISIBLE_DEVICES="],
        ] {
            let bundle = host.bundle(Kind::Scratch, env).unwrap();
            let report = host
                .run(&runtime, bundle, Stage::CreateRuntime, &["--list", "/dev"])
                .unwrap();
            assert_eq!(nvidia_nodes(&report), [""; 0], "{runtime} {env:?}");
        }
    }
    host.assert_untouched().unwrap();
}
