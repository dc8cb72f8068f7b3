//! The hook makes nodes of the host where the administrator wants that, and only there.

use std::fs;
use std::path::Path;

use oci_gpu_sim::HostSpec;
use oci_gpu_tests::bundle::Stage;
use oci_gpu_tests::error::Context;
use oci_gpu_tests::gpu::{GpuHost, STAGES};
use oci_gpu_tests::rootfs::Kind;
use oci_gpu_tests::runtime::{CgroupMode, Runtime};
use oci_gpu_tests::scene::Scene;
use oci_gpu_tests::skip;
use oci_gpu_tests::standin::StandIn;
use oci_gpu_tests::strace::traced;

/// The host of that name with a configuration, and what else `change` does to its files.
fn host(name: &str, config: &str, change: fn(&Path)) -> GpuHost {
    GpuHost::with(|dir| {
        let spec = HostSpec::named(name).during("describe the host")?;
        spec.create(dir).during("make the host")?;
        fs::create_dir_all(dir.join("etc/oci-gpu")).during("make its configuration")?;
        fs::write(dir.join("etc/oci-gpu/config.toml"), config).during("write it")?;
        change(dir);
        Ok(())
    })
    .unwrap()
}

const KEY: &str = "create-device-nodes = true\n";

/// Names in a directory of the host, in order.
fn names(host: &GpuHost, directory: &str) -> Vec<String> {
    let entries = fs::read_dir(host.root.join(directory))
        .into_iter()
        .flatten();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Without the key the host is left alone and the message has the remedy; with it the container has
/// its GPU, and the host the nodes that it needs, no others.
#[test]
fn a_host_without_nodes_gets_those_that_a_container_needs() {
    for runtime in [
        Runtime::runc(CgroupMode::V1).unwrap(),
        Runtime::crun(CgroupMode::V2).unwrap(),
    ] {
        if let Some(reason) = runtime.impossible() {
            skip::record(&format!("nodes of the host under {runtime}"), &reason).unwrap();
            continue;
        }
        let env = ["NVIDIA_VISIBLE_DEVICES=all"];
        let bare = host("microvm-1", "", |_| {});
        let mut bundle = bare.bundle(Kind::Bookworm, &env).unwrap();
        let output = bare
            .try_run(&runtime, &mut bundle, Stage::CreateRuntime)
            .unwrap();
        assert!(!output.success(), "{output}");
        let log = bare.log();
        let words = ["OG0305", "oci-gpu system create-device-nodes"];
        assert!(words.iter().all(|w| log.contains(w)), "{log}");
        bare.assert_untouched().unwrap();

        for stage in STAGES {
            let host = host("microvm-1", KEY, |_| {});
            let bundle = host.bundle(Kind::Bookworm, &env).unwrap();
            let asked = [
                "--stat",
                "/dev/nvidia0",
                "--open",
                "/dev/nvidia0",
                "--open",
                "/dev/nvidia-uvm",
            ];
            let report = host.run(&runtime, bundle, stage, &asked).unwrap();
            let what = format!("{runtime}, {}", stage.name());
            assert_eq!(
                report.stat("/dev/nvidia0").unwrap().device,
                (195, 0),
                "{what}"
            );
            // Allowed by the device cgroup; no driver stands behind it.
            assert_eq!(report.open("/dev/nvidia0"), "ENXIO", "{what}");
            assert_eq!(report.open("/dev/nvidia-uvm"), "ENXIO", "{what}");
            let made = ["nvidia-uvm", "nvidia-uvm-tools", "nvidia0", "nvidiactl"];
            assert_eq!(names(&host, "dev"), made, "{what}");
            let log = host.log();
            for name in made {
                let line = format!("made the device node /dev/{name} (");
                assert_eq!(log.matches(&line).count(), 1, "{what}: {log}");
            }
        }
    }
}

/// A second container finds all as it should be: nothing is made, nothing is logged.
#[test]
fn nodes_that_are_right_are_left_alone() {
    let host = host("run-8", KEY, |_| {});
    let runtime = Runtime::runc(CgroupMode::V1).unwrap();
    let bundle = host
        .bundle(Kind::Bookworm, &["NVIDIA_VISIBLE_DEVICES=1"])
        .unwrap();
    host.run(&runtime, bundle, Stage::CreateRuntime, &[])
        .unwrap();
    assert!(!host.log().contains("made"), "{}", host.log());
    host.assert_untouched().unwrap();
}

/// Wrong ones are replaced, channels made by number, MIG's capabilities as well.
#[test]
fn wrong_nodes_channels_and_capabilities() {
    type Case = (
        &'static str,
        fn(&Path),
        &'static [&'static str],
        &'static [(&'static str, (u64, u64))],
    );
    let rows: [Case; 3] = [
        (
            "wrong-major",
            |_| {},
            &["NVIDIA_VISIBLE_DEVICES=0,1"],
            &[("/dev/nvidia0", (195, 0)), ("/dev/nvidia1", (195, 1))],
        ),
        (
            "run-8",
            |_| {},
            &["NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_IMEX_CHANNELS=0,2047"],
            &[
                ("/dev/nvidia-caps-imex-channels/channel0", (234, 0)),
                ("/dev/nvidia-caps-imex-channels/channel2047", (234, 2047)),
            ],
        ),
        (
            "run-8-mig",
            |dir| fs::remove_dir_all(dir.join("dev")).unwrap(),
            &["NVIDIA_VISIBLE_DEVICES=1:0"],
            &[
                ("/dev/nvidia1", (195, 1)),
                ("/dev/nvidia-caps/nvidia-cap201", (237, 201)),
                ("/dev/nvidia-caps/nvidia-cap202", (237, 202)),
            ],
        ),
    ];
    let runtime = Runtime::runc(CgroupMode::V1).unwrap();
    for (name, change, env, nodes) in rows {
        let host = host(name, KEY, change);
        let bundle = host.bundle(Kind::Bookworm, env).unwrap();
        let mut asked = Vec::new();
        nodes
            .iter()
            .for_each(|(path, _)| asked.extend(["--stat", path]));
        let report = host
            .run(&runtime, bundle, Stage::CreateRuntime, &asked)
            .unwrap();
        for (path, numbers) in nodes {
            assert_eq!(
                report.stat(path).unwrap().device,
                *numbers,
                "{name}: {path}"
            );
        }
    }
}

/// What cannot be made fails a container that needs it, with one line, and no other.
#[test]
fn what_cannot_be_made_is_told() {
    type Case = (
        &'static str,
        fn(&Path),
        &'static [&'static str],
        Result<&'static str, &'static [&'static str]>,
    );
    let forbid = |dir: &Path| {
        let path = dir.join("proc/driver/nvidia/params");
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(
            &path,
            text.replace("ModifyDeviceFiles: 1", "ModifyDeviceFiles: 0"),
        )
        .unwrap();
    };
    let rows: [Case; 4] = [
        (
            "microvm-1",
            forbid,
            &["NVIDIA_VISIBLE_DEVICES=0"],
            Err(&[
                "OG0305",
                "/dev/nvidiactl (195:255)",
                "NVreg_ModifyDeviceFiles=1",
            ]),
        ),
        (
            "microvm-1",
            |dir| fs::create_dir_all(dir.join("dev/nvidia0/x")).unwrap(),
            &["NVIDIA_VISIBLE_DEVICES=0"],
            Err(&["OG0306", "/dev/nvidia0", "remove the directory"]),
        ),
        (
            "run-8",
            |_| {},
            &["NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_IMEX_CHANNELS=2048"],
            Err(&["OG0404", "channel 2048"]),
        ),
        (
            "microvm-1",
            |dir| fs::create_dir_all(dir.join("dev/nvidia-uvm-tools/x")).unwrap(),
            &["NVIDIA_VISIBLE_DEVICES=0"],
            Ok("OG0306: make the node /dev/nvidia-uvm-tools"),
        ),
    ];
    let runtime = Runtime::runc(CgroupMode::V1).unwrap();
    for (name, change, env, expected) in rows {
        let host = host(name, KEY, change);
        let mut bundle = host.bundle(Kind::Bookworm, env).unwrap();
        let output = host
            .try_run(&runtime, &mut bundle, Stage::CreateRuntime)
            .unwrap();
        match expected {
            Ok(logged) => {
                assert!(output.success(), "{env:?}: {output}");
                assert!(host.log().contains(logged), "{}", host.log());
            }
            Err(words) => {
                assert!(!output.success(), "{env:?}: {output}");
                let lines: Vec<&str> = output
                    .stderr
                    .lines()
                    .filter(|l| l.contains("OG0"))
                    .collect();
                assert_eq!(lines.len(), 1, "{env:?}: {output}");
                for word in words {
                    assert!(lines[0].contains(word), "'{word}' in {}", lines[0]);
                }
            }
        }
    }
}

/// Several containers at once on a host without nodes: each starts, whoever makes the nodes.
#[test]
fn hooks_that_make_the_same_nodes_at_once_all_succeed() {
    let runtime = Runtime::runc(CgroupMode::V1).unwrap();
    let host = host("microvm-1", KEY, |_| {});
    let env = ["NVIDIA_VISIBLE_DEVICES=all"];
    let bundles: Vec<_> = (0..4)
        .map(|_| host.bundle(Kind::Bookworm, &env).unwrap())
        .collect();
    std::thread::scope(|scope| {
        for mut bundle in bundles {
            let (host, runtime) = (&host, &runtime);
            scope.spawn(move || {
                let output = host
                    .try_run(runtime, &mut bundle, Stage::CreateRuntime)
                    .unwrap();
                assert!(output.success(), "{output}");
            });
        }
    });
    let made = ["nvidia-uvm", "nvidia-uvm-tools", "nvidia0", "nvidiactl"];
    assert_eq!(names(&host, "dev"), made);
}

/// With a user namespace of its own a container is no different, as long as the hook runs outside of
/// it; inside nobody may make nodes, and says so.
#[test]
fn user_namespaces_get_nodes_from_outside_only() {
    const FIRST_ID: u32 = 200_000;
    let runtime = Runtime::runc(CgroupMode::V1).unwrap();
    for stage in STAGES {
        let host = host("microvm-1", KEY, |_| {});
        let mut bundle = host
            .bundle(Kind::Bookworm, &["NVIDIA_VISIBLE_DEVICES=all"])
            .unwrap();
        bundle.rootfs.give_to(FIRST_ID).unwrap();
        bundle.user_namespace = Some(FIRST_ID);
        let output = host.try_run(&runtime, &mut bundle, stage).unwrap();
        if stage == Stage::CreateContainer {
            assert!(!output.success(), "{output}");
            for word in ["OG0105", "/dev/nvidiactl", "outside of a user namespace"] {
                assert!(output.stderr.contains(word), "'{word}' in {output}");
            }
            assert_eq!(names(&host, "dev"), [""; 0]);
        } else {
            assert!(output.success(), "{}: {output}", stage.name());
            assert_eq!(names(&host, "dev").len(), 4, "{}", stage.name());
        }
    }
}

/// What the kernel is asked for: nodes by directory descriptor and plain name, before the container
/// is entered and never after; no program is run, and no node opened.
#[test]
fn nodes_are_made_by_descriptor_before_the_container_is_entered() {
    let scene = Scene::new(Kind::Bookworm).unwrap();
    let root = &scene.host.root;
    fs::create_dir_all(root.join("etc/oci-gpu")).unwrap();
    fs::write(root.join("etc/oci-gpu/config.toml"), KEY).unwrap();
    fs::remove_dir_all(root.join("dev")).unwrap();
    let env = ["NVIDIA_VISIBLE_DEVICES=0"];
    scene.ground.write(&scene.ground.config(&env)).unwrap();
    let container = StandIn::prepared(&scene.ground, "true").unwrap();
    let file = scene.host.setting.dir.path().join("trace");
    let state = container.state();
    let arguments = ["createRuntime"];
    let (output, trace) = traced(&scene.host, &file, &[], &arguments, state.as_bytes()).unwrap();
    assert!(output.status.success(), "{output:?}");
    let of = |name: &str| trace.calls.iter().filter(|c| c.name == name).count();
    assert_eq!((of("execve"), of("mknodat")), (1, 4));
    assert!(trace.inside().len() > 30);
    let is_late = |name: &str| trace.inside().iter().any(|c| c.name == name);
    assert!(!is_late("mknodat") && !is_late("fchownat") && !is_late("linkat"));
    for call in &trace.calls {
        let line = &call.line;
        if ["mknodat", "linkat", "fchownat", "unlinkat"].contains(&call.name.as_str()) {
            assert!(
                !line.contains("AT_FDCWD") && !line.contains("\"/"),
                "{line}"
            );
        }
        let opens = call.name.starts_with("open") && call.name != "open_tree";
        if opens && (line.contains("nvidiactl\"") || line.contains("nvidia0\"")) {
            // Placeholders in the container are new files.
            assert!(line.contains("O_PATH") || line.contains("O_EXCL"), "{line}");
        }
    }
}
