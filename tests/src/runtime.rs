//! runc and crun, each in a mount namespace of its own that shows the cgroups of one kind.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bundle::Bundle;
use crate::debs::Debs;
use crate::error::{Context, Result, run};
use crate::output::{Output, created_output};
use crate::runtime_programs::{installed, unpacked};
use crate::skip;

/// Seconds after which a runtime that hangs is killed.
const DEADLINE: &str = "60";

/// Set in the environment, makes [`Runtime::all`] include the runtimes of Debian unstable.
pub const SID_VARIABLE: &str = "OCI_GPU_TEST_SID";

/// The implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The reference implementation, in Go.
    Runc,
    /// The C implementation, Podman's default.
    Crun,
}

/// Whose version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// What the machine has installed.
    Installed,
    /// Debian 13's: runc 1.1.15, crun 1.21.
    Trixie,
    /// Debian unstable's: runc 1.3 and crun 1.28 in 2026.
    Sid,
}

/// How the kernel's cgroups appear to the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupMode {
    /// One hierarchy for each controller; device rules are files.
    V1,
    /// One hierarchy; device rules are eBPF programs.
    V2,
    /// The runtime makes no cgroup, so there are no device rules. crun only.
    Disabled,
}

/// One runtime in one mode.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// The implementation.
    pub engine: Engine,
    /// The program.
    pub program: PathBuf,
    /// `1.1.5`.
    pub version: String,
    /// How cgroups appear to it.
    pub cgroups: CgroupMode,
    /// Shell commands that run as root in the private mount namespace before the runtime.
    pub prepare: Vec<String>,
    /// Environment of the runtime beside PATH: hooks without `env` inherit it.
    pub env: Vec<(String, String)>,
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} ({:?})",
            self.engine.name(),
            self.version,
            self.cgroups
        )
    }
}

impl Engine {
    /// The program's name.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Runc => "runc",
            Engine::Crun => "crun",
        }
    }
}

impl Runtime {
    /// Every runtime in every mode that it knows; what cannot work on this machine is a skip.
    /// Unstable's are among them where [`SID_VARIABLE`] is set: they cost a download of 18 MB.
    ///
    /// # Errors
    /// As [`Runtime::new`].
    pub fn all(debs: &Debs) -> Result<Vec<Runtime>> {
        let mut releases = vec![Release::Installed, Release::Trixie];
        if std::env::var_os(SID_VARIABLE).is_some() {
            releases.push(Release::Sid);
        }
        let mut all = Vec::new();
        for release in releases {
            for (engine, cgroups) in [
                (Engine::Runc, CgroupMode::V1),
                (Engine::Runc, CgroupMode::V2),
                (Engine::Crun, CgroupMode::V1),
                (Engine::Crun, CgroupMode::V2),
                (Engine::Crun, CgroupMode::Disabled),
            ] {
                let runtime = Runtime::new(debs, engine, release, cgroups)?;
                match runtime.impossible() {
                    Some(reason) => skip::record(&runtime.to_string(), &reason)?,
                    None => all.push(runtime),
                }
            }
        }
        Ok(all)
    }

    /// The installed runc.
    ///
    /// # Errors
    /// As [`Runtime::new`].
    pub fn runc(cgroups: CgroupMode) -> Result<Runtime> {
        Runtime::from_program(Engine::Runc, installed(Engine::Runc)?, cgroups)
    }

    /// The installed crun.
    ///
    /// # Errors
    /// As [`Runtime::new`].
    pub fn crun(cgroups: CgroupMode) -> Result<Runtime> {
        Runtime::from_program(Engine::Crun, installed(Engine::Crun)?, cgroups)
    }

    /// `engine` of `release`. Those of other releases are unpacked beside the system and run with
    /// their own C library.
    ///
    /// # Errors
    /// Where it is not installed, its packages are not to be had, or it does not start.
    pub fn new(
        debs: &Debs,
        engine: Engine,
        release: Release,
        cgroups: CgroupMode,
    ) -> Result<Runtime> {
        let program = match release {
            Release::Installed => installed(engine)?,
            Release::Trixie => unpacked(debs, engine, "trixie")?,
            Release::Sid => unpacked(debs, engine, "sid")?,
        };
        Runtime::from_program(engine, program, cgroups)
    }

    /// A program that takes the command line of `engine`.
    ///
    /// # Errors
    /// Where it does not print a version.
    pub fn from_program(engine: Engine, program: PathBuf, cgroups: CgroupMode) -> Result<Runtime> {
        let output = run(Command::new(&program).arg("--version"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let words = text.lines().next().unwrap_or_default().split_whitespace();
        let version = words.last().unwrap_or_default().to_owned();
        Ok(Runtime {
            engine,
            program,
            version,
            cgroups,
            prepare: Vec::new(),
            env: Vec::new(),
        })
    }

    /// Why this combination cannot work on this machine, for a skip that says so.
    pub fn impossible(&self) -> Option<String> {
        match (self.cgroups, self.engine) {
            (CgroupMode::V1, _) if machine_is_v2() => {
                Some("this machine has no cgroup v1 hierarchies".to_owned())
            }
            (CgroupMode::Disabled, Engine::Runc) => {
                Some("runc always makes a cgroup as root".to_owned())
            }
            // Its eBPF loader gives up when it cannot lift RLIMIT_MEMLOCK.
            (CgroupMode::V2, Engine::Crun)
                if self.version.starts_with("1.8") && !has_sys_resource() =>
            {
                Some(
                    "crun 1.8 sets device rules on cgroup v2 with CAP_SYS_RESOURCE only".to_owned(),
                )
            }
            _ => None,
        }
    }

    /// Runs the container of `bundle`, whose config.json is written, to its end, and deletes it.
    ///
    /// # Errors
    /// Where the runtime cannot be started. A container that fails is an [`Output`].
    pub fn run(&self, bundle: &Bundle) -> Result<Output> {
        let output = self.command(
            bundle,
            &["run", "--bundle", &path_text(&bundle.dir), &bundle.id],
        )?;
        if !output.success() {
            // A start that failed half way leaves its state and its cgroup behind.
            self.command(bundle, &["delete", "--force", &bundle.id])?;
        }
        Ok(output)
    }

    /// Creates the container: its hooks have run, its process waits. The process keeps the files
    /// that it is given as output until it ends, so they are `create.out` and `create.err` in the
    /// bundle's directory.
    ///
    /// # Errors
    /// Where the runtime cannot be started.
    pub fn create(&self, bundle: &Bundle) -> Result<Output> {
        let open = |name: &str| {
            let path = bundle.dir.join(name);
            fs::File::create(&path).during(format_args!("create {}", path.display()))
        };
        let (out, err) = (open("create.out")?, open("create.err")?);
        let arguments = ["create", "--bundle", &path_text(&bundle.dir), &bundle.id];
        let mut command = self.prepared(bundle, &arguments);
        let status = command
            .stdout(out)
            .stderr(err)
            .status()
            .during("start unshare")?;
        let (stdout, stderr) = created_output(bundle);
        Ok(Output {
            status,
            stdout,
            stderr,
        })
    }

    /// Starts the process of a created container.
    ///
    /// # Errors
    /// Where the runtime cannot be started.
    pub fn start(&self, bundle: &Bundle) -> Result<Output> {
        self.command(bundle, &["start", &bundle.id])
    }

    /// The container's state, as the runtime prints it (JSON).
    ///
    /// # Errors
    /// Where the runtime cannot be started.
    pub fn state(&self, bundle: &Bundle) -> Result<Output> {
        self.command(bundle, &["state", &bundle.id])
    }

    /// Kills the container's process.
    ///
    /// # Errors
    /// Where the runtime cannot be started.
    pub fn kill(&self, bundle: &Bundle) -> Result<Output> {
        self.command(bundle, &["kill", &bundle.id, "KILL"])
    }

    /// Deletes the container, by force.
    ///
    /// # Errors
    /// Where the runtime cannot be started.
    pub fn delete(&self, bundle: &Bundle) -> Result<Output> {
        self.command(bundle, &["delete", "--force", &bundle.id])
    }

    /// Any other command of the runtime on this bundle's state directory.
    ///
    /// # Errors
    /// Where the runtime cannot be started.
    pub fn command(&self, bundle: &Bundle, arguments: &[&str]) -> Result<Output> {
        let output = self
            .prepared(bundle, arguments)
            .output()
            .during("start unshare")?;
        Ok(Output {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    fn prepared(&self, bundle: &Bundle, arguments: &[&str]) -> Command {
        let mut script = vec!["set -e"];
        match self.cgroups {
            CgroupMode::V2 if !machine_is_v2() => {
                script.push("umount -R /sys/fs/cgroup");
                script.push("mount -t cgroup2 none /sys/fs/cgroup");
            }
            // crun refuses the hybrid layout.
            CgroupMode::V1 | CgroupMode::Disabled if self.engine == Engine::Crun => {
                script.push("! test -d /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified");
            }
            _ => {}
        }
        script.extend(self.prepare.iter().map(String::as_str));
        script.push("exec \"$@\"");
        let mut command = Command::new("timeout");
        command
            .args(["-s", "KILL", DEADLINE])
            .args(["unshare", "--mount", "--propagation", "private"])
            .args(["sh", "-c", &script.join("\n"), "sh"])
            .arg(&self.program)
            .arg("--root")
            .arg(bundle.dir.join("state"));
        if self.cgroups == CgroupMode::Disabled {
            command.arg("--cgroup-manager=disabled");
        }
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs(self.env.iter().cloned());
        command
    }
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn machine_is_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").is_file()
}

fn has_sys_resource() -> bool {
    const CAP_SYS_RESOURCE: u32 = 24;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> CAP_SYS_RESOURCE & 1 == 1)
}
