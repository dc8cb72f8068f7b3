//! The probe: a program that says from inside a container what is there. See probe/probe.c.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::bundle::Bundle;
use crate::cache;
use crate::debs::Debs;
use crate::error::{Context, Error, Result, run};
use crate::output::Output;
use crate::rootfs::{Kind, Rootfs, image};
use crate::runtime::Runtime;

/// Where the probe lies in a container.
pub const PATH: &str = "/probe";

const SOURCE: &str = include_str!("../probe/probe.c");

/// The probe, compiled: once for glibc images and once for all others.
#[derive(Clone, Debug)]
pub struct Probe {
    dynamic: PathBuf,
    standalone: PathBuf,
}

impl Probe {
    /// Compiles the probe, or takes what was compiled before from the same source.
    ///
    /// # Errors
    /// Where there is no C compiler, or no glibc 2.31 to link against.
    pub fn build(debs: &Debs) -> Result<Probe> {
        let oldest = image(debs, Kind::Bullseye)?;
        let dir =
            cache::directory()?.join(format!("probe-{:016x}", crate::hash(SOURCE.as_bytes())));
        cache::once(&dir, |dir| {
            let source = dir.join("probe.c");
            fs::write(&source, SOURCE).during(format_args!("write {}", source.display()))?;
            let libraries = oldest.join("lib/x86_64-linux-gnu");
            run(compiler(&source)
                .args(["-DPROBE_DYNAMIC", "-pie", "-fPIE", "-o"])
                .arg(dir.join("dynamic"))
                .args(["libdl.so.2", "libc.so.6"].map(|name| libraries.join(name))))?;
            run(compiler(&source)
                .args(["-static", "-o"])
                .arg(dir.join("standalone")))
            .map(drop)
        })?;
        Ok(Probe {
            dynamic: dir.join("dynamic"),
            standalone: dir.join("standalone"),
        })
    }

    /// Puts the probe that fits into `rootfs`, at [`PATH`].
    ///
    /// # Errors
    /// Where it cannot be copied.
    pub fn install(&self, rootfs: &Rootfs) -> Result<()> {
        let program = if rootfs.kind.has_glibc() {
            &self.dynamic
        } else {
            &self.standalone
        };
        let target = rootfs.on_host(PATH);
        fs::copy(program, &target)
            .map(drop)
            .during(format_args!("copy the probe to {}", target.display()))
    }

    /// Runs the probe with `arguments` as the container of `bundle`, and reads its report.
    ///
    /// # Errors
    /// Where the container does not run, with all that the runtime and the hooks said.
    pub fn run(&self, runtime: &Runtime, mut bundle: Bundle, arguments: &[&str]) -> Result<Report> {
        self.install(&bundle.rootfs)?;
        bundle.probe(arguments);
        bundle.write()?;
        Report::of(&runtime.run(&bundle)?)
    }

    /// Runs the probe with `arguments` in `root` by chroot alone: no container, same files.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn run_chroot(&self, rootfs: &Rootfs, arguments: &[&str]) -> Result<Report> {
        self.install(rootfs)?;
        let output = run(Command::new("chroot")
            .arg(&rootfs.path)
            .arg(PATH)
            .args(arguments))?;
        Report::parse(&output.stdout)
    }
}

fn compiler(source: &Path) -> Command {
    let mut command = Command::new("cc");
    command.args([
        "-std=gnu11",
        "-O1",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-nostdlib",
    ]);
    // The program has no C library of its own to call: neither memset nor the stack guard's.
    command
        .args(["-fno-builtin", "-fno-stack-protector", "-U_FORTIFY_SOURCE"])
        .arg(source);
    command
}

/// What the probe saw.
#[derive(Clone, Debug)]
pub struct Report(Value);

/// What became of loading a library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// The file that was loaded, and its `oci_gpu_sim_version` where it is a simulated one.
    Found {
        /// As the loader names it.
        path: String,
        /// The simulated driver's version.
        version: Option<String>,
    },
    /// What dlerror(3) says.
    Failed(String),
}

/// What statx(2) says of a path that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// `char`, `block`, `file`, `dir`, `link`, `socket` or `fifo`.
    pub kind: String,
    /// Device number of a device node.
    pub device: (u64, u64),
    /// Permission bits.
    pub mode: u64,
    /// User and group.
    pub owner: (u64, u64),
    /// Length in bytes.
    pub size: u64,
    /// Inode number: equal for a bind mount and its source.
    pub inode: u64,
    /// Where a link leads.
    pub target: Option<String>,
}

impl Report {
    /// The report that a container printed.
    ///
    /// # Errors
    /// Where it failed or printed something else.
    pub fn of(output: &Output) -> Result<Report> {
        if !output.success() {
            return Err(Error::new(format!("the container failed: {output}")));
        }
        Report::parse(output.stdout.as_bytes())
    }

    /// The report in what a probe printed.
    ///
    /// # Errors
    /// Where it is none.
    pub fn parse(stdout: &[u8]) -> Result<Report> {
        serde_json::from_slice(stdout)
            .map(Report)
            .during(format_args!(
                "read the probe's report {:?}",
                String::from_utf8_lossy(stdout)
            ))
    }

    /// `OK`, or the name of the error of opening `path` for reading and writing. Empty where the
    /// probe was not asked.
    pub fn open(&self, path: &str) -> &str {
        self.word("open", path)
    }

    /// `OK`, or the name of the error of opening `path` for writing.
    pub fn write(&self, path: &str) -> &str {
        self.word("write", path)
    }

    /// Facts of `path`, or the name of the error (empty where the probe was not asked).
    ///
    /// # Errors
    /// As above.
    pub fn stat(&self, path: &str) -> std::result::Result<Stat, String> {
        let facts = &self.0["stat"][path];
        let Some(kind) = facts["type"].as_str() else {
            return Err(facts.as_str().unwrap_or_default().to_owned());
        };
        let number = |name: &str| facts[name].as_u64().unwrap_or_default();
        Ok(Stat {
            kind: kind.to_owned(),
            device: (number("major"), number("minor")),
            mode: number("mode"),
            owner: (number("uid"), number("gid")),
            size: number("size"),
            inode: number("inode"),
            target: facts["target"].as_str().map(str::to_owned),
        })
    }

    /// The content of `path`, `None` where it could not be read.
    pub fn read(&self, path: &str) -> Option<&str> {
        self.0["read"][path]["content"].as_str()
    }

    /// The names in the directory `path`, sorted; `None` where it could not be listed.
    pub fn list(&self, path: &str) -> Option<Vec<&str>> {
        let mut names: Vec<_> = self.0["list"][path]
            .as_array()?
            .iter()
            .filter_map(Value::as_str)
            .collect();
        names.sort_unstable();
        Some(names)
    }

    /// What became of `--dlopen NAME`.
    pub fn dlopen(&self, name: &str) -> Loaded {
        let answer = &self.0["dlopen"][name];
        match answer["path"].as_str() {
            Some(path) => Loaded::Found {
                path: path.to_owned(),
                version: answer["version"].as_str().map(str::to_owned),
            },
            None => Loaded::Failed(answer["error"].as_str().unwrap_or("not asked").to_owned()),
        }
    }

    /// What the function of `--call LIBRARY:FUNCTION` returned.
    ///
    /// # Errors
    /// What dlerror(3) says.
    pub fn call(&self, what: &str) -> std::result::Result<i64, String> {
        let answer = &self.0["call"][what];
        let failed = || answer["error"].as_str().unwrap_or("not asked").to_owned();
        answer["result"].as_i64().ok_or_else(failed)
    }

    fn word(&self, section: &str, path: &str) -> &str {
        self.0[section][path].as_str().unwrap_or_default()
    }
}
