//! A container on the platforms, each beside its older driver: what its loader finds is the kernel's.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use oci_gpu_sim::{Arch, HostSpec};
use oci_gpu_tests::bundle::Stage;
use oci_gpu_tests::error::Context;
use oci_gpu_tests::gpu::GpuHost;
use oci_gpu_tests::platforms::{PLATFORMS, Platform};
use oci_gpu_tests::probe::Loaded;
use oci_gpu_tests::rootfs::Kind;
use oci_gpu_tests::runtime::{CgroupMode, Runtime};

/// Libraries by soname and by the name of links, a program, and a GPU, in a container of the
/// runc that this machine has.
#[test]
fn a_container_on_every_platform_has_the_kernels_driver() {
    let runc = Runtime::runc(CgroupMode::V1).unwrap();
    let mut ran = 0;
    for platform in PLATFORMS {
        let spec = with_decoy(platform);
        if spec.arch != Arch::X86_64 {
            continue; // its programs do not run here
        }
        ran += 1;
        let name = platform.name;
        let version = spec.driver.as_ref().unwrap().version.clone();
        let host = GpuHost::with(|dir| spec.create(dir).map(drop).during("make the host")).unwrap();
        let bundle = host
            .bundle(Kind::Bookworm, &["NVIDIA_VISIBLE_DEVICES=0"])
            .unwrap();
        let sonames = [
            "libcuda.so.1",
            "libcuda.so",
            "libnvidia-ml.so.1",
            "libnvidia-ptxjitcompiler.so.1",
        ];
        let mut ask: Vec<&str> = sonames.iter().flat_map(|s| ["--dlopen", s]).collect();
        ask.extend(["--open", "/dev/nvidia0", "--stat", "/usr/bin/nvidia-smi"]);
        let report = host
            .run(&runc, bundle, Stage::CreateRuntime, &ask)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        for soname in sonames {
            match report.dlopen(soname) {
                Loaded::Found {
                    version: Some(loaded),
                    ..
                } => {
                    assert!(loaded.ends_with(&version), "{name}: {soname}: {loaded}");
                }
                other => panic!("{name}: {soname}: {other:?}"),
            }
        }
        assert_eq!(report.open("/dev/nvidia0"), "ENXIO", "{name}");
        assert_eq!(
            report.stat("/usr/bin/nvidia-smi").unwrap().kind,
            "file",
            "{name}"
        );
        host.assert_untouched()
            .unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    assert_eq!(ran, PLATFORMS.len() - 1);
}

/// The host of `platform` with the older driver, and with nodes: guests without any have been helped
/// to them by `oci-gpu system create-device-nodes`.
fn with_decoy(platform: &Platform) -> HostSpec {
    let own = HostSpec::named_toml(platform.host).unwrap();
    let mut spec = HostSpec::from_toml(&format!("{own}\n{}", platform.decoy)).unwrap();
    let none = spec.paths.dev.as_ref().is_some_and(Vec::is_empty);
    if none || platform.host == "microvm-1" {
        spec.paths.dev = Some(vec!["/dev".to_owned()]);
    }
    spec
}
