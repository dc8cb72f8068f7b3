//! Podman, as root and as an unprivileged user, with the hook in its hooks directory.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;

use oci_gpu_tests::bundle::Stage;
use oci_gpu_tests::gpu::{GpuHost, STAGES};
use oci_gpu_tests::probe::{Loaded, Report};
use oci_gpu_tests::rootfs::{Kind, Rootfs};
use oci_gpu_tests::tree::give;
use serde_json::json;

const USER: u32 = 61_501;

/// One GPU for `podman run --rootfs`, by crun, by runc, and for a user without privileges.
#[test]
fn podman_containers_get_their_gpus() {
    let host = GpuHost::new("debian-8").unwrap();
    let mut number = 0;
    for (who, engine, rootless) in [
        ("root", "crun", false),
        ("root", "runc", false),
        ("user", "crun", true),
    ] {
        for stage in STAGES {
            let what = format!("{who}, {engine}, {}", stage.name());
            // Podman wants a short path for its sockets.
            let directory = host.setting.dir.path().join(number.to_string());
            number += 1;
            fs::create_dir(&directory).unwrap();
            let report = run(
                &host,
                &directory,
                engine,
                rootless,
                stage,
                "NVIDIA_VISIBLE_DEVICES=1",
            );
            assert_eq!(report.open("/dev/nvidia1"), "ENXIO", "{what}");
            assert!(
                matches!(report.dlopen("libcuda.so.1"), Loaded::Found { .. }),
                "{what}"
            );
            let nodes = report.list("/dev").unwrap();
            assert!(!nodes.contains(&"nvidia0"), "{what}: {nodes:?}");
        }
    }
    host.assert_untouched().unwrap();
}

fn run(
    host: &GpuHost,
    directory: &Path,
    engine: &str,
    rootless: bool,
    stage: Stage,
    env: &str,
) -> Report {
    let rootfs = Rootfs::instance(
        &host.setting.debs,
        Kind::Bookworm,
        &directory.join("rootfs"),
    )
    .unwrap();
    host.setting.probe.install(&rootfs).unwrap();
    for made in ["hooks", "home", "run", "store"] {
        fs::create_dir(directory.join(made)).unwrap();
    }
    let (_, hook) = host.hook(stage);
    // hooks.d, oci-hooks(5): the file that a package of ours would install.
    let entry = json!({
        "version": "1.0.0",
        "hook": {"path": hook.path, "args": hook.args, "env": ["PATH=/usr/bin"], "timeout": 10},
        "when": {"always": true},
        "stages": [stage.name()],
    });
    fs::write(directory.join("hooks/oci-gpu.json"), entry.to_string()).unwrap();
    let mut words = Vec::new();
    if rootless {
        give(directory, USER).unwrap();
        words.extend([
            "setpriv".to_owned(),
            format!("--reuid={USER}"),
            format!("--regid={USER}"),
            "--clear-groups".to_owned(),
        ]);
    }
    let at = |name: &str| directory.join(name).display().to_string();
    words.extend([
        "podman".to_owned(),
        "--root".to_owned(),
        at("store"),
        "--runroot".to_owned(),
        at("run"),
    ]);
    words.extend([
        "--hooks-dir".to_owned(),
        at("hooks"),
        "--runtime".to_owned(),
        engine.to_owned(),
    ]);
    let fixed = "--storage-driver vfs --cgroup-manager cgroupfs run --rm --network none --log-driver none \
                 --ulimit nofile=1024:1024 --ulimit nproc=4096:4096 --rootfs --env";
    words.extend(fixed.split_whitespace().map(str::to_owned));
    words.extend([env.to_owned(), at("rootfs"), "/probe".to_owned()]);
    words.extend(
        [
            "--open",
            "/dev/nvidia1",
            "--dlopen",
            "libcuda.so.1",
            "--list",
            "/dev",
        ]
        .map(str::to_owned),
    );
    // crun refuses a hybrid layout of control groups.
    let script = "! test -d /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified; exec \"$@\"";
    let output = Command::new("timeout")
        .args([
            "-s",
            "KILL",
            "120",
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            script,
            "sh",
        ])
        .args(&words)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", at("home"))
        .env("XDG_RUNTIME_DIR", at("run"))
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    Report::parse(&output.stdout).unwrap_or_else(|e| {
        panic!(
            "{e}: {printed} {} {}",
            String::from_utf8_lossy(&output.stderr),
            host.log()
        )
    })
}
