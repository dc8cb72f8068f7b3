//! Hosts in temporary directories, and the tools that judge them.
#![allow(dead_code, unreachable_pub)] // each test binary uses a part

use std::path::{Path, PathBuf};
use std::process::Command;

use oci_gpu_sim::{Created, HostSpec, Nodes};

/// A simulated host that is removed at the end of the test.
pub struct SimHost {
    pub spec: HostSpec,
    pub created: Created,
    directory: tempfile::TempDir,
}

impl SimHost {
    pub fn named(name: &str) -> SimHost {
        SimHost::of(HostSpec::named(name).unwrap())
    }

    pub fn of_toml(text: &str) -> SimHost {
        SimHost::of(HostSpec::from_toml(text).unwrap())
    }

    /// Makes the host; without its nodes where the caller is not root.
    pub fn of(mut spec: HostSpec) -> SimHost {
        if !is_root() {
            spec.nodes = Nodes::Skip;
        }
        let directory = tempfile::tempdir().unwrap();
        let created = spec.create(directory.path()).unwrap();
        SimHost {
            spec,
            created,
            directory,
        }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where `path` of the host lies.
    pub fn at(&self, path: &str) -> PathBuf {
        self.path().join(path.trim_start_matches('/'))
    }

    pub fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.at(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    pub fn host(&self) -> oci_gpu::Host {
        oci_gpu::Host::at(self.path())
    }

    /// The file that `path` leads to, every link followed inside the host.
    pub fn resolve(&self, path: &str) -> String {
        let real = self.host().files().resolve(Path::new(path));
        real.unwrap_or_else(|e| panic!("{path}: {e}"))
            .display()
            .to_string()
    }

    pub fn exists(&self, path: &str) -> bool {
        self.host().files().exists(Path::new(path))
    }

    pub fn names(&self, path: &str) -> Vec<String> {
        let names = self.host().files().list(Path::new(path));
        names.unwrap_or_else(|e| panic!("{path}: {e}"))
    }
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Says why a test stops before its end.
pub fn skip(why: &str) {
    println!("SKIP: {why}");
}

/// Whether that tool can be run.
pub fn has_tool(name: &str) -> bool {
    let found = Command::new(name).arg("--version").output().is_ok();
    if !found {
        skip(&format!("no {name}"));
    }
    found
}

/// The standard output of a tool that must succeed.
pub fn output(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{command:?}: {out}{err}");
    out.into_owned()
}
