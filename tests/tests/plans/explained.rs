//! What `explain` tells is what the plan does, in the documented shape.

use std::collections::BTreeMap;
use std::sync::Arc;

use oci_gpu::explain::Explanation;
use oci_gpu::finding::Code;
use oci_gpu::plan::{Action, Operation};
use oci_gpu::{Plan, Policy, Request, select};
use oci_gpu_tests::explained::check_shape;
use serde_json::Value;

use crate::rules::{assert_classes, assert_rules};
use crate::scene::{Image, Planned, container, inventory};

const HOSTS: [&str; 12] = [
    "aarch64-1",
    "cos-1",
    "debian-8",
    "debian-decoy",
    "driver-container-8",
    "flat-1",
    "microvm-1",
    "nixos-1",
    "no-devices",
    "rpm-8",
    "run-8",
    "run-8-mig",
];

const ENVIRONMENTS: [&[&str]; 12] = [
    &["NVIDIA_VISIBLE_DEVICES=all"],
    &["NVIDIA_VISIBLE_DEVICES=none"],
    &["NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_DRIVER_CAPABILITIES=all"],
    &["NVIDIA_VISIBLE_DEVICES=0,0,1:0"],
    &[
        "NVIDIA_VISIBLE_DEVICES=all",
        "NVIDIA_DRIVER_CAPABILITIES=utility",
    ],
    &[
        "NVIDIA_VISIBLE_DEVICES=all",
        "NVIDIA_DRIVER_CAPABILITIES=graphics,display",
    ],
    &[
        "NVIDIA_VISIBLE_DEVICES=all",
        "NVIDIA_DRIVER_CAPABILITIES=video,compat32",
    ],
    &["NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_IMEX_CHANNELS=0,1"],
    &[
        "NVIDIA_VISIBLE_DEVICES=all",
        "NVIDIA_REQUIRE_CUDA=cuda>=11.0 driver>=535",
    ],
    &[
        "NVIDIA_VISIBLE_DEVICES=all",
        "NVIDIA_REQUIRE_CUDA=cuda>=99.0",
    ],
    &[
        "NVIDIA_VISIBLE_DEVICES=all",
        "NVIDIA_DRIVER_CAPABILITIES=magic",
    ],
    &["PATH=/bin"],
];

/// As the command goes: as far as it can.
fn explain(host: &str, env: &[&str], image: Image) -> (Explanation, Option<Planned>) {
    let mut explanation = Explanation::new();
    let inventory = inventory(host);
    let asked = match Request::read(&container(env, false), &Policy::default()) {
        Ok(asked) => asked,
        Err(finding) => {
            explanation.error(&finding);
            return (explanation, None);
        }
    };
    let Some(request) = asked.request else {
        return (explanation, None);
    };
    explanation.request(&request);
    explanation.inventory(&inventory);
    let planned = select(&inventory, &request).and_then(|grant| {
        explanation.grant(&grant);
        let plan = Plan::new(&inventory, &grant, &image.facts())?;
        Ok(Planned {
            inventory: Arc::clone(&inventory),
            request,
            grant,
            plan,
        })
    });
    match planned {
        Ok(planned) => {
            explanation.plan(&planned.plan);
            (explanation, Some(planned))
        }
        Err(finding) => {
            explanation.error(&finding);
            (explanation, None)
        }
    }
}

/// On every host, for every environment, in every image: the shape, and what holds for each plan.
#[test]
fn every_explanation_has_the_documented_shape() {
    let (mut plans, mut refusals) = (0, 0);
    for host in HOSTS {
        for env in ENVIRONMENTS {
            for image in Image::ALL {
                let what = format!("{host}, {env:?}, {image:?}");
                let (explanation, planned) = explain(host, env, image);
                let value = serde_json::to_value(&explanation).unwrap();
                check_shape(&value).unwrap_or_else(|e| panic!("{what}: {e}"));
                let errors = value["errors"].as_array().unwrap().len();
                match &planned {
                    Some(planned) => {
                        plans += 1;
                        assert_eq!(errors, 0, "{what}");
                        assert_rules(planned, image, &what);
                        assert_classes(planned, image, &what);
                        assert_items(planned, &value, &what);
                    }
                    None => {
                        let asks = env[0] != "PATH=/bin";
                        refusals += usize::from(asks);
                        assert_eq!(errors, usize::from(asks), "{what}");
                        assert_eq!(value["items"].as_array().unwrap().len(), 0, "{what}");
                    }
                }
            }
        }
    }
    assert!(
        plans > 250 && refusals > 100,
        "{plans} plans, {refusals} refusals"
    );
}

/// Each action is told, nothing else is.
fn assert_items(planned: &Planned, value: &Value, what: &str) {
    let mut told: BTreeMap<&str, usize> = BTreeMap::new();
    for item in value["items"].as_array().unwrap() {
        *told.entry(item["kind"].as_str().unwrap()).or_default() += 1;
    }
    let mut done: BTreeMap<&str, usize> = BTreeMap::new();
    for action in &planned.plan.actions {
        let (kind, count) = items_of(action);
        if count > 0 {
            *done.entry(kind).or_default() += count;
        }
    }
    assert_eq!(told, done, "{what}");
    let gpus: Vec<u64> = value["gpus"]
        .as_array()
        .unwrap()
        .iter()
        .map(|g| g["index"].as_u64().unwrap())
        .collect();
    let granted: Vec<u64> = planned.grant.gpus.iter().map(|g| g.index.into()).collect();
    assert_eq!(gpus, granted, "{what}");
    let capabilities = &value["request"]["capabilities"];
    let asked: Vec<&str> = planned
        .request
        .capabilities
        .iter()
        .map(|c| c.as_str())
        .collect();
    assert_eq!(*capabilities, serde_json::json!(asked), "{what}");
}

/// The kind of an action's items, and how many it has.
fn items_of(action: &Action) -> (&'static str, usize) {
    use oci_gpu::plan::BindKind::{
        Binary, Config, Data, Directory, Firmware, Library, Module, Proc, Socket, Tree,
    };
    match &action.what {
        Operation::Device { .. } => ("device", 1),
        Operation::Bind { kind, .. } => match kind {
            Library => ("library", 1),
            Binary => ("binary", 1),
            Firmware => ("firmware", 1),
            Socket => ("socket", 1),
            Directory | Data | Tree => ("dir", 1),
            Config | Module => ("file", 1),
            Proc => ("proc", 1),
        },
        Operation::Symlink { .. } => ("symlink", 1),
        // params, version and registry; mount points of others are empty.
        Operation::Files { target, .. } if target.starts_with("/proc") => ("proc", 3),
        Operation::Files { .. } => ("file", 1),
        Operation::LdCache {
            entries,
            directories,
        } => match entries.is_empty() {
            true => ("ldcache", directories.len()),
            false => ("ldcache", entries.len()),
        },
        Operation::Group { .. } => ("group", 1),
        Operation::Env { .. } => panic!("{action:?}"),
    }
}

#[test]
fn an_explanation_names_request_gpus_items_and_refusals() {
    let env = [
        "NVIDIA_VISIBLE_DEVICES=GPU-5da2",
        "NVIDIA_DRIVER_CAPABILITIES=utility",
        "NVIDIA_REQUIRE_CUDA=cuda>=12.0",
    ];
    let (explanation, _) = explain("debian-decoy", &env, Image::Debian);
    let value = serde_json::to_value(&explanation).unwrap();
    assert_eq!(
        value["request"],
        serde_json::json!({
            "devices": ["GPU-5da2"],
            "capabilities": ["utility"],
            "requirements": ["NVIDIA_REQUIRE_CUDA=cuda>=12.0"],
            "imexChannels": [],
            "source": "NVIDIA_VISIBLE_DEVICES",
        })
    );
    assert_eq!(
        value["gpus"],
        serde_json::json!([{
            "index": 1,
            "uuid": "GPU-5da2ac1f-1d5e-4f0c-9a3b-a0b1c2d3e401",
            "minor": 1,
            "busId": "0000:1b:00.0",
            "model": "NVIDIA A100-SXM4-80GB",
        }])
    );
    let item = |kind: &str, target: &str| {
        let items = value["items"].as_array().unwrap();
        let found = items
            .iter()
            .find(|i| i["kind"] == kind && i["target"] == target);
        found.unwrap_or_else(|| panic!("{kind} {target}")).clone()
    };
    let lib = "/usr/lib/x86_64-linux-gnu";
    let file = "libnvidia-ml.so.550.163.01";
    let library = item("library", &format!("{lib}/{file}"));
    assert_eq!(library["source"], format!("{lib}/nvidia/current/{file}"));
    assert_eq!(library["required"], true);
    assert_eq!(
        library["why"],
        format!("capability utility; {lib}/nvidia/current of well-known directory")
    );
    let link = item("symlink", &format!("{lib}/libnvidia-ml.so.1"));
    assert_eq!(link["source"], file);
    let cache = item("ldcache", &format!("{lib}/{file}"));
    assert_eq!(cache["source"], "libnvidia-ml.so.1");
    let smi = item("binary", "/usr/bin/nvidia-smi");
    assert_eq!(smi["source"], "/usr/lib/nvidia/current/nvidia-smi");
    assert!(item("proc", "/proc/driver/nvidia/params")["source"].is_null());
    let node = item("device", "/dev/nvidia1");
    assert_eq!(node["why"], "GPU 1 (NVIDIA A100-SXM4-80GB)");
    let skipped = value["skipped"].as_array().unwrap();
    let why = |what: &str| {
        let found = skipped
            .iter()
            .find(|s| s["what"].as_str().unwrap().ends_with(what));
        found.unwrap_or_else(|| panic!("{what}"))["why"].clone()
    };
    assert_eq!(
        why("libcuda.so.535.261.03"),
        "ld.so.cache: its version is 535.261.03, the kernel's is 550.163.01"
    );
    assert_eq!(
        why("libcuda.so.550.163.01"),
        "it is for compute,video, which was not asked for"
    );
    assert_eq!(
        why("/dev/nvidia-uvm"),
        "it is for capability compute or video, which was not asked for"
    );
}

/// Text for a person: every part of it on its lines, what was left out only where it is asked for.
#[test]
fn the_text_counts_what_it_leaves_out() {
    let (explanation, planned) = explain("debian-8", &["NVIDIA_VISIBLE_DEVICES=0"], Image::Debian);
    let short = explanation.text(false);
    let long = explanation.text(true);
    let begin = |text: &str, word: &str| text.lines().filter(|l| l.starts_with(word)).count();
    assert_eq!(
        begin(&short, "request: devices 0; capabilities compute,utility"),
        1
    );
    assert_eq!(
        begin(&short, "gpu 0: NVIDIA H100 80GB HBM3, GPU-5ca1ab1e-"),
        1
    );
    let devices = planned.unwrap().devices().len();
    assert_eq!(begin(&short, "device "), devices);
    assert_eq!(begin(&short, "skipped "), 1);
    let value = serde_json::to_value(&explanation).unwrap();
    let skipped = value["skipped"].as_array().unwrap().len();
    assert!(short.contains(&format!(
        "skipped  {skipped} files and nodes (-v lists them)"
    )));
    assert_eq!(begin(&long, "skipped "), skipped);

    let (none, _) = explain("debian-8", &["PATH=/bin"], Image::Debian);
    assert_eq!(
        none.text(true),
        "request: none; the container asks for no GPU\n"
    );
    let env = ["NVIDIA_VISIBLE_DEVICES=9"];
    let (refused, _) = explain("debian-8", &env, Image::Debian);
    let error = format!("error    {}: ", Code::UnknownDevice);
    assert_eq!(begin(&refused.text(false), &error), 1);
}
