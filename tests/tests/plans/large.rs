//! Large hosts: exactly the devices that were asked for, by every name that they have.

use std::sync::Arc;

use oci_gpu::finding::Code;
use oci_gpu::plan::Operation;
use oci_gpu::{Inventory, discover};
use oci_gpu_sim::HostSpec;
use oci_gpu_tests::large::{CHANNELS, channel_list, channels, gpus, mig};
use oci_gpu_tests::sim::SimHost;

use crate::rules::assert_rules;
use crate::scene::{Image, Planned, plan_in};

fn found(spec: HostSpec) -> Arc<Inventory> {
    Arc::new(discover(&SimHost::of(spec).unwrap().host()).unwrap())
}

fn planned(inventory: &Arc<Inventory>, env: &[&str]) -> Planned {
    plan_in(Arc::clone(inventory), env, false, Image::Debian)
        .unwrap_or_else(|e| panic!("{env:?}: {e}"))
}

/// The devices after the three that every container for computing has.
fn devices(inventory: &Arc<Inventory>, asked: &str) -> Vec<String> {
    let planned = planned(inventory, &[&format!("NVIDIA_VISIBLE_DEVICES={asked}")]);
    assert_rules(&planned, Image::Debian, asked);
    planned.devices().split_off(3)
}

fn node(minor: u32) -> String {
    format!("/dev/nvidia{minor} 195:{minor}")
}

/// Of 16 and of 64 GPUs: the first, the last, all, by each kind of name; the minor numbers run against
/// the order of the bus.
#[test]
fn one_of_many_gpus_by_every_name() {
    for count in [16, 64] {
        let spec = gpus(count).unwrap();
        let list = spec.gpu_list().unwrap();
        let inventory = found(spec);
        for index in [0, 1, count / 2, count - 1] {
            let gpu = &list[index as usize];
            let minor = count - 1 - index;
            assert_eq!(gpu.minor, minor, "{index}");
            let short = gpu.bus_id.trim_start_matches("0000:").to_owned();
            for name in [
                index.to_string(),
                gpu.uuid.clone(),
                // "GPU-" and four characters are enough, in either case.
                gpu.uuid[..8].to_ascii_lowercase(),
                gpu.uuid[..8].to_ascii_uppercase(),
                gpu.bus_id.clone(),
                format!("0000{}", gpu.bus_id.to_ascii_uppercase()),
                short,
                format!("nvidia.com/gpu={index}"),
                format!("{index},{}", gpu.uuid),
            ] {
                assert_eq!(devices(&inventory, &name), [node(minor)], "{count}: {name}");
            }
        }
        let all: Vec<String> = (0..count).rev().map(node).collect();
        assert_eq!(devices(&inventory, "all"), all);
        let each: Vec<String> = (0..count).map(|i| i.to_string()).collect();
        assert_eq!(devices(&inventory, &each.join(",")), all);
        let uuids: Vec<String> = list.iter().rev().map(|g| g.uuid.clone()).collect();
        assert_eq!(devices(&inventory, &uuids.join(",")), all);
        let beyond = format!("NVIDIA_VISIBLE_DEVICES={count}");
        let error = plan_in(Arc::clone(&inventory), &[&beyond], false, Image::Debian);
        assert_eq!(
            error.err().map(|e| e.code),
            Some(Code::UnknownDevice),
            "{count}"
        );
    }
}

/// Of 8 times 7 instances: the first, the last, all of one GPU, all.
#[test]
fn one_of_fifty_six_instances_by_every_name() {
    let spec = mig(8).unwrap();
    let list = spec.gpu_list().unwrap();
    let inventory = found(spec);
    // The kernel's table, nv-caps.c: 3 before, 15 GPU instances with 8 compute instances.
    let of = |gpu: u32, place: u32| {
        let minor = 3 + (gpu * 15 + 7 + place) * 9;
        let cap = |m: u32| format!("/dev/nvidia-caps/nvidia-cap{m} 237:{m}");
        [cap(minor), cap(minor + 1)]
    };
    for (gpu, place) in [(0, 0), (0, 6), (3, 2), (7, 0), (7, 6)] {
        let uuid = &list[gpu as usize].uuid;
        let mut expected = vec![node(gpu)];
        expected.extend(of(gpu, place));
        for name in [
            format!("{gpu}:{place}"),
            format!("nvidia.com/gpu={gpu}:{place}"),
            format!("MIG-{uuid}/{}/0", place + 7),
        ] {
            assert_eq!(devices(&inventory, &name), expected, "{name}");
        }
    }
    let one: Vec<String> = (0..7).flat_map(|place| of(5, place)).collect();
    assert_eq!(devices(&inventory, "5"), [vec![node(5)], one].concat());
    let mut all: Vec<String> = (0..8).map(node).collect();
    all.extend((0..8).flat_map(|gpu| (0..7).flat_map(move |place| of(gpu, place))));
    assert_eq!(devices(&inventory, "all"), all);
}

/// Of 2,048 channels: the first, the last, all, and those that manage the host's; none that was not
/// asked for.
#[test]
fn imex_channels_of_a_host_that_has_them_all() {
    let inventory = found(channels(CHANNELS).unwrap());
    let node = |id: u32| format!("/dev/nvidia-caps-imex-channels/channel{id} 234:{id}");
    let asked = |list: &str| {
        let list = format!("NVIDIA_IMEX_CHANNELS={list}");
        let planned = planned(&inventory, &["NVIDIA_VISIBLE_DEVICES=none", &list]);
        assert_rules(&planned, Image::Debian, &list);
        planned.devices().split_off(3)
    };
    assert_eq!(asked("0"), [node(0)]);
    assert_eq!(asked("2047"), [node(2047)]);
    assert_eq!(asked("2047,0"), [node(0), node(2047)]);
    let all: Vec<String> = (0..CHANNELS).map(node).collect();
    assert_eq!(asked(&channel_list(CHANNELS)), all);

    // Every device has a place of its own, though each is asked for twice.
    let twice = format!("{},{}", channel_list(CHANNELS), channel_list(CHANNELS));
    assert_eq!(asked(&twice), all);
    let list = format!("NVIDIA_IMEX_CHANNELS={CHANNELS}");
    let env = ["NVIDIA_VISIBLE_DEVICES=none", &list];
    let error = plan_in(Arc::clone(&inventory), &env, false, Image::Debian);
    let error = error.err().unwrap();
    assert!(error.to_string().contains("2048"), "{error}");

    let planned = planned(&inventory, &["NVIDIA_VISIBLE_DEVICES=all"]);
    let is_channel = |what: &Operation| {
        what.target()
            .is_some_and(|t| t.starts_with("/dev/nvidia-caps-imex-channels"))
    };
    assert!(!planned.plan.actions.iter().any(|a| is_channel(&a.what)));
}
