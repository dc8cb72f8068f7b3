//! `system load-modules`: what is decided, and what is run, in hosts whose modprobe is a script that
//! "loads" by making the files that a kernel would show.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use oci_gpu_sim::HostSpec;
use oci_gpu_tests::binaries;
use oci_gpu_tests::sim::SimHost;
use oci_gpu_tests::tree::Tree;
use serde_json::Value;

use crate::ran::{Ran, command, run_on};

const LOAD: [&str; 2] = ["system", "load-modules"];

fn load(host: &Path, more: &[&str]) -> Ran {
    run_on(host, &[&LOAD, more].concat())
}

/// A host with one GPU whose driver is installed and not loaded.
fn unloaded() -> SimHost {
    let mut spec = HostSpec::named("run-1").unwrap();
    spec.driver.as_mut().unwrap().loaded = false;
    SimHost::of(spec).unwrap()
}

/// What the script begins with: it says what it was called with and what its environment is.
const SCRIPT: &str = r#"#!/bin/sh
echo "$*" >>/called
export -p >/environment
for module; do :; done
live() {
    mkdir -p "/sys/module/$1"
    echo live >"/sys/module/$1/initstate"
    echo 550.163.01 >"/sys/module/$1/version"
}
device() { sed -i "s/^$/$1\n/" /proc/devices; }
"#;

/// What a modprobe does that succeeds.
const LOADS: &str = r#"
live "$(echo "$module" | tr - _)"
case $module in
nvidia) device "195 nvidia" ;;
nvidia-uvm) device "508 nvidia-uvm" ;;
esac
"#;

/// Gives `host` a shell and a modprobe.
fn give_modprobe(host: &SimHost, rest: &str) {
    for directory in ["/bin", "/sbin"] {
        fs::create_dir_all(host.on_disk(directory)).unwrap();
    }
    fs::copy("/bin/busybox", host.on_disk("/bin/busybox")).unwrap();
    for name in ["sh", "sed", "mkdir", "tr"] {
        symlink("busybox", host.on_disk(format!("/bin/{name}"))).unwrap();
    }
    write_program(&host.on_disk("/sbin/modprobe"), &format!("{SCRIPT}{rest}"));
}

fn write_program(path: &Path, text: &str) {
    let _ = fs::remove_file(path);
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn read(host: &SimHost, path: &str) -> String {
    fs::read_to_string(host.on_disk(path)).unwrap_or_default()
}

/// Module and outcome of each row.
fn outcomes(value: &Value) -> Vec<(&str, &str)> {
    let rows = value.as_array().unwrap().iter();
    rows.map(|r| {
        (
            r["module"].as_str().unwrap(),
            r["outcome"].as_str().unwrap(),
        )
    })
    .collect()
}

const USUAL: [&str; 3] = ["nvidia", "nvidia-uvm", "nvidia-modeset"];

/// A dry run changes nothing; a run loads each by the host's own program, in its own root, without
/// our environment; another one has nothing to do.
#[test]
fn what_is_missing_is_loaded_in_order() {
    let host = unloaded();
    give_modprobe(&host, LOADS);
    let json = ["--format", "json"];
    let before = Tree::of(host.root()).unwrap();
    let dry = load(host.root(), &[&["--dry-run"][..], &json].concat()).json("dry run");
    assert_eq!(outcomes(&dry), USUAL.map(|m| (m, "would-be-loaded")));
    assert_eq!(before.changes_to(&Tree::of(host.root()).unwrap()), [""; 0]);

    let mut command = command();
    command
        .env("CANARY", "sings")
        .arg("--host-root")
        .arg(host.root());
    let value = Ran::of(command.args(LOAD).args(json).output().unwrap()).json("load");
    assert_eq!(outcomes(&value), USUAL.map(|m| (m, "loaded")));
    assert_eq!(
        read(&host, "/called"),
        "nvidia\nnvidia-uvm\nnvidia-modeset\n"
    );
    let environment = read(&host, "/environment");
    assert!(
        environment.contains("PATH=") && !environment.contains("CANARY"),
        "{environment}"
    );

    let value = load(host.root(), &json).json("again");
    assert_eq!(outcomes(&value), USUAL.map(|m| (m, "already")));
    let text = load(host.root(), &["nvidia-drm", "nvidia"]).done("by name");
    assert_eq!(text, "nvidia      loaded already\nnvidia-drm  loaded\n");
    assert_eq!(
        read(&host, "/called"),
        "nvidia\nnvidia-uvm\nnvidia-modeset\nnvidia-drm\n"
    );
}

/// What modprobe does, what the finding has, and what becomes of nvidia-uvm and nvidia-modeset.
type Failure = (&'static str, &'static [&'static str], [&'static str; 3]);

/// It is told what modprobe said, and what to do about it; what does not need the module is tried.
#[test]
fn what_fails_is_told_with_what_modprobe_said() {
    let only_uvm_fails = r#"[ "$module" = nvidia-uvm ] && { echo "modprobe: FATAL: Module nvidia-uvm not found in directory /lib/modules/6.1.0" >&2; exit 1; }"#;
    let rows: [Failure; 7] = [
        (
            "echo \"modprobe: ERROR: could not insert 'nvidia': Key was rejected by service\" >&2; exit 1",
            &[
                "kernel module nvidia: modprobe: ERROR",
                "Key was rejected",
                "; sign the module",
            ],
            ["failed", "not-tried", "not-tried"],
        ),
        (
            "echo \"could not insert 'nvidia': No such device\" >&2; exit 1",
            &["No such device", "nouveau"],
            ["failed", "not-tried", "not-tried"],
        ),
        (
            "exit 3",
            &[
                "/usr/sbin/modprobe ended with exit status: 3",
                "; dmesg tells why",
            ],
            ["failed", "not-tried", "not-tried"],
        ),
        (
            "exit 0",
            &["/usr/sbin/modprobe succeeded, and /sys/module/nvidia is not there"],
            ["failed", "not-tried", "not-tried"],
        ),
        (
            "mkdir -p /sys/module/nvidia; echo coming >/sys/module/nvidia/initstate",
            &["/sys/module/nvidia is \"coming\""],
            ["failed", "not-tried", "not-tried"],
        ),
        (
            "live nvidia",
            &["/proc/devices does not name its devices"],
            ["failed", "already", "already"],
        ),
        (
            "",
            &[
                "kernel module nvidia-uvm",
                "not found in directory",
                "; install the driver's modules",
            ],
            ["loaded", "failed", "loaded"],
        ),
    ];
    for (does, words, expected) in rows {
        let host = unloaded();
        let does = match does {
            "" => format!("{only_uvm_fails}\n{LOADS}"),
            "live nvidia" => {
                for module in ["nvidia_uvm", "nvidia_modeset"] {
                    fs::create_dir_all(host.on_disk(format!("/sys/module/{module}"))).unwrap();
                }
                does.to_owned()
            }
            _ => does.to_owned(),
        };
        give_modprobe(&host, &does);
        let stdout = load(host.root(), &["--format", "json"]).failed("OG0310", words, &does);
        let value: Value = serde_json::from_str(&stdout).unwrap();
        let outcomes: Vec<&str> = outcomes(&value).into_iter().map(|(_, o)| o).collect();
        assert_eq!(outcomes, expected, "{does}");
    }
}

/// That another process was faster is no failure.
#[test]
fn a_module_that_is_there_in_the_end_was_loaded() {
    let host = unloaded();
    give_modprobe(
        &host,
        &format!("{LOADS}\necho 'already in kernel' >&2; exit 1"),
    );
    load(host.root(), &[]).done("loaded by another");
}

/// Where nothing can be loaded, nothing is run.
#[test]
fn where_modules_cannot_be_loaded_it_says_why() {
    type Spoil = (&'static str, fn(&SimHost), &'static [&'static str]);
    let rows: [Spoil; 9] = [
        (
            "no GPU",
            |host| {
                fs::remove_dir_all(host.on_disk("/sys/bus/pci/devices")).unwrap();
            },
            &["the PCI bus has no NVIDIA GPU"],
        ),
        (
            "a kernel without modules",
            |host| fs::remove_file(host.on_disk("/proc/modules")).unwrap(),
            &["there is no /proc/modules"],
        ),
        (
            "loading is disabled",
            |host| {
                fs::create_dir_all(host.on_disk("/proc/sys/kernel")).unwrap();
                fs::write(host.on_disk("/proc/sys/kernel/modules_disabled"), "1\n").unwrap();
            },
            &["modules_disabled is 1"],
        ),
        (
            "no modprobe",
            |host| fs::remove_file(host.on_disk("/sbin/modprobe")).unwrap(),
            &["/sbin/modprobe: ", "; install kmod"],
        ),
        (
            "another one is configured, and is not there",
            |host| {
                fs::create_dir_all(host.on_disk("/proc/sys/kernel")).unwrap();
                fs::write(host.on_disk("/proc/sys/kernel/modprobe"), "/opt/modprobe\n").unwrap();
            },
            &["/opt/modprobe: ", "correct /proc/sys/kernel/modprobe"],
        ),
        (
            "a program that everybody may change",
            |host| {
                let mode = fs::Permissions::from_mode(0o757);
                fs::set_permissions(host.on_disk("/sbin/modprobe"), mode).unwrap();
            },
            &[
                "others than root can change ",
                "/usr/sbin/modprobe (",
                "0757",
            ],
        ),
        (
            "a program of a user's",
            |host| chown(host.on_disk("/sbin/modprobe"), Some(1000), None).unwrap(),
            &[
                "others than root can change ",
                "/usr/sbin/modprobe (owner 1000",
            ],
        ),
        (
            "a directory that everybody may change",
            |host| {
                let mode = fs::Permissions::from_mode(0o777);
                fs::set_permissions(host.on_disk("/sbin"), mode).unwrap();
            },
            &["others than root can change ", "/usr/sbin ("],
        ),
        (
            "no program",
            |host| {
                fs::remove_file(host.on_disk("/sbin/modprobe")).unwrap();
                fs::create_dir(host.on_disk("/sbin/modprobe")).unwrap();
            },
            &["it is no program"],
        ),
    ];
    for (what, spoil, words) in rows {
        for more in [&[][..], &["--dry-run"]] {
            let host = unloaded();
            give_modprobe(&host, LOADS);
            spoil(&host);
            let before = Tree::of(host.root()).unwrap();
            let stdout = load(host.root(), more).failed("OG0310", words, what);
            assert_eq!(stdout, "", "{what}");
            let after = Tree::of(host.root()).unwrap();
            assert_eq!(before.changes_to(&after), [""; 0], "{what}");
        }
    }
}

/// In a user namespace nobody is asked; where all is loaded, nothing is wrong.
#[test]
fn in_a_user_namespace_nothing_is_run() {
    let host = unloaded();
    give_modprobe(&host, LOADS);
    let inside = |host: &SimHost| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user"]);
        command.arg(binaries::cli().unwrap());
        command.arg("--host-root").arg(host.root()).args(LOAD);
        Ran::of(command.output().unwrap())
    };
    inside(&host).failed(
        "OG0310",
        &["in a user namespace", "; run it as root"],
        "unshare",
    );
    assert_eq!(read(&host, "/called"), "");
    let loaded = SimHost::named("run-1").unwrap();
    inside(&loaded).done("nothing to do");
}

/// The program that /proc names; a link to a program of many names is called by its own; and the
/// modules of a driver that lies in a directory.
#[test]
fn the_hosts_own_program_is_run_as_the_host_would() {
    let host = unloaded();
    give_modprobe(&host, LOADS);
    fs::create_dir_all(host.on_disk("/proc/sys/kernel")).unwrap();
    fs::write(host.on_disk("/proc/sys/kernel/modprobe"), "/usr/lib/kmod\n").unwrap();
    let other = format!("{SCRIPT}{LOADS}\necho other >>/called");
    write_program(&host.on_disk("/usr/lib/kmod"), &other);
    load(host.root(), &["nvidia"]).done("another program");
    assert_eq!(read(&host, "/called"), "nvidia\nother\n");

    let host = unloaded();
    give_modprobe(&host, LOADS);
    fs::remove_file(host.on_disk("/sbin/modprobe")).unwrap();
    symlink("/bin/busybox", host.on_disk("/sbin/modprobe")).unwrap();
    let words = ["modprobe: ", "/lib/modules"];
    load(host.root(), &["nvidia"]).failed("OG0310", &words, "busybox's own modprobe");

    for (directory, expected) in [
        ("/run/driver/lib/modules", "-d /run/driver nvidia\n"),
        ("/run/driver/usr", "nvidia\n"),
    ] {
        let host = unloaded();
        give_modprobe(&host, LOADS);
        fs::create_dir_all(host.on_disk(directory)).unwrap();
        load(host.root(), &["--driver-root", "/run/driver", "nvidia"]).done(directory);
        assert_eq!(read(&host, "/called"), expected);
    }
}

/// As the first step of making nodes and links.
#[test]
fn nodes_and_links_come_after_modules() {
    let host = unloaded();
    give_modprobe(&host, LOADS);
    let args = [
        "system",
        "create-device-nodes",
        "--load-kernel-modules",
        "--control-devices",
    ];
    let ran = run_on(host.root(), &args);
    let said = "loaded nvidia\nloaded nvidia-uvm\nloaded nvidia-modeset\n";
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (Some(0), said),
        "{}",
        ran.stdout
    );
    for name in [
        "nvidiactl",
        "nvidia-uvm",
        "nvidia-uvm-tools",
        "nvidia-modeset",
    ] {
        assert!(host.on_disk("/dev").join(name).exists(), "{name}");
    }

    let host = unloaded();
    give_modprobe(&host, LOADS);
    let args = [
        "system",
        "create-dev-char-symlinks",
        "--create-all",
        "--load-kernel-modules",
        "--create-device-nodes",
    ];
    let ran = run_on(host.root(), &args);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.starts_with(said) && ran.stderr.contains("made /dev/nvidiactl\n"));
    assert!(host.on_disk("/dev/char/195:255").exists());
}
