//! What cannot be made is refused in one line that names the remedy.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests are tests

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use common::skip;
use oci_gpu::{Code, Finding};
use oci_gpu_sim::{HostSpec, Nodes};

const DRIVER: &str = "[driver]\nversion = \"550.163.01\"\n";

/// Checks a finding of this crate: one line, with those words in it.
fn assert_says(finding: &Finding, words: &[&str]) {
    let text = finding.to_string();
    assert_eq!(finding.code, Code::Sim, "{text}");
    assert!(!text.contains('\n'), "{text}");
    assert!(!finding.remedy.is_empty(), "{text}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
}

#[test]
fn descriptions_that_no_machine_can_have_are_refused() {
    for (text, words) in [
        ("layuot = \"run\"", &["line 1", "layuot", "layout"][..]),
        ("\n\nlayout = \"rum\"", &["line 3", "rum", "debian"]),
        ("[driver", &["line 1"]),
        ("[driver]", &["version"]),
        ("[driver]\nversion = \"latest\"", &["latest", "550.163.01"]),
        ("[driver]\nversion = \"550\"", &["550"]),
        ("[driver]\nversion = \"../550.1\"", &["../550.1"]),
        (
            "arch = \"aarch64\"\n[driver]\nversion = \"550.163.01\"\ncompat32 = true",
            &["compat32"],
        ),
        (
            "[driver]\nversion = \"550.163.01\"\nglibc = \"x\"",
            &["glibc"],
        ),
        ("[gpus]\ncount = 65", &["65", "64"]),
        (
            "[driver]\nversion = \"550.163.01\"\n[gpus]\ncount = 33\n[[gpu]]\nindex = 32\nmig = [{ gi = 1 }]",
            &["GPU 32", "below 32"],
        ),
        (
            "[gpus]\ncount = 1\nmodel = \"h1000\"",
            &["h1000", "h100, a100"],
        ),
        ("[[gpu]]\nindex = 0", &["index 0"]),
        (
            "[gpus]\ncount = 1\n[[gpu]]\nindex = 0\n[[gpu]]\nindex = 0",
            &["two", "index 0"],
        ),
        (
            "[gpus]\ncount = 1\n[[gpu]]\nindex = 0\nbus-id = \"1a:00.0\"",
            &["1a:00.0", "0000:1a:00.0"],
        ),
        (
            "[gpus]\ncount = 1\n[[gpu]]\nindex = 0\nuuid = \"GPU-1\"",
            &["GPU-1"],
        ),
        (
            "[gpus]\ncount = 2\n[[gpu]]\nindex = 0\nminor = 1",
            &["minor number 1", "twice"],
        ),
        (
            "[gpus]\ncount = 1\nmodel = \"t4\"\n[[gpu]]\nindex = 0\nmig = [{ gi = 0 }]",
            &["Tesla T4", "MIG"],
        ),
        (
            "[gpus]\ncount = 1\n[[gpu]]\nindex = 0\nmig = [{ gi = 15 }]",
            &["out of range", "0 to 14"],
        ),
        (
            "[gpus]\ncount = 1\n[[gpu]]\nindex = 0\nmig = [{ gi = 1 }, { gi = 1 }]",
            &["GPU instance", "twice"],
        ),
        ("imex-channels = [0]", &["without a driver"]),
        (
            &format!("{DRIVER}[[decoy]]\nversion = \"550.163.01\""),
            &["the driver itself"],
        ),
        (
            &format!("{DRIVER}[faults]\nmissing = [\"libcudart\"]"),
            &["libcudart", "stem"],
        ),
        (
            &format!("{DRIVER}[paths]\nlib = \"lib\""),
            &["\"lib\"", "from /"],
        ),
        (
            &format!("{DRIVER}[paths]\nlib = \"/usr/../../etc\""),
            &["/usr/../../etc"],
        ),
        (
            &format!("layout = \"debian\"\n{DRIVER}[paths]\nlib = \"/opt/lib\""),
            &["debian"],
        ),
    ] {
        let finding = HostSpec::from_toml(text).expect_err(text);
        assert_says(&finding, words);
    }
    assert_says(&HostSpec::named("run-9").unwrap_err(), &["run-9", "run-8"]);
}

#[test]
fn a_fault_must_hit_a_node_that_the_host_would_have() {
    let text = format!("{DRIVER}[faults]\nmissing-nodes = [\"/dev/nvidia0\"]");
    let mut spec = HostSpec::from_toml(&text).unwrap();
    spec.nodes = Nodes::Skip;
    let directory = tempfile::tempdir().unwrap();
    let finding = spec.create(directory.path()).unwrap_err();
    assert_says(&finding, &["/dev/nvidia0"]);
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        0,
        "cleared"
    );
}

#[test]
fn programs_that_change_a_description_are_checked_too() {
    let mut spec = HostSpec::named("run-8").unwrap();
    spec.gpus.count = 99;
    let directory = tempfile::tempdir().unwrap();
    assert_says(&spec.create(directory.path()).unwrap_err(), &["99 GPUs"]);
}

#[test]
fn only_an_empty_directory_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("mine"), "mine").unwrap();
    let spec = HostSpec::named("no-gpu").unwrap();
    let finding = spec.create(directory.path()).unwrap_err();
    assert_says(&finding, &["is not empty"]);
    assert_eq!(
        fs::read_to_string(directory.path().join("mine")).unwrap(),
        "mine"
    );

    let file = directory.path().join("mine");
    assert_says(&spec.create(&file).unwrap_err(), &["mine"]);
    // A directory that is not there yet is made, with its parents.
    let created = spec.create(&directory.path().join("a/b")).unwrap();
    assert!(created.root.ends_with("a/b"));
}

#[test]
fn skipped_nodes_are_named() {
    let mut spec = HostSpec::named("run-1").unwrap();
    spec.nodes = Nodes::Skip;
    let directory = tempfile::tempdir().unwrap();
    let created = spec.create(directory.path()).unwrap();
    assert_eq!(created.nodes, 0);
    assert!(created.skipped_nodes.contains(&"/dev/nvidia-uvm".into()));
    assert_eq!(
        fs::read_dir(directory.path().join("dev")).unwrap().count(),
        0
    );
}

/// Set for a test that runs itself again in a namespace, and stops where it would do so again.
const INSIDE: &str = "OCI_GPU_SIM_TEST_INSIDE";

/// Runs `test` of this file again, under `unshare` with those arguments.
fn again(test: &str, unshare: &[&str]) {
    let program = std::env::current_exe().unwrap();
    let output = Command::new("unshare")
        .args(unshare)
        .arg(program)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && out.contains("1 passed"),
        "{out}{err}"
    );
}

fn can_unshare(arguments: &[&str]) -> bool {
    let mut command = Command::new("unshare");
    command.args(arguments).arg("true");
    let can = command.output().is_ok_and(|output| output.status.success());
    if !can {
        skip(&format!("unshare {} fails here", arguments.join(" ")));
    }
    can
}

fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

#[test]
fn where_mknod_is_refused_the_remedy_is_named() {
    if !is_inside() {
        // In a user namespace, mknod of a device is refused to root too.
        if can_unshare(&["-Ur"]) {
            again("where_mknod_is_refused_the_remedy_is_named", &["-Ur"]);
        }
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let spec = HostSpec::named("run-1").unwrap();
    let finding = spec.create(directory.path()).unwrap_err();
    assert_says(&finding, &["mknod", "run as root", "nodes = \"skip\""]);
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        0,
        "cleared"
    );
}

#[test]
fn a_mount_without_devices_is_refused() {
    if !is_inside() {
        if can_unshare(&["-Urm"]) {
            again("a_mount_without_devices_is_refused", &["-Urm"]);
        }
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut mount = Command::new("mount");
    mount
        .args(["-t", "tmpfs", "-o", "nodev", "none"])
        .arg(directory.path());
    assert!(mount.status().unwrap().success());
    let mut spec = HostSpec::named("run-1").unwrap();
    let finding = spec.create(directory.path()).unwrap_err();
    assert_says(&finding, &["nodev", "another mount", "nodes = \"skip\""]);
    spec.nodes = Nodes::Skip;
    assert_eq!(spec.create(directory.path()).unwrap().nodes, 0);
}

#[test]
fn a_side_alone_joins_a_root_file_system_and_stays_inside_it() {
    let outside = tempfile::tempdir().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    // A root file system with links that would lead out of it if they were followed from here.
    fs::create_dir_all(root.join("usr/lib")).unwrap();
    symlink("usr/lib", root.join("lib")).unwrap();
    symlink("/srv/run", root.join("run")).unwrap();
    fs::create_dir_all(root.join("srv/run")).unwrap();
    symlink(outside.path(), root.join("sys")).unwrap();
    fs::create_dir_all(root.join(outside.path().strip_prefix("/").unwrap())).unwrap();

    let mut spec = HostSpec::named("run-1").unwrap();
    spec.nodes = Nodes::Skip;
    spec.create_kernel_side(root).unwrap();
    assert!(!root.join("usr/lib/x86_64-linux-gnu").exists());
    spec.create_userland(root).unwrap();

    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    let host = oci_gpu::Host::at(root);
    let is_there = |path: &str| host.files().exists(Path::new(path));
    assert!(is_there("/sys/module/nvidia/version"));
    assert!(is_there("/srv/run/nvidia-persistenced/socket"));
    assert!(is_there("/lib/firmware/nvidia/535.261.03/gsp_tu10x.bin"));
    // Nothing is overwritten.
    let finding = spec.create_userland(root).unwrap_err();
    assert_says(&finding, &["File exists"]);
}
