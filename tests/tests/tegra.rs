//! Tegra: what L4T's lists name goes into containers, and what they name in vain is told.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use oci_gpu::inventory::{Inventory, Platform};
use oci_gpu::plan::Operation;
use oci_gpu::{Code, discover};
use oci_gpu_sim::HostSpec;
use oci_gpu_tests::gpu::{GpuHost, STAGES};
use oci_gpu_tests::planned::planned;
use oci_gpu_tests::probe::Loaded;
use oci_gpu_tests::rootfs::Kind;
use oci_gpu_tests::runtime::{CgroupMode, Runtime};
use oci_gpu_tests::sim::SimHost;

const LISTS: &str = "/etc/nvidia-container-runtime/host-files-for-container.d";
const LIB: &str = "/usr/lib/x86_64-linux-gnu/nvidia";

fn names<'a>(paths: impl Iterator<Item = &'a std::path::PathBuf>) -> BTreeSet<String> {
    paths.map(|p| p.display().to_string()).collect()
}

fn set(paths: &[&str]) -> BTreeSet<String> {
    paths.iter().map(|p| (*p).to_owned()).collect()
}

fn nodes(inventory: &Inventory) -> BTreeSet<String> {
    names(inventory.control.iter().map(|c| &c.node.path))
}

#[test]
fn the_lists_are_what_there_is() {
    let sim = SimHost::named("jetson-orin").unwrap();
    let inventory = discover(&sim.host()).unwrap();
    assert_eq!(inventory.platform, Platform::Tegra);
    assert_eq!(inventory.driver.version, "36.4.3");
    assert_eq!(inventory.driver.cuda, Some((12, 6)));
    assert_eq!(
        nodes(&inventory),
        set(&[
            "/dev/host1x-fence",
            "/dev/nvgpu/igpu0/channel",
            "/dev/nvgpu/igpu0/ctrl",
            "/dev/nvhost-as-gpu",
            "/dev/nvhost-ctrl-gpu",
            "/dev/nvmap",
            "/dev/nvsciipc",
        ])
    );
    let lib = |name: &str| format!("{LIB}/{name}");
    let libraries: BTreeSet<String> = [
        "libcuda.so.1.1",
        "libnvbufsurface.so.1.0.0",
        "libnvidia-ml.so.1",
        "libnvidia-ptxjitcompiler.so.36.4.3",
        "libnvrm_gpu.so",
        "libnvrm_mem.so",
    ]
    .map(lib)
    .into();
    assert_eq!(
        names(inventory.libraries.iter().map(|l| &l.path)),
        libraries
    );
    assert_eq!(
        names(inventory.files.iter().map(|f| &f.path)),
        set(&[
            "/etc/nv_tegra_release",
            "/opt/nvidia/vpi3",
            "/usr/share/glvnd/egl_vendor.d/10_nvidia.json",
        ])
    );
    let links: BTreeSet<String> = inventory
        .links
        .iter()
        .map(|l| format!("{} -> {}", l.path.display(), l.points_to.display()))
        .collect();
    let expected = [
        format!("{LIB}/libcuda.so.1 -> libcuda.so.1.1"),
        format!("{LIB}/libnvidia-ptxjitcompiler.so.1 -> libnvidia-ptxjitcompiler.so.36.4.3"),
        "/opt/nvidia/vpi -> vpi3".to_owned(),
    ];
    assert_eq!(links, expected.into());
}

/// One finding a list, with numbers of lines.
#[test]
fn lines_that_match_nothing_are_told() {
    let sim = SimHost::named("jetson-orin").unwrap();
    let inventory = discover(&sim.host()).unwrap();
    let messages: Vec<&str> = inventory
        .findings
        .iter()
        .map(|f| f.message.as_str())
        .collect();
    assert_eq!(
        messages,
        [
            format!(
                "{LISTS}/devices.csv: 1 of 6 lines match nothing on this host: line 6 (/dev/v4l2-nvdec)"
            ),
            format!(
                "{LISTS}/drivers.csv: 1 of 12 lines match nothing on this host: line 13 (/usr/lib/aarch64-linux-gnu/tegra-egl/nvidia.json)"
            ),
        ]
    );
    assert!(inventory.findings.iter().all(|f| f.code == Code::Tegra));

    // A release that was installed by half.
    fs::remove_dir_all(sim.on_disk(LIB)).unwrap();
    let inventory = discover(&sim.host()).unwrap();
    let drivers = &inventory.findings[1].message;
    assert!(
        drivers.contains("9 of 12 lines") && drivers.ends_with(", ..."),
        "{drivers}"
    );

    // Nothing of it.
    fs::remove_dir_all(sim.on_disk("/dev")).unwrap();
    fs::create_dir(sim.on_disk("/dev")).unwrap();
    let finding = discover(&sim.host()).unwrap_err();
    assert_eq!(finding.code, Code::Tegra, "{finding}");
    assert!(finding.remedy.contains("nvidia-l4t"), "{finding}");
}

#[test]
fn odd_lists_are_read_within_bounds() {
    let sim = SimHost::named("jetson-orin").unwrap();
    let list = sim.on_disk(Path::new(LISTS).join("l4t.csv"));
    let outside = sim.on_disk("/opt/outside");
    symlink("/../../../../../../../../../../etc", &outside).unwrap();
    let before = discover(&sim.host()).unwrap();
    for (what, text, bad) in [
        (
            "climbing",
            "lib, /opt/../../../../etc/passwd\n".to_owned(),
            true,
        ),
        ("relative", "lib, etc/passwd\n".to_owned(), true),
        ("a type", "exec, /bin/sh\n".to_owned(), true),
        ("a link out", "lib, /opt/outside/passwd\n".to_owned(), false),
        ("a million lines", "lib, /none\n".repeat(90_000), true),
        (
            "binary",
            String::from_utf8_lossy(&[0xff; 4096]).into_owned(),
            true,
        ),
        ("wildcards", format!("lib, {}\n", "/*".repeat(30)), false),
    ] {
        fs::write(&list, text).unwrap();
        let inventory = discover(&sim.host()).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(inventory.libraries, before.libraries, "{what}");
        assert_eq!(nodes(&inventory), nodes(&before), "{what}");
        let passwd = inventory.files.iter().any(|f| f.path.ends_with("passwd"));
        assert!(!passwd, "{what}");
        let told = inventory
            .findings
            .iter()
            .any(|f| f.message.contains("are not read"));
        assert_eq!(told, bad, "{what}: {:?}", inventory.findings);
    }
    fs::write(&list, vec![b'x'; 2 << 20]).unwrap();
    let finding = discover(&sim.host()).unwrap_err();
    assert_eq!(finding.code, Code::Tegra, "{finding}");
}

/// CUDA's own libraries of old releases are for containers that ask for them.
#[test]
fn other_lists_are_for_those_who_ask() {
    let sim = SimHost::named("jetson-orin").unwrap();
    let rootfs = tempfile::tempdir().unwrap();
    for (value, expected) in [
        ("csv-mounts=all", true),
        ("csv-mounts=base", false),
        ("", false),
    ] {
        let jetpack = format!("NVIDIA_REQUIRE_JETPACK={value}");
        let env = ["NVIDIA_VISIBLE_DEVICES=all", &jetpack];
        let container = oci_gpu::Container::parse(
            serde_json::json!({"root": {"path": "/r"}, "process": {"env": env}})
                .to_string()
                .as_bytes(),
        );
        let asked = oci_gpu::Request::read(&container.unwrap(), &oci_gpu::Policy::default());
        let scope = oci_gpu::Scope::of(&asked.unwrap().request.unwrap());
        let inventory = oci_gpu::discover_within(&sim.host(), &scope).unwrap();
        let has = inventory.libraries.iter().any(|l| l.stem == "libcudnn");
        assert_eq!(has, expected, "{value}");
    }
    // The processor's GPU is the only one.
    for (devices, ok) in [("0", true), ("all", true), ("none", true), ("1", false)] {
        let env = format!("NVIDIA_VISIBLE_DEVICES={devices}");
        let planned = planned(sim.root(), rootfs.path(), &[&env]);
        assert_eq!(planned.is_ok(), ok, "{devices}: {planned:?}");
    }
    let env = [
        "NVIDIA_VISIBLE_DEVICES=all",
        "NVIDIA_REQUIRE_CUDA=cuda>=13.0",
    ];
    let text = planned(sim.root(), rootfs.path(), &env)
        .unwrap_err()
        .to_string();
    assert!(text.contains("OG0204") && text.contains("12.6"), "{text}");
}

/// A driver for NVIDIA's modules is no part of L4T.
#[test]
fn files_that_no_list_names_are_not_given() {
    let sim = SimHost::named("jetson-orin").unwrap();
    assert!(
        sim.on_disk("/usr/lib/x86_64-linux-gnu/libcuda.so.550.163.01")
            .exists()
    );
    let rootfs = tempfile::tempdir().unwrap();
    let plan = planned(sim.root(), rootfs.path(), &["NVIDIA_VISIBLE_DEVICES=all"]).unwrap();
    for action in &plan.actions {
        if let Operation::Bind { source, .. } = &action.what {
            assert!(!source.display().to_string().contains("550"), "{action:?}");
        }
    }
}

#[test]
fn containers_get_what_the_lists_name() {
    let host = GpuHost::with(|dir| {
        let spec = HostSpec::named("jetson-orin").unwrap();
        spec.create(dir).map(drop).unwrap();
        Ok(())
    })
    .unwrap();
    let runtimes = [
        Runtime::runc(CgroupMode::V1).unwrap(),
        Runtime::crun(CgroupMode::V1).unwrap(),
    ];
    for (runtime, stage) in runtimes.iter().zip(STAGES) {
        let what = format!("{runtime}, {}", stage.name());
        let bundle = host
            .bundle(Kind::Bookworm, &["NVIDIA_VISIBLE_DEVICES=all"])
            .unwrap();
        let vpi = "/opt/nvidia/vpi/lib/libnvvpi.so.3";
        let arguments = [
            "--stat",
            "/dev/nvmap",
            "--stat",
            "/dev/nvgpu/igpu0/ctrl",
            "--open",
            "/dev/nvidiactl",
            "--dlopen",
            "libcuda.so.1",
            "--dlopen",
            "libnvrm_gpu.so",
            "--read",
            vpi,
            "--read",
            "/etc/nv_tegra_release",
        ];
        let report = host.run(runtime, bundle, stage, &arguments).unwrap();
        assert!(report.stat("/dev/nvmap").is_ok(), "{what}");
        assert!(report.stat("/dev/nvgpu/igpu0/ctrl").is_ok(), "{what}");
        assert_eq!(report.open("/dev/nvidiactl"), "ENOENT", "{what}");
        for (soname, file) in [
            ("libcuda.so.1", "libcuda.so.1.1"),
            ("libnvrm_gpu.so", "libnvrm_gpu.so"),
        ] {
            let Loaded::Found { path, .. } = report.dlopen(soname) else {
                panic!("{what}: {soname}: {:?}", report.dlopen(soname));
            };
            assert_eq!(path, format!("{LIB}/{file}"), "{what}");
        }
        assert_eq!(report.read(vpi), Some("simulated\n"), "{what}");
        let release = report.read("/etc/nv_tegra_release").unwrap_or_default();
        assert!(release.starts_with("# R36"), "{what}: {release}");
    }
    host.assert_untouched().unwrap();
}
