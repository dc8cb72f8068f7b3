//! What cannot be done ends in one clear line with a code, exit status 1, and a container's tree
//! that is as it was.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::path::Path;

use oci_gpu_tests::bundle::{Bundle, Stage};
use oci_gpu_tests::gpu::{GpuHost, STAGES};
use oci_gpu_tests::rootfs::Kind;
use oci_gpu_tests::runtime::{CgroupMode, Runtime};
use oci_gpu_tests::tree::Tree;
use serde_json::json;

/// (host, environment, what the message has)
const CASES: &[(&str, &[&str], &[&str])] = &[
    (
        "no-gpu",
        &["NVIDIA_VISIBLE_DEVICES=all"],
        &["OG0301", "no NVIDIA driver is loaded"],
    ),
    (
        "no-devices",
        &["NVIDIA_VISIBLE_DEVICES=all"],
        &["OG0401", "driver 550.163.01 has none"],
    ),
    (
        "half-upgraded",
        &["NVIDIA_VISIBLE_DEVICES=all"],
        &["OG0302", "550.163.01", "560.35.03", "upgraded by half"],
    ),
    (
        "wrong-major",
        &["NVIDIA_VISIBLE_DEVICES=0"],
        &["OG0306", "/dev/nvidia0 is wrong", "create-device-nodes"],
    ),
    (
        "wrong-major",
        &["NVIDIA_VISIBLE_DEVICES=1"],
        &["OG0306", "not a character device"],
    ),
    (
        "missing-uvm",
        &["NVIDIA_VISIBLE_DEVICES=0"],
        &["OG0305", "/dev/nvidia-uvm", "capability compute"],
    ),
    (
        "microvm-1",
        &["NVIDIA_VISIBLE_DEVICES=0"],
        &["OG0305", "create-device-nodes"],
    ),
    (
        "run-8",
        &["NVIDIA_VISIBLE_DEVICES=8"],
        &["OG0401", "no GPU '8'", "GPU-", "H100"],
    ),
    (
        "run-8",
        &["NVIDIA_VISIBLE_DEVICES=0,GPU-ffffffff"],
        &["OG0401", "GPU-ffffffff"],
    ),
    (
        "run-8-mig",
        &["NVIDIA_VISIBLE_DEVICES=1:7"],
        &["OG0403", "1:7", "1:0"],
    ),
    (
        "run-8-mig",
        &["NVIDIA_VISIBLE_DEVICES=0:0"],
        &["OG0403", "is not split"],
    ),
    (
        "run-8",
        &["NVIDIA_VISIBLE_DEVICES=../../dev/mem"],
        &["OG0201", "NVIDIA_VISIBLE_DEVICES"],
    ),
    (
        "run-8",
        &[
            "NVIDIA_VISIBLE_DEVICES=0",
            "NVIDIA_DRIVER_CAPABILITIES=compute,magic",
        ],
        &["OG0202", "magic", "utility"],
    ),
    (
        "run-8",
        &["NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_REQUIRE_CUDA=cuda>=99.0"],
        &["OG0204", "cuda>=99.0"],
    ),
    (
        "run-8",
        &["NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_IMEX_CHANNELS=5"],
        &["OG0404", "channel 5"],
    ),
];

#[test]
fn requests_that_cannot_be_met_are_explained() {
    let runtime = Runtime::runc(CgroupMode::V1).unwrap();
    for (host, env, words) in CASES {
        let host = GpuHost::new(host).unwrap();
        let mut bundle = host.bundle(Kind::Bookworm, env).unwrap();
        refused(&host, &runtime, &mut bundle, Stage::CreateRuntime, words);
    }
}

/// What an image has in the way, how it gets there, and what the message has.
type Spoiled = (&'static str, fn(&Path), &'static [&'static str]);

/// Images in whose tree something cannot be done.
#[test]
fn images_that_are_in_the_way_are_left_as_they_were() {
    let host = GpuHost::new("run-8").unwrap();
    let spoil: &[Spoiled] = &[
        (
            "ld.so.cache is a directory",
            |root| {
                fs::remove_file(root.join("etc/ld.so.cache")).unwrap();
                fs::create_dir(root.join("etc/ld.so.cache")).unwrap();
            },
            &["OG0605", "ld.so.cache", "it is a directory"],
        ),
        (
            "a library's place is a directory",
            |root| {
                fs::create_dir(root.join("usr/lib/x86_64-linux-gnu/libcuda.so.550.163.01"))
                    .unwrap();
            },
            &["OG0602", "is a directory"],
        ),
        (
            "a library's place is a FIFO",
            |root| {
                let path = root.join("usr/lib/x86_64-linux-gnu/libcuda.so.550.163.01");
                nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o666))
                    .unwrap();
            },
            &["OG0602", "is a FIFO"],
        ),
        (
            "a library's place is a link",
            |root| {
                std::os::unix::fs::symlink(
                    "/etc/passwd",
                    root.join("usr/lib/x86_64-linux-gnu/libcuda.so.550.163.01"),
                )
                .unwrap();
            },
            &["OG0602", "is a symbolic link"],
        ),
        (
            "/usr leads to a process's files",
            |root| {
                fs::rename(root.join("usr"), root.join("usr.real")).unwrap();
                std::os::unix::fs::symlink("/proc/self/root/usr", root.join("usr")).unwrap();
            },
            &["OG0602", "link"],
        ),
        (
            "/usr is a dangling link",
            |root| {
                fs::rename(root.join("usr"), root.join("usr.real")).unwrap();
                std::os::unix::fs::symlink("nowhere", root.join("usr")).unwrap();
            },
            &["OG0602"],
        ),
    ];
    for runtime in [
        Runtime::runc(CgroupMode::V1).unwrap(),
        Runtime::runc(CgroupMode::V2).unwrap(),
    ] {
        for stage in STAGES {
            for (what, spoil, words) in spoil {
                let mut bundle = host
                    .bundle(Kind::Bookworm, &["NVIDIA_VISIBLE_DEVICES=0"])
                    .unwrap();
                spoil(&bundle.rootfs.path);
                println!("{what}, {runtime}, {}", stage.name());
                refused(&host, &runtime, &mut bundle, stage, words);
            }
        }
    }
}

fn refused(host: &GpuHost, runtime: &Runtime, bundle: &mut Bundle, stage: Stage, words: &[&str]) {
    let env = bundle.env.join(" ");
    // What the runtime itself makes in a root is made by a first run, which asks for nothing.
    let mut first = bundle.clone();
    first.env.retain(|e| !e.starts_with("NVIDIA_"));
    let _ = host.try_run(runtime, &mut first, stage).unwrap();
    let before = Tree::of(&bundle.rootfs.path).unwrap();

    let output = host.try_run(runtime, bundle, stage).unwrap();
    assert!(!output.success(), "{env}: {output:?}");
    let lines: Vec<&str> = output
        .stderr
        .lines()
        .filter(|l| l.contains("OG0"))
        .collect();
    assert_eq!(lines.len(), 1, "{env}: {}", output.stderr);
    assert!(
        output.stderr.contains("exit status 1"),
        "{env}: {}",
        output.stderr
    );
    for word in words {
        assert!(lines[0].contains(word), "{env}: '{word}' in {}", lines[0]);
    }
    // crun throws stderr away, so the log has it as well.
    for word in words {
        let in_log = host.log();
        let about_request = ["OG0201", "OG0202"].iter().any(|c| words.contains(c));
        assert!(
            about_request || in_log.contains(word),
            "{env}: '{word}' in {in_log}"
        );
    }
    let after = Tree::of(&bundle.rootfs.path).unwrap();
    assert_eq!(before.changes_to(&after), [""; 0], "{env}");
    host.assert_untouched().unwrap();
}

/// The hook called with what no runtime should pass.
#[test]
fn bad_states_and_bundles_are_refused() {
    let host = GpuHost::new("run-8").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let bundle = |name: &str, config: &[u8]| {
        let path = dir.path().join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("config.json"), config).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let state = |bundle: &str, pid: i64| {
        json!({"ociVersion": "1.0.2", "id": "c", "status": "creating", "pid": pid, "bundle": bundle}).to_string()
    };
    let config = |root: &str| {
        json!({"ociVersion": "1.0.2", "process": {"env": ["NVIDIA_VISIBLE_DEVICES=0"]}, "root": {"path": root}}).to_string()
    };
    let good = bundle("good", config("rootfs").as_bytes());
    let fifo = bundle("fifo", b"");
    fs::remove_file(dir.path().join("fifo/config.json")).unwrap();
    nix::unistd::mkfifo(
        &dir.path().join("fifo/config.json"),
        nix::sys::stat::Mode::from_bits_truncate(0o666),
    )
    .unwrap();
    let own = i64::from(std::process::id());
    let cases: Vec<(String, &str)> = vec![
        (String::new(), "OG0101"),
        ("x".to_owned(), "OG0101"),
        ("{".repeat(200_000), "OG0101"),
        ("{}".to_owned(), "OG0101"),
        (
            format!("{{\"bundle\": \"{}\"}}", "x".repeat(5 << 20)),
            "OG0101",
        ),
        (state("relative", own), "OG0101"),
        (state("/nonexistent", own), "OG0102"),
        (state(&fifo, own), "OG0102"),
        (
            state(&bundle("no-json", b"{\"NVIDIA_VISIBLE_DEVICES=0\""), own),
            "OG0102",
        ),
        (
            state(&bundle("no-root", config("").as_bytes()), own),
            "OG0102",
        ),
        (
            state(&bundle("host-root", config("/").as_bytes()), own),
            "OG0102",
        ),
        (
            state(&bundle("climbs", config("../../..").as_bytes()), own),
            "OG0102",
        ),
        (state(&good, own), "OG0601"),
        (state(&good, 0), "OG0601"),
        (state(&good, -1), "OG0601"),
        (state(&good, 1), "OG0601"),
        (state(&good, i64::from(i32::MAX)), "OG0601"),
    ];
    for (input, code) in &cases {
        let shown: String = input.chars().take(200).collect();
        for stage in ["prestart", "createRuntime"] {
            let output = host.call(&[stage], input.as_bytes()).unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{shown}: {stderr}");
            assert_eq!(stderr.lines().count(), 1, "{shown}: {stderr}");
            assert!(
                stderr.starts_with(&format!("oci-gpu-hook: {code}: ")),
                "{shown}: {stderr}"
            );
        }
    }
    let output = host.call(&["createruntime"], b"").unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    host.assert_untouched().unwrap();
}
