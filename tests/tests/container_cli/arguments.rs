//! The name that the program is started under, the command line, exit statuses and messages.

use std::fs;

use oci_gpu_tests::scratch::Scratch;
use oci_gpu_tests::sim::SimHost;

use crate::tool::{NAME, Ran, named, run, run_on};

#[test]
fn the_name_decides_whose_command_line_it_is() {
    let versions = run(&["--version"]).done(NAME);
    assert!(versions.starts_with("cli-version: 1."), "{versions}");
    assert!(versions.contains("\nlib-version: 1."), "{versions}");
    for (name, ours) in [
        ("/usr/bin/nvidia-container-cli", true),
        ("./nvidia-container-cli", true),
        ("/usr/local/nvidia/toolkit/nvidia-container-cli.real", true),
        ("oci-gpu", false),
        ("nvidia-container-cli-old", false),
        ("nvidia-container-cli/oci-gpu", false),
    ] {
        let printed = Ran::of(named(name).arg("-V").output().unwrap()).done(name);
        assert_eq!(printed == versions, ours, "{name}: {printed}");
    }
}

#[test]
fn help_names_every_option_and_goes_to_standard_output() {
    let rows: &[(&[&str], &[&str])] = &[
        (
            &["--help"],
            &[
                "-d, --debug=FILE",
                "-k, --load-kmods",
                "-n, --no-pivot",
                "-u, --user[=UID[:GID]]",
                "-r, --root=PATH",
                "-l, --ldcache=FILE",
                "--no-create-imex-channels",
                "-V, --version",
            ],
        ),
        (&["info", "-?"], &["--csv"]),
        (
            &["list", "--help"],
            &[
                "-d, --device=ID",
                "-l, --libraries",
                "-b, --binaries",
                "-i, --ipcs",
                "-f, --firmwares",
                "--compat32",
                "--mig-config=ID",
                "--mig-monitor=ID",
                "--imex-channel=CHANNEL",
                "--no-gsp-firmware",
            ],
        ),
        (
            &["configure", "--usage"],
            &[
                "[--pid=PID]",
                "[--require=EXPR]",
                "[--ldconfig=PATH]",
                "[--no-cgroups]",
                "[--no-devbind]",
                "[--no-persistenced]",
                "[--no-fabricmanager]",
                "[--no-cntlibs]",
                "[--cuda-compat-mode=MODE]",
            ],
        ),
    ];
    for (args, options) in rows {
        let text = run(args).done(&format!("{args:?}"));
        for option in *options {
            assert!(text.contains(option), "{args:?}: {option} in {text}");
        }
    }
}

/// A host, arguments, and the failure: stage, code, words.
type Row<'a> = (&'a SimHost, &'a [&'a str], &'a str, &'a str, &'a [&'a str]);

/// Every failure exits with 1 and is one line: the stage, what failed, on what and why, the remedy,
/// the code.
#[test]
fn failures_name_the_stage_the_cause_and_the_remedy() {
    let hosts = [
        "debian-8",
        "run-8-mig",
        "no-gpu",
        "half-upgraded",
        "debian-1",
    ];
    let [debian, mig, none, half, one] = hosts.map(|name| SimHost::named(name).unwrap());
    let rows: &[Row<'_>] = &[
        (
            &debian,
            &[],
            "input",
            "OG0100",
            &["no command", "see nvidia-container-cli --help"],
        ),
        (
            &debian,
            &["lst"],
            "input",
            "OG0100",
            &["'lst' is no command"],
        ),
        (
            &debian,
            &["list", "--frob"],
            "input",
            "OG0100",
            &["unrecognized option '--frob'"],
        ),
        (
            &debian,
            &["configure", "/"],
            "input",
            "OG0100",
            &["invalid rootfs directory: '/'"],
        ),
        (
            &debian,
            &["configure", "--pid=x", "/c"],
            "input",
            "OG0100",
            &["parse pid failed"],
        ),
        (
            &none,
            &["info"],
            "initialization",
            "OG0301",
            &["no NVIDIA driver is loaded"],
        ),
        (
            &none,
            &["configure", "/c"],
            "initialization",
            "OG0301",
            &["; run the container"],
        ),
        (&half, &["list", "-l"], "initialization", "OG0302", &["; "]),
        (
            &debian,
            &["--root", "/nowhere", "info"],
            "initialization",
            "OG0302",
            &["the driver root /nowhere does not exist"],
        ),
        (
            &debian,
            &["list", "-d", "8"],
            "device",
            "OG0401",
            &["8: unknown device: ", "it has 0 ("],
        ),
        (
            &debian,
            &["list", "-d", "gpu-FFFFFFFF"],
            "device",
            "OG0401",
            &["gpu-FFFFFFFF: unknown device: "],
        ),
        (
            &debian,
            &["list", "-d", "none"],
            "device",
            "OG0401",
            &["none: unknown device: "],
        ),
        (
            &debian,
            &["configure", "-d0,x", "/c"],
            "device",
            "OG0401",
            &["x: unknown device: "],
        ),
        (
            &mig,
            &["configure", "-d1:9", "/c"],
            "device",
            "OG0403",
            &["1:9: unknown device: ", "GPU 1 has 1:0 "],
        ),
        (
            &debian,
            &["configure", "--imex-channel=1048576", "/c"],
            "input",
            "OG0404",
            &["unsupported IMEX channel value: 1048576"],
        ),
        (
            &debian,
            &["list", "--imex-channel=-1"],
            "input",
            "OG0404",
            &["value: -1"],
        ),
        (
            &debian,
            &["configure", "--mig-config=0", "/c"],
            "mig-config",
            "OG0403",
            &["only 'all' devices are currently supported"],
        ),
        (
            &mig,
            &["configure", "-d1:0", "--mig-monitor=all", "/c"],
            "mig-monitor",
            "OG0403",
            &["cannot enable mig-monitor with specific MIG devices selected"],
        ),
        (
            &one,
            &[
                "configure",
                "-d0",
                "--require=driver>=600 brand=Tesla",
                "/c",
            ],
            "requirement",
            "OG0204",
            &["unsatisfied condition: ", "driver>=600", "brand=Tesla"],
        ),
        (
            &one,
            &["configure", "-d0", "--require=frob=1", "/c"],
            "requirement",
            "OG0204",
            &["frob"],
        ),
        (
            &one,
            &["configure", "-d0", "/nowhere/at/all"],
            "container",
            "OG0601",
            &["/nowhere/at/all", "without --pid"],
        ),
        (
            &one,
            &["configure", "-d0", "--pid=2147483647", "/c"],
            "container",
            "OG0601",
            &["2147483647", "--pid"],
        ),
    ];
    for (host, args, stage, code, words) in rows {
        run_on(host.root(), args).failed(stage, code, words, &format!("{args:?}"));
    }
}

/// The file grows, tells what was found and refused, and what had no effect. That it cannot be
/// written fails nothing.
#[test]
fn the_debug_file_tells_what_was_done() {
    let dir = Scratch::new().unwrap();
    let file = dir.path().join("log");
    let debug = format!("--debug={}", file.display());
    let host = SimHost::named("debian-decoy").unwrap();
    run_on(host.root(), &[&debug, "--user", "--no-pivot", "list", "-l"]).done("first");
    let first = fs::read_to_string(&file).unwrap();
    for words in [
        "started as",
        "--user: no code of the driver is run",
        "--no-pivot: ",
        "driver 550.163.01 in /",
        "took /usr/lib",
        "refused /usr/lib",
    ] {
        assert!(first.contains(words), "'{words}' in {first}");
    }
    run_on(
        host.root(),
        &[
            &debug,
            "configure",
            "--ldconfig=@/sbin/ldconfig",
            "-d9",
            "/c",
        ],
    )
    .failed("device", "OG0401", &[], "second");
    let both = fs::read_to_string(&file).unwrap();
    let second = both.strip_prefix(&first).unwrap();
    assert!(
        second.contains("--ldconfig=@/sbin/ldconfig: no ldconfig is run"),
        "{second}"
    );
    assert!(second.trim_end().ends_with("[OG0401]"), "{second}");
    assert!(
        second.contains("device error: 9: unknown device"),
        "{second}"
    );

    run_on(host.root(), &["--debug=/nowhere/log", "info"]).done("not writable");
    let told = run_on(host.root(), &["--debug=/dev/stderr", "info"]);
    assert_eq!(told.code, Some(0));
    assert!(told.stderr.contains("started as"), "{}", told.stderr);
}
