//! The nodes that the hook would make for a container are those that its plan has.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use oci_gpu::container::ContainerFacts;
use oci_gpu::discover::needed_nodes;
use oci_gpu::plan::Operation;
use oci_gpu::request::Devices;
use oci_gpu::{Capability, CapabilitySet, Plan, Request, discover, select};
use oci_gpu_sim::HostSpec;
use oci_gpu_tests::scratch::Scratch;
use oci_gpu_tests::sim::SimHost;
use oci_gpu_tests::tree::Tree;
use serde_json::json;

use crate::ran::run_on;

/// For every set of capabilities that decides about nodes, whole GPUs, instances, channels and
/// everything.
#[test]
fn what_is_made_is_what_the_plan_has() {
    let mut spec = HostSpec::named("run-8-mig").unwrap();
    spec.imex_channels = vec![0, 7];
    let host = SimHost::of(spec).unwrap();
    let inventory = discover(&host.host()).unwrap();
    let facts = ContainerFacts::of(|path| path == "/proc/driver/nvidia");
    let choice = [
        Capability::Compute,
        Capability::Display,
        Capability::Graphics,
        Capability::Video,
    ];
    for bits in 0..16_u8 {
        let chosen = choice
            .iter()
            .enumerate()
            .filter(|(i, _)| bits & (1 << i) != 0);
        let capabilities: CapabilitySet = chosen.map(|(_, c)| *c).collect();
        for devices in ["all", "none", "0,3", "1:0,4:2", "6"] {
            for (channels, management) in [(&[][..], false), (&[0, 7], false), (&[], true)] {
                let devices_asked = match devices {
                    "all" => Devices::All,
                    "none" => Devices::DriverOnly,
                    list => Devices::List(list.split(',').map(|id| id.parse().unwrap()).collect()),
                };
                let mut request = Request::new(devices_asked, capabilities, "test");
                request.imex_channels = channels.to_vec();
                request.management = management;
                let grant = select(&inventory, &request).unwrap();
                let plan = Plan::new(&inventory, &grant, &facts).unwrap();
                let planned: BTreeSet<(PathBuf, bool)> = plan
                    .actions
                    .iter()
                    .filter_map(|a| match &a.what {
                        // DRM's nodes are the kernel's own business.
                        Operation::Device { source, .. } if !source.starts_with("/dev/dri") => {
                            Some((source.clone(), a.required))
                        }
                        _ => None,
                    })
                    .collect();
                let needed = needed_nodes(&host.host(), &request).unwrap().into_iter();
                let needed: BTreeSet<_> = needed.map(|n| (n.node.path, n.required)).collect();
                let what = format!("{capabilities:?} {devices} {channels:?} {management}");
                assert_eq!(needed, planned, "{what}");
            }
        }
    }
}

/// `explain` tells what the hook would do: the nodes that it would make are in the plan, and said to
/// be made.
#[test]
fn explain_counts_on_the_nodes_that_the_hook_makes() {
    for (name, env, made, devices) in [
        ("microvm-1", &["NVIDIA_VISIBLE_DEVICES=all"][..], 4, 4),
        (
            "run-8",
            &["NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_IMEX_CHANNELS=7"],
            1,
            5,
        ),
        ("run-8", &["NVIDIA_VISIBLE_DEVICES=0"], 0, 4),
    ] {
        let host = SimHost::named(name).unwrap();
        let bundle = Scratch::new().unwrap();
        fs::create_dir(bundle.path().join("rootfs")).unwrap();
        let config = json!({
            "ociVersion": "1.0.2", "root": {"path": "rootfs"}, "process": {"env": env},
        });
        fs::write(bundle.path().join("config.json"), config.to_string()).unwrap();
        let path = bundle.path().to_str().unwrap();
        let args = ["explain", "--bundle", path, "--format", "json"];
        if made > 0 {
            let ran = run_on(host.root(), &args);
            assert_eq!(ran.code, Some(1), "{name} without the key: {ran:?}");
        }
        fs::create_dir_all(host.on_disk("/etc/oci-gpu")).unwrap();
        let key = "create-device-nodes = true\n";
        fs::write(host.on_disk("/etc/oci-gpu/config.toml"), key).unwrap();
        let before = Tree::of(host.root()).unwrap();
        let value = run_on(host.root(), &args).json(name);
        let items = value["items"].as_array().unwrap();
        let planned = items.iter().filter(|i| i["kind"] == "device").count();
        assert_eq!(planned, devices, "{name}: {value:#}");
        let errors = value["errors"].as_array().unwrap();
        assert_eq!(errors.len(), made, "{name}: {errors:#?}");
        for error in errors {
            let message = error["message"].as_str().unwrap();
            assert!(message.contains("the hook makes it first"), "{message}");
        }
        assert_eq!(before.changes_to(&Tree::of(host.root()).unwrap()), [""; 0]);
    }
}

/// Tegra's and WSL2's kernels make their nodes themselves: the key changes nothing there.
#[test]
fn platforms_that_make_their_own_nodes_need_none() {
    for name in ["jetson-orin", "wsl-1"] {
        let host = SimHost::named(name).unwrap();
        let request = Request::new(Devices::All, CapabilitySet::all(), "test");
        let needed = needed_nodes(&host.host(), &request).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(needed.is_empty(), "{name}: {needed:?}");
    }
}
