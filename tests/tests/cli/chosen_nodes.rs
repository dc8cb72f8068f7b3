//! `system create-device-nodes` on some nodes, with other owners and modes, and where the driver
//! forbids it.

use std::fs;
use std::os::unix::fs::MetadataExt;

use oci_gpu_tests::sim::SimHost;
use oci_gpu_tests::tree::Tree;

use crate::nodes::{MICROVM, create, node, verdicts};

/// The same number with another owner or mode: nvidia-modprobe would correct it, and so it is here.
/// nvidia-uvm's are no parameters of the driver's.
#[test]
fn owners_and_modes_are_corrected() {
    let host = SimHost::named("run-1").unwrap();
    set_parameter(&host, "DeviceFileGID: 0", "DeviceFileGID: 44");
    set_parameter(&host, "DeviceFileMode: 438", "DeviceFileMode: 432");
    let wrong = "it has mode 0666 and owner 0:0, and the driver wants 0660 and 0:44";
    let text = create(host.root(), &[]).done("create");
    for (path, verdict) in verdicts(&text) {
        match path {
            "/dev/nvidiactl" | "/dev/nvidia-modeset" | "/dev/nvidia0" => {
                assert_eq!(verdict, format!("corrected: {wrong}"), "{path}");
                assert!(node(host.on_disk(path)).ends_with(" 0660 0:44"), "{path}");
            }
            // NVML makes them where MIG is used.
            _ if path.contains("nvidia-caps") => assert_eq!(verdict, "created", "{path}"),
            _ => assert_eq!(verdict, "present", "{path}"),
        }
    }
    assert_eq!(node(host.on_disk("/dev/nvidia-uvm")), "508:0 0666 0:0");
    let again = create(host.root(), &[]).done("again");
    assert!(
        verdicts(&again).iter().all(|(_, v)| *v == "present"),
        "{again}"
    );
}

/// Writes `new` in the place of `old` into /proc/driver/nvidia/params.
fn set_parameter(host: &SimHost, old: &str, new: &str) {
    let params = host.on_disk("/proc/driver/nvidia/params");
    let text = fs::read_to_string(&params).unwrap();
    assert!(text.contains(old), "{old}");
    fs::remove_file(&params).unwrap();
    fs::write(&params, text.replace(old, new)).unwrap();
}

/// Some of the nodes: by kind, by GPU, by number of an IMEX channel.
#[test]
fn some_nodes_can_be_named() {
    let control = [
        "/dev/nvidiactl",
        "/dev/nvidia-modeset",
        "/dev/nvidia-uvm",
        "/dev/nvidia-uvm-tools",
    ];
    let channel = |n: u32| format!("/dev/nvidia-caps-imex-channels/channel{n}");
    let rows: [(&[&str], Vec<String>); 6] = [
        (&["--control-devices"], vec![]),
        (&["--devices", "3"], vec!["/dev/nvidia3".to_owned()]),
        (
            &["--device-ids=0,0000:8b:00.0"],
            vec!["/dev/nvidia0".to_owned(), "/dev/nvidia5".to_owned()],
        ),
        (
            &["--devices", "1:0"],
            [
                "/dev/nvidia1",
                "/dev/nvidia-caps/nvidia-cap201",
                "/dev/nvidia-caps/nvidia-cap202",
            ]
            .map(str::to_owned)
            .into(),
        ),
        (
            &["--control-devices", "--imex-channels", "0,2047,0"],
            vec![channel(0), channel(2047)],
        ),
        (
            &["--control-devices", "--imex-channels=all"],
            (0..2048).map(channel).collect(),
        ),
    ];
    for (args, mut expected) in rows {
        let host = SimHost::named("run-8-mig").unwrap();
        fs::remove_dir_all(host.on_disk("/dev")).unwrap();
        expected.extend(control.map(str::to_owned));
        expected.sort();
        let value = create(host.root(), &[args, &["--format", "json"]].concat()).json("create");
        let rows = value.as_array().unwrap();
        let paths = rows.iter().map(|r| r["path"].as_str().unwrap().to_owned());
        let mut paths: Vec<String> = paths.collect();
        paths.sort();
        assert_eq!(paths, expected, "{args:?}");
        for path in &paths {
            node(host.on_disk(path));
        }
    }
    let host = SimHost::named("run-8-mig").unwrap();
    let made = host.on_disk("/dev/nvidia-caps-imex-channels");
    create(host.root(), &["--imex-channels", "7"]).done("channel 7");
    assert_eq!(node(made.join("channel7")), "234:7 0666 0:0");
    assert_eq!(fs::metadata(made).unwrap().mode() & 0o7777, 0o755);
}

/// What does not exist, and what cannot be read.
#[test]
fn nodes_that_there_cannot_be_are_refused() {
    let rows: [(&str, &[&str], &str, &str); 6] = [
        ("run-8", &["--devices", "8"], "OG0401", "no GPU '8'"),
        ("run-8", &["--devices", "../x"], "OG0201", "is no device"),
        (
            "run-8",
            &["--imex-channels", "2048"],
            "OG0404",
            "the driver has 2048",
        ),
        (
            "run-8",
            &["--imex-channels", "0,x"],
            "OG0201",
            "\"x\" is no number",
        ),
        (
            "wrong-major",
            &["--imex-channels", "0"],
            "OG0404",
            "has no IMEX channels",
        ),
        (
            "wrong-major",
            &["--imex-channels", "all"],
            "OG0404",
            "is not known",
        ),
    ];
    for (host, args, code, word) in rows {
        let host = SimHost::named(host).unwrap();
        let before = Tree::of(host.root()).unwrap();
        create(host.root(), args).failed(code, &[word], &format!("{args:?}"));
        assert_eq!(before.changes_to(&Tree::of(host.root()).unwrap()), [""; 0]);
    }
}

/// An administrator can forbid it by a parameter of the module, for all nodes or for a capability's.
#[test]
fn what_the_driver_forbids_is_not_done_unless_forced() {
    let host = SimHost::named("microvm-1").unwrap();
    set_parameter(&host, "ModifyDeviceFiles: 1", "ModifyDeviceFiles: 0");
    let words = [
        "6 device nodes",
        "ModifyDeviceFiles",
        "; load the nvidia module with",
    ];
    for more in [&["--dry-run"][..], &[]] {
        let before = Tree::of(host.root()).unwrap();
        let text = create(host.root(), more).failed("OG0305", &words, "forbidden");
        let reason = "would be created: the driver's parameter ModifyDeviceFiles forbids it";
        assert_eq!(verdicts(&text), MICROVM.map(|(path, _)| (path, reason)));
        assert_eq!(before.changes_to(&Tree::of(host.root()).unwrap()), [""; 0]);
    }
    create(host.root(), &["--force"]).done("forced");
    for (path, expected) in MICROVM {
        assert_eq!(node(host.on_disk(path)), expected, "{path}");
    }
    // Nothing is to be done, so nothing is forbidden.
    create(host.root(), &[]).done("present");

    let host = SimHost::named("microvm-1").unwrap();
    let file = host.on_disk("/proc/driver/nvidia/capabilities/mig/monitor");
    fs::remove_file(&file).unwrap();
    let text = "DeviceFileMinor: 2\nDeviceFileMode: 292\nDeviceFileModify: 0\n";
    fs::write(&file, text).unwrap();
    create(host.root(), &[]).failed("OG0305", &["1 device nodes"], "one is forbidden");
    for (path, expected) in &MICROVM[..5] {
        assert_eq!(node(host.on_disk(path)), *expected, "{path}");
    }
    assert!(!host.on_disk(MICROVM[5].0).exists());
}

/// The control nodes of the fabric's drivers, where they are loaded; owner and mode by their file.
#[test]
fn control_nodes_of_the_fabric_are_made() {
    let host = SimHost::named("microvm-1").unwrap();
    let devices = host.on_disk("/proc/devices");
    let text = fs::read_to_string(&devices).unwrap();
    let text = text.replace("\nBlock", "239 nvidia-nvlink\n238 nvidia-nvswitch\n\nBlock");
    fs::remove_file(&devices).unwrap();
    fs::write(&devices, text).unwrap();
    let permissions = host.on_disk("/proc/driver/nvidia-nvlink/permissions");
    fs::create_dir_all(permissions.parent().unwrap()).unwrap();
    fs::write(&permissions, "DeviceFileMode: 384\n").unwrap();
    create(host.root(), &["--control-devices"]).done("create");
    for (path, expected) in [
        ("/dev/nvidia-nvlink", "239:0 0600 0:0"),
        ("/dev/nvidia-nvswitchctl", "238:255 0666 0:0"),
    ] {
        assert_eq!(node(host.on_disk(path)), expected, "{path}");
    }
}
