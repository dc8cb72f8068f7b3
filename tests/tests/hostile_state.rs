//! Hostile cases 61 to 74: what the hook is told of the container. See docs/hostile-cases.md.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use oci_gpu_tests::bundle::Stage;
use oci_gpu_tests::gpu::STAGES;
use oci_gpu_tests::hostile::Expect::{By, Fails, Works};
use oci_gpu_tests::hostile::{Arena, Case, case};
use oci_gpu_tests::probe::Report;
use oci_gpu_tests::rootfs::Kind;
use oci_gpu_tests::scene::{Scene, is_refusal, is_unchanged};
use oci_gpu_tests::standin::{Ground, StandIn};
use oci_gpu_tests::tree::Tree;
use serde_json::{Value, json};

/// A process of the kernel's own.
const KTHREADD: u32 = 2;

/// Processes that are not the container's first one.
#[test]
fn processes_of_others() {
    let scene = Scene::new(Kind::Scratch).unwrap();
    let refused = |what: &str, pid: i64, words: &[&str]| {
        let mut state: Value = serde_json::from_str(&scene.ground.state(1)).unwrap();
        state["pid"] = pid.into();
        for stage in ["prestart", "createRuntime"] {
            let output = scene
                .host
                .call(&[stage], state.to_string().as_bytes())
                .unwrap();
            is_refusal(&output, words).unwrap_or_else(|e| panic!("61 {what}, {stage}: {e}"));
        }
    };
    let other = |name: &str, commands: &str| {
        let bundle = scene.host.setting.dir.path().join(name);
        let ground = Ground::new(&bundle, &scene.ground.image, &["A=1"]).unwrap();
        StandIn::prepared(&ground, commands).unwrap()
    };
    refused("no process", 0, &["OG0601", "names the process 0"]);
    refused("all processes", -1, &["OG0601", "names the process -1"]);
    refused("the smallest number", i64::from(i32::MIN), &["OG0601"]);
    refused("a number that is none", 1 << 31, &["OG0101", "2147483648"]);
    refused("a number far beyond", i64::MAX, &["OG0101"]);
    refused("the highest number", i64::from(i32::MAX), &["OG0601"]);
    refused("the first process", 1, &["OG0601"]);
    refused(
        "the caller",
        std::process::id().into(),
        &["OG0601", "mount namespace"],
    );
    refused("a kernel thread", KTHREADD.into(), &["OG0601"]);

    let stranger = other("stranger", "true");
    let before = stranger.snapshot().unwrap();
    refused(
        "another container",
        stranger.pid.into(),
        &["OG0601", "is no mount point"],
    );
    is_unchanged(&before, &stranger.snapshot().unwrap()).unwrap();

    // It sees this container's root, as engines mount it on the host, but not what the runtime
    // mounted in it.
    let root = scene.ground.bundle.join("rootfs").display().to_string();
    let neighbour = other("neighbour", &format!("mount --bind '{root}' '{root}'"));
    let before = neighbour.snapshot().unwrap();
    refused(
        "another container that sees this root",
        neighbour.pid.into(),
        &["OG0601", "/proc of config.json is not mounted"],
    );
    is_unchanged(&before, &neighbour.snapshot().unwrap()).unwrap();

    let gone = other("gone", "true");
    let pid = gone.pid;
    drop(gone);
    refused("a process that is gone", pid.into(), &["OG0601", "No such"]);
    scene.host.assert_untouched().unwrap();
}

/// 62: the hook registered for another stage than it is told: in createContainer it must be in the
/// container's mount namespace, and is in the host's.
#[test]
fn the_wrong_stage() {
    let scene = Scene::new(Kind::Scratch).unwrap();
    for pid in [0, 1] {
        let output = scene
            .host
            .call(&["createContainer"], scene.ground.state(pid).as_bytes())
            .unwrap();
        is_refusal(&output, &["OG0601", "is no mount point for this process"]).unwrap();
        // A mount namespace, and the root mounted, but no container.
        let root = scene.ground.bundle.join("rootfs").display().to_string();
        let line = format!("mount --bind '{root}' '{root}'; exec \"$@\"");
        let before = ["unshare", "--mount", "sh", "-c", &line, "sh"];
        let state = scene.ground.state(pid);
        let output = scene
            .host
            .call_by(&before, &["createContainer"], state.as_bytes())
            .unwrap();
        is_refusal(&output, &["OG0601", "/proc of config.json is not mounted"]).unwrap();
    }
    // A container's namespace, and a hook that is told that it is outside.
    let container = StandIn::new(&scene.ground).unwrap();
    let first = container.snapshot().unwrap();
    let pid = container.pid.to_string();
    let before = ["nsenter", "--mount", "--target", &pid];
    let state = container.state();
    let output = scene
        .host
        .call_by(&before, &["createRuntime"], state.as_bytes())
        .unwrap();
    is_refusal(&output, &["OG0601", "call the hook with that stage's name"]).unwrap();
    is_unchanged(&first, &container.snapshot().unwrap()).unwrap();
    assert_eq!(
        fs::read_dir(scene.ground.bundle.join("rootfs"))
            .unwrap()
            .count(),
        0
    );
    scene.host.assert_untouched().unwrap();
}

/// States that are nearly right.
#[test]
fn states_are_read_to_the_letter() {
    let scene = Scene::new(Kind::Scratch).unwrap();
    let cases: &[(&str, &[u8], &[&str])] = &[
        (
            "64 a member twice",
            br#"{"bundle":"/a","bundle":"/b"}"#,
            &["OG0101", "duplicate"],
        ),
        (
            "64 a huge number",
            br#"{"bundle":"/a","pid":1e400}"#,
            &["OG0101", "number"],
        ),
        (
            "64 a fraction",
            br#"{"bundle":"/a","pid":1.5}"#,
            &["OG0101"],
        ),
        ("64 NaN", br#"{"bundle":"/a","pid":NaN}"#, &["OG0101"]),
        (
            "64 a byte order mark",
            b"\xef\xbb\xbf{\"bundle\":\"/a\"}",
            &["OG0101"],
        ),
        (
            "64 more after the end",
            br#"{"bundle":"/a"} {}"#,
            &["OG0101", "trailing"],
        ),
        ("64 no UTF-8", b"{\"bundle\":\"/\xff\"}", &["OG0101"]),
        ("64 a list", br#"["1.0","c"]"#, &["OG0101"]),
        ("64 null", b"null", &["OG0101"]),
        ("64 half of it", br#"{"bundle":"/a""#, &["OG0101"]),
        ("63 no bundle", br#"{"pid":1}"#, &["OG0101", "bundle"]),
        (
            "63 a bundle that is no path",
            br#"{"bundle":7}"#,
            &["OG0101"],
        ),
        (
            "63 an empty bundle",
            br#"{"bundle":""}"#,
            &["OG0101", "no absolute path"],
        ),
        (
            "63 a relative bundle",
            br#"{"bundle":"standin"}"#,
            &["OG0101", "no absolute path"],
        ),
        (
            "63 a NUL in the bundle",
            br#"{"bundle":"/a\u0000b"}"#,
            &["OG0102", "NUL"],
        ),
        (
            "63 an escape in the bundle",
            br#"{"bundle":"/\u001b[31m\n"}"#,
            &["OG0102", "\\u{1b}[31m\\n"],
        ),
        (
            "63 a missing bundle",
            br#"{"bundle":"/nonexistent"}"#,
            &["OG0102", "No such file"],
        ),
    ];
    for (what, state, words) in cases {
        let output = scene.host.call(&["createRuntime"], state).unwrap();
        is_refusal(&output, words).unwrap_or_else(|e| panic!("{what}: {e}"));
    }
    // What the hook does not know may be as deep as it likes.
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let state = format!(r#"{{"bundle":"/nonexistent","future":{deep}}}"#);
    let output = scene
        .host
        .call(&["createRuntime"], state.as_bytes())
        .unwrap();
    is_refusal(&output, &["OG0102", "No such file"]).unwrap();
}

/// Things in the place of config.json.
#[test]
fn bundles_without_a_usable_config() {
    let scene = Scene::new(Kind::Scratch).unwrap();
    let container = StandIn::new(&scene.ground).unwrap();
    let first = container.snapshot().unwrap();
    let config = scene.ground.bundle.join("config.json");
    let good = fs::read(&config).unwrap();
    let replaced = |what: &str, make: &dyn Fn(), words: &[&str]| {
        let _ = fs::remove_file(&config);
        make();
        let output = scene
            .host
            .call(&["createRuntime"], container.state().as_bytes())
            .unwrap();
        is_refusal(&output, words).unwrap_or_else(|e| panic!("{what}: {e}"));
        let _ = fs::remove_dir(&config);
    };
    let node = |kind, major, minor| {
        mknod(
            &config,
            kind,
            Mode::from_bits_truncate(0o666),
            makedev(major, minor),
        )
        .unwrap();
    };
    replaced("63 nothing", &|| {}, &["OG0102", "No such file"]);
    replaced(
        "63 a FIFO",
        &|| node(SFlag::S_IFIFO, 0, 0),
        &["OG0102", "not a regular file"],
    );
    replaced(
        "63 a device",
        &|| node(SFlag::S_IFCHR, 1, 5),
        &["OG0102", "not a regular file"],
    );
    replaced(
        "63 a directory",
        &|| fs::create_dir(&config).unwrap(),
        &["OG0102", "not a regular file"],
    );
    replaced(
        "63 a link to a device",
        &|| symlink("/dev/zero", &config).unwrap(),
        &["OG0102", "not a regular file"],
    );
    replaced(
        "63 a link to itself",
        &|| symlink("config.json", &config).unwrap(),
        &["OG0102"],
    );
    let sparse = || fs::File::create(&config).unwrap().set_len(1 << 30).unwrap();
    replaced("63 1 GiB", &sparse, &["OG0102", "larger than"]);
    let request = r#""process":{"env":["NVIDIA_VISIBLE_DEVICES=0"]}"#;
    for (what, text, words) in [
        (
            "64 a member twice",
            format!(r#"{{{request},{request},"root":{{"path":"rootfs"}}}}"#),
            "duplicate",
        ),
        (
            "64 a byte order mark",
            format!("\u{feff}{{{request}}}"),
            "expected value",
        ),
        (
            "64 NaN",
            format!(r#"{{{request},"root":{{"path":"rootfs","readonly":NaN}}}}"#),
            "expected value",
        ),
        ("64 no root", format!("{{{request}}}"), "root.path"),
        ("64 half of it", format!("{{{request}"), "EOF"),
    ] {
        replaced(
            what,
            &|| fs::write(&config, &text).unwrap(),
            &["OG0102", words],
        );
    }
    // No UTF-8, where the request is: who asks for nothing is not troubled.
    let _ = fs::remove_file(&config);
    fs::write(&config, b"\xff\xfe{{{").unwrap();
    let output = scene
        .host
        .call(&["createRuntime"], container.state().as_bytes())
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    is_unchanged(&first, &container.snapshot().unwrap()).unwrap();

    // A bundle that is a link, and one whose config.json is.
    fs::write(scene.ground.bundle.join("elsewhere.json"), good).unwrap();
    fs::remove_file(&config).unwrap();
    symlink("elsewhere.json", &config).unwrap();
    let link = scene.host.setting.dir.path().join("link");
    symlink(&scene.ground.bundle, &link).unwrap();
    let ground = Ground {
        bundle: link,
        ..scene.ground.clone()
    };
    let output = scene
        .host
        .call(&["createRuntime"], ground.state(container.pid).as_bytes())
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(is_unchanged(&first, &container.snapshot().unwrap()).is_err());
    drop(container);
    scene.host.assert_untouched().unwrap();
}

/// Configurations of every size and depth that are right all the same.
#[test]
fn large_configurations_work() {
    let scene = Scene::new(Kind::Scratch).unwrap();
    let request = "NVIDIA_VISIBLE_DEVICES=0".to_owned();
    let numbered = (0..1_000_000).map(|i| format!("{i}=="));
    let env = |more: Vec<String>| {
        more.into_iter()
            .chain([request.clone()])
            .collect::<Vec<_>>()
    };
    for (what, env) in [
        ("65 1,000,000 variables", env(numbered.collect())),
        (
            "65 a value of 1 MiB",
            env(vec![format!("BIG={}", "x".repeat(1 << 20))]),
        ),
        (
            "65 NUL, newline and no name",
            env(vec!["A=\0".into(), "\n".into(), "=".into(), String::new()]),
        ),
        (
            "65 the same variable again and again",
            vec![request.clone(); 100_000],
        ),
    ] {
        let mut config = scene.ground.config(&[]);
        config["process"]["env"] = json!(env);
        scene.ground.write(&config).unwrap();
        let ran = scene.works(what, "true", &[]).unwrap();
        assert!(is_unchanged(&ran.first, &ran.then).is_err(), "{what}");
    }
    let mut config = scene.ground.config(&["NVIDIA_VISIBLE_DEVICES=0"]);
    let place = |i: u32| json!({"destination": format!("/m{i}"), "type": "bind", "source": "/"});
    config["mounts"]
        .as_array_mut()
        .unwrap()
        .extend((0..10_000).map(place));
    scene.ground.write(&config).unwrap();
    scene
        .works("65 10,000 mounts that are not there", "true", &[])
        .unwrap();
    let deep = format!(
        "{}{}",
        "{\"a\":".repeat(10_000),
        format_args!("1{}", "}".repeat(10_000))
    );
    let text = scene
        .ground
        .config(&["NVIDIA_VISIBLE_DEVICES=0"])
        .to_string();
    let text = text.replacen('{', &format!("{{\"future\":{deep},"), 1);
    fs::write(scene.ground.bundle.join("config.json"), text).unwrap();
    scene.works("64 10,000 levels", "true", &[]).unwrap();
}

/// Requests: what they ask for, or why they are refused. (Number, variables, words.)
type Requests = &'static [(
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
)];

const REFUSED: Requests = &[
    (
        "66",
        &["NVIDIA_VISIBLE_DEVICES=../../dev/mem"],
        &["OG0201", "no device name"],
    ),
    (
        "66",
        &["NVIDIA_VISIBLE_DEVICES=/dev/nvidia0"],
        &["OG0201", "no device name"],
    ),
    (
        "66",
        &["NVIDIA_VISIBLE_DEVICES=-1"],
        &["OG0201", "no device name"],
    ),
    (
        "66",
        &["NVIDIA_VISIBLE_DEVICES=+0"],
        &["OG0201", "no device name"],
    ),
    (
        "66",
        &["NVIDIA_VISIBLE_DEVICES=0x0"],
        &["OG0201", "no device name"],
    ),
    (
        "66",
        &["NVIDIA_VISIBLE_DEVICES=99999"],
        &["OG0401", "99999"],
    ),
    (
        "66",
        &["NVIDIA_VISIBLE_DEVICES=99999999999999999999"],
        &["OG0201", "too large"],
    ),
    ("66", &["NVIDIA_VISIBLE_DEVICES=4294967296"], &["OG0"]),
    (
        "66",
        &["NVIDIA_VISIBLE_DEVICES=GPU-"],
        &["OG0201", "no device name"],
    ),
    (
        "66",
        &["NVIDIA_VISIBLE_DEVICES=MIG-x"],
        &["OG0201", "no device name"],
    ),
    ("66", &["NVIDIA_VISIBLE_DEVICES=0:0"], &["OG0403", "0:0"]),
    (
        "66",
        &["NVIDIA_VISIBLE_DEVICES=\u{660}"],
        &["OG0201", "no device name"],
    ),
    (
        "66",
        &["NVIDIA_VISIBLE_DEVICES=0\n1"],
        &["OG0201", "\"0\\n1\""],
    ),
    (
        "66",
        &["NVIDIA_VISIBLE_DEVICES=\u{1b}[31m"],
        &["OG0201", "\"\\u{1b}[31m\""],
    ),
    (
        "67",
        &[
            "NVIDIA_VISIBLE_DEVICES=0",
            "NVIDIA_DRIVER_CAPABILITIES=root",
        ],
        &["OG0202", "\"root\"", "compute"],
    ),
    (
        "67",
        &[
            "NVIDIA_VISIBLE_DEVICES=0",
            "NVIDIA_DRIVER_CAPABILITIES=compute;utility",
        ],
        &["OG0202"],
    ),
    (
        "68",
        &["NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_REQUIRE_X=((((cuda>=1"],
        &["OG0204"],
    ),
    (
        "68",
        &["NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_REQUIRE_CUDA=cuda>=99"],
        &["OG0204", "cuda>=99"],
    ),
    (
        "69",
        &["NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_IMEX_CHANNELS=-1"],
        &["OG0201", "IMEX"],
    ),
    (
        "69",
        &[
            "NVIDIA_VISIBLE_DEVICES=0",
            "NVIDIA_IMEX_CHANNELS=4294967296",
        ],
        &["OG0201", "IMEX"],
    ),
    (
        "69",
        &["NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_IMEX_CHANNELS=0,0"],
        &["OG0404", "channel 0"],
    ),
];

const GRANTED: &[&[&str]] = &[
    &["NVIDIA_VISIBLE_DEVICES=all"],
    &["NVIDIA_VISIBLE_DEVICES=0,0,0"],
    &["NVIDIA_VISIBLE_DEVICES= 0 "],
    &["NVIDIA_VISIBLE_DEVICES=1", "NVIDIA_VISIBLE_DEVICES=0"],
];

const NOTHING: &[&[&str]] = &[
    &["NVIDIA_VISIBLE_DEVICES="],
    &["NVIDIA_VISIBLE_DEVICES=void"],
    &["NVIDIA_VISIBLE_DEVICES=0,void"],
    &["NVIDIA_VISIBLE_DEVICES"],
    &["nvidia_visible_devices=0"],
    &[
        "NVIDIA_DRIVER_CAPABILITIES=\u{1b}",
        "NVIDIA_REQUIRE_CUDA=(((",
    ],
];

#[test]
fn requests_are_granted_in_full_or_refused() {
    let scene = Scene::new(Kind::Scratch).unwrap();
    let write = |env: &[&str]| scene.ground.write(&scene.ground.config(env)).unwrap();
    for (number, env, words) in REFUSED {
        write(env);
        scene
            .refused(&format!("{number} {env:?}"), "true", &[], words)
            .unwrap();
    }
    let repeated = |start: &str, part: &str, times| format!("{start}{}", part.repeat(times));
    let numbers: Vec<String> = (0..5000).map(|i| i.to_string()).collect();
    for (what, more, words) in [
        (
            "66 1 MiB of names",
            repeated("NVIDIA_VISIBLE_DEVICES=", "0,", 1 << 19),
            &["OG0201", "more than 4096"],
        ),
        (
            "66 5,000 names",
            format!("NVIDIA_VISIBLE_DEVICES={}", numbers.join(",")),
            &["OG0201", "more than 4096"],
        ),
        (
            "68 a number of 1 MiB",
            repeated("NVIDIA_REQUIRE_CUDA=cuda>=", "9", 1 << 20),
            &["OG0204", "16384"],
        ),
        (
            "68 100,000 conditions",
            repeated("NVIDIA_REQUIRE_CUDA=", "cuda>=12 ", 100_000),
            &["OG0204", "16384"],
        ),
        (
            "69 1 MiB of channels",
            repeated("NVIDIA_IMEX_CHANNELS=", "0,", 1 << 19),
            &["OG0201", "more than 4096"],
        ),
    ] {
        write(&["NVIDIA_VISIBLE_DEVICES=0", &more]);
        scene.refused(what, "true", &[], words).unwrap();
    }
    for env in GRANTED {
        write(env);
        let ran = scene.works(&format!("66 {env:?}"), "true", &[]).unwrap();
        let added = ran.first.mounts.changes_to(&ran.then.mounts);
        assert!(
            added.iter().any(|m| m.contains("/dev/nvidia0 ")),
            "{env:?}: {added:?}"
        );
    }
    for env in NOTHING {
        write(env);
        let ran = scene.works(&format!("66 {env:?}"), "true", &[]).unwrap();
        is_unchanged(&ran.first, &ran.then).unwrap();
    }
}

/// What an administrator forbids is not done, and a word about it is on stderr.
#[test]
fn requests_that_policy_ignores() {
    let scene = Scene::new(Kind::Scratch).unwrap();
    let policy = scene.host.setting.dir.path().join("policy.toml");
    let call = |container: &StandIn| {
        let config = policy.display().to_string();
        let arguments = ["--config", &config, "createRuntime"];
        scene
            .host
            .call(&arguments, container.state().as_bytes())
            .unwrap()
    };
    let devices = "/var/run/nvidia-container-devices";
    let mount = |source: &str, name: &str| json!({"destination": format!("{devices}/{name}"), "type": "bind", "source": source});
    let with_mounts = |env: &[&str], mounts: Vec<Value>| {
        let mut config = scene.ground.config(env);
        config["mounts"].as_array_mut().unwrap().extend(mounts);
        config
    };
    let many = (0..10_000)
        .map(|i| mount("/dev/null", &i.to_string()))
        .collect();
    let annotated = |key: &str, value: &str| {
        let mut config = scene.ground.config(&["A=NVIDIA_VISIBLE_DEVICES"]);
        config["annotations"] = json!({ key: value });
        config
    };
    const ENV_OFF: &str = "env-when-unprivileged = false";
    const MOUNTS: &str = "env-when-unprivileged = false\nvolume-mounts = true";
    for (what, rules, config, words) in [
        (
            "66 all, unprivileged",
            ENV_OFF,
            scene.ground.config(&["NVIDIA_VISIBLE_DEVICES=all"]),
            &["OG0205"][..],
        ),
        (
            "70 a source that is not /dev/null",
            MOUNTS,
            with_mounts(&[], vec![mount("/etc/passwd", "0")]),
            &["OG0205", "not /dev/null"],
        ),
        (
            "71 an annotation of CDI",
            "",
            annotated("cdi.k8s.io/x", "nvidia.com/gpu=all"),
            &[],
        ),
        (
            "71 an annotation of a checkpoint",
            "",
            annotated("io.kubernetes.cri-o.annotations.x", "nvidia.com/gpu=0"),
            &[],
        ),
        (
            "71 a variable's name as annotation",
            "",
            annotated("NVIDIA_VISIBLE_DEVICES", "all"),
            &[],
        ),
    ] {
        fs::write(&policy, rules).unwrap();
        scene.ground.write(&config).unwrap();
        let container = StandIn::new(&scene.ground).unwrap();
        let first = container.snapshot().unwrap();
        let output = call(&container);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{what}: {said}");
        assert_eq!(
            said.lines().count(),
            usize::from(!words.is_empty()),
            "{what}: {said}"
        );
        assert!(words.iter().all(|w| said.contains(w)), "{what}: {said}");
        is_unchanged(&first, &container.snapshot().unwrap()).unwrap();
    }
    for (what, config, words) in [
        (
            "70 a name that climbs",
            with_mounts(&[], vec![mount("/dev/null", "../0")]),
            &["OG0201", ".."][..],
        ),
        (
            "70 a name that climbs far",
            with_mounts(&[], vec![mount("/dev/null", "0/../../../../dev/mem")]),
            &["OG0201", ".."],
        ),
        (
            "70 a name that is none",
            with_mounts(&[], vec![mount("/dev/null", "\u{1b}[31m")]),
            &["OG0201"],
        ),
        (
            "70 10,000 names",
            with_mounts(&[], many),
            &["OG0201", "more than 4096"],
        ),
    ] {
        fs::write(&policy, MOUNTS).unwrap();
        scene.ground.write(&config).unwrap();
        let container = StandIn::new(&scene.ground).unwrap();
        let first = container.snapshot().unwrap();
        is_refusal(&call(&container), words).unwrap_or_else(|e| panic!("{what}: {e}"));
        is_unchanged(&first, &container.snapshot().unwrap()).unwrap();
    }
    scene.host.assert_untouched().unwrap();
}

/// Between the runtime and the hook, the path of the root becomes a link.
#[test]
fn a_root_that_is_exchanged_for_a_link() {
    let scene = Scene::new(Kind::Scratch).unwrap();
    let root = scene.ground.bundle.join("rootfs");
    let elsewhere = scene.host.setting.dir.path().join("elsewhere");
    for name in ["usr", "etc", "dev", "proc"] {
        fs::create_dir_all(elsewhere.join(name)).unwrap();
    }
    for (target, words) in [
        (elsewhere.as_path(), &["OG0601", "is no mount point"][..]),
        ("/".as_ref(), &["OG0601", "is the root of process"]),
        (
            "/proc/self/root".as_ref(),
            &["OG0601", "open the container's root"],
        ),
        ("/nowhere".as_ref(), &["OG0601", "No such file"]),
    ] {
        let container = StandIn::new(&scene.ground).unwrap();
        let moved = root.with_file_name("moved");
        fs::rename(&root, &moved).unwrap();
        symlink(target, &root).unwrap();
        let output = scene
            .host
            .call(&["createRuntime"], container.state().as_bytes())
            .unwrap();
        fs::remove_file(&root).unwrap();
        fs::rename(&moved, &root).unwrap();
        is_refusal(&output, words).unwrap_or_else(|e| panic!("72 {}: {e}", target.display()));
    }
    let made: Vec<_> = fs::read_dir(elsewhere.join("usr")).unwrap().collect();
    assert!(made.is_empty(), "{made:?}");
    scene.host.assert_untouched().unwrap();
}

const NAMESPACES: &[Case] = &[
    case(
        "73",
        "the user namespace has several ranges",
        |site| {
            site.bundle.rootfs.give_to(200_000)?;
            site.bundle.user_namespace = Some(200_000);
            site.ask(&["--stat", "/usr/lib64/libcuda.so.1"]);
            site.edit = Some(Box::new(|config| {
                map(
                    config,
                    json!([
                        {"containerID": 0, "hostID": 200_000, "size": 1},
                        {"containerID": 1, "hostID": 300_000, "size": 1000},
                        {"containerID": 5000, "hostID": 400_000, "size": 60_000}
                    ]),
                );
            }));
            Ok(())
        },
        By(|_, stage| match stage {
            // In the container's own user namespace nobody may change the rules that root made.
            Stage::CreateContainer => Fails,
            _ => Works(|seen| {
                let link = seen.report.stat("/usr/lib64/libcuda.so.1").unwrap();
                seen.is(&link.owner, &(0, 0))
            }),
        }),
    )
    .in_every_stage(),
    case(
        "73",
        "the user namespace does not have root",
        |site| {
            site.bundle.rootfs.give_to(200_000)?;
            site.bundle.user_namespace = Some(200_000);
            site.edit = Some(Box::new(|config| {
                map(
                    config,
                    json!([{"containerID": 1, "hostID": 200_000, "size": 1000}]),
                );
            }));
            Ok(())
        },
        Fails,
    )
    .in_every_stage(),
];

fn map(config: &mut Value, ranges: Value) {
    config["linux"]["uidMappings"] = ranges.clone();
    config["linux"]["gidMappings"] = ranges;
}

#[test]
fn user_namespaces_of_odd_shapes() {
    Arena::new().unwrap().check(NAMESPACES).unwrap();
}

/// config.json has the container join namespaces that exist: a mount namespace of another container
/// has another root, and a user namespace belongs to whoever made it.
#[test]
fn namespaces_that_exist_already() {
    let arena = Arena::new().unwrap();
    let scene = Scene::new(Kind::Scratch).unwrap();
    let mut maker = Command::new("unshare")
        .args(["--user", "sh", "-c", "echo ready; read end"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 6];
    std::io::Read::read_exact(&mut maker.stdout.take().unwrap(), &mut line).unwrap();
    assert_eq!(&line, b"ready\n");
    for map in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{}/{map}", maker.id()), "0 200000 65536\n").unwrap();
    }
    for kind in ["mount", "user"] {
        for (runtime, stage) in arena.runtimes.iter().flat_map(|r| STAGES.map(|s| (r, s))) {
            let what = format!("74 {kind}, {runtime}, {}", stage.name());
            let env = ["NVIDIA_VISIBLE_DEVICES=0"];
            let mut bundle = arena.host.bundle(Kind::Scratch, &env).unwrap();
            let other = StandIn::new(&scene.ground).unwrap();
            let first = other.snapshot().unwrap();
            let path = match kind {
                "mount" => format!("/proc/{}/ns/mnt", other.pid),
                _ => format!("/proc/{}/ns/user", maker.id()),
            };
            if kind == "user" {
                bundle.rootfs.give_to(200_000).unwrap();
            }
            arena.host.setting.probe.install(&bundle.rootfs).unwrap();
            bundle.hooks.push(arena.host.hook(stage));
            bundle.probe(&["--open", "/dev/nvidia0"]);
            let mut config = bundle.config();
            let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|n| n["type"] != kind);
            namespaces.push(json!({"type": kind, "path": path}));
            bundle.write_config(&config).unwrap();
            let before = Tree::of(&bundle.rootfs.path).unwrap();
            let output = runtime.run(&bundle).unwrap();
            if output.success() {
                // runc makes its container in the namespace that it joined, which is what it was
                // told.
                let report = Report::of(&output).unwrap();
                assert_eq!(report.open("/dev/nvidia0"), "ENXIO", "{what}");
            } else {
                let after = Tree::of(&bundle.rootfs.path).unwrap();
                assert_eq!(before.changes_to(&after), [""; 0], "{what}: {output}");
                let then = other.snapshot().unwrap();
                is_unchanged(&first, &then).unwrap_or_else(|e| panic!("{what}: {e}"));
            }
            arena.host.assert_untouched().unwrap();
        }
    }
    drop(maker.stdin.take());
    maker.wait().unwrap();
}
