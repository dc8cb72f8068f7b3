//! `list`, `info`, `sim list` and how data is printed.

use std::fs;
use std::io::{Read, pipe};
use std::process::Stdio;

use oci_gpu_sim::HostSpec;
use oci_gpu_tests::scratch::Scratch;
use oci_gpu_tests::sim::SimHost;
use serde_json::{Value, json};

use crate::ran::{Ran, command, run, run_on};

/// JSON and YAML are the same data, on every host on which there is some.
#[test]
fn json_and_yaml_agree() {
    let commands: [&[&str]; 3] = [
        &["list"],
        &["info"],
        &["system", "create-device-nodes", "--dry-run"],
    ];
    let found = |name: &&str| !["no-gpu", "half-upgraded", "lxc-mismatch"].contains(name);
    for name in HostSpec::names().filter(found) {
        let host = SimHost::named(name).unwrap();
        for args in commands {
            // WSL2 and Tegra have no nodes that anybody could make.
            if args[0] == "system" && (name.starts_with("wsl") || name.starts_with("jetson")) {
                continue;
            }
            let what = format!("{name} {args:?}");
            let with = |format| {
                let args = [args, &["--format", format]].concat();
                run_on(host.root(), &args)
            };
            let json = with("json").json(&what);
            let yaml: Value = serde_yaml_ng::from_str(&with("yaml").done(&what)).unwrap();
            assert_eq!(json, yaml, "{what}");
            let text = with("text").done(&what);
            assert_eq!(run_on(host.root(), args).done(&what), text, "{what}");
            let plain = |c: char| c == '\n' || !c.is_control();
            assert!(
                text.ends_with('\n') && text.chars().all(plain),
                "{what}: {text}"
            );
        }
    }
    let names = run(&["sim", "list", "--format", "json"]).json("sim list");
    assert_eq!(names, json!(HostSpec::names().collect::<Vec<_>>()));
    let yaml = run(&["sim", "list", "--format", "yaml"]).done("sim list");
    assert_eq!(serde_yaml_ng::from_str::<Value>(&yaml).unwrap(), names);
    let text = run(&["sim", "list"]).done("sim list");
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        HostSpec::names().collect::<Vec<_>>()
    );
}

/// Names of members are written as in the JSON of `explain`.
#[test]
fn members_are_in_camel_case() {
    fn check(value: &Value, path: &str) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    let plain = name.chars().all(|c| c.is_ascii_alphanumeric());
                    assert!(plain, "{path}.{name}");
                    check(member, &format!("{path}.{name}"));
                }
            }
            Value::Array(items) => items.iter().for_each(|i| check(i, path)),
            _ => {}
        }
    }
    let host = SimHost::named("run-8-mig").unwrap();
    for command in ["list", "info"] {
        check(
            &run_on(host.root(), &[command, "--format", "json"]).json(command),
            command,
        );
    }
}

#[test]
fn list_shows_what_the_host_has() {
    let host = SimHost::named("run-8-mig").unwrap();
    let text = run_on(host.root(), &["list"]).done("list");
    let sections: Vec<&str> = text.lines().filter(|l| !l.starts_with(' ')).collect();
    assert_eq!(
        sections,
        [
            "GPUs",
            "control nodes",
            "DRM nodes",
            "MIG rights",
            "libraries",
            "programs, firmware, sockets, configuration",
        ]
    );
    let rows: Vec<String> = text
        .lines()
        .map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let lib = "/usr/lib/x86_64-linux-gnu";
    for row in [
        "0 GPU-5ca1ab1e-1d5e-4f0c-9a3b-a0b1c2d3e400 0000:1a:00.0 NVIDIA H100 80GB HBM3 Nvidia /dev/nvidia0 195:0",
        "1:6 MIG instance GI 13 CI 0 /dev/nvidia-caps/nvidia-cap255 237:255 /dev/nvidia-caps/nvidia-cap256 237:256",
        "/dev/nvidia-uvm 508:0",
        "/dev/dri/renderD135 226:135",
        "config /dev/nvidia-caps/nvidia-cap1 237:1",
        &format!("{lib}/libcuda.so.550.163.01 libcuda.so.1 compute,video"),
        "/usr/bin/nvidia-smi utility",
    ] {
        assert!(rows.iter().any(|r| r == row), "'{row}' in {text}");
    }
    let value = run_on(host.root(), &["list", "--format", "json"]).json("list");
    assert_eq!(value["gpus"].as_array().unwrap().len(), 8);
    assert_eq!(value["gpus"][1]["busId"], "0000:1b:00.0");
    assert_eq!(value["gpus"][1]["mig"][0]["giAccess"]["node"]["minor"], 201);
    assert_eq!(value["gpus"][0]["node"]["state"]["is"], "present");
    assert_eq!(value["libraries"][0]["machine"], "x86-64");
    assert_eq!(value["driver"]["version"], "550.163.01");
    assert_eq!(value["libraries"].as_array().unwrap().len(), 16);
}

/// What is wrong with nodes stands beside them; channels have a section of their own.
#[test]
fn list_shows_what_is_wrong() {
    let host = SimHost::named("wrong-major").unwrap();
    let text = run_on(host.root(), &["list"]).done("list");
    for words in [
        "/dev/nvidia0 wrong: it is device 196:0, and the kernel says 195:0",
        "/dev/nvidia1 wrong: it is not a character device",
    ] {
        assert!(text.contains(words), "{text}");
    }
    let value = run_on(host.root(), &["list", "--format", "json"]).json("list");
    let state = &value["gpus"][1]["node"]["state"];
    assert_eq!(
        *state,
        json!({"is": "wrong", "why": "it is not a character device"})
    );
    let host = SimHost::named("microvm-1").unwrap();
    let text = run_on(host.root(), &["list"]).done("list");
    assert!(text.contains("/dev/nvidia0 missing (195:0)"), "{text}");
    let host = SimHost::named("no-devices").unwrap();
    let text = run_on(host.root(), &["list"]).done("list");
    assert!(text.starts_with("GPUs\n  none\n"), "{text}");
    let host = SimHost::named("run-8").unwrap();
    let text = run_on(host.root(), &["list"]).done("list");
    assert!(text.contains("\nIMEX channels\n"), "{text}");
    assert!(
        text.contains("  /dev/nvidia-caps-imex-channels/channel2047 234:2047\n"),
        "{text}"
    );
}

#[test]
fn verbose_lists_what_was_refused() {
    let host = SimHost::named("debian-decoy").unwrap();
    let refused =
        "libcuda.so.535.261.03  ld.so.cache  its version is 535.261.03, the kernel's is 550.163.01";
    let text = run_on(host.root(), &["list"]).done("list");
    assert!(!text.contains("refused") && !text.contains("535"), "{text}");
    for args in [&["list", "-v"][..], &["--verbose", "list"]] {
        let text = run_on(host.root(), args).done("list -v");
        let section = text.split("\nrefused\n").nth(1);
        let section = section.unwrap_or_else(|| panic!("{text}"));
        let plain = section.split_whitespace().collect::<Vec<_>>().join(" ");
        let expected = refused.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(plain.contains(&expected), "{section}");
    }
}

#[test]
fn info_tells_the_driver_and_the_evidence() {
    let host = SimHost::named("debian-decoy").unwrap();
    let text = run_on(host.root(), &["info"]).done("info");
    let rows: Vec<(&str, &str)> = text
        .lines()
        .map(|l| {
            let (name, value) = l.split_at(l.find("  ").unwrap());
            (name, value.trim())
        })
        .collect();
    let lib = "/usr/lib/x86_64-linux-gnu/nvidia";
    let why = "its version is 535.261.03, the kernel's is 550.163.01";
    for row in [
        ("driver version", "550.163.01 (/sys/module/nvidia/version)"),
        ("kernel module", "proprietary"),
        ("CUDA version", "12.4"),
        ("driver root", "/"),
        ("GPUs", "2"),
        ("libraries", "10"),
        ("configuration", "defaults"),
        (
            "refused",
            &format!("{lib}/tesla-535/libcuda.so.535.261.03 (ld.so.cache): {why}"),
        ),
        (
            "accepted",
            &format!("{lib}/current (well-known directory): it holds libcuda.so.550.163.01"),
        ),
    ] {
        assert!(rows.contains(&row), "{row:?} in {text}");
    }
    let value = run_on(host.root(), &["info", "--format", "json"]).json("info");
    assert_eq!(value["driverVersion"], "550.163.01");
    assert_eq!(value["cudaVersion"], "12.4");
    assert_eq!(value["candidates"].as_array().unwrap().len(), 3);

    fs::create_dir(host.on_disk("/etc/oci-gpu")).unwrap();
    fs::write(
        host.on_disk("/etc/oci-gpu/config.toml"),
        "dev-root = \"/\"\n",
    )
    .unwrap();
    let text = run_on(host.root(), &["info"]).done("info");
    assert!(
        text.contains("configuration   /etc/oci-gpu/config.toml\n"),
        "{text}"
    );
}

/// Where nothing was found, `info` shows where was looked, and fails as every command does.
#[test]
fn info_shows_the_evidence_of_a_failure() {
    let host = SimHost::named("half-upgraded").unwrap();
    let words = ["550.163.01", "560.35.03", "upgraded by half", "; reboot"];
    let text = run_on(host.root(), &["info"]).failed("OG0302", &words, "info");
    assert!(text.contains("driver version  550.163.01"), "{text}");
    let refused = "libcuda.so.560.35.03 (ld.so.cache): its version is 560.35.03";
    assert!(text.contains(refused), "{text}");
    assert!(
        !text.contains("OG0302") && !text.contains("accepted"),
        "{text}"
    );
    let text = run_on(host.root(), &["info", "--format", "json"]).failed("OG0302", &words, "info");
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["findings"][0]["code"], "OG0302");
    assert_eq!(value["driverRoot"], Value::Null);
    // Without a driver in the kernel there was nothing to look for.
    let host = SimHost::named("no-gpu").unwrap();
    let text = run_on(host.root(), &["info"]).failed("OG0301", &["no NVIDIA driver"], "info");
    assert_eq!(text, "");
}

#[test]
fn quiet_prints_errors_alone() {
    let host = SimHost::named("run-1").unwrap();
    for args in [
        &["-q", "list"][..],
        &["list", "--quiet"],
        &["info", "-q", "--format", "json"],
        &["sim", "list", "-q"],
        &["system", "create-device-nodes", "-q"],
    ] {
        assert_eq!(run_on(host.root(), args).done(&format!("{args:?}")), "");
    }
    let host = SimHost::named("no-gpu").unwrap();
    let ran = run_on(host.root(), &["list", "-q"]);
    assert_eq!(ran.failed("OG0301", &[], "list -q"), "");
}

/// A reader that has seen enough is no failure ("| head -1"), a full disk is.
#[test]
fn what_reads_the_output_may_go_away() {
    let host = SimHost::named("run-16").unwrap();
    for format in ["text", "json", "yaml"] {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let mut command = command();
        command.arg("--host-root").arg(host.root());
        command.args(["list", "--format", format]).stdout(writer);
        let ran = Ran::of(command.output().unwrap());
        assert_eq!(ran.done(format), "", "{format}");
    }
    // As a shell does it: the first line is read, the rest is not.
    let (mut reader, writer) = pipe().unwrap();
    let mut command = command();
    command.arg("--host-root").arg(host.root()).arg("list");
    let mut child = command
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(command);
    let mut begin = [0; 5];
    reader.read_exact(&mut begin).unwrap();
    drop(reader);
    assert_eq!(&begin, b"GPUs\n");
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    assert_eq!(
        (child.wait().unwrap().code(), stderr.as_str()),
        (Some(0), "")
    );

    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = crate::ran::command();
    command
        .arg("--host-root")
        .arg(host.root())
        .arg("list")
        .stdout(full);
    let ran = Ran::of(command.output().unwrap());
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stderr.contains("print the result: No space left"),
        "{ran:?}"
    );
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
}

/// A host made from a built-in description, and from one in a file.
#[test]
fn sim_create_makes_hosts_that_the_command_understands() {
    let dir = Scratch::new().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let ran = run(&["sim", "create", "cos-1", &path("built-in")]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{ran:?}");
    assert_eq!(
        ran.stderr,
        format!("made {}; use it with --host-root\n", path("built-in"))
    );
    let text = run(&["--host-root", &path("built-in"), "info"]).done("info");
    assert!(text.contains("535.261.03"), "{text}");

    let mine = "[driver]\nversion = \"560.35.03\"\n[gpus]\ncount = 3\nmodel = \"t4\"\n";
    fs::write(path("mine.toml"), mine).unwrap();
    let ran = run(&["sim", "create", "-q", &path("mine.toml"), &path("mine")]);
    assert_eq!(ran.done("sim create"), "");
    let value = run(&["--host-root", &path("mine"), "info", "--format", "json"]).json("info");
    assert_eq!(value["driverVersion"], "560.35.03");
    assert_eq!(value["gpus"], 3);
}
