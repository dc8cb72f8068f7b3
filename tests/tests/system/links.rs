//! `system create-dev-char-links`: each link leads to a device of its number.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use oci_gpu_sim::HostSpec;
use oci_gpu_tests::sim::SimHost;
use oci_gpu_tests::tree::Tree;
use serde_json::Value;

use crate::ran::{Ran, run_on};

const LINKS: [&str; 2] = ["system", "create-dev-char-links"];

fn links(host: &Path, more: &[&str]) -> Ran {
    run_on(host, &[&LINKS, more].concat())
}

/// The rows of a run by path, as "need done target".
fn rows(value: &Value) -> Vec<(String, String)> {
    let row = |r: &Value| {
        let word = |key: &str| r[key].as_str().unwrap().to_owned();
        (
            word("path"),
            format!("{} {} {}", word("need"), r["done"], word("target")),
        )
    };
    value.as_array().unwrap().iter().map(row).collect()
}

/// The links of a directory, by name, and what they hold.
fn held(directory: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut links: Vec<(String, PathBuf)> = entries
        .map(|e| {
            let e = e.unwrap();
            let name = e.file_name().into_string().unwrap();
            (name, fs::read_link(e.path()).unwrap())
        })
        .collect();
    links.sort();
    links
}

/// Every link leads to the node with its number: relative ones from where they lie.
fn assert_right(host: &SimHost, directory: &str) {
    for (name, target) in held(&host.on_disk(directory)) {
        let node = match target.is_absolute() {
            true => host.on_disk(&target),
            false => host.on_disk(directory).join(&target),
        };
        let facts = fs::symlink_metadata(&node).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(facts.file_type().is_char_device(), "{name}");
        let (major, minor) = (
            nix::sys::stat::major(facts.rdev()),
            nix::sys::stat::minor(facts.rdev()),
        );
        assert_eq!(name, format!("{major}:{minor}"));
    }
}

/// A link for each node of the driver, capabilities and channels included; then nothing more to do.
#[test]
fn every_node_has_its_link() {
    let mut spec = HostSpec::named("run-8-mig").unwrap();
    spec.imex_channels = vec![0, 7];
    let host = SimHost::of(spec).unwrap();
    let before = Tree::of(host.root()).unwrap();
    let dry = links(host.root(), &["--dry-run", "--format", "json"]).json("dry run");
    assert_eq!(before.changes_to(&Tree::of(host.root()).unwrap()), [""; 0]);
    assert!(
        rows(&dry)
            .iter()
            .all(|(_, row)| row.starts_with("create false ../nvidia"))
    );

    let value = links(host.root(), &["--format", "json"]).json("create");
    // 4 control nodes, 8 GPUs, 11 GPU instances, 12 compute instances, 2 rights, 2 channels.
    let made = held(&host.on_disk("/dev/char"));
    assert_eq!(made.len(), 4 + 8 + 11 + 12 + 2 + 2);
    assert_eq!(rows(&value).len(), made.len());
    assert_right(&host, "/dev/char");
    let of = |name: &str| made.iter().find(|(n, _)| n == name).unwrap().1.clone();
    assert_eq!(of("195:0"), Path::new("../nvidia0"));
    assert_eq!(of("508:1"), Path::new("../nvidia-uvm-tools"));
    assert_eq!(of("237:201"), Path::new("../nvidia-caps/nvidia-cap201"));
    assert_eq!(
        of("234:7"),
        Path::new("../nvidia-caps-imex-channels/channel7")
    );

    let after = Tree::of(host.root()).unwrap();
    let again = links(host.root(), &["--format", "json"]).json("again");
    assert!(
        rows(&again)
            .iter()
            .all(|(_, row)| row.starts_with("nothing false "))
    );
    assert_eq!(after.changes_to(&Tree::of(host.root()).unwrap()), [""; 0]);
}

/// Links that lead to the right device by another way stay; others are replaced, and what leads
/// nowhere is told.
#[test]
fn what_is_there_is_kept_replaced_or_told() {
    let host = SimHost::named("run-1").unwrap();
    let at = host.on_disk("/dev/char");
    fs::create_dir(&at).unwrap();
    symlink("/dev/nvidia0", at.join("195:0")).unwrap();
    symlink("../null-that-is-not-there", at.join("195:254")).unwrap();
    symlink("../nvidia0", at.join("195:255")).unwrap();
    fs::write(at.join("508:0"), "").unwrap();
    symlink("../nvidia1", at.join("195:1")).unwrap();
    symlink("../tty0", at.join("4:0")).unwrap();
    let text = links(host.root(), &[]).done("create");
    let verdict = |name: &str| {
        let path = format!("/dev/char/{name} ");
        let line = text.lines().find(|l| l.starts_with(&path)).unwrap();
        line.rsplit("  ").next().unwrap()
    };
    assert_eq!(verdict("195:0"), "present");
    assert_eq!(
        verdict("195:254"),
        "replaced: it leads to ../null-that-is-not-there"
    );
    assert_eq!(verdict("195:255"), "replaced: it leads to ../nvidia0");
    assert_eq!(verdict("508:0"), "replaced: it is no link");
    assert_eq!(verdict("508:1"), "created");
    assert_eq!(verdict("195:1"), "dangling: it leads nowhere");
    assert!(!text.contains("/dev/char/4:0"), "{text}");
    let now = held(&at);
    let of = |name: &str| {
        now.iter()
            .find(|(n, _)| n == name)
            .unwrap()
            .1
            .display()
            .to_string()
    };
    assert_eq!(of("195:0"), "/dev/nvidia0");
    assert_eq!(of("195:254"), "../nvidia-modeset");
    assert_eq!(of("195:255"), "../nvidiactl");
    assert_eq!(of("508:0"), "../nvidia-uvm");
    assert_eq!(of("195:1"), "../nvidia1");

    let host = SimHost::named("run-1").unwrap();
    fs::create_dir_all(host.on_disk("/dev/char/195:0/x")).unwrap();
    links(host.root(), &[]).failed("OG0306", &["/dev/char/195:0"], "a directory in the way");
}

/// Links for what there can be: systemd then knows MIG instances that are made later.
#[test]
fn all_that_there_can_be_has_a_link() {
    // 4 control nodes, the rights to configure and to monitor MIG, and per GPU its own node, 15 GPU
    // instances and 8 compute instances in each.
    for (name, gpus) in [("run-1", 1), ("run-8", 8)] {
        let host = SimHost::named(name).unwrap();
        links(host.root(), &["--create-all"]).done(name);
        let made = held(&host.on_disk("/dev/char"));
        assert_eq!(made.len(), 4 + 2 + gpus * (1 + 15 * 9), "{name}");
        assert!(made.contains(&("237:3".to_owned(), "../nvidia-caps/nvidia-cap3".into())));
        let again = links(host.root(), &["--create-all", "--format", "json"]).json(name);
        assert!(
            rows(&again)
                .iter()
                .all(|(_, row)| row.starts_with("nothing ")),
            "{name}"
        );
    }
    // No node, no driver root: all of it in advance.
    let host = SimHost::named("microvm-1").unwrap();
    assert_eq!(links(host.root(), &[]).done("no nodes"), "");
    links(host.root(), &["--create-all"]).done("microvm-1");
    assert_eq!(held(&host.on_disk("/dev/char")).len(), 3 + 2 + 1 + 15 * 9);
    let usage = links(host.root(), &["--create-device-nodes"]);
    assert_eq!(usage.code, Some(2), "{usage:?}");
}

/// Links elsewhere, and to nodes elsewhere, hold whole paths.
#[test]
fn other_directories_get_whole_paths() {
    let host = SimHost::named("driver-container-8").unwrap();
    links(host.root(), &[]).done("driver container");
    let made = held(&host.on_disk("/dev/char"));
    assert_eq!(made.len(), 4 + 8 + 2);
    assert!(made.contains(&("195:7".to_owned(), "/run/nvidia/driver/dev/nvidia7".into())));
    assert_right(&host, "/dev/char");

    let args = ["--dev-char-path", "/run/nvidia/driver/dev/char"];
    links(host.root(), &args).done("beside them");
    let made = held(&host.on_disk("/run/nvidia/driver/dev/char"));
    assert!(made.contains(&("195:7".to_owned(), "../nvidia7".into())));

    let host = SimHost::named("run-1").unwrap();
    links(host.root(), &["--dev-char-path", "/tmp/char"]).done("elsewhere");
    assert_right(&host, "/tmp/char");
    assert!(!host.on_disk("/dev/char").exists());
}

/// A link to a node of another kernel's number would tell systemd of a device that is none.
#[test]
fn wrong_nodes_get_no_link() {
    let host = SimHost::named("wrong-major").unwrap();
    let text = links(host.root(), &[]).done("links");
    let left_out: Vec<&str> = text.lines().filter(|l| l.contains("left out")).collect();
    assert_eq!(left_out.len(), 1, "{text}");
    assert!(left_out[0].starts_with("/dev/char/196:0 "), "{text}");
    assert!(!host.on_disk("/dev/char/196:0").exists());
    assert_right(&host, "/dev/char");
}
