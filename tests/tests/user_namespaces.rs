//! Containers with a user namespace of their own, made by root.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use oci_gpu_tests::bundle::Stage;
use oci_gpu_tests::gpu::{GpuHost, STAGES};
use oci_gpu_tests::probe::Loaded;
use oci_gpu_tests::rootfs::Kind;
use oci_gpu_tests::runtime::{CgroupMode, Engine, Runtime};

const FIRST_ID: u32 = 200_000;

/// Nodes, libraries and links reach the container, and what is made in its root belongs to its own
/// root user.
#[test]
fn a_user_namespace_owns_what_is_made_in_it() {
    let host = GpuHost::new("debian-8").unwrap();
    for runtime in Runtime::all(&host.setting.debs).unwrap() {
        for stage in STAGES {
            for readonly in [false, true] {
                let what = format!("{runtime}, {}, readonly {readonly}", stage.name());
                let mut bundle = host
                    .bundle(Kind::Bookworm, &["NVIDIA_VISIBLE_DEVICES=1"])
                    .unwrap();
                bundle.rootfs.give_to(FIRST_ID).unwrap();
                bundle.user_namespace = Some(FIRST_ID);
                bundle.readonly = readonly;
                let arguments = [
                    "--open",
                    "/dev/nvidia1",
                    "--open",
                    "/dev/nvidiactl",
                    "--dlopen",
                    "libcuda.so.1",
                    "--stat",
                    "/usr/lib/x86_64-linux-gnu/libcuda.so.1",
                    "--stat",
                    "/etc/ld.so.cache",
                    "--stat",
                    "/dev/nvidia1",
                    "--list",
                    "/proc/driver/nvidia/gpus",
                ];
                // In the container's own user namespace nobody may change the rules that root made.
                if stage == Stage::CreateContainer && runtime.cgroups != CgroupMode::Disabled {
                    let output = host.try_run(&runtime, &mut bundle, stage).unwrap();
                    assert!(!output.success(), "{what}: {output}");
                    // crun throws the message away, and the host's log is not this root's to write.
                    let told = output.stderr.contains("OG0606");
                    assert!(told || runtime.engine == Engine::Crun, "{what}: {output}");
                    host.assert_untouched().unwrap();
                    continue;
                }
                let report = host
                    .run(&runtime, bundle, stage, &arguments)
                    .unwrap_or_else(|e| panic!("{what}: {e} {}", host.log()));
                assert_eq!(
                    report.stat("/dev/nvidia1").unwrap().device,
                    (195, 1),
                    "{what}"
                );
                assert_eq!(
                    report.open("/dev/nvidia1"),
                    "ENXIO",
                    "{what} {}",
                    host.log()
                );
                assert!(
                    matches!(report.dlopen("libcuda.so.1"), Loaded::Found { .. }),
                    "{what}"
                );
                for made in ["/usr/lib/x86_64-linux-gnu/libcuda.so.1", "/etc/ld.so.cache"] {
                    assert_eq!(report.stat(made).unwrap().owner, (0, 0), "{what}: {made}");
                }
                assert_eq!(
                    report.list("/proc/driver/nvidia/gpus").unwrap().len(),
                    1,
                    "{what}"
                );
            }
        }
    }
    host.assert_untouched().unwrap();
}
