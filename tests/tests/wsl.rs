//! WSL2: what a Windows host's driver store has goes into containers, at the same paths.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use oci_gpu::inventory::Platform;
use oci_gpu::plan::Operation;
use oci_gpu::{Code, Inventory, discover};
use oci_gpu_sim::HostSpec;
use oci_gpu_tests::gpu::{GpuHost, STAGES};
use oci_gpu_tests::planned::planned;
use oci_gpu_tests::probe::Loaded;
use oci_gpu_tests::rootfs::Kind;
use oci_gpu_tests::runtime::{CgroupMode, Runtime};
use oci_gpu_tests::sim::SimHost;

const STORE: &str = "/usr/lib/wsl/drivers/nv_dispi.inf_amd64_9sim1gpu2nvidia3";

fn names(inventory: &Inventory) -> Vec<String> {
    let paths = inventory.libraries.iter().map(|l| &l.path);
    let paths = paths.chain(inventory.files.iter().map(|f| &f.path));
    let mut names: Vec<String> = paths
        .map(|p| p.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

/// Paths that were refused, with the reasons.
fn refused(inventory: &Inventory) -> Vec<(String, String)> {
    let refused = inventory.driver.candidates.iter().filter(|c| !c.accepted);
    refused
        .map(|c| (c.path.display().to_string(), c.why.clone()))
        .collect()
}

#[test]
fn the_store_of_nvidia_is_found_and_others_are_refused() {
    let sim = SimHost::named("wsl-1").unwrap();
    let inventory = discover(&sim.host()).unwrap();
    assert_eq!(inventory.platform, Platform::Wsl);
    let driver = &inventory.driver;
    assert_eq!(driver.version, "551.61");
    assert_eq!(driver.cuda, Some((12, 4)));
    assert_eq!(driver.version_source, Path::new(STORE).join("nv_dispi.inf"));
    assert_eq!(
        names(&inventory),
        [
            "libcuda.so.1.1",
            "libcuda_loader.so",
            "libdxcore.so",
            "libnvdxgdmal.so.1",
            "libnvidia-encode.so.1",
            "libnvidia-ml.so.1",
            "libnvidia-ml_loader.so",
            "libnvidia-ptxjitcompiler.so.1",
            "libnvwgf2umx.so",
            "nvcubins.bin",
            "nvcuda64.dll",
            "nvidia-smi",
        ]
    );
    // The loaders say that they are what they load.
    let sonames = |stem: &str| -> Vec<&str> {
        let libraries = inventory.libraries.iter().filter(|l| l.stem == stem);
        libraries.filter_map(|l| l.soname.as_deref()).collect()
    };
    assert_eq!(sonames("libcuda"), ["libcuda.so.1"]);
    assert_eq!(sonames("libcuda_loader"), [""; 0]);
    assert_eq!(sonames("libnvidia-ml_loader"), [""; 0]);
    let refused = refused(&inventory);
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].0.contains("iigd_dch"), "{refused:?}");
    assert!(refused[0].1.contains("another vendor's"), "{refused:?}");
}

#[test]
fn decoys_are_refused_with_their_reasons() {
    let sim = SimHost::named("wsl-decoys").unwrap();
    let inventory = discover(&sim.host()).unwrap();
    assert_eq!(inventory.driver.version, "560.94");
    assert!(inventory.libraries.iter().all(|l| {
        l.path.starts_with(STORE) || l.path == Path::new("/usr/lib/wsl/lib/libdxcore.so")
    }));
    let refused = refused(&inventory);
    let why = |part: &str| {
        let found = refused.iter().find(|(path, _)| path.contains(part));
        found
            .unwrap_or_else(|| panic!("{part} in {refused:?}"))
            .1
            .clone()
    };
    assert_eq!(
        why("0sim1gpu2nvidia3"),
        format!("its version is 551.61, and {STORE} has 560.94")
    );
    assert!(why("/usr/lib/x86_64-linux-gnu/libcuda.so.1").contains("driver store"));
}

/// Without versions, the package that was changed last.
#[test]
fn packages_without_versions_go_by_their_age() {
    let sim = SimHost::named("wsl-decoys").unwrap();
    let older = STORE.replace("9sim", "0sim");
    for store in [STORE, &older] {
        fs::remove_file(sim.on_disk(Path::new(store).join("nv_dispi.inf"))).unwrap();
    }
    for (newest, other) in [(STORE, older.as_str()), (&older, STORE)] {
        for (store, date) in [(other, "2024-01-01"), (newest, "2025-01-01")] {
            let touched = std::process::Command::new("touch")
                .args(["-d", date])
                .arg(sim.on_disk(store))
                .status();
            assert!(touched.unwrap().success());
        }
        let inventory = discover(&sim.host()).unwrap();
        assert_eq!(inventory.driver.version, "unknown");
        let cuda = inventory
            .libraries
            .iter()
            .find(|l| l.stem == "libcuda")
            .unwrap();
        assert_eq!(cuda.path.parent(), Some(Path::new(newest)));
        assert!(refused(&inventory).iter().any(|(path, _)| path == other));
    }
}

#[test]
fn what_is_missing_is_named() {
    let sim = SimHost::named("wsl-1").unwrap();
    fs::remove_file(sim.on_disk("/usr/lib/wsl/lib/libdxcore.so")).unwrap();
    let finding = discover(&sim.host()).unwrap_err();
    assert_eq!(finding.code, Code::Wsl, "{finding}");
    assert!(finding.remedy.contains("wsl --update"), "{finding}");
    // Distributions have it elsewhere.
    let other = sim.on_disk("/usr/lib/x86_64-linux-gnu/libdxcore.so");
    fs::copy(sim.on_disk("/usr/lib/wsl/lib/libd3d12.so"), other).unwrap();
    assert!(discover(&sim.host()).is_ok());

    let sim = SimHost::named("wsl-1").unwrap();
    fs::remove_file(sim.on_disk(Path::new(STORE).join("libcuda.so.1.1"))).unwrap();
    let finding = discover(&sim.host()).unwrap_err();
    assert_eq!(finding.code, Code::Wsl, "{finding}");
    assert!(
        finding.message.contains("no NVIDIA driver for WSL"),
        "{finding}"
    );

    // /dev/dxg without WSL's directory is somebody else's.
    let sim = SimHost::named("wsl-1").unwrap();
    fs::rename(sim.on_disk("/usr/lib/wsl"), sim.on_disk("/usr/lib/other")).unwrap();
    assert_eq!(discover(&sim.host()).unwrap_err().code, Code::NoDriver);
}

/// Which names there are for GPUs, where one device stands for all.
#[test]
fn one_device_stands_for_all_gpus() {
    let sim = SimHost::named("wsl-1").unwrap();
    let rootfs = tempfile::tempdir().unwrap();
    for (devices, ok) in [
        ("all", true),
        ("none", true),
        ("0", true),
        ("nvidia.com/gpu=all", true),
        ("nvidia.com/gpu=0", true),
        ("1", false),
        ("0,1", false),
        ("GPU-5ca1ab1e", false),
        ("0:0", false),
    ] {
        let env = format!("NVIDIA_VISIBLE_DEVICES={devices}");
        let planned = planned(sim.root(), rootfs.path(), &[&env]);
        assert_eq!(planned.is_ok(), ok, "{devices}: {planned:?}");
        if let Err(e) = planned {
            let text = e.to_string();
            assert!(
                text.contains("OG0401") && text.contains("behind one device"),
                "{text}"
            );
        }
    }
}

/// (capabilities, whether libcuda, libnvidia-ml and nvidia-smi, libnvwgf2umx are given)
#[test]
fn capabilities_and_requirements_hold() {
    let sim = SimHost::named("wsl-1").unwrap();
    let rootfs = tempfile::tempdir().unwrap();
    let plan = |env: &[&str]| planned(sim.root(), rootfs.path(), env);
    for (capabilities, expected) in [
        ("compute,utility", [true, true, false]),
        ("compute", [true, false, false]),
        ("utility", [false, true, false]),
        ("graphics", [false, false, true]),
    ] {
        let capabilities = format!("NVIDIA_DRIVER_CAPABILITIES={capabilities}");
        let plan = plan(&["NVIDIA_VISIBLE_DEVICES=all", &capabilities]).unwrap();
        let sources: Vec<PathBuf> = plan
            .actions
            .iter()
            .filter_map(|a| match &a.what {
                Operation::Bind { source, .. } => Some(source.clone()),
                _ => None,
            })
            .collect();
        let has = |name: &str| sources.iter().any(|s| s.ends_with(name));
        let seen = [
            has("libcuda.so.1.1"),
            has("nvidia-smi"),
            has("libnvwgf2umx.so"),
        ];
        assert_eq!(seen, expected, "{capabilities}");
        assert!(has("libdxcore.so"), "{capabilities}");
        let devices = plan.actions.iter().filter_map(|a| match &a.what {
            Operation::Device {
                target,
                major,
                minor,
                ..
            } => Some((target, *major, *minor)),
            _ => None,
        });
        let devices: Vec<_> = devices.collect();
        assert_eq!(devices, [(&PathBuf::from("/dev/dxg"), 10, 63)]);
        let proc = |a: &oci_gpu::Action| a.what.target().is_some_and(|t| t.starts_with("/proc"));
        assert!(!plan.actions.iter().any(proc));
    }
    for (requirement, ok) in [
        ("cuda>=12.4", true),
        ("cuda>=12.5", false),
        ("driver>=551", true),
        ("driver>=552", false),
        ("brand=tesla", true),
    ] {
        let requirement = format!("NVIDIA_REQUIRE_X={requirement}");
        let planned = plan(&["NVIDIA_VISIBLE_DEVICES=all", &requirement]);
        assert_eq!(planned.is_ok(), ok, "{requirement}: {planned:?}");
    }
    let inf = sim.on_disk(Path::new(STORE).join("nv_dispi.inf"));
    fs::write(inf, "[Version]\n").unwrap();
    let env = ["NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_REQUIRE_X=driver>=500"];
    let text = plan(&env).unwrap_err().to_string();
    assert!(
        text.contains("OG0204") && text.contains("unknown"),
        "{text}"
    );
}

/// A store is Windows's, but a link in it is followed on this host and nowhere else.
#[test]
fn links_in_the_store_stay_on_the_host() {
    let sim = SimHost::named("wsl-1").unwrap();
    let library = sim.on_disk(Path::new(STORE).join("libnvidia-odd.so.1"));
    symlink("/../../../../../../etc/passwd", &library).unwrap();
    fs::create_dir(sim.on_disk(Path::new(STORE).join("directory.so"))).unwrap();
    let inf = sim.on_disk(Path::new(STORE).join("nv_dispi.inf"));
    fs::write(inf, vec![0xff; 10 << 20]).unwrap();
    let inventory = discover(&sim.host()).unwrap();
    assert_eq!(names(&inventory).len(), 12);
}

#[test]
fn containers_get_the_store_at_its_own_path() {
    let host = GpuHost::with(|dir| {
        let spec = HostSpec::named("wsl-decoys").unwrap();
        spec.create(dir).map(drop).unwrap();
        Ok(())
    })
    .unwrap();
    let runtimes = [
        Runtime::runc(CgroupMode::V1).unwrap(),
        Runtime::crun(CgroupMode::V1).unwrap(),
    ];
    for (runtime, stage) in runtimes.iter().zip(STAGES) {
        for kind in [Kind::Bookworm, Kind::Lib64] {
            let what = format!("{runtime}, {}, {kind:?}", stage.name());
            let bundle = host.bundle(kind, &["NVIDIA_VISIBLE_DEVICES=all"]).unwrap();
            let bins = format!("{STORE}/nvcubins.bin");
            let arguments = [
                "--open",
                "/dev/dxg",
                "--open",
                "/dev/nvidiactl",
                "--dlopen",
                "libcuda.so.1",
                "--dlopen",
                "libnvidia-ml.so.1",
                "--dlopen",
                "libdxcore.so",
                "--stat",
                &bins,
                "--stat",
                "/usr/bin/nvidia-smi",
            ];
            let report = host.run(runtime, bundle, stage, &arguments).unwrap();
            // No driver of that number here.
            assert!(
                ["ENXIO", "ENODEV"].contains(&report.open("/dev/dxg")),
                "{what}"
            );
            assert_eq!(report.open("/dev/nvidiactl"), "ENOENT", "{what}");
            for (soname, file) in [
                ("libcuda.so.1", format!("{STORE}/libcuda.so.1.1")),
                ("libnvidia-ml.so.1", format!("{STORE}/libnvidia-ml.so.1")),
                ("libdxcore.so", "/usr/lib/wsl/lib/libdxcore.so".to_owned()),
            ] {
                let Loaded::Found { path, .. } = report.dlopen(soname) else {
                    panic!("{what}: {soname}: {:?}", report.dlopen(soname));
                };
                assert_eq!(path, file, "{what}");
            }
            assert!(report.stat(&bins).is_ok() && report.stat("/usr/bin/nvidia-smi").is_ok());
        }
    }
    host.assert_untouched().unwrap();
}
