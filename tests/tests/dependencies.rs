//! The crates in each program that is shipped are those of a list, in which each has its reason.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// (package, its list, the list of what it may have besides)
const PROGRAMS: &[(&str, &str, Option<&str>)] = &[
    ("oci-gpu-hook", "oci-gpu-hook.txt", None),
    ("oci-gpu-cli", "oci-gpu.txt", Some("oci-gpu-hook.txt")),
    ("oci-gpu-nvml", "oci-gpu-nvml.txt", Some("oci-gpu-hook.txt")),
];

#[test]
fn every_crate_of_a_program_is_on_its_list_with_a_reason() {
    for (package, list, besides) in PROGRAMS {
        let own = listed(list);
        let mut allowed = besides.map(listed).unwrap_or_default();
        allowed.extend(own.clone());
        let tree = tree(package);
        let count = |name: &String| tree.iter().filter(|(n, _)| n == name).count();
        let names: BTreeSet<&String> = tree.iter().map(|(name, _)| name).collect();
        let new: Vec<_> = names
            .iter()
            .filter(|name| count(name) > allowed.get(**name).copied().unwrap_or(0))
            .collect();
        let gone: Vec<_> = own
            .iter()
            .filter(|(name, listed)| count(name) < **listed)
            .map(|(name, _)| name)
            .collect();
        assert!(
            new.is_empty() && gone.is_empty(),
            "the crates of {package} are not those of fixtures/dependencies/{list}.\n\
             new, to be left out or given a line with its reason: {new:?}\n\
             gone, to be taken off the list: {gone:?}\n\
             `{}` shows them, and with `--invert CRATE` who wants one. A new crate is code that \
             runs as root on every node: say why it is worth that, or do without",
            command_line(package)
        );
    }
}

/// Each crate of a list, and how often (in how many versions).
fn listed(list: &str) -> BTreeMap<String, usize> {
    let path = workspace().join("fixtures/dependencies").join(list);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut crates = BTreeMap::new();
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let (name, why) = line.split_once(' ').unwrap_or((line, ""));
        assert!(!why.trim().is_empty(), "{list}: '{name}' has no reason");
        *crates.entry(name.to_owned()).or_default() += 1;
    }
    crates
}

/// Name and version of each crate that is compiled into `package` or runs while it is built.
fn tree(package: &str) -> BTreeSet<(String, String)> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments(package))
        .arg("--offline")
        .current_dir(workspace())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}: {errors}",
        command_line(package)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let crates: BTreeSet<(String, String)> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.to_owned(), words.next()?.to_owned()))
        })
        .collect();
    assert!(crates.iter().any(|(name, _)| name == package), "{text}");
    crates
}

fn arguments(package: &str) -> Vec<&str> {
    let arguments = "tree --locked --edges normal --prefix none --target x86_64-unknown-linux-gnu";
    arguments.split(' ').chain(["--package", package]).collect()
}

fn command_line(package: &str) -> String {
    format!("cargo {}", arguments(package).join(" "))
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// One file that needs no other, small enough to be read into memory at each start.
#[test]
fn the_hook_is_static_and_small() {
    let path = oci_gpu_tests::binaries::hook().unwrap();
    let file = std::fs::File::open(&path).unwrap();
    let size = file.metadata().unwrap().len();
    assert!(size < 2 << 20, "{size} bytes");
    let facts = oci_gpu::elf::read(&file).unwrap();
    assert!(facts.needed.is_empty(), "{facts:?}");
    let content = std::fs::read(&path).unwrap();
    assert_eq!(interpreter(&content), None, "it names a loader");
}

/// The program's PT_INTERP segment (elf(5)), by the 64-bit program headers.
fn interpreter(content: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| u64::from_le_bytes(content[at..at + 8].try_into().unwrap()) as usize;
    let half = |at: usize| usize::from(u16::from_le_bytes([content[at], content[at + 1]]));
    let (table, size, count) = (word(32), half(54), half(56));
    (0..count).map(|i| table + i * size).find_map(|header| {
        let kind = u32::from_le_bytes(content[header..header + 4].try_into().unwrap());
        (kind == 3).then(|| &content[word(header + 8)..word(header + 8) + word(header + 32)])
    })
}
