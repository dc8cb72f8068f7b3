//! ELF facts against binutils' readelf, on the machine's own libraries and programs.
#![allow(missing_docs)]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use oci_gpu::elf::{self, ReadAt, VersionNeed};

/// A file that counts its reads.
struct Counted {
    file: File,
    reads: Cell<usize>,
    bytes: Cell<usize>,
}

impl Counted {
    fn open(path: &Path) -> Counted {
        Counted {
            file: File::open(path).unwrap(),
            reads: Cell::new(0),
            bytes: Cell::new(0),
        }
    }
}

impl ReadAt for Counted {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let count = self.file.read_at(buf, offset)?;
        self.reads.set(self.reads.get() + 1);
        self.bytes.set(self.bytes.get() + count);
        Ok(count)
    }
}

fn readelf(option: &str, path: &Path) -> Option<String> {
    let output = Command::new("readelf")
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

/// Every ELF file of the directories that libraries and programs lie in.
fn system_files() -> Vec<PathBuf> {
    let mut files = BTreeSet::new();
    for directory in [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
        "/usr/bin",
    ] {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        for path in entries.filter_map(|entry| entry.path().canonicalize().ok()) {
            let begins_with_magic = || {
                let mut magic = [0; 4];
                let file = File::open(&path).ok()?;
                (file.read_at(&mut magic, 0).ok()? == 4 && magic == *b"\x7fELF").then_some(())
            };
            if path.is_file() && begins_with_magic().is_some() {
                files.insert(path);
            }
        }
    }
    files.into_iter().collect()
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

/// `readelf -V` lines of the .gnu.version_r section: `... File: libc.so.6  Cnt: 2` and `Name: GLIBC_2.4`.
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

#[test]
fn facts_are_those_that_readelf_tells() {
    let files = system_files();
    assert!(!files.is_empty(), "no ELF file on this machine");
    let (mut with_soname, mut reads, mut libraries) = (0, 0, 0);
    for path in files {
        let Some(dynamic) = readelf("-d", &path) else {
            continue;
        };
        let file = Counted::open(&path);
        let facts = match elf::read(&file) {
            Ok(facts) => facts,
            Err(error) => {
                // Object files lie beside libraries: crt1.o, libmcheck.a.
                assert!(
                    error.to_string().contains("e_type 1)"),
                    "{}: {error}",
                    path.display()
                );
                continue;
            }
        };
        assert_eq!(
            facts.soname.iter().cloned().collect::<Vec<_>>(),
            bracketed(&dynamic, "(SONAME)"),
            "{}",
            path.display()
        );
        assert_eq!(
            facts.needed,
            bracketed(&dynamic, "(NEEDED)"),
            "{}",
            path.display()
        );
        let runpath = bracketed(&dynamic, "(RUNPATH)")
            .into_iter()
            .chain(bracketed(&dynamic, "(RPATH)"))
            .next();
        assert_eq!(facts.runpath, runpath, "{}", path.display());
        with_soname += usize::from(facts.soname.is_some());
        libraries += 1;
        reads += file.reads.get();
        let needs = elf::version_needs(&File::open(&path).unwrap()).unwrap();
        assert_eq!(
            needs,
            needs_of(&readelf("-V", &path).unwrap()),
            "{}",
            path.display()
        );
    }
    println!("{libraries} files, {with_soname} sonames, {reads} reads");
    assert!(with_soname > 0);
}
