//! Devices: exactly those that were asked for, and those that go with them.

use std::sync::Arc;

use oci_gpu::finding::Code;
use oci_gpu::plan::Operation;

use crate::rules::assert_rules;
use crate::scene::{Image, changed, inventory, plan, plan_in};

/// What a container gets that asks for compute and utility: beside its GPUs.
const BASE: [&str; 3] = [
    "/dev/nvidiactl 195:255",
    "/dev/nvidia-uvm 508:0",
    "/dev/nvidia-uvm-tools 508:1",
];

/// (host, NVIDIA_VISIBLE_DEVICES, devices beside [`BASE`]).
const ROWS: &[(&str, &str, &[&str])] = &[
    ("debian-8", "none", &[]),
    ("no-devices", "none", &[]),
    ("debian-8", "0", &["/dev/nvidia0 195:0"]),
    (
        "debian-8",
        "1,3",
        &["/dev/nvidia1 195:1", "/dev/nvidia3 195:3"],
    ),
    // In PCI order, whatever the order of the request.
    (
        "debian-8",
        "3,1",
        &["/dev/nvidia1 195:1", "/dev/nvidia3 195:3"],
    ),
    // Minor numbers run against the order of PCI addresses.
    ("run-8", "0", &["/dev/nvidia7 195:7"]),
    ("run-8", "7", &["/dev/nvidia0 195:0"]),
    // One GPU by all its names.
    (
        "run-8",
        "0,0, 00 ,GPU-5ca1ab1e-1d5e-4f0c-9a3b-a0b1c2d3e400,gpu-5CA1,0000:1a:00.0,00000000:1A:00.0,1a:00.0,nvidia.com/gpu=0",
        &["/dev/nvidia7 195:7"],
    ),
    ("debian-8", "GPU-63", &["/dev/nvidia7 195:7"]),
    ("run-16", "0001:cb:00.0", &["/dev/nvidia15 195:15"]),
    (
        "debian-decoy",
        "all",
        &["/dev/nvidia0 195:0", "/dev/nvidia1 195:1"],
    ),
    (
        "debian-decoy",
        "nvidia.com/gpu=all",
        &["/dev/nvidia0 195:0", "/dev/nvidia1 195:1"],
    ),
    // A GPU that is not split, beside others that are.
    ("run-8-mig", "0", &["/dev/nvidia0 195:0"]),
    // An instance by index, by numbers, by CDI name.
    (
        "run-8-mig",
        "1:0",
        &[
            "/dev/nvidia1 195:1",
            "/dev/nvidia-caps/nvidia-cap201 237:201",
            "/dev/nvidia-caps/nvidia-cap202 237:202",
        ],
    ),
    (
        "run-8-mig",
        "nvidia.com/gpu=4:2",
        &[
            "/dev/nvidia4 195:4",
            "/dev/nvidia-caps/nvidia-cap579 237:579",
            "/dev/nvidia-caps/nvidia-cap580 237:580",
        ],
    ),
    (
        "run-8-mig",
        "MIG-GPU-62a7b124-1d5e-4f0c-9a3b-a0b1c2d3e406/0/1",
        &[
            "/dev/nvidia6 195:6",
            "/dev/nvidia-caps/nvidia-cap813 237:813",
            "/dev/nvidia-caps/nvidia-cap815 237:815",
        ],
    ),
    // The GPU instance of two compute instances is given once.
    (
        "run-8-mig",
        "6:1,6:0,6:1",
        &[
            "/dev/nvidia6 195:6",
            "/dev/nvidia-caps/nvidia-cap813 237:813",
            "/dev/nvidia-caps/nvidia-cap814 237:814",
            "/dev/nvidia-caps/nvidia-cap815 237:815",
        ],
    ),
    // A GPU that is split comes with all its instances, asked for again or not.
    (
        "run-8-mig",
        "4:1,4",
        &[
            "/dev/nvidia4 195:4",
            "/dev/nvidia-caps/nvidia-cap561 237:561",
            "/dev/nvidia-caps/nvidia-cap562 237:562",
            "/dev/nvidia-caps/nvidia-cap570 237:570",
            "/dev/nvidia-caps/nvidia-cap571 237:571",
            "/dev/nvidia-caps/nvidia-cap579 237:579",
            "/dev/nvidia-caps/nvidia-cap580 237:580",
        ],
    ),
    // Nodes of a driver container lie in its own /dev.
    ("driver-container-8", "2", &["/dev/nvidia2 195:2"]),
    ("nixos-1", "all", &["/dev/nvidia0 195:0"]),
    ("cos-1", "0", &["/dev/nvidia0 195:0"]),
    ("rpm-8", "5", &["/dev/nvidia5 195:5"]),
    ("flat-1", "0", &["/dev/nvidia0 195:0"]),
];

#[test]
fn a_container_gets_the_devices_that_it_asked_for() {
    for (host, devices, expected) in ROWS {
        let what = format!("{host}, {devices}");
        let env = format!("NVIDIA_VISIBLE_DEVICES={devices}");
        let planned = plan(host, &[&env]).unwrap_or_else(|e| panic!("{what}: {e}"));
        let expected: Vec<&str> = BASE.iter().chain(*expected).copied().collect();
        assert_eq!(planned.devices(), expected, "{what}");
        assert_rules(&planned, Image::Debian, &what);
    }
}

/// Every instance of every GPU: 8 GPUs, 11 GPU instances, 12 compute instances.
#[test]
fn all_of_a_host_with_mig() {
    let planned = plan("run-8-mig", &["NVIDIA_VISIBLE_DEVICES=all"]).unwrap();
    assert_eq!(planned.devices().len(), 3 + 8 + 11 + 12);
    assert_eq!(planned.grant.gpus.len(), 8);
    assert_eq!(planned.grant.mig.len(), 12);
}

/// Which nodes beside the GPU's go with which capability, and that a host without the optional ones
/// does for it.
#[test]
fn nodes_follow_capabilities() {
    let screen = [
        "/dev/nvidiactl 195:255",
        "/dev/nvidia-modeset 195:254",
        "/dev/nvidia1 195:1",
        "/dev/dri/card1 226:1",
        "/dev/dri/renderD129 226:129",
    ];
    let base = ["/dev/nvidiactl 195:255", "/dev/nvidia1 195:1"];
    let compute = [
        "/dev/nvidiactl 195:255",
        "/dev/nvidia-uvm 508:0",
        "/dev/nvidia-uvm-tools 508:1",
        "/dev/nvidia1 195:1",
    ];
    let rows: &[(&str, &[&str])] = &[
        ("utility", &base),
        ("video", &compute),
        ("ngx", &base),
        ("compat32", &base),
        ("compute", &compute),
        ("graphics", &screen),
        ("display", &screen),
    ];
    for (capability, expected) in rows {
        let capabilities = format!("NVIDIA_DRIVER_CAPABILITIES={capability}");
        let planned = plan("debian-8", &["NVIDIA_VISIBLE_DEVICES=1", &capabilities]).unwrap();
        assert_eq!(planned.devices(), *expected, "{capability}");
    }
    let all = ["NVIDIA_VISIBLE_DEVICES=1", "NVIDIA_DRIVER_CAPABILITIES=all"];
    assert_eq!(plan("debian-8", &all).unwrap().devices().len(), 7);
}

/// The host's links to DRM nodes by PCI address, for the granted GPUs only.
#[test]
fn drm_nodes_have_their_links() {
    let env = [
        "NVIDIA_VISIBLE_DEVICES=0",
        "NVIDIA_DRIVER_CAPABILITIES=graphics",
    ];
    let planned = plan("run-8", &env).unwrap();
    let links: Vec<String> = planned
        .plan
        .actions
        .iter()
        .filter_map(|a| match &a.what {
            Operation::Symlink { target, points_to } if target.starts_with("/dev") => {
                Some(format!("{} -> {}", target.display(), points_to.display()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        links,
        [
            "/dev/dri/by-path/pci-0000:1a:00.0-card -> ../card1",
            "/dev/dri/by-path/pci-0000:1a:00.0-render -> ../renderD128",
        ]
    );
}

#[test]
fn optional_nodes_that_are_missing_are_left_out_with_the_reason() {
    let env = ["NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_DRIVER_CAPABILITIES=all"];
    let nodes = ["nvidia-uvm-tools", "nvidia-modeset", "dri/card1"];
    let bare = changed("debian-8", |spec| {
        spec.gpus.bmc = true;
        spec.faults.missing_nodes = nodes.map(|n| format!("/dev/{n}")).to_vec();
    });
    let planned = plan_in(Arc::new(bare), &env, false, Image::Debian).unwrap();
    assert_eq!(
        planned.devices(),
        [
            "/dev/nvidiactl 195:255",
            "/dev/nvidia-uvm 508:0",
            "/dev/nvidia0 195:0",
            "/dev/dri/renderD128 226:128",
        ]
    );
    for node in nodes {
        let why = planned.skipped(node);
        assert!(why.contains("is missing on the host"), "{node}: {why}");
    }

    // cos-1 has loaded no module for screens.
    let env = [
        "NVIDIA_VISIBLE_DEVICES=0",
        "NVIDIA_DRIVER_CAPABILITIES=display",
    ];
    let planned = plan("cos-1", &env).unwrap();
    assert_eq!(
        planned.devices(),
        ["/dev/nvidiactl 195:255", "/dev/nvidia0 195:0"]
    );
    let why = planned.skipped("nvidia-modeset");
    assert!(why.contains("nvidia-modeset, is not loaded"), "{why}");
}

#[test]
fn imex_channels_are_given_by_number() {
    let rows: &[(&str, &[&str])] = &[
        ("0", &["/dev/nvidia-caps-imex-channels/channel0 234:0"]),
        (
            "2047,0,2047",
            &[
                "/dev/nvidia-caps-imex-channels/channel0 234:0",
                "/dev/nvidia-caps-imex-channels/channel2047 234:2047",
            ],
        ),
        ("none", &[]),
        ("void", &[]),
        ("", &[]),
    ];
    for (channels, expected) in rows {
        let channels = format!("NVIDIA_IMEX_CHANNELS={channels}");
        let planned = plan("run-8", &["NVIDIA_VISIBLE_DEVICES=none", &channels]).unwrap();
        assert_eq!(planned.devices()[3..], **expected, "{channels}");
    }
}

/// Rights over MIG are for privileged containers, which get them with the whole of the kernel's
/// files about it.
#[test]
fn mig_rights_are_for_privileged_containers() {
    let rows: &[(&[&str], &[&str])] = &[
        (
            &["NVIDIA_MIG_CONFIG_DEVICES=all"],
            &["/dev/nvidia-caps/nvidia-cap1 237:1"],
        ),
        (
            &["NVIDIA_MIG_MONITOR_DEVICES=all"],
            &["/dev/nvidia-caps/nvidia-cap2 237:2"],
        ),
        (
            &[
                "NVIDIA_MIG_CONFIG_DEVICES=all",
                "NVIDIA_MIG_MONITOR_DEVICES=all",
            ],
            &[
                "/dev/nvidia-caps/nvidia-cap1 237:1",
                "/dev/nvidia-caps/nvidia-cap2 237:2",
            ],
        ),
    ];
    for (env, expected) in rows {
        let mut all = vec!["NVIDIA_VISIBLE_DEVICES=none"];
        all.extend(*env);
        let host = inventory("run-8-mig");
        let planned = plan_in(Arc::clone(&host), &all, true, Image::Debian).unwrap();
        assert_eq!(planned.devices()[3..], **expected, "{env:?}");
        let capabilities = "/proc/driver/nvidia/capabilities";
        let target = |a: &oci_gpu::Action| a.what.target().map(|t| t.display().to_string());
        let targets: Vec<String> = planned.plan.actions.iter().filter_map(target).collect();
        assert!(targets.iter().any(|t| t == capabilities), "{env:?}");

        let denied = plan_in(host, &all, false, Image::Debian).err().unwrap();
        assert_eq!(denied.code, Code::RequestDenied, "{env:?}: {denied}");
    }
}

/// (host, environment, code, words): requests that no plan comes of.
#[test]
fn what_cannot_be_given_is_an_error_that_says_what_there_is() {
    let rows: &[(&str, &[&str], Code, &[&str])] = &[
        (
            "run-8",
            &["NVIDIA_VISIBLE_DEVICES=GPU-5"],
            Code::AmbiguousDevice,
            &[
                "'GPU-5' begins the UUID of several GPUs",
                "0 (GPU-5ca1ab1e-1d5e-4f0c-9a3b-a0b1c2d3e400",
                "3 (GPU-5fa4ae21-",
                "write more of the UUID",
            ],
        ),
        (
            "run-8",
            &["NVIDIA_VISIBLE_DEVICES=0,8"],
            Code::UnknownDevice,
            &["no GPU '8'", "7 (GPU-63a8b225-", "H100"],
        ),
        (
            "run-8",
            &["NVIDIA_VISIBLE_DEVICES=nvidia.com/gpu=9"],
            Code::UnknownDevice,
            &["no GPU '9'"],
        ),
        (
            "run-8",
            &["NVIDIA_VISIBLE_DEVICES=example.com/gpu=0"],
            Code::UnknownDevice,
            &["no GPU 'example.com/gpu=0'"],
        ),
        (
            "run-8",
            &["NVIDIA_VISIBLE_DEVICES=0000:1f:00.0"],
            Code::UnknownDevice,
            &["no GPU '0000:1f:00.0'"],
        ),
        (
            "no-devices",
            &["NVIDIA_VISIBLE_DEVICES=0"],
            Code::UnknownDevice,
            &["no GPU '0'; it has none"],
        ),
        (
            "no-devices",
            &["NVIDIA_VISIBLE_DEVICES=nvidia.com/gpu=all"],
            Code::UnknownDevice,
            &["it has none"],
        ),
        (
            "run-8",
            &["NVIDIA_VISIBLE_DEVICES=0:0"],
            Code::Mig,
            &["GPU 0 is not split into MIG instances"],
        ),
        (
            "run-8-mig",
            &["NVIDIA_VISIBLE_DEVICES=4:3"],
            Code::Mig,
            &["4:2 (GPU instance 4, compute instance 0)"],
        ),
        (
            "run-8-mig",
            &["NVIDIA_VISIBLE_DEVICES=MIG-GPU-5da2ac1f-1d5e-4f0c-9a3b-a0b1c2d3e401/1/0"],
            Code::Mig,
            &["GPU 1 has 1:0 (GPU instance 7,"],
        ),
        (
            "run-8-mig",
            &["NVIDIA_VISIBLE_DEVICES=MIG-5da2ac1f-1d5e-4f0c-9a3b-a0b1c2d3e401"],
            Code::Mig,
            &[
                "which tells MIG UUIDs, is absent",
                "1:0",
                "6:1",
                "oci-gpu refresh",
            ],
        ),
        (
            "run-8",
            &["NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_IMEX_CHANNELS=0,3"],
            Code::ImexChannel,
            &["IMEX channel 3 has no node", "3 channels"],
        ),
        (
            "run-1",
            &["NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_IMEX_CHANNELS=0"],
            Code::ImexChannel,
            &["IMEX channel 0 has no node", "no channel"],
        ),
        (
            "missing-uvm",
            &["NVIDIA_VISIBLE_DEVICES=0"],
            Code::NodeMissing,
            &["/dev/nvidia-uvm (508:0) is missing", "capability compute"],
        ),
        (
            "wrong-major",
            &["NVIDIA_VISIBLE_DEVICES=0"],
            Code::NodeWrong,
            &[
                "/dev/nvidia0 is wrong",
                "196:0",
                "195:0",
                "GPU 0 (Tesla T4)",
            ],
        ),
        (
            "microvm-1",
            &["NVIDIA_VISIBLE_DEVICES=none"],
            Code::NodeMissing,
            &["/dev/nvidiactl (195:255)", "create-device-nodes"],
        ),
    ];
    for (host, env, code, words) in rows {
        let finding = match plan(host, env) {
            Ok(planned) => panic!("{host} {env:?}: {:?}", planned.devices()),
            Err(finding) => finding,
        };
        assert_eq!(finding.code, *code, "{host} {env:?}: {finding}");
        assert!(!finding.remedy.is_empty(), "{finding}");
        let text = finding.to_string();
        for word in *words {
            assert!(text.contains(word), "{host} {env:?}: '{word}' in {text}");
        }
    }
}

/// What is broken matters only to those who ask for it.
#[test]
fn broken_nodes_do_not_matter_to_others() {
    let rows: &[(&str, &[&str], &[&str])] = &[
        (
            "missing-uvm",
            &[
                "NVIDIA_VISIBLE_DEVICES=0",
                "NVIDIA_DRIVER_CAPABILITIES=utility",
            ],
            &["/dev/nvidiactl 195:255", "/dev/nvidia0 195:0"],
        ),
        ("wrong-major", &["NVIDIA_VISIBLE_DEVICES=none"], &BASE),
    ];
    for (host, env, expected) in rows {
        let planned = plan(host, env).unwrap_or_else(|e| panic!("{host}: {e}"));
        assert_eq!(planned.devices(), *expected, "{host} {env:?}");
    }
}
