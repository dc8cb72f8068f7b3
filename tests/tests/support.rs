//! The support code itself: what the other tests take for granted.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail the test"
)]

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use oci_gpu_tests::bundle::{Device, Hook, Stage};
use oci_gpu_tests::leftovers::{self, Mounts};
use oci_gpu_tests::output::created_output;
use oci_gpu_tests::probe::{Loaded, Report};
use oci_gpu_tests::rootfs::Kind;
use oci_gpu_tests::runtime::{CgroupMode, Runtime};
use oci_gpu_tests::setting::Setting;
use oci_gpu_tests::tree::Tree;

#[test]
fn the_probe_runs_in_every_image_under_every_runtime() {
    let setting = Setting::new().unwrap();
    for runtime in Runtime::all(&setting.debs).unwrap() {
        for kind in Kind::ALL {
            let what = format!("{runtime}, {kind:?}");
            let bundle = setting.bundle(&what, kind).unwrap();
            let arguments = [
                "--open",
                "/dev/null",
                "--dlopen",
                "libm.so.6",
                "--read",
                "/etc/debian_version",
            ];
            let report = setting.probe.run(&runtime, bundle, &arguments).unwrap();
            assert_eq!(report.open("/dev/null"), "OK", "{what}");
            let loaded = matches!(report.dlopen("libm.so.6"), Loaded::Found { .. });
            assert_eq!(loaded, kind.has_glibc(), "{what}: {report:?}");
            let debian = matches!(
                kind,
                Kind::Bullseye | Kind::Bookworm | Kind::Trixie | Kind::Distroless
            );
            assert_eq!(
                report.read("/etc/debian_version").is_some(),
                debian,
                "{what}"
            );
        }
    }
}

#[test]
fn each_image_has_the_library_of_its_release() {
    let setting = Setting::new().unwrap();
    for (kind, version) in [
        (Kind::Bullseye, "GNU C Library (Debian GLIBC 2.31"),
        (Kind::Bookworm, "GNU C Library (Debian GLIBC 2.36"),
        (Kind::Trixie, "GNU C Library (Debian GLIBC 2.41"),
    ] {
        let bundle = setting.bundle(version, kind).unwrap();
        let libc = bundle.rootfs.on_host("/lib/x86_64-linux-gnu/libc.so.6");
        let libc = fs::read(libc).unwrap();
        let found = libc
            .windows(version.len())
            .any(|bytes| bytes == version.as_bytes());
        assert!(found, "{kind:?} is not {version}");
        // The cache is that ldconfig's own: by it the loader finds a library outside its defaults.
        assert!(bundle.rootfs.on_host("/etc/ld.so.cache").is_file());
    }
    let distroless = setting
        .bundle("distroless", Kind::Distroless)
        .unwrap()
        .rootfs;
    for absent in [
        "/etc/ld.so.cache",
        "/etc/ld.so.conf.d",
        "/sbin/ldconfig",
        "/usr/sbin/ldconfig",
    ] {
        assert!(!distroless.on_host(absent).exists(), "{absent}");
    }
    let lib64 = setting.bundle("lib64", Kind::Lib64).unwrap().rootfs;
    let report = setting
        .probe
        .run_chroot(&lib64, &["--dlopen", "libm.so.6"])
        .unwrap();
    let path = "/usr/lib64/libm.so.6".to_owned();
    assert_eq!(
        report.dlopen("libm.so.6"),
        Loaded::Found {
            path,
            version: None
        }
    );
}

/// Nodes of a driver that this machine lacks: open(2) passes the device cgroup, then finds no
/// driver (ENXIO); where the cgroup denies it, EPERM comes first.
#[test]
fn the_device_cgroup_is_enforced() {
    let setting = Setting::new().unwrap();
    for runtime in Runtime::all(&setting.debs).unwrap() {
        let mut bundle = setting.bundle(&runtime.to_string(), Kind::Scratch).unwrap();
        for minor in 0..3 {
            // Made by the runtime, and so allowed: 0. Only made: 1. Made, and allowed to read: 2.
            let node = bundle.rootfs.on_host(&format!("/nvidia{minor}"));
            make_node(&node, 195, minor);
        }
        bundle.devices.push(Device {
            path: "/dev/nvidia0".to_owned(),
            number: (195, 0),
        });
        bundle.allowed.push((195, 2, "r"));
        let nodes = ["/dev/nvidia0", "/nvidia0", "/nvidia1", "/nvidia2"];
        let arguments: Vec<_> = nodes.iter().flat_map(|node| ["--open", node]).collect();
        let report = setting.probe.run(&runtime, bundle, &arguments).unwrap();
        let seen = nodes.map(|node| report.open(node));
        let expected = match runtime.cgroups {
            CgroupMode::Disabled => ["ENXIO"; 4],
            CgroupMode::V1 | CgroupMode::V2 => ["ENXIO", "ENXIO", "EPERM", "EPERM"],
        };
        assert_eq!(seen, expected, "{runtime}");
    }
}

#[test]
fn a_user_namespace_and_a_readonly_root() {
    let setting = Setting::new().unwrap();
    for runtime in Runtime::all(&setting.debs).unwrap() {
        let mut bundle = setting
            .bundle(&runtime.to_string(), Kind::Bookworm)
            .unwrap();
        bundle.rootfs.give_to(200_000).unwrap();
        bundle.user_namespace = Some(200_000);
        bundle.readonly = true;
        let arguments = [
            "--read",
            "/proc/self/uid_map",
            "--write",
            "/etc/passwd",
            "--stat",
            "/etc/passwd",
        ];
        let report = setting.probe.run(&runtime, bundle, &arguments).unwrap();
        let map: Vec<_> = report
            .read("/proc/self/uid_map")
            .unwrap()
            .split_whitespace()
            .collect();
        assert_eq!(map, ["0", "200000", "65536"], "{runtime}");
        assert_eq!(report.write("/etc/passwd"), "EROFS", "{runtime}");
        assert_eq!(
            report.stat("/etc/passwd").unwrap().owner,
            (0, 0),
            "{runtime}"
        );
    }
}

#[test]
fn hooks_run_and_a_failed_one_leaves_nothing() {
    let setting = Setting::new().unwrap();
    let mounts = Mounts::now().unwrap();
    for runtime in Runtime::all(&setting.debs).unwrap() {
        let mut bundle = setting
            .bundle(&format!("{runtime}-good"), Kind::Scratch)
            .unwrap();
        let state = bundle.dir.join("state.json");
        bundle.hooks.push((
            Stage::CreateRuntime,
            Hook::shell(&format!("cat > '{}'", state.display())),
        ));
        let id = bundle.id.clone();
        setting.probe.run(&runtime, bundle, &[]).unwrap();
        let state: serde_json::Value = serde_json::from_slice(&fs::read(state).unwrap()).unwrap();
        assert_eq!(state["id"], id, "{runtime}");

        let mut bundle = setting
            .bundle(&format!("{runtime}-bad"), Kind::Scratch)
            .unwrap();
        bundle
            .hooks
            .push((Stage::Prestart, Hook::shell("echo no GPU >&2; exit 3")));
        setting.probe.install(&bundle.rootfs).unwrap();
        bundle.write().unwrap();
        let before = Tree::of(&bundle.rootfs.path).unwrap();
        let output = runtime.run(&bundle).unwrap();
        assert!(!output.success(), "{runtime}");
        let after = Tree::of(&bundle.rootfs.path).unwrap();
        nothing(&before.changes_to(&after));
        for id in [&id, &bundle.id] {
            nothing(&leftovers::cgroups(id));
        }
        nothing(&leftovers::processes(&bundle.dir));
    }
    nothing(&mounts.changes_to(&Mounts::now().unwrap()));
}

#[test]
fn a_container_is_created_then_started() {
    let setting = Setting::new().unwrap();
    for runtime in Runtime::all(&setting.debs).unwrap() {
        let mut bundle = setting.bundle(&runtime.to_string(), Kind::Trixie).unwrap();
        setting.probe.install(&bundle.rootfs).unwrap();
        bundle.probe(&["--open", "/dev/zero"]);
        bundle.write().unwrap();
        let created = runtime.create(&bundle).unwrap();
        assert!(created.success(), "{runtime}: {created}");
        let state = runtime.state(&bundle).unwrap().stdout;
        let state: serde_json::Value = serde_json::from_str(&state).unwrap();
        assert_eq!(state["status"], "created", "{runtime}");
        assert!(!leftovers::processes(&bundle.dir).is_empty(), "{runtime}");
        let started = runtime.start(&bundle).unwrap();
        assert!(started.success(), "{runtime}: {started}");
        let report = patiently(|| Report::parse(created_output(&bundle).0.as_bytes()).ok());
        assert_eq!(report.open("/dev/zero"), "OK", "{runtime}");
        let deleted = runtime.delete(&bundle).unwrap();
        assert!(deleted.success(), "{runtime}: {deleted}");
        nothing(&leftovers::cgroups(&bundle.id));
    }
}

fn nothing<T: std::fmt::Debug>(found: &[T]) {
    assert!(found.is_empty(), "{found:?}");
}

fn make_node(path: &Path, major: u64, minor: u64) {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    mknod(
        path,
        SFlag::S_IFCHR,
        Mode::from_bits_truncate(0o666),
        makedev(major, minor),
    )
    .unwrap();
}

/// What `attempt` returns as soon as it returns something, within ten seconds.
fn patiently<T>(attempt: impl Fn() -> Option<T>) -> T {
    for _ in 0..200 {
        if let Some(value) = attempt() {
            return value;
        }
        sleep(Duration::from_millis(50));
    }
    panic!("nothing in ten seconds");
}
