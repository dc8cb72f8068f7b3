//! A MIG UUID gets a container its instance: with a stored inventory, and not without.

use oci_gpu_sim::HostSpec;
use oci_gpu_tests::bundle::Stage;
use oci_gpu_tests::error::Context;
use oci_gpu_tests::gpu::GpuHost;
use oci_gpu_tests::nvml::{StubNvml, mig_uuid};
use oci_gpu_tests::rootfs::Kind;
use oci_gpu_tests::runtime::{CgroupMode, Runtime};
use oci_gpu_tests::{binaries, probe};
use serde_json::Value;

use crate::ran::run_on;

fn host() -> GpuHost {
    let spec = HostSpec::named("run-8-mig").unwrap();
    GpuHost::with(|dir| {
        spec.create(dir).during("make the host")?;
        StubNvml::install(dir, &spec).map(drop)
    })
    .unwrap()
}

fn refresh(host: &GpuHost) {
    let helper = binaries::nvml().unwrap();
    let args = ["refresh", "--nvml-helper", helper.to_str().unwrap()];
    run_on(&host.root, &args).done("refresh");
}

/// Minor numbers of the two capability nodes of an instance, as the host tells them.
fn minors(host: &GpuHost, gpu: usize, gi: u64) -> [String; 2] {
    let list = run_on(&host.root, &["list", "--format", "json"]).json("list");
    let instances = list["gpus"][gpu]["mig"].as_array().unwrap();
    let instance = instances.iter().find(|m| m["gi"] == gi).unwrap();
    let name = |access: &str| -> String {
        let node: &Value = &instance[access]["node"]["minor"];
        format!("nvidia-cap{node}")
    };
    [name("giAccess"), name("ciAccess")]
}

/// Before `refresh` the hook refuses with the remedy; afterwards the container has the GPU's node
/// and those two capability nodes, and no others.
#[test]
fn a_mig_uuid_gets_exactly_its_instance_after_refresh() {
    let host = host();
    let runtime = Runtime::runc(CgroupMode::V1).unwrap();
    let env = format!("NVIDIA_VISIBLE_DEVICES={}", mig_uuid(1, 9, 0));
    let bundle = || host.bundle(Kind::Bookworm, &[&env]).unwrap();
    let refused = |words: &[&str]| {
        let ran = host
            .try_run(&runtime, &mut bundle(), Stage::CreateRuntime)
            .unwrap();
        assert!(!ran.success(), "{ran}");
        for word in ["OG0403", "oci-gpu refresh", "1:2"].iter().chain(words) {
            assert!(ran.stderr.contains(word), "{word} in {ran}");
        }
    };
    refused(&["is absent"]);
    refresh(&host);
    for stage in oci_gpu_tests::gpu::STAGES {
        let report = host
            .run(
                &runtime,
                bundle(),
                stage,
                &["--list", "/dev", "--list", "/dev/nvidia-caps"],
            )
            .unwrap();
        let mut caps = names(&report, "/dev/nvidia-caps");
        let mut wanted = minors(&host, 1, 9);
        caps.sort();
        wanted.sort();
        assert_eq!(caps, wanted, "{}", stage.name());
        let gpus: Vec<String> = names(&report, "/dev")
            .into_iter()
            .filter(|n| {
                n.strip_prefix("nvidia")
                    .is_some_and(|n| n.parse::<u32>().is_ok())
            })
            .collect();
        assert_eq!(gpus, ["nvidia1"], "{}", stage.name());
    }
    let boot_id = host.root.join("proc/sys/kernel/random/boot_id");
    std::fs::write(boot_id, "another").unwrap();
    refused(&["before the machine was last started"]);
}

fn names(report: &probe::Report, directory: &str) -> Vec<String> {
    let listed = report.list(directory).unwrap();
    listed.iter().map(|n| (*n).to_owned()).collect()
}

/// A requirement on the architecture holds once NVML has told it; before, the remedy is named.
#[test]
fn an_architecture_can_be_required_after_refresh() {
    let host = host();
    let runtime = Runtime::runc(CgroupMode::V1).unwrap();
    let run = |required: &str| {
        let env = ["NVIDIA_VISIBLE_DEVICES=0", required];
        let mut bundle = host.bundle(Kind::Bookworm, &env).unwrap();
        host.try_run(&runtime, &mut bundle, Stage::CreateRuntime)
            .unwrap()
    };
    let before = run("NVIDIA_REQUIRE_ARCH=arch>=9.0");
    assert!(!before.success(), "{before}");
    for word in ["OG0204", "oci-gpu refresh", "is not known"] {
        assert!(before.stderr.contains(word), "{word} in {before}");
    }
    refresh(&host);
    let after = run("NVIDIA_REQUIRE_ARCH=arch>=9.0");
    assert!(after.success(), "{after}");
    let more = run("NVIDIA_REQUIRE_ARCH=arch>=10.0");
    assert!(
        more.stderr.contains("GPU 0 has compute capability 9.0"),
        "{more}"
    );
}
