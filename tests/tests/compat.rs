//! CUDA forward compatibility: an image's newer libcuda is found where it fits the driver and the
//! GPUs, by the order of the loader's cache; else the driver's, and the plan says why.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;

use oci_gpu_sim::HostSpec;
use oci_gpu_tests::bundle::Bundle;
use oci_gpu_tests::error::run;
use oci_gpu_tests::gpu::{GpuHost, STAGES};
use oci_gpu_tests::planned::planned;
use oci_gpu_tests::probe::Loaded;
use oci_gpu_tests::rootfs::Kind;
use oci_gpu_tests::runtime::{CgroupMode, Runtime};

const ENV: [&str; 1] = ["NVIDIA_VISIBLE_DEVICES=0"];

const DIRECTORY: &str = "usr/local/cuda-12.6/compat";

/// A library of the image, with the note of CUDA's own where `note` has its text.
fn library(directory: &Path, soname: &str, version: &str, note: Option<&str>) {
    fs::create_dir_all(directory).unwrap();
    let stem = soname.split(".so").next().unwrap();
    let note = note.map(|text| {
        let text = text.replace('"', "\\\\\\\"");
        format!(
            "__asm__(\".pushsection .note.cuda.fwd_compatibility,\\\"a\\\",@note\\n\"\n\
             \".balign 4\\n.long 2f-1f, 4f-3f, 1\\n\"\n\
             \"1: .asciz \\\"NVIDIA Corporation\\\"\\n2: .balign 4\\n\"\n\
             \"3: .asciz \\\"{text}\\\"\\n4: .balign 4\\n.popsection\");\n"
        )
    });
    let source = format!(
        "{}const char oci_gpu_sim_version[] = \"{stem} {version} of the image\";\n",
        note.unwrap_or_default()
    );
    let c = directory.join("source.c");
    fs::write(&c, source).unwrap();
    let file = directory.join(format!("{stem}.so.{version}"));
    run(Command::new("cc")
        .args(["-shared", "-nostdlib", "-fPIC", "-o"])
        .args([&file, &c])
        .arg(format!("-Wl,-soname,{soname}")))
    .unwrap();
    fs::remove_file(&c).unwrap();
    let link = directory.join(soname);
    std::os::unix::fs::symlink(file.file_name().unwrap(), link).unwrap();
}

/// A bundle whose image has CUDA 12.6 with compatibility libraries of that version.
fn bundle(host: &GpuHost, kind: Kind, version: &str, note: Option<&str>) -> Bundle {
    let bundle = host.bundle(kind, &ENV).unwrap();
    let root = &bundle.rootfs.path;
    let directory = root.join(DIRECTORY);
    library(&directory, "libcuda.so.1", version, note);
    library(&directory, "libnvidia-ptxjitcompiler.so.1", version, None);
    std::os::unix::fs::symlink("/usr/local/cuda-12.6", root.join("usr/local/cuda")).unwrap();
    bundle
}

fn host(model: &str) -> GpuHost {
    GpuHost::with(|dir| {
        let mut spec = HostSpec::named("run-1").unwrap();
        spec.gpus.model = model.to_owned();
        spec.driver.as_mut().unwrap().version = DRIVER.to_owned();
        spec.create(dir).map(drop).unwrap();
        Ok(())
    })
    .unwrap()
}

const DRIVER: &str = "550.163.01";

/// (GPU, version of the image's libraries, its note, whether they are used, words of the reason)
type Row = (
    &'static str,
    &'static str,
    Option<&'static str>,
    bool,
    &'static str,
);

const ROWS: &[Row] = &[
    (
        "h100",
        "560.35.03",
        Some(r#"{"format": 1, "CUDA version": "12.6", "driver": [470, 535, 550], "device": []}"#),
        true,
        "560.35.03",
    ),
    ("h100", "560.35.03", None, true, "560.35.03"),
    (
        "h100",
        "560.35.03",
        Some(r#"{"driver": [470, 535]}"#),
        false,
        "it is for drivers of the branches 470, 535, and this one is 550.163.01",
    ),
    (
        "h100",
        "550.54.15",
        Some(r#"{"driver": [550]}"#),
        false,
        "it is 550.54.15, no newer than the driver, 550.163.01",
    ),
    (
        "geforce-rtx-4090",
        "560.35.03",
        None,
        false,
        "it works on data-centre GPUs only",
    ),
];

#[test]
fn the_loader_finds_the_image_s_libcuda_where_it_fits() {
    let runtimes = [
        Runtime::runc(CgroupMode::V1).unwrap(),
        Runtime::crun(CgroupMode::V1).unwrap(),
    ];
    let sonames = [
        "libcuda.so.1",
        "libcuda.so",
        "libnvidia-ptxjitcompiler.so.1",
        "libnvidia-ml.so.1",
    ];
    let arguments: Vec<&str> = sonames.iter().flat_map(|s| ["--dlopen", s]).collect();
    for (model, version, note, used, _) in ROWS {
        let host = host(model);
        for (runtime, stage) in runtimes.iter().zip(STAGES) {
            for kind in [Kind::Bookworm, Kind::Lib64] {
                let what = format!("{model} {version} {note:?}, {runtime}, {kind:?}");
                let bundle = bundle(&host, kind, version, *note);
                let report = host.run(runtime, bundle, stage, &arguments).unwrap();
                for soname in sonames {
                    let Loaded::Found {
                        version: Some(found),
                        ..
                    } = report.dlopen(soname)
                    else {
                        panic!("{what}: {soname}: {:?}", report.dlopen(soname));
                    };
                    let of_image = *used && soname != "libnvidia-ml.so.1";
                    let expected = if of_image { version } else { &DRIVER };
                    assert!(found.contains(expected), "{what}: {soname} is {found}");
                }
            }
        }
        host.assert_untouched().unwrap();
    }
}

#[test]
fn the_plan_says_why() {
    for (model, version, note, used, reason) in ROWS {
        let host = host(model);
        let bundle = bundle(&host, Kind::Bookworm, version, *note);
        let plan = planned(&host.root, &bundle.rootfs.path, &ENV).unwrap();
        let loader = &plan.actions.last().unwrap().why;
        let first = "come first, for they are made for this driver";
        assert_eq!(loader.contains(first), *used, "{loader}");
        let about = "/usr/local/cuda/compat: the image's newer CUDA";
        let skipped = plan.skipped.iter().find(|s| s.what == about);
        match used {
            true => assert!(loader.contains(reason), "{loader}"),
            false => assert!(skipped.unwrap().why.contains(reason), "{skipped:?}"),
        }
        assert_eq!(skipped.is_none(), *used, "{skipped:?}");
    }
}

/// `cuda-compat = false`, and NVIDIA's word for it.
#[test]
fn the_administrator_can_turn_it_off() {
    let host = host("h100");
    let runtime = Runtime::runc(CgroupMode::V1).unwrap();
    for (path, text) in [
        ("etc/oci-gpu/config.toml", "cuda-compat = false\n"),
        (
            "etc/nvidia-container-runtime/config.toml",
            "[nvidia-container-runtime.modes.legacy]\ncuda-compat-mode = \"disabled\"\n",
        ),
    ] {
        let file = host.root.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        let bundle = bundle(&host, Kind::Bookworm, "560.35.03", None);
        let report = host
            .run(&runtime, bundle, STAGES[0], &["--dlopen", "libcuda.so.1"])
            .unwrap();
        let Loaded::Found {
            version: Some(found),
            ..
        } = report.dlopen("libcuda.so.1")
        else {
            panic!("{path}");
        };
        assert!(found.contains(DRIVER), "{path}: {found}");
        fs::remove_file(&file).unwrap();
    }
}

/// What an image has there may be anything.
#[test]
fn hostile_directories_change_nothing() {
    let host = host("h100");
    let runtime = Runtime::runc(CgroupMode::V1).unwrap();
    type Make = fn(&Path);
    let shapes: &[(&str, Make)] = &[
        ("two versions", |dir| {
            library(dir, "libcuda.so.1", "560.35.03", None);
            fs::write(dir.join("libcuda.so.570.1.1"), "x").unwrap();
        }),
        ("garbage", |dir| {
            fs::create_dir_all(dir).unwrap();
            fs::write(dir.join("libcuda.so.560.35.03"), vec![0x7f; 5000]).unwrap();
        }),
        ("a FIFO", |dir| {
            fs::create_dir_all(dir).unwrap();
            let mode = nix::sys::stat::Mode::S_IRWXU;
            nix::unistd::mkfifo(&dir.join("libcuda.so.560.35.03"), mode).unwrap();
        }),
        ("a link out", |dir| {
            fs::create_dir_all(dir.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink("/../../../../../..", dir).unwrap();
        }),
        ("a soname with a path", |dir| {
            library(dir, "libcuda.so.1", "560.35.03", None);
            let odd = dir.join("odd");
            library(&odd, "libx.so.1", "560.35.03", None);
            fs::rename(odd.join("libx.so.560.35.03"), dir.join("libx.so.560.35.03")).unwrap();
            fs::write(dir.join("libcuda.so.9.9"), "").unwrap();
        }),
        ("10,000 files", |dir| {
            fs::create_dir_all(dir).unwrap();
            for n in 0..10_000 {
                fs::write(dir.join(format!("libcuda.so.560.{n}")), "").unwrap();
            }
        }),
    ];
    for (what, make) in shapes {
        let bundle = host
            .bundle(Kind::Bookworm, &["NVIDIA_VISIBLE_DEVICES=0"])
            .unwrap();
        make(&bundle.rootfs.path.join("usr/local/cuda/compat"));
        let report = host
            .run(&runtime, bundle, STAGES[1], &["--dlopen", "libcuda.so.1"])
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        let Loaded::Found {
            version: Some(found),
            ..
        } = report.dlopen("libcuda.so.1")
        else {
            panic!("{what}: {:?}", report.dlopen("libcuda.so.1"));
        };
        assert!(found.contains(DRIVER), "{what}: {found}");
    }
    host.assert_untouched().unwrap();
}
