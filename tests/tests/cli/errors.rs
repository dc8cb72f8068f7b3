//! How the command fails: 2 for a wrong command line, 1 and one line for everything else.

use std::fs;

use oci_gpu_tests::scratch::Scratch;
use oci_gpu_tests::sim::SimHost;

use crate::ran::{run, run_on};

#[test]
fn a_wrong_command_line_exits_with_2_and_says_how() {
    let rows: &[(&[&str], &str)] = &[
        (&[], "Usage: oci-gpu"),
        (&["lst"], "unrecognized subcommand 'lst'"),
        (&["help"], "unrecognized subcommand 'help'"),
        (&["list", "more"], "unexpected argument 'more'"),
        (
            &["list", "--frmat", "json"],
            "unexpected argument '--frmat'",
        ),
        (
            &["list", "--format", "xml"],
            "possible values: text, json, yaml",
        ),
        (&["list", "-q", "-v"], "cannot be used with"),
        (&["list", "--host-root"], "a value is required"),
        (&["explain"], "--bundle <DIR>"),
        (&["sim"], "Usage: oci-gpu sim"),
        (&["sim", "create", "run-1"], "<DIRECTORY>"),
        (&["system"], "Usage: oci-gpu system"),
        (&["system", "reboot"], "unrecognized subcommand 'reboot'"),
    ];
    for (args, words) in rows {
        let ran = run(args);
        assert_eq!(ran.code, Some(2), "{args:?}: {ran:?}");
        assert_eq!(ran.stdout, "", "{args:?}");
        assert!(
            ran.stderr.contains(words),
            "{args:?}: '{words}' in {}",
            ran.stderr
        );
    }
}

#[test]
fn help_and_version_are_no_failures() {
    for args in [
        &["--help"][..],
        &["-h"],
        &["list", "--help"],
        &["system", "create-device-nodes", "--help"],
    ] {
        let text = run(args).done(&format!("{args:?}"));
        for flag in ["Usage: oci-gpu", "--host-root <DIR>", "--format <FORMAT>"] {
            assert!(text.contains(flag), "{args:?}: '{flag}' in {text}");
        }
    }
    let version = run(&["--version"]).done("--version");
    assert_eq!(version, format!("oci-gpu {}\n", env!("CARGO_PKG_VERSION")));
}

/// Every failure is one line with a code, what failed, on what and why, and the remedy.
#[test]
fn failures_are_one_line_with_code_and_remedy() {
    let dir = Scratch::new().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let write = |name: &str, text: &str| fs::write(path(name), text).unwrap();
    for (name, config) in [
        ("no-json", "{"),
        ("no-root", "{\"ociVersion\": \"1.0.2\"}"),
        (
            "root-is-host",
            "{\"ociVersion\": \"1.0.2\", \"root\": {\"path\": \"/\"}}",
        ),
    ] {
        fs::create_dir(path(name)).unwrap();
        write(&format!("{name}/config.json"), config);
    }
    write("config.toml", "volume-mount = true\n");
    write("host.toml", "[driver]\nversion = 550\n");
    let good = SimHost::named("run-1").unwrap();
    let good = good.root().display().to_string();
    let none = SimHost::named("no-gpu").unwrap();
    let none = none.root().display().to_string();
    let nowhere = path("nowhere");
    let (no_json, no_root, root_is_host) = (path("no-json"), path("no-root"), path("root-is-host"));
    let (toml, host_toml, new) = (path("config.toml"), path("host.toml"), path("new"));
    let (absent_toml, here) = (path("absent.toml"), path(""));
    let rows: &[(&[&str], &str, &[&str])] = &[
        (
            &["--host-root", &nowhere, "list"],
            "OG0304",
            &[
                "the host root",
                &nowhere,
                "No such file",
                "; name the directory",
            ],
        ),
        (
            &["--host-root", &toml, "info"],
            "OG0304",
            &[&toml, "it is no directory", "; name the directory"],
        ),
        (
            &["--host-root", &none, "list"],
            "OG0301",
            &[
                "no NVIDIA driver is loaded",
                "; run the container on a machine with a GPU",
            ],
        ),
        (
            &["--host-root", &none, "system", "create-device-nodes"],
            "OG0301",
            &["no NVIDIA driver is loaded"],
        ),
        (
            &["--host-root", &good, "--driver-root", "/nowhere", "list"],
            "OG0302",
            &[
                "the driver root /nowhere does not exist; driver 535.261.03 is in /;",
                "leave the driver root out",
            ],
        ),
        (
            &["--host-root", &good, "--driver-root", "/etc", "list"],
            "OG0302",
            &[
                "the driver root /etc has no files of the driver that the kernel runs",
                "--driver-root",
            ],
        ),
        (
            &["--host-root", &good, "--config", &absent_toml, "list"],
            "OG0103",
            &[&absent_toml, "No such file"],
        ),
        (
            &["--host-root", &good, "--config", &toml, "list"],
            "OG0103",
            &[&toml, "volume-mount"],
        ),
        (
            &["--host-root", &good, "explain", "--bundle", &nowhere],
            "OG0102",
            &["nowhere/config.json: No such file", "; name the directory"],
        ),
        (
            &["--host-root", &good, "explain", "--bundle", &no_json],
            "OG0102",
            &[
                "no-json/config.json: ",
                "; correct the bundle's config.json",
            ],
        ),
        (
            &["--host-root", &good, "explain", "--bundle", &no_root],
            "OG0102",
            &["no-root/config.json: ", "root.path"],
        ),
        (
            &["--host-root", &good, "explain", "--bundle", &root_is_host],
            "OG0102",
            &["root.path"],
        ),
        (
            &["sim", "create", "run-9", &new],
            "OG0701",
            &["no built-in host \"run-9\"", "; use one of aarch64-1, "],
        ),
        (
            &["sim", "create", &absent_toml, &new],
            "OG0701",
            &["absent.toml: No such file", "; name a built-in host"],
        ),
        (&["sim", "create", &host_toml, &new], "OG0701", &["line 2"]),
        (
            &["sim", "create", "run-1", &here],
            "OG0701",
            &["is not empty", "; name an empty or a new directory"],
        ),
    ];
    for (args, code, words) in rows {
        let what = format!("{args:?}");
        let stdout = run(args).failed(code, words, &what);
        assert_eq!(stdout, "", "{what}");
        // The same in every format, and where nothing else is to be said.
        let quiet = [args, &["--quiet"][..]].concat();
        run(&quiet).failed(code, words, &what);
    }
    assert!(!dir.path().join("new").exists());
}

/// Flags come before the file: what an administrator types last counts.
#[test]
fn flags_come_before_the_configuration_file() {
    let host = SimHost::named("driver-container-8").unwrap();
    fs::create_dir(host.on_disk("/etc/oci-gpu")).unwrap();
    let config = host.on_disk("/etc/oci-gpu/config.toml");
    fs::write(
        config,
        "driver-root = \"/nowhere\"\ndev-root = \"/nowhere\"\n",
    )
    .unwrap();
    run_on(host.root(), &["info"]).failed("OG0302", &["/nowhere does not exist"], "the file");
    let flags = [
        "--driver-root",
        "/run/nvidia/driver",
        "--dev-root",
        "/run/nvidia/driver",
    ];
    let text = run_on(host.root(), &[&flags[..], &["list"]].concat()).done("flags");
    assert!(
        text.contains("/run/nvidia/driver/dev/nvidia7 195:7"),
        "{text}"
    );
    let flags = ["--driver-root", "/run/nvidia/driver"];
    let text = run_on(host.root(), &[&flags[..], &["list"]].concat()).done("one flag");
    assert!(
        text.contains("/nowhere/dev/nvidia7 missing (195:7)"),
        "{text}"
    );
}
