//! Genuine driver files: where they are, and what they answer without a GPU.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail the test"
)]

use std::fs;
use std::path::Path;

use oci_gpu_tests::driver::{Branch, Layout, driver_root, kept_driver_root};
use oci_gpu_tests::probe::Loaded;
use oci_gpu_tests::rootfs::{Kind, Rootfs};
use oci_gpu_tests::runtime::{CgroupMode, Runtime};
use oci_gpu_tests::setting::Setting;
use oci_gpu_tests::skip;

/// The links are those that installing the packages makes (compared once with a real Debian 12).
#[test]
fn driver_roots_are_laid_out_as_their_makers_do() {
    let setting = Setting::new().unwrap();
    for (branch, major) in [(Branch::R535, "535."), (Branch::R550, "550.")] {
        for layout in Layout::ALL {
            let what = format!("{branch:?} {layout:?}");
            let dir = setting.dir.path().join(&what);
            let tree = driver_root(&setting.debs, branch, layout, &dir).unwrap();
            assert!(tree.version.starts_with(major), "{what}: {}", tree.version);
            let chain = chain(
                &dir,
                &format!("{}/libcuda.so.1", layout.library_directory()),
            );
            let versioned = format!("libcuda.so.{}", tree.version);
            let expected = match layout {
                Layout::Debian => [
                    "/etc/alternatives/nvidia--libcuda.so.1-x86_64-linux-gnu",
                    "/usr/lib/x86_64-linux-gnu/nvidia/current/libcuda.so.1",
                    &versioned,
                ]
                .to_vec(),
                Layout::Run | Layout::Rpm => vec![&*versioned],
            };
            assert_eq!(chain, expected, "{what}");
            let smi = chain_end(&dir, "/usr/bin/nvidia-smi");
            assert!(fs::metadata(smi).unwrap().len() > 100_000, "{what}");

            // The loader of this host finds it by the cache that its own ldconfig made.
            let rootfs = Rootfs {
                kind: Kind::Bookworm,
                path: dir,
            };
            let report = setting
                .probe
                .run_chroot(&rootfs, &["--dlopen", "libcuda.so.1"])
                .unwrap();
            let Loaded::Found {
                path,
                version: None,
            } = report.dlopen("libcuda.so.1")
            else {
                panic!("{what}: {report:?}");
            };
            // `/lib` and `/usr/lib` are one; which the cache names is ldconfig's choice.
            let beneath_usr = |path: &str| path.trim_start_matches("/usr").to_owned();
            let expected = format!("{}/libcuda.so.1", layout.library_directory());
            assert_eq!(beneath_usr(&path), beneath_usr(&expected), "{what}");
        }
    }
}

/// Without a GPU the genuine libraries load, work and say so: cuInit returns
/// CUDA_ERROR_NO_DEVICE (cuda.h), nvmlInit_v2 NVML_ERROR_DRIVER_NOT_LOADED (nvml.h).
#[test]
fn genuine_libraries_answer_where_they_are_and_fail_where_they_are_not() {
    const INIT: [&str; 2] = ["libcuda.so.1:cuInit", "libnvidia-ml.so.1:nvmlInit_v2"];
    let arguments: Vec<_> = INIT
        .iter()
        .flat_map(|function| ["--call", function])
        .collect();
    let setting = Setting::new().unwrap();
    let runtimes = [Runtime::runc(CgroupMode::V1), Runtime::crun(CgroupMode::V1)];
    for runtime in runtimes.map(Result::unwrap) {
        if let Some(reason) = runtime.impossible() {
            skip!("genuine libraries", &reason);
        }
        for (branch, kind) in Branch::ALL
            .iter()
            .flat_map(|branch| Kind::GLIBC.map(|kind| (*branch, kind)))
        {
            let what = format!("{runtime}, {kind:?}, {branch:?}");
            let bundle = setting.bundle(&what, kind).unwrap();
            let report = setting
                .probe
                .run(&runtime, bundle.clone(), &arguments)
                .unwrap();
            for function in INIT {
                let why = report.call(function).unwrap_err();
                assert!(
                    why.contains("cannot open shared object file"),
                    "{what}: {why}"
                );
            }

            let tree = kept_driver_root(&setting.debs, branch, Layout::Run).unwrap();
            let directory = kind.library_directory().unwrap();
            for name in ["libcuda.so", "libnvidia-ml.so"] {
                let file = format!(
                    "{}/{name}.{}",
                    Layout::Run.library_directory(),
                    tree.version
                );
                let content = fs::read(tree.dir.join(file.trim_start_matches('/'))).unwrap();
                bundle
                    .rootfs
                    .write(&format!("{directory}/{name}.1"), content)
                    .unwrap();
            }
            if kind == Kind::Lib64 {
                bundle.rootfs.ldconfig().unwrap();
            }
            let report = setting.probe.run(&runtime, bundle, &arguments).unwrap();
            assert_eq!(
                INIT.map(|function| report.call(function)),
                [Ok(100), Ok(9)],
                "{what}"
            );
        }
    }
}

/// Where each link from `path` on leads, as it is written; directories are not links here.
fn chain(root: &Path, path: &str) -> Vec<String> {
    let mut chain = Vec::new();
    let mut next = root.join(path.trim_start_matches('/'));
    while let Ok(target) = fs::read_link(&next) {
        next = match target.strip_prefix("/") {
            Ok(absolute) => root.join(absolute),
            Err(_) => next.with_file_name(&target),
        };
        chain.push(target.to_str().unwrap().to_owned());
    }
    chain
}

/// The file that `path` leads to in `root`.
fn chain_end(root: &Path, path: &str) -> std::path::PathBuf {
    let last = chain(root, path).pop().unwrap_or_else(|| path.to_owned());
    root.join(last.trim_start_matches('/'))
}
