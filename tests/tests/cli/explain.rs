//! `explain`: the plan for a bundle, as far as it goes.

use std::fs;
use std::path::{Path, PathBuf};

use oci_gpu_tests::explained::check_shape;
use oci_gpu_tests::scratch::Scratch;
use oci_gpu_tests::sim::SimHost;
use oci_gpu_tests::tree::Tree;
use serde_json::{Value, json};

use crate::ran::{Ran, command, run_on};

/// A bundle with that environment, whose root file system has those files.
fn bundle(dir: &Scratch, name: &str, env: &[&str], files: &[&str]) -> PathBuf {
    let bundle = dir.path().join(name);
    let rootfs = bundle.join("rootfs");
    fs::create_dir_all(&rootfs).unwrap();
    for file in files {
        let path = rootfs.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {"env": env},
        "root": {"path": "rootfs"},
    });
    fs::write(bundle.join("config.json"), config.to_string()).unwrap();
    bundle
}

fn explain(host: &SimHost, bundle: &Path, more: &[&str]) -> Ran {
    let bundle = bundle.display().to_string();
    let args = [&["explain", "--bundle", &bundle], more].concat();
    run_on(host.root(), &args)
}

fn items<'a>(value: &'a Value, kind: &str) -> Vec<&'a str> {
    let items = value["items"].as_array().unwrap().iter();
    let of_kind = items.filter(|i| i["kind"] == kind);
    of_kind.map(|i| i["target"].as_str().unwrap()).collect()
}

const DEBIAN: &[&str] = &["etc/debian_version"];

#[test]
fn a_plan_is_printed_in_the_documented_shape() {
    let dir = Scratch::new().unwrap();
    let host = SimHost::named("run-8").unwrap();
    let bundle = bundle(&dir, "b", &["NVIDIA_VISIBLE_DEVICES=0,0,1"], DEBIAN);
    let before = (
        Tree::of(dir.path()).unwrap(),
        Tree::of(host.root()).unwrap(),
    );
    let value = explain(&host, &bundle, &["--format", "json"]).json("explain");
    check_shape(&value).unwrap();
    assert_eq!(value["request"]["devices"], json!(["0", "1"]));
    assert_eq!(value["gpus"][0]["minor"], 7);
    assert_eq!(
        items(&value, "device"),
        [
            "/dev/nvidiactl",
            "/dev/nvidia-uvm",
            "/dev/nvidia-uvm-tools",
            "/dev/nvidia7",
            "/dev/nvidia6"
        ]
    );
    assert_eq!(items(&value, "library").len(), 11);
    assert_eq!(value["errors"], json!([]));
    let yaml = explain(&host, &bundle, &["--format", "yaml"]).done("yaml");
    assert_eq!(serde_yaml_ng::from_str::<Value>(&yaml).unwrap(), value);

    let text = explain(&host, &bundle, &[]).done("text");
    let begins: Vec<&str> = text
        .lines()
        .filter(|l| l.starts_with("request") || l.starts_with("gpu ") || l.starts_with("device"))
        .collect();
    assert_eq!(
        begins,
        [
            "request: devices 0,1; capabilities compute,utility; from NVIDIA_VISIBLE_DEVICES",
            "gpu 0: NVIDIA H100 80GB HBM3, GPU-5ca1ab1e-1d5e-4f0c-9a3b-a0b1c2d3e400, 0000:1a:00.0, /dev/nvidia7",
            "gpu 1: NVIDIA H100 80GB HBM3, GPU-5da2ac1f-1d5e-4f0c-9a3b-a0b1c2d3e401, 0000:1b:00.0, /dev/nvidia6",
            "device   /dev/nvidiactl",
            "device   /dev/nvidia-uvm",
            "device   /dev/nvidia-uvm-tools (optional)",
            "device   /dev/nvidia7",
            "device   /dev/nvidia6",
        ]
    );
    let verbose = explain(&host, &bundle, &["-v"]).done("verbose");
    let skipped = |text: &str| text.lines().filter(|l| l.starts_with("skipped ")).count();
    assert_eq!(skipped(&text), 1);
    assert_eq!(
        skipped(&verbose),
        value["skipped"].as_array().unwrap().len()
    );
    assert_eq!(explain(&host, &bundle, &["-q"]).done("quiet"), "");
    // It says what would be done, and does nothing.
    assert_eq!(before.0.changes_to(&Tree::of(dir.path()).unwrap()), [""; 0]);
    assert_eq!(
        before.1.changes_to(&Tree::of(host.root()).unwrap()),
        [""; 0]
    );
}

/// Libraries go where the image's loader looks.
#[test]
fn the_root_file_system_decides_where_libraries_go() {
    let dir = Scratch::new().unwrap();
    let host = SimHost::named("debian-8").unwrap();
    let rows: &[(&str, &[&str], &str, &str)] = &[
        (
            "debian",
            DEBIAN,
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib/i386-linux-gnu",
        ),
        ("empty", &[], "/usr/lib64", "/usr/lib32"),
        (
            "fedora",
            &["usr/lib/os-release", "lib64/libc.so.6"],
            "/usr/lib64",
            "/usr/lib",
        ),
        ("alpine", &["lib/ld-musl-x86_64.so.1"], "/usr/lib", ""),
    ];
    let env = [
        "NVIDIA_VISIBLE_DEVICES=0",
        "NVIDIA_DRIVER_CAPABILITIES=compute,compat32",
    ];
    for (name, files, lib, lib32) in rows {
        let bundle = bundle(&dir, name, &env, files);
        let value = explain(&host, &bundle, &["--format", "json"]).json(name);
        check_shape(&value).unwrap();
        let libraries = items(&value, "library");
        let file = |lib: &str| format!("{lib}/libcuda.so.550.163.01");
        assert!(
            libraries.contains(&file(lib).as_str()),
            "{name}: {libraries:?}"
        );
        let has_32 = libraries.contains(&file(lib32).as_str());
        assert_eq!(has_32, !lib32.is_empty(), "{name}: {libraries:?}");
        // A path of a bundle's own counts from the directory that the command runs in.
        let mut relative = command();
        relative
            .arg("--host-root")
            .arg(host.root())
            .current_dir(&bundle);
        relative.args(["explain", "--bundle", ".", "--format", "json"]);
        assert_eq!(
            Ran::of(relative.output().unwrap()).json(name),
            value,
            "{name}"
        );
    }
}

#[test]
fn a_container_that_asks_for_nothing_gets_nothing() {
    let dir = Scratch::new().unwrap();
    for (place, (host, env)) in [
        ("run-1", &["PATH=/bin"][..]),
        ("run-1", &["NVIDIA_VISIBLE_DEVICES=void"]),
        // Whatever else is wrong.
        ("no-gpu", &[]),
        ("half-upgraded", &["NVIDIA_DRIVER_CAPABILITIES=magic"]),
    ]
    .iter()
    .enumerate()
    {
        let what = format!("{host} {env:?}");
        let host = SimHost::named(host).unwrap();
        let bundle = bundle(&dir, &place.to_string(), env, &[]);
        let text = explain(&host, &bundle, &[]).done(&what);
        assert_eq!(
            text, "request: none; the container asks for no GPU\n",
            "{what}"
        );
        let value = explain(&host, &bundle, &["--format", "json"]).json(&what);
        let nothing =
            json!({"request": null, "gpus": [], "items": [], "skipped": [], "errors": []});
        assert_eq!(value, nothing, "{what}");
    }
}

/// What failed is on standard error as from every command, and in the document; what was known
/// before is told too.
#[test]
fn failures_come_with_what_is_known() {
    let dir = Scratch::new().unwrap();
    let rows: &[(&str, &[&str], &str, &str, bool)] = &[
        (
            "no-gpu",
            &["NVIDIA_VISIBLE_DEVICES=all"],
            "OG0301",
            "no NVIDIA driver",
            true,
        ),
        (
            "half-upgraded",
            &["NVIDIA_VISIBLE_DEVICES=all"],
            "OG0302",
            "by half",
            true,
        ),
        (
            "run-8",
            &["NVIDIA_VISIBLE_DEVICES=9"],
            "OG0401",
            "no GPU '9'",
            true,
        ),
        (
            "wrong-major",
            &["NVIDIA_VISIBLE_DEVICES=0"],
            "OG0306",
            "196:0",
            true,
        ),
        (
            "run-8",
            &["NVIDIA_VISIBLE_DEVICES=gpu0"],
            "OG0201",
            "\"gpu0\"",
            false,
        ),
    ];
    for (place, (host, env, code, words, asked)) in rows.iter().enumerate() {
        let what = format!("{host} {env:?}");
        let host = SimHost::named(host).unwrap();
        let bundle = bundle(&dir, &place.to_string(), env, DEBIAN);
        let text = explain(&host, &bundle, &[]).failed(code, &[words, "; "], &what);
        assert_eq!(
            text.starts_with("request: devices "),
            *asked,
            "{what}: {text}"
        );
        assert_eq!(text.is_empty(), !asked, "{what}: {text}");
        assert!(!text.contains(code), "{what}: {text}");
        let quiet = explain(&host, &bundle, &["-q"]).failed(code, &[words], &what);
        assert_eq!(quiet, "", "{what}");

        let text = explain(&host, &bundle, &["--format", "json"]).failed(code, &[words], &what);
        let value: Value = serde_json::from_str(&text).unwrap();
        check_shape(&value).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(value["errors"].as_array().unwrap().len(), 1, "{what}");
        assert_eq!(value["errors"][0]["code"], *code, "{what}");
        assert!(
            value["errors"][0]["message"]
                .as_str()
                .unwrap()
                .contains(words),
            "{what}"
        );
        assert_eq!(value["request"].is_null(), !asked, "{what}");
        assert_eq!(value["items"], json!([]), "{what}");
        let skipped = value["skipped"].to_string();
        assert_eq!(
            skipped.contains("560.35.03"),
            *code == "OG0302",
            "{what}: {skipped}"
        );
    }
}

/// A request that policy ignores is a note, and no failure.
#[test]
fn what_policy_ignores_is_noted() {
    let dir = Scratch::new().unwrap();
    let host = SimHost::named("run-1").unwrap();
    let bundle = bundle(&dir, "b", &["NVIDIA_VISIBLE_DEVICES=all"], DEBIAN);
    let config = dir.path().join("config.toml");
    fs::write(&config, "env-when-unprivileged = false\n").unwrap();
    let config = config.display().to_string();
    let text = explain(&host, &bundle, &["--config", &config]).done("ignored");
    assert!(text.starts_with("note     OG0205: "), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    let args = ["--config", &config, "--format", "json"];
    let value = explain(&host, &bundle, &args).json("ignored");
    check_shape(&value).unwrap();
    assert_eq!(value["errors"][0]["code"], "OG0205");
    assert_eq!(value["request"], Value::Null);
}

/// What a container chooses is shown without its control characters.
#[test]
fn terminals_do_not_obey_containers() {
    let dir = Scratch::new().unwrap();
    let host = SimHost::named("run-1").unwrap();
    for (place, env) in [
        ["NVIDIA_VISIBLE_DEVICES=\u{1b}[2J\r\nall", "A=1"],
        [
            "NVIDIA_VISIBLE_DEVICES=0",
            "NVIDIA_REQUIRE_X=cuda>=11.0\u{7}\u{1b}]0;x",
        ],
        [
            "NVIDIA_VISIBLE_DEVICES=0",
            "NVIDIA_DRIVER_CAPABILITIES=\u{1b}[1m",
        ],
    ]
    .iter()
    .enumerate()
    {
        let bundle = bundle(&dir, &place.to_string(), env, DEBIAN);
        let ran = explain(&host, &bundle, &["-v"]);
        let plain = |c: char| c == '\n' || !c.is_control();
        assert!(ran.stdout.chars().all(plain), "{ran:?}");
        assert!(ran.stderr.chars().all(plain), "{ran:?}");
        assert!(ran.stderr.lines().count() <= 1, "{ran:?}");
    }
}
