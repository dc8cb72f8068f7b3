//! binutils' readelf as the oracle, on the machine's own libraries and programs.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use oci_gpu::elf::{self, ReadAt, VersionNeed};

use crate::counted::Counted;

const DIRECTORIES: [&str; 5] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/bin",
];

/// Every ELF file of the directories that libraries and programs lie in.
fn system_files() -> BTreeSet<PathBuf> {
    let entries = DIRECTORIES
        .into_iter()
        .flat_map(std::fs::read_dir)
        .flatten()
        .flatten();
    let files = entries.filter_map(|entry| entry.path().canonicalize().ok());
    files
        .filter(|path| path.is_file() && begins_with_magic(path))
        .collect()
}

fn begins_with_magic(path: &Path) -> bool {
    let mut magic = [0; 4];
    let read = File::open(path).and_then(|file| ReadAt::read_at(&file, &mut magic, 0));
    read.is_ok_and(|count| count == 4) && magic == *b"\x7fELF"
}

/// readelf's answer; `None` for what it does not take, or where binutils is not installed.
fn readelf(option: &str, path: &Path) -> Option<String> {
    let mut command = Command::new("readelf");
    let output = command
        .env("LC_ALL", "C")
        .arg(option)
        .arg("-W")
        .arg(path)
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `Library soname: [libc.so.6]` -> `libc.so.6`, of every line with that tag.
fn bracketed(dynamic: &str, tag: &str) -> Vec<String> {
    let lines = dynamic.lines().filter(|line| line.contains(tag));
    lines
        .map(|line| {
            line.split_once('[')
                .unwrap()
                .1
                .rsplit_once(']')
                .unwrap()
                .0
                .to_owned()
        })
        .collect()
}

/// Lines of the .gnu.version_r section: `... File: libc.so.6  Cnt: 2`, and `Name: GLIBC_2.4` of
/// each version.
fn needs_of(versions: &str) -> Vec<VersionNeed> {
    let section = versions
        .split_once("Version needs section")
        .map_or("", |(_, rest)| rest);
    let mut needs: Vec<VersionNeed> = Vec::new();
    let word = |text: &str| {
        text.split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    for line in section.lines() {
        if let Some((_, file)) = line.split_once("File: ") {
            needs.push(VersionNeed {
                file: word(file),
                versions: Vec::new(),
            });
        } else if let Some((_, name)) = line.split_once("Name: ") {
            needs.last_mut().unwrap().versions.push(word(name));
        }
    }
    needs
}

/// Lines of the .gnu.version_d section: `... Rev: 1  Flags: none  Index: 2  Cnt: 1  Name: GLIBC_2.4`.
fn definitions_of(versions: &str) -> Vec<String> {
    let section = versions
        .split_once("Version definition section")
        .map_or("", |(_, rest)| rest);
    let section = section.split("Version needs section").next().unwrap();
    let names = section
        .lines()
        .filter(|line| line.contains(" Rev: "))
        .filter_map(|line| line.split_once("Name: "));
    names.map(|(_, name)| name.trim().to_owned()).collect()
}

/// `Build ID: 93ac...` of the note sections, as bytes.
fn build_id_of(notes: &str) -> Option<Vec<u8>> {
    let (_, id) = notes.split_once("Build ID: ")?;
    let id = id.split_whitespace().next()?.as_bytes();
    let byte = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok();
    id.chunks(2).map(byte).collect()
}

#[test]
fn facts_are_those_that_readelf_tells() {
    if Command::new("readelf").arg("--version").output().is_err() {
        eprintln!("skipped: readelf is not installed");
        return;
    }
    let (mut files, mut sonames, mut reads) = (0, 0, 0);
    let (mut defined, mut ids) = (0, 0);
    for path in system_files() {
        let Some(dynamic) = readelf("-d", &path) else {
            continue;
        };
        let file = Counted::new(File::open(&path).unwrap());
        let name = path.display();
        let facts = match elf::read(&file) {
            Ok(facts) => facts,
            Err(error) => {
                // Object files lie beside libraries: crt1.o, libmcheck.a.
                assert!(error.to_string().contains("e_type 1)"), "{name}: {error}");
                continue;
            }
        };
        assert_eq!(
            Vec::from_iter(facts.soname.clone()),
            bracketed(&dynamic, "(SONAME)"),
            "{name}"
        );
        assert_eq!(facts.needed, bracketed(&dynamic, "(NEEDED)"), "{name}");
        let mut runpaths = bracketed(&dynamic, "(RUNPATH)");
        runpaths.extend(bracketed(&dynamic, "(RPATH)"));
        assert_eq!(facts.runpath.as_ref(), runpaths.first(), "{name}");
        let needs = elf::version_needs(&File::open(&path).unwrap()).unwrap();
        assert_eq!(needs, needs_of(&readelf("-V", &path).unwrap()), "{name}");

        let definitions = elf::version_definitions(&File::open(&path).unwrap()).unwrap();
        let versions = readelf("-V", &path).unwrap();
        assert_eq!(definitions, definitions_of(&versions), "{name}");
        defined += definitions.len();
        let id = elf::note(&File::open(&path).unwrap(), ".note.gnu.build-id", "GNU").unwrap();
        assert_eq!(id, build_id_of(&readelf("-n", &path).unwrap()), "{name}");
        ids += usize::from(id.is_some());

        files += 1;
        sonames += usize::from(facts.soname.is_some());
        reads += file.reads.get();
    }
    assert!(sonames > 0, "no library on this machine");
    assert!(defined > 0 && ids > 0, "{defined} {ids}");
    assert!(reads <= 3 * files, "{reads} reads for {files} files");
}
