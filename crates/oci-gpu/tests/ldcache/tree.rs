//! A root file system with small libraries, and the machine's ldconfig.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::elf_image::{ElfImage, X86_64};

pub struct Tree(TempDir);

impl Tree {
    pub fn new() -> Tree {
        let directory = tempfile::tempdir().unwrap();
        for name in ["etc", "var/cache/ldconfig"] {
            fs::create_dir_all(directory.path().join(name)).unwrap();
        }
        Tree(directory)
    }

    pub fn root(&self) -> &Path {
        self.0.path()
    }

    pub fn path(&self, inside: &str) -> PathBuf {
        self.root().join(inside.trim_start_matches('/'))
    }

    pub fn write(&self, inside: &str, bytes: &[u8]) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// A library of this machine word for x86-64 whose soname is its file name.
    pub fn library(&self, inside: &str) {
        let name = inside.rsplit_once('/').unwrap().1;
        self.write(inside, &ElfImage::library(X86_64, name).build());
    }

    /// Runs ldconfig on the tree with these directories, and returns the cache that it wrote.
    /// `None` where ldconfig is not installed.
    pub fn ldconfig(&self, format: &str, directories: &[&str]) -> Option<Vec<u8>> {
        self.write("etc/ld.so.conf", (directories.join("\n") + "\n").as_bytes());
        let output = ldconfig(&["-i", "-c", format, "-r", self.root().to_str().unwrap()])?;
        assert!(output.status.success(), "{output:?}");
        Some(fs::read(self.path("etc/ld.so.cache")).unwrap())
    }
}

/// The machine's ldconfig. `None` where it is not installed.
pub fn ldconfig(arguments: &[&str]) -> Option<Output> {
    let program = ["/sbin/ldconfig", "/usr/sbin/ldconfig"]
        .into_iter()
        .find(|p| Path::new(p).exists());
    let Some(program) = program else {
        eprintln!("skipped: ldconfig is not installed");
        return None;
    };
    Some(
        Command::new(program)
            .env("LC_ALL", "C")
            .args(arguments)
            .output()
            .unwrap(),
    )
}

/// What `ldconfig -p` lists of a cache, a line an entry: `soname (kind) => path`.
pub fn listed(cache: &[u8]) -> Option<Vec<String>> {
    let tree = Tree::new();
    tree.write("cache", cache);
    let output = ldconfig(&["-p", "-C", tree.path("cache").to_str().unwrap()])?;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(
        text.lines()
            .filter_map(|line| line.strip_prefix('\t'))
            .map(str::to_owned)
            .collect(),
    )
}
