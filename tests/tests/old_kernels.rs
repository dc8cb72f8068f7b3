//! Kernels and seccomp profiles without the newer system calls: the hook finds its way around each,
//! and around all at once, with the same result.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use oci_gpu_tests::binaries;
use oci_gpu_tests::bundle::Hook;
use oci_gpu_tests::gpu::{GpuHost, STAGES};
use oci_gpu_tests::probe::Loaded;
use oci_gpu_tests::rootfs::Kind;
use oci_gpu_tests::runtime::{CgroupMode, Runtime};

const CALLS: [&str; 8] = [
    "openat2",
    "open_tree",
    "move_mount",
    "mount_setattr",
    "fsopen",
    "pidfd_open",
    "close_range",
    "statx",
];

#[test]
fn every_missing_call_has_a_way_around() {
    let host = GpuHost::new("debian-8").unwrap();
    let deny = binaries::deny().unwrap();
    let all = CALLS.join(",");
    let sets: Vec<Vec<&str>> = CALLS
        .iter()
        .map(|c| vec![*c])
        .chain([all.split(',').collect()])
        .collect();
    let runtimes = [
        Runtime::runc(CgroupMode::V1).unwrap(),
        Runtime::crun(CgroupMode::V1).unwrap(),
    ];
    for (calls, error) in sets.iter().flat_map(|s| [(s, "ENOSYS"), (s, "EPERM")]) {
        let denied: Vec<String> = calls.iter().map(|c| format!("{c}={error}")).collect();
        for (runtime, stage) in runtimes.iter().flat_map(|r| STAGES.map(|s| (r, s))) {
            let what = format!("{} {error}, {runtime}, {}", calls.join(" "), stage.name());
            let mut bundle = host
                .bundle(Kind::Bookworm, &["NVIDIA_VISIBLE_DEVICES=1"])
                .unwrap();
            bundle.capabilities.push("CAP_DAC_OVERRIDE");
            let (_, direct) = host.hook(stage);
            let mut args = vec![
                "oci-gpu-deny".to_owned(),
                denied.join(","),
                host.hook.display().to_string(),
            ];
            args.extend(direct.args.into_iter().skip(1));
            bundle.hooks.push((
                stage,
                Hook {
                    path: deny.clone(),
                    args,
                    env: None,
                    timeout: None,
                },
            ));
            let library = "/usr/lib/x86_64-linux-gnu/libcuda.so.550.163.01";
            let arguments = [
                "--list",
                "/dev",
                "--open",
                "/dev/nvidia1",
                "--dlopen",
                "libcuda.so.1",
                "--write",
                library,
                "--write",
                "/proc/driver/nvidia/params",
                "--list",
                "/proc/driver/nvidia/gpus",
                "--read",
                "/proc/self/mountinfo",
            ];
            let report = host
                .setting
                .probe
                .run(runtime, bundle, &arguments)
                .unwrap_or_else(|e| panic!("{what}: {e} {}", host.log()));
            let nodes = report.list("/dev").unwrap();
            let nodes: Vec<&&str> = nodes.iter().filter(|n| n.starts_with("nvidia")).collect();
            assert_eq!(
                nodes,
                [&"nvidia-uvm", &"nvidia-uvm-tools", &"nvidia1", &"nvidiactl"],
                "{what}"
            );
            assert_eq!(report.open("/dev/nvidia1"), "ENXIO", "{what}");
            assert!(
                matches!(report.dlopen("libcuda.so.1"), Loaded::Found { .. }),
                "{what}"
            );
            assert_eq!(report.write(library), "EROFS", "{what}");
            assert_eq!(
                report.write("/proc/driver/nvidia/params"),
                "EROFS",
                "{what}"
            );
            assert_eq!(
                report.list("/proc/driver/nvidia/gpus").unwrap(),
                ["0000:1b:00.0"],
                "{what}"
            );
            let mounts = report.read("/proc/self/mountinfo").unwrap();
            let options = |place: &str| {
                let line = mounts.lines().find(|l| l.split(' ').nth(4) == Some(place));
                line.unwrap_or_else(|| panic!("{what}: {place}"))
                    .split(' ')
                    .nth(5)
                    .unwrap()
                    .to_owned()
            };
            let has = |place: &str, words: &[&str]| {
                let options = options(place);
                let found: Vec<&str> = options.split(',').collect();
                words
                    .iter()
                    .for_each(|w| assert!(found.contains(w), "{what}: {w} of {place}: {options}"));
            };
            has(library, &["ro", "nosuid", "nodev"]);
            has("/dev/nvidia1", &["nosuid", "noexec"]);
            assert!(
                !options("/dev/nvidia1").split(',').any(|o| o == "nodev"),
                "{what}"
            );
            host.assert_untouched().unwrap();
        }
    }
}
