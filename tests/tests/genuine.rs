//! NVIDIA's genuine user-space libraries, from Debian's packages, put into containers by the hook.
//!
//! The oracle needs no GPU: in a container that was injected correctly libcuda's cuInit answers
//! CUDA_ERROR_NO_DEVICE (100, cuda.h) and NVML's init NVML_ERROR_DRIVER_NOT_LOADED (9, nvml.h); in
//! one that was not, dlopen fails.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use oci_gpu_sim::HostSpec;
use oci_gpu_tests::debs::Debs;
use oci_gpu_tests::driver::{Branch, Layout, driver_root};
use oci_gpu_tests::error::Context;
use oci_gpu_tests::gpu::{GpuHost, STAGES};
use oci_gpu_tests::rootfs::Kind;
use oci_gpu_tests::runtime::{CgroupMode, Runtime};

const INIT: [&str; 2] = ["libcuda.so.1:cuInit", "libnvidia-ml.so.1:nvmlInit_v2"];

/// A host with the genuine files of `branch` and the simulated kernel side that belongs to them.
fn host(branch: Branch, layout: Layout) -> GpuHost {
    let debs = Debs::new().unwrap();
    GpuHost::with(|dir| {
        std::fs::create_dir_all(dir).during("make the host")?;
        let tree = driver_root(&debs, branch, layout, dir)?;
        let mut spec = HostSpec::named("run-1").during("describe the host")?;
        if let Some(driver) = &mut spec.driver {
            driver.version = tree.version;
        }
        spec.create_kernel_side(dir)
            .map(drop)
            .during("make the kernel's side")
    })
    .unwrap()
}

#[test]
fn genuine_libraries_answer_in_containers_that_were_given_them() {
    let arguments: Vec<_> = INIT.iter().flat_map(|f| ["--call", f]).collect();
    let runtimes = [
        Runtime::runc(CgroupMode::V1).unwrap(),
        Runtime::crun(CgroupMode::V1).unwrap(),
    ];
    for (branch, layout) in Branch::ALL
        .into_iter()
        .flat_map(|b| Layout::ALL.map(|l| (b, l)))
    {
        let host = host(branch, layout);
        for kind in Kind::GLIBC {
            for (runtime, stage) in runtimes.iter().zip(STAGES) {
                let what = format!(
                    "{branch:?}, {layout:?}, {kind:?}, {runtime}, {}",
                    stage.name()
                );
                let bundle = host.bundle(kind, &["NVIDIA_VISIBLE_DEVICES=all"]).unwrap();
                let report = host
                    .run(runtime, bundle, stage, &arguments)
                    .unwrap_or_else(|e| panic!("{what}: {e}"));
                assert_eq!(INIT.map(|f| report.call(f)), [Ok(100), Ok(9)], "{what}");

                let bundle = host.bundle(kind, &["NVIDIA_VISIBLE_DEVICES=void"]).unwrap();
                let report = host.run(runtime, bundle, stage, &arguments).unwrap();
                for function in INIT {
                    let why = report.call(function).unwrap_err();
                    assert!(
                        why.contains("cannot open shared object file"),
                        "{what}: {why}"
                    );
                }
            }
        }
        host.assert_untouched().unwrap();
    }
}

/// nvidia-smi of the host runs in the container and finds NVML there.
#[test]
fn genuine_nvidia_smi_runs_in_the_container() {
    let host = host(Branch::R550, Layout::Debian);
    let runtime = Runtime::runc(CgroupMode::V1).unwrap();
    let mut bundle = host
        .bundle(Kind::Bookworm, &["NVIDIA_VISIBLE_DEVICES=all"])
        .unwrap();
    bundle.args = vec!["/usr/bin/nvidia-smi".to_owned()];
    let output = host.try_run(&runtime, &mut bundle, STAGES[1]).unwrap();
    assert!(
        output
            .stdout
            .contains("couldn't communicate with the NVIDIA driver"),
        "{output:?}"
    );
}
