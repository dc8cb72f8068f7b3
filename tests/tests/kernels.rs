//! Packaged kernels of three Debian releases, each with version 2 of control groups alone: real
//! runtimes, the real hook, and a simulated host, in a virtual machine.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use oci_gpu_sim::HostSpec;
use oci_gpu_tests::binaries;
use oci_gpu_tests::bundle::{Bundle, Hook};
use oci_gpu_tests::gpu::STAGES;
use oci_gpu_tests::probe::{Loaded, Report};
use oci_gpu_tests::rootfs::Kind;
use oci_gpu_tests::runtime::{CgroupMode, Runtime};
use oci_gpu_tests::setting::Setting;
use oci_gpu_tests::vm::{Kernel, Root};

const ENGINES: [&str; 2] = ["runc", "crun"];

#[test]
fn gpus_reach_containers_on_packaged_kernels() {
    let setting = Setting::new().unwrap();
    for kernel in Kernel::ALL {
        let root = Root::new(&setting.dir.path().join(format!("{kernel:?}"))).unwrap();
        let script = fill(&setting, &root);
        let image = kernel.image(&setting.debs).unwrap();
        let results = root
            .boot(&image, &script)
            .unwrap_or_else(|e| panic!("{kernel:?}: {e}"));
        let mut seen = 0;
        for line in &results {
            println!("{kernel:?}: {line}");
            let Some((what, printed)) = line.split_once(' ') else {
                continue;
            };
            if what == "kernel" {
                continue;
            }
            seen += 1;
            let what = format!("{kernel:?} {what}");
            let report = Report::parse(printed.as_bytes())
                .unwrap_or_else(|e| panic!("{what}: {e} {printed}"));
            assert_eq!(report.open("/dev/nvidia1"), "ENXIO", "{what}");
            assert_eq!(report.open("/planted"), "EPERM", "{what}");
            assert!(
                matches!(report.dlopen("libcuda.so.1"), Loaded::Found { .. }),
                "{what}"
            );
            let nodes = report.list("/dev").unwrap();
            let nodes: Vec<&&str> = nodes.iter().filter(|n| n.starts_with("nvidia")).collect();
            assert_eq!(
                nodes,
                [&"nvidia-uvm", &"nvidia-uvm-tools", &"nvidia1", &"nvidiactl"],
                "{what}"
            );
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
        }
        assert_eq!(
            seen,
            ENGINES.len() * STAGES.len(),
            "{kernel:?}: {results:?}"
        );
    }
}

/// Puts runtimes, hook, host and bundles into the root, and returns what the machine runs.
fn fill(setting: &Setting, root: &Root) -> String {
    let hook = binaries::hook().unwrap();
    std::fs::create_dir_all(root.path.join("opt")).unwrap();
    std::fs::copy(&hook, root.path.join("opt/oci-gpu-hook")).unwrap();
    for runtime in [
        Runtime::runc(CgroupMode::V2).unwrap(),
        Runtime::crun(CgroupMode::V2).unwrap(),
    ] {
        root.program(&runtime.program).unwrap();
    }
    HostSpec::named("debian-8")
        .unwrap()
        .create(&root.path.join("host"))
        .unwrap();
    std::fs::create_dir_all(root.path.join("b")).unwrap();
    let rootfs = oci_gpu_tests::rootfs::Rootfs::instance(
        &setting.debs,
        Kind::Bookworm,
        &root.path.join("b/rootfs"),
    )
    .unwrap();
    setting.probe.install(&rootfs).unwrap();
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    mknod(
        &rootfs.on_host("/planted"),
        SFlag::S_IFCHR,
        Mode::from_bits_truncate(0o666),
        makedev(195, 2),
    )
    .unwrap();
    let mut script = "echo \"RESULT kernel $(uname -r)\"\n".to_owned();
    for (engine, stage) in ENGINES.into_iter().flat_map(|e| STAGES.map(|s| (e, s))) {
        let name = format!("{engine}-{}", stage.name());
        let mut bundle = Bundle::new(&root.path.join("b").join(&name), &rootfs);
        bundle.id = name.clone();
        bundle.env.push("NVIDIA_VISIBLE_DEVICES=1".to_owned());
        bundle.capabilities.push("CAP_DAC_OVERRIDE");
        bundle.probe(&[
            "--list",
            "/dev",
            "--open",
            "/dev/nvidia1",
            "--open",
            "/planted",
            "--dlopen",
            "libcuda.so.1",
            "--write",
            "/proc/driver/nvidia/params",
            "--write",
            "/usr/lib/x86_64-linux-gnu/libcuda.so.550.163.01",
        ]);
        let args = ["oci-gpu-hook", "--host-root", "/host", stage.name()]
            .map(str::to_owned)
            .into();
        bundle.hooks.push((
            stage,
            Hook {
                path: "/opt/oci-gpu-hook".into(),
                args,
                env: None,
                timeout: None,
            },
        ));
        let mut config = bundle.config();
        config["root"]["path"] = "/b/rootfs".into();
        bundle.write_config(&config).unwrap();
        script.push_str(&format!(
            "echo \"RESULT {name} $({engine} run --bundle /b/{name} {name} 2>&1; cat /host/var/log/oci-gpu.log 2>/dev/null)\"\n"
        ));
    }
    std::fs::create_dir_all(root.path.join("host/var/log")).unwrap();
    script
}
