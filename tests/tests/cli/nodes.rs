//! `system create-device-nodes`: nodes with the numbers that the kernel says, modes and owners that
//! the driver wants; and a container afterwards.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};
use oci_gpu_sim::HostSpec;
use oci_gpu_tests::binaries;
use oci_gpu_tests::bundle::Stage;
use oci_gpu_tests::error::Context;
use oci_gpu_tests::gpu::GpuHost;
use oci_gpu_tests::probe::Loaded;
use oci_gpu_tests::rootfs::Kind;
use oci_gpu_tests::runtime::{CgroupMode, Runtime};
use oci_gpu_tests::scratch::Scratch;
use oci_gpu_tests::sim::SimHost;
use oci_gpu_tests::tree::Tree;

use crate::ran::{Ran, command, run_on};

const CREATE: [&str; 2] = ["system", "create-device-nodes"];

pub(crate) fn create(host: &Path, more: &[&str]) -> Ran {
    run_on(host, &[&CREATE, more].concat())
}

/// A node as "MAJOR:MINOR MODE UID:GID".
pub(crate) fn node(path: PathBuf) -> String {
    let facts = fs::symlink_metadata(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(facts.file_type().is_char_device(), "{}", path.display());
    let (device, mode) = (facts.rdev(), facts.mode() & 0o7777);
    let (uid, gid) = (facts.uid(), facts.gid());
    format!("{}:{} {mode:04o} {uid}:{gid}", major(device), minor(device))
}

/// The last word of each line, by the path that it begins with.
pub(crate) fn verdicts(text: &str) -> Vec<(&str, &str)> {
    text.lines()
        .map(|l| {
            let (path, rest) = l.split_once(' ').unwrap();
            (path, rest.rsplit("  ").next().unwrap().trim())
        })
        .collect()
}

pub(crate) const MICROVM: [(&str, &str); 6] = [
    ("/dev/nvidiactl", "195:255 0666 0:0"),
    ("/dev/nvidia-uvm", "508:0 0666 0:0"),
    ("/dev/nvidia-uvm-tools", "508:1 0666 0:0"),
    ("/dev/nvidia0", "195:0 0666 0:0"),
    ("/dev/nvidia-caps/nvidia-cap1", "237:1 0400 0:0"),
    ("/dev/nvidia-caps/nvidia-cap2", "237:2 0444 0:0"),
];

/// On a host without nodes: nothing in a dry run, then all of them, whatever the umask, then
/// nothing more.
#[test]
fn missing_nodes_are_made() {
    let host = SimHost::named("microvm-1").unwrap();
    let before = Tree::of(host.root()).unwrap();
    let text = create(host.root(), &["--dry-run"]).done("dry run");
    let expected = MICROVM.map(|(path, _)| (path, "would be created"));
    assert_eq!(verdicts(&text), expected, "{text}");
    assert_eq!(before.changes_to(&Tree::of(host.root()).unwrap()), [""; 0]);

    let script = format!(
        "umask 077; exec {} --host-root {} system create-device-nodes",
        binaries::cli().unwrap().display(),
        host.root().display()
    );
    let output = std::process::Command::new("/bin/sh")
        .args(["-c", &script])
        .output();
    let text = Ran::of(output.unwrap()).done("create");
    assert_eq!(
        verdicts(&text),
        MICROVM.map(|(path, _)| (path, "created")),
        "{text}"
    );
    for (path, expected) in MICROVM {
        assert_eq!(node(host.on_disk(path)), expected, "{path}");
    }
    let made = Tree::of(host.root()).unwrap();
    let new = before.changes_to(&made);
    let nodes = MICROVM.map(|(path, _)| format!("+{}", &path[1..]));
    let directory = "+dev/nvidia-caps".to_owned();
    assert!(
        new.iter().all(|c| nodes.contains(c) || *c == directory),
        "{new:?}"
    );

    let text = create(host.root(), &[]).done("again");
    assert_eq!(
        verdicts(&text),
        MICROVM.map(|(path, _)| (path, "present")),
        "{text}"
    );
    assert_eq!(made.changes_to(&Tree::of(host.root()).unwrap()), [""; 0]);
}

/// Owner and mode are the module's parameters; MIG's rights are root's with modes of their own.
#[test]
fn owners_and_modes_are_those_that_the_driver_wants() {
    let host = SimHost::named("run-8-mig").unwrap();
    let params = host.on_disk("/proc/driver/nvidia/params");
    let text = fs::read_to_string(&params).unwrap();
    let text = text
        .replace("DeviceFileUID: 0", "DeviceFileUID: 12")
        .replace("DeviceFileGID: 0", "DeviceFileGID: 44")
        .replace("DeviceFileMode: 438", "DeviceFileMode: 432");
    fs::remove_file(&params).unwrap();
    fs::write(&params, text).unwrap();
    fs::remove_dir_all(host.on_disk("/dev")).unwrap();
    let value = create(host.root(), &["--format", "json"]).json("create");
    // 4 control nodes, 8 GPUs, 11 GPU instances, 12 compute instances, 2 rights.
    let rows = value.as_array().unwrap();
    assert_eq!(rows.len(), 4 + 8 + 11 + 12 + 2);
    for row in rows {
        assert_eq!(
            (&row["need"], &row["done"]),
            (&"create".into(), &true.into()),
            "{row}"
        );
        let path = row["path"].as_str().unwrap();
        let (numbers, mode) = (format!("{}:{}", row["major"], row["minor"]), &row["mode"]);
        let found = node(host.on_disk(path));
        assert!(
            found.starts_with(&format!("{numbers} {} ", mode.as_str().unwrap())),
            "{row}: {found}"
        );
    }
    for (path, expected) in [
        ("/dev/nvidia0", "195:0 0660 12:44"),
        ("/dev/nvidia-modeset", "195:254 0660 12:44"),
        ("/dev/nvidia-caps/nvidia-cap1", "237:1 0400 0:0"),
        ("/dev/nvidia-caps/nvidia-cap2", "237:2 0444 0:0"),
        ("/dev/nvidia-caps/nvidia-cap201", "237:201 0444 0:0"),
        ("/dev/nvidia-caps/nvidia-cap815", "237:815 0444 0:0"),
    ] {
        assert_eq!(node(host.on_disk(path)), expected, "{path}");
    }
    // DRM's nodes are the kernel's own business (devtmpfs).
    let text = run_on(host.root(), &["list"]).done("list");
    let bad = |l: &&str| l.contains("missing") || l.contains("wrong");
    let bad: Vec<&str> = text.lines().filter(bad).collect();
    assert!(bad.iter().all(|l| l.contains("/dev/dri/")), "{bad:#?}");
}

/// Nodes of another kernel are replaced and named; those that are right are left alone.
#[test]
fn wrong_nodes_are_replaced() {
    let host = SimHost::named("wrong-major").unwrap();
    let before = Tree::of(host.root()).unwrap();
    let inode = || fs::metadata(host.on_disk("/dev/nvidiactl")).unwrap().ino();
    let control = inode();
    let expected = |verdict: &str| {
        let wrong = "it is device 196:0, and the kernel says 195:0";
        vec![
            ("/dev/nvidiactl", "present".to_owned()),
            ("/dev/nvidia-modeset", "present".to_owned()),
            ("/dev/nvidia-uvm", "present".to_owned()),
            ("/dev/nvidia-uvm-tools", "present".to_owned()),
            ("/dev/nvidia0", format!("{verdict}: {wrong}")),
            (
                "/dev/nvidia1",
                format!("{verdict}: it is not a character device"),
            ),
        ]
    };
    let told = |text: &str| -> Vec<(String, String)> {
        let rows = verdicts(text).into_iter();
        let rows = rows.filter(|(path, _)| !path.contains("nvidia-caps"));
        rows.map(|(path, verdict)| (path.to_owned(), verdict.to_owned()))
            .collect()
    };
    let owned = |rows: Vec<(&str, String)>| -> Vec<(String, String)> {
        rows.into_iter()
            .map(|(path, verdict)| (path.to_owned(), verdict))
            .collect()
    };
    let text = create(host.root(), &["--dry-run"]).done("dry run");
    assert_eq!(told(&text), owned(expected("would be replaced")));
    assert_eq!(before.changes_to(&Tree::of(host.root()).unwrap()), [""; 0]);
    let text = create(host.root(), &[]).done("create");
    assert_eq!(told(&text), owned(expected("replaced")));
    assert_eq!(node(host.on_disk("/dev/nvidia0")), "195:0 0666 0:0");
    assert_eq!(node(host.on_disk("/dev/nvidia1")), "195:1 0666 0:0");
    assert_eq!(inode(), control);
}

/// Without the privilege: one line that names it, and nothing made.
#[test]
fn without_privilege_it_says_so() {
    let host = SimHost::named("microvm-1").unwrap();
    // The sources' directory need not be open to everybody.
    let dir = Scratch::new().unwrap();
    let program = dir.path().join("oci-gpu");
    fs::copy(binaries::cli().unwrap(), &program).unwrap();
    let nobody = |args: &[&str]| {
        let mut command = std::process::Command::new(&program);
        command
            .arg("--host-root")
            .arg(host.root())
            .args(CREATE)
            .args(args);
        Ran::of(command.uid(65534).gid(65534).output().unwrap())
    };
    let before = Tree::of(host.root()).unwrap();
    let stdout = nobody(&[]).failed(
        "OG0105",
        &[
            "/dev/nvidiactl",
            "denied",
            "; run it as root with CAP_MKNOD",
        ],
        "nobody",
    );
    assert_eq!(stdout, "");
    let text = nobody(&["--dry-run"]).done("dry run");
    assert_eq!(verdicts(&text).len(), MICROVM.len());
    assert_eq!(before.changes_to(&Tree::of(host.root()).unwrap()), [""; 0]);
}

/// What was made before a failure is told beside it, and nothing is left half made.
#[test]
fn a_failure_in_the_middle_is_told_with_what_was_done() {
    let host = SimHost::named("microvm-1").unwrap();
    fs::create_dir_all(host.on_disk("/dev/nvidia0/something")).unwrap();
    let words = ["/dev/nvidia0", "; remove the directory in the node's place"];
    let text = create(host.root(), &[]).failed("OG0306", &words, "a directory in the way");
    let made = MICROVM[..3].iter().map(|(path, _)| (*path, "created"));
    assert_eq!(verdicts(&text), made.collect::<Vec<_>>(), "{text}");
    let names = host.host().files().list(Path::new("/dev")).unwrap();
    assert_eq!(
        names,
        ["nvidia-uvm", "nvidia-uvm-tools", "nvidia0", "nvidiactl"]
    );
}

/// Links of a host that lies in a directory lead to places in it, never to this machine's.
#[test]
fn links_of_the_host_stay_in_it() {
    let host = SimHost::named("microvm-1").unwrap();
    let outside = Scratch::new().unwrap();
    fs::create_dir_all(host.on_disk(outside.path())).unwrap();
    fs::remove_dir(host.on_disk("/dev")).unwrap();
    symlink(outside.path(), host.on_disk("/dev")).unwrap();
    create(host.root(), &[]).done("dev is a link");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    let inside = host.on_disk(outside.path());
    assert_eq!(node(inside.join("nvidia0")), "195:0 0666 0:0");
    assert_eq!(
        node(inside.join("nvidia-caps/nvidia-cap1")),
        "237:1 0400 0:0"
    );

    fs::remove_file(host.on_disk("/dev")).unwrap();
    symlink("/nowhere", host.on_disk("/dev")).unwrap();
    create(host.root(), &[]).failed("OG0305", &["/dev/nvidiactl"], "dev leads nowhere");
    assert!(!Path::new("/nowhere").exists());
}

/// The nodes of a driver container are its own, and are there.
#[test]
fn a_driver_container_has_its_own_nodes() {
    let host = SimHost::named("driver-container-8").unwrap();
    let text = create(host.root(), &[]).done("create");
    let rows = verdicts(&text);
    assert_eq!(rows.len(), 4 + 8 + 2);
    for (path, verdict) in rows {
        assert!(path.starts_with("/run/nvidia/driver/dev/"), "{path}");
        assert_eq!(verdict, "present", "{path}");
    }
}

/// A container on hosts that had no usable node before.
#[test]
fn containers_get_the_nodes_that_were_made() {
    let rows = [
        ("microvm-1", "/dev/nvidia0", (195, 0), "570.124.06"),
        ("wrong-major", "/dev/nvidia1", (195, 1), "535.261.03"),
    ];
    for (name, path, numbers, version) in rows {
        let host = GpuHost::with(|dir| {
            let spec = HostSpec::named(name).during("describe the host")?;
            spec.create(dir).during("make the host")?;
            create(dir, &[]).done(name);
            Ok(())
        })
        .unwrap();
        let runtime = Runtime::runc(CgroupMode::V1).unwrap();
        let bundle = host
            .bundle(Kind::Bookworm, &["NVIDIA_VISIBLE_DEVICES=all"])
            .unwrap();
        let asked = ["--stat", path, "--open", path, "--dlopen", "libcuda.so.1"];
        let report = host
            .run(&runtime, bundle, Stage::CreateRuntime, &asked)
            .unwrap();
        assert_eq!(report.stat(path).unwrap().device, numbers, "{name}");
        // Allowed by the device cgroup; no driver stands behind it.
        assert_eq!(report.open(path), "ENXIO", "{name}");
        match report.dlopen("libcuda.so.1") {
            Loaded::Found {
                version: Some(found),
                ..
            } => assert_eq!(found, format!("libcuda {version}"), "{name}"),
            other => panic!("{name}: {other:?}"),
        }
        host.assert_untouched().unwrap();
    }
}

/// Nodes of the machine itself are looked at without a host root; a dry run changes nothing.
#[test]
fn the_machine_itself_is_the_default_host() {
    let mut command = command();
    let ran = Ran::of(command.args(CREATE).arg("--dry-run").output().unwrap());
    match Path::new("/proc/driver/nvidia").exists() {
        true => assert_eq!(ran.code, Some(0), "{ran:?}"),
        false => drop(ran.failed("OG0301", &["no NVIDIA driver is loaded"], "no driver here")),
    }
}
