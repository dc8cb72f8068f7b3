//! Containers that get everything of large hosts: 64 GPUs, 56 MIG instances, 2,048 IMEX channels.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use oci_gpu_sim::HostSpec;
use oci_gpu_tests::bundle::Stage;
use oci_gpu_tests::error::Context;
use oci_gpu_tests::gpu::GpuHost;
use oci_gpu_tests::large::{CHANNELS, channel_list, channels, gpus, mig};
use oci_gpu_tests::probe::Report;
use oci_gpu_tests::rootfs::Kind;
use oci_gpu_tests::runtime::{CgroupMode, Runtime};

/// The runtimes, with device rules of version 1 and of version 2 each.
fn runtimes(host: &GpuHost) -> Vec<Runtime> {
    let all = Runtime::all(&host.setting.debs).unwrap();
    let ruled = all
        .into_iter()
        .filter(|r| r.cgroups != CgroupMode::Disabled);
    ruled.collect()
}

fn host(spec: &HostSpec) -> GpuHost {
    GpuHost::with(|dir| spec.create(dir).map(drop).during("make the host")).unwrap()
}

/// Runs a container with `env` under every runtime. Every one of `nodes` can be opened, which the
/// device cgroup would deny without a rule; `/planted`, of a number that nobody was given, cannot.
fn check(host: &GpuHost, env: &[&str], nodes: &[String], look: impl Fn(&Report, &str)) {
    for runtime in runtimes(host) {
        let what = runtime.to_string();
        let mut bundle = host.bundle(Kind::Bookworm, env).unwrap();
        // Permission bits, which are the read-only ones of MIG, do not hold root back: rules do.
        bundle.capabilities.push("CAP_DAC_OVERRIDE");
        let planted = bundle.rootfs.on_host("/planted");
        let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
        let device = nix::sys::stat::makedev(195, 200);
        nix::sys::stat::mknod(&planted, nix::sys::stat::SFlag::S_IFCHR, mode, device).unwrap();
        let mut ask: Vec<&str> = nodes.iter().flat_map(|n| ["--open", n.as_str()]).collect();
        ask.extend(["--open", "/planted", "--list", "/proc/driver/nvidia/gpus"]);
        let report = host
            .run(&runtime, bundle, Stage::CreateRuntime, &ask)
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        for node in nodes {
            assert_eq!(report.open(node), "ENXIO", "{what}: {node}");
        }
        assert_eq!(report.open("/planted"), "EPERM", "{what}");
        look(&report, &what);
    }
    host.assert_untouched().unwrap();
}

#[test]
fn sixty_four_gpus_in_one_container() {
    let host = host(&gpus(64).unwrap());
    let nodes: Vec<String> = (0..64).map(|minor| format!("/dev/nvidia{minor}")).collect();
    check(
        &host,
        &["NVIDIA_VISIBLE_DEVICES=all"],
        &nodes,
        |report, what| {
            assert_eq!(
                report.list("/proc/driver/nvidia/gpus").unwrap().len(),
                64,
                "{what}"
            );
        },
    );
}

#[test]
fn fifty_six_mig_instances_in_one_container() {
    let host = host(&mig(8).unwrap());
    let mut nodes = Vec::new();
    for gpu in 0..8 {
        nodes.push(format!("/dev/nvidia{gpu}"));
        for gi in 7..14 {
            // The kernel's table, nv-caps.c: 3 before, 15 GPU instances with 8 compute instances.
            let minor = 3 + (gpu * 15 + gi) * 9;
            nodes.extend([minor, minor + 1].map(|m| format!("/dev/nvidia-caps/nvidia-cap{m}")));
        }
    }
    assert_eq!(nodes.len(), 8 + 2 * 56);
    check(
        &host,
        &["NVIDIA_VISIBLE_DEVICES=all"],
        &nodes,
        |report, what| {
            assert_eq!(
                report.list("/proc/driver/nvidia/gpus").unwrap().len(),
                8,
                "{what}"
            );
        },
    );
}

#[test]
fn all_imex_channels_in_one_container() {
    let host = host(&channels(CHANNELS).unwrap());
    let nodes: Vec<String> = (0..CHANNELS)
        .map(|id| format!("/dev/nvidia-caps-imex-channels/channel{id}"))
        .collect();
    let asked = format!("NVIDIA_IMEX_CHANNELS={}", channel_list(CHANNELS));
    check(
        &host,
        &["NVIDIA_VISIBLE_DEVICES=0", &asked],
        &nodes,
        |report, what| {
            assert_eq!(
                report.list("/proc/driver/nvidia/gpus").unwrap().len(),
                1,
                "{what}"
            );
        },
    );
}
