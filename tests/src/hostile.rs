//! Hostile containers: a table of cases, each made, run and looked at in the same way.
//!
//! Whatever a case expects, afterwards the host's files, a directory beside the root and this
//! machine's mounts are what they were, no process, control group or temporary file is left, the
//! hook ended by itself, and nothing of the container was mounted anywhere.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::bundle::{Bundle, Stage};
use crate::error::{Context, Error, Result};
use crate::gpu::{GpuHost, STAGES};
use crate::leftovers;
use crate::output::Output;
use crate::probe::{Loaded, Report};
use crate::rootfs::Kind;
use crate::runtime::{CgroupMode, Engine, Runtime};
use crate::tree::Tree;

/// The host of these tests, and the version of its driver.
pub const HOST: &str = "debian-1";
/// See [`HOST`].
pub const VERSION: &str = "550.163.01";

/// Prefix of the hook's temporary names.
pub const TEMPORARY: &str = ".oci-gpu.tmp";

/// One row of a table.
pub struct Case {
    /// Its number in docs/hostile-cases.md.
    pub number: &'static str,
    /// What is hostile.
    pub what: &'static str,
    kind: Kind,
    runs: fn(Engine) -> &'static [Stage],
    runtime_writes: bool,
    make: fn(&mut Site<'_>) -> Result<()>,
    expect: Expect,
}

/// How a case must end.
#[derive(Clone, Copy)]
pub enum Expect {
    /// The container runs and has its GPU, and this holds.
    Works(fn(&Seen<'_>) -> Result<()>),
    /// The hook refuses, in one line that has these words, and the root is as it was.
    Refused(&'static [&'static str]),
    /// Runtimes differ: what one lets through has its GPU, and what it refuses it refuses itself.
    RuntimeDecides,
    /// The runtime or the hook refuses, and the root is as it was.
    Fails,
    /// One of these, by runtime and stage.
    By(fn(&Runtime, Stage) -> Expect),
}

/// A case in an empty image, under runc from outside and under crun from inside.
pub const fn case(
    number: &'static str,
    what: &'static str,
    make: fn(&mut Site<'_>) -> Result<()>,
    expect: Expect,
) -> Case {
    Case {
        number,
        what,
        kind: Kind::Scratch,
        runs: |engine| match engine {
            Engine::Runc => &[Stage::CreateRuntime],
            Engine::Crun => &[Stage::CreateContainer],
        },
        runtime_writes: false,
        make,
        expect,
    }
}

impl Case {
    /// The same in another image.
    pub const fn image(self, kind: Kind) -> Case {
        Case { kind, ..self }
    }

    /// The same under both runtimes in every stage, where the stage matters.
    pub const fn in_every_stage(self) -> Case {
        let runs: fn(Engine) -> &'static [Stage] = |_| &STAGES;
        Case { runs, ..self }
    }

    /// The same with a runtime that follows the container's links itself: of what is new in the root
    /// and outside of it only what looks like ours counts.
    pub const fn runtime_writes(self) -> Case {
        Case {
            runtime_writes: true,
            ..self
        }
    }
}

/// A change of config.json.
pub type Edit = Box<dyn Fn(&mut Value)>;

/// A container to be, which a case spoils.
pub struct Site<'a> {
    /// The bundle, not yet written.
    pub bundle: &'a mut Bundle,
    /// A copy of the runtime.
    pub runtime: &'a mut Runtime,
    /// The host.
    pub host: &'a GpuHost,
    /// A directory beside the root, with `file` and `dir/file` in it, which nothing may change.
    pub outside: PathBuf,
    /// Further arguments of the probe.
    pub ask: Vec<String>,
    /// Changes config.json before it is written.
    pub edit: Option<Edit>,
    /// Runs when the container is gone.
    pub after: Option<fn(&Path) -> Result<()>>,
}

impl<'a> Site<'a> {
    /// A container of `bundle`, not spoiled yet.
    pub fn new(
        bundle: &'a mut Bundle,
        runtime: &'a mut Runtime,
        host: &'a GpuHost,
        outside: PathBuf,
    ) -> Site<'a> {
        Site {
            bundle,
            runtime,
            host,
            outside,
            ask: Vec::new(),
            edit: None,
            after: None,
        }
    }

    /// Where `path` of the image is.
    pub fn path(&self, path: &str) -> PathBuf {
        self.bundle.rootfs.on_host(path)
    }

    /// A directory in the image, with its parents.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn directory(&self, path: &str) -> Result<PathBuf> {
        let path = self.path(path);
        fs::create_dir_all(&path).during(format_args!("create {}", path.display()))?;
        Ok(path)
    }

    /// A file in the image, with its directories.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn file(&self, path: &str, content: impl AsRef<[u8]>) -> Result<()> {
        self.bundle.rootfs.write(path, content)
    }

    /// A symbolic link in the image, in the place of whatever is there.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn link(&self, path: &str, target: impl AsRef<Path>) -> Result<()> {
        let path = self.path(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).during(format_args!("create {}", parent.display()))?;
        }
        let _ = fs::remove_dir(&path);
        let _ = fs::remove_file(&path);
        symlink(target, &path).during(format_args!("link {}", path.display()))
    }

    /// Makes the image one of Debian's kind, whose libraries lie in [`MULTIARCH`].
    ///
    /// # Errors
    /// Where that cannot be written.
    pub fn debian(&self) -> Result<()> {
        self.file("/etc/debian_version", "12\n")
    }

    /// Mounts `source` on `destination`, as a volume. Its place in the image is made, where
    /// nothing is there: otherwise the runtime would.
    ///
    /// # Errors
    /// Where the place cannot be made.
    pub fn volume(&mut self, source: &Path, destination: &str, options: &[&str]) -> Result<()> {
        if fs::symlink_metadata(self.path(destination)).is_err() {
            match source.is_dir() {
                true => drop(self.directory(destination)?),
                false => self.file(destination, "")?,
            }
        }
        let options: Vec<&str> = ["rbind"].iter().chain(options).copied().collect();
        self.bundle.mounts.push(serde_json::json!({
            "destination": destination, "type": "bind", "source": source, "options": options
        }));
        Ok(())
    }

    /// Asks the probe for more.
    pub fn ask(&mut self, arguments: &[&str]) {
        self.ask.extend(arguments.iter().map(|a| (*a).to_owned()));
    }
}

/// Where Debian's 64-bit libraries lie.
pub const MULTIARCH: &str = "/usr/lib/x86_64-linux-gnu";

/// A container that ran.
pub struct Seen<'a> {
    /// What the probe saw.
    pub report: Report,
    /// Its root on the host, afterwards.
    pub root: &'a Path,
    /// The host's directory.
    pub host: &'a Path,
    /// See [`Site::outside`].
    pub outside: &'a Path,
    /// What the hook wrote to its log.
    pub log: String,
    mounts: Vec<(String, String)>,
}

impl Seen<'_> {
    /// The places where the file `name` of the driver is mounted.
    pub fn places(&self, name: &str) -> Vec<&str> {
        let end = format!("/{name}");
        let from_host = |source: &str| source.contains("/host/") && source.ends_with(&end);
        let found = self.mounts.iter().filter(|(source, _)| from_host(source));
        found.map(|(_, place)| place.as_str()).collect()
    }

    /// The driver's main library is mounted at `path` and nowhere else.
    ///
    /// # Errors
    /// Where it is.
    pub fn library_at(&self, path: &str) -> Result<()> {
        self.is(&self.places(&libcuda()), &vec![path])
    }

    /// `found` is what was expected.
    ///
    /// # Errors
    /// What it is instead.
    pub fn is<T: PartialEq + std::fmt::Debug>(&self, found: &T, expected: &T) -> Result<()> {
        match found == expected {
            true => Ok(()),
            false => Err(Error::new(format!("{found:?} instead of {expected:?}"))),
        }
    }

    /// `name` loads, and is the host's.
    ///
    /// # Errors
    /// What it is instead.
    pub fn loads(&self, name: &str) -> Result<()> {
        match self.report.dlopen(name) {
            Loaded::Found {
                version: Some(version),
                ..
            } if version.ends_with(VERSION) => Ok(()),
            other => Err(Error::new(format!("{name}: {other:?}"))),
        }
    }
}

/// The file name of the driver's main library.
pub fn libcuda() -> String {
    format!("libcuda.so.{VERSION}")
}

/// A simulated host and the two runtimes, in which cases are tried.
pub struct Arena {
    /// The host.
    pub host: GpuHost,
    /// runc and crun, as installed.
    pub runtimes: Vec<Runtime>,
}

impl Arena {
    /// A new host.
    ///
    /// # Errors
    /// Where a part is not to be had.
    pub fn new() -> Result<Arena> {
        Ok(Arena {
            host: GpuHost::new(HOST)?,
            runtimes: vec![pick(Runtime::runc)?, pick(Runtime::crun)?],
        })
    }

    /// Tries every case under both runtimes, in its stages.
    ///
    /// # Errors
    /// All that was not as expected.
    pub fn check(&self, cases: &[Case]) -> Result<()> {
        let mut wrong = Vec::new();
        for case in cases {
            let runs = self.runtimes.iter().flat_map(|runtime| {
                let stages = (case.runs)(runtime.engine).iter();
                stages.map(move |stage| (runtime, *stage))
            });
            for (runtime, stage) in runs {
                if let Err(error) = self.one(case, runtime, stage) {
                    let Case { number, what, .. } = case;
                    let stage = stage.name();
                    wrong.push(format!("{number} {what}, {runtime}, {stage}: {error}"));
                }
            }
        }
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(Error::new(wrong.join("\n"))),
        }
    }

    fn one(&self, case: &Case, runtime: &Runtime, stage: Stage) -> Result<()> {
        let mut runtime = runtime.clone();
        let mut bundle = self.host.bundle(case.kind, &["NVIDIA_VISIBLE_DEVICES=0"])?;
        let outside = plant(&bundle.dir)?;
        self.host.setting.probe.install(&bundle.rootfs)?;
        let mut site = Site::new(&mut bundle, &mut runtime, &self.host, outside);
        (case.make)(&mut site)?;
        let Site {
            outside,
            ask,
            edit,
            after,
            ..
        } = site;
        bundle.hooks.push(self.host.hook(stage));
        let asked = [
            "--open",
            "/dev/nvidia0",
            "--open",
            "/dev/nvidiactl",
            "--read",
            "/proc/self/mountinfo",
        ];
        let asked: Vec<&str> = asked
            .into_iter()
            .chain(ask.iter().map(String::as_str))
            .collect();
        bundle.probe(&asked);
        let mut config = bundle.config();
        if let Some(edit) = edit {
            edit(&mut config);
        }
        bundle.write_config(&config)?;

        let before = (Tree::of(&bundle.rootfs.path)?, Tree::of(&outside)?);
        let output = runtime.run(&bundle)?;
        let log = self.host.log();
        if let Some(after) = after {
            after(&bundle.rootfs.path)?;
        }
        let root = Tree::of(&bundle.rootfs.path)?;
        let ours = |change: &String| {
            !case.runtime_writes || !change.starts_with('+') || change.contains("nvidia")
        };
        let changes_from = |before: &Tree, after: &Tree| -> Vec<String> {
            let changes = before.changes_to(after).into_iter();
            changes.filter(ours).collect()
        };
        let run = Run {
            bundle: &bundle,
            output: &output,
            log: &log,
            changes: changes_from(&before.0, &root),
        };
        let result = run.ended_as(&case.expect, &runtime, stage, &outside, &self.host.root);
        let outside_changes = changes_from(&before.1, &Tree::of(&outside)?);
        let safe = run.left_nothing(&outside_changes, &root);
        let untouched = self.host.assert_untouched();
        let told = |e: Error| Error::new(format!("{e}; {output}; log {log:?}"));
        result.and(safe).and(untouched).map_err(told)
    }
}

/// Control groups of version 1 where this machine has them, for they need no bpf(2).
fn pick(runtime: fn(CgroupMode) -> Result<Runtime>) -> Result<Runtime> {
    let first = runtime(CgroupMode::V1)?;
    match first.impossible() {
        None => Ok(first),
        Some(_) => runtime(CgroupMode::V2),
    }
}

/// The directory that nothing may change.
fn plant(bundle: &Path) -> Result<PathBuf> {
    let outside = bundle.join("outside");
    fs::create_dir_all(outside.join("dir")).during("make the directory outside")?;
    for file in ["file", "dir/file"] {
        fs::write(outside.join(file), "outside\n").during("write the files outside")?;
    }
    Ok(outside)
}

/// One run, looked at afterwards.
struct Run<'a> {
    bundle: &'a Bundle,
    output: &'a Output,
    log: &'a str,
    changes: Vec<String>,
}

impl Run<'_> {
    fn ended_as(
        &self,
        expect: &Expect,
        runtime: &Runtime,
        stage: Stage,
        outside: &Path,
        host: &Path,
    ) -> Result<()> {
        match expect {
            Expect::By(choose) => {
                self.ended_as(&choose(runtime, stage), runtime, stage, outside, host)
            }
            Expect::Works(check) => self.works(*check, outside, host),
            Expect::Refused(words) => self.refused(words),
            Expect::Fails => {
                expect_that(!self.output.success(), "it ran")?;
                self.unchanged()
            }
            Expect::RuntimeDecides if self.output.success() => {
                self.works(|_| Ok(()), outside, host)
            }
            Expect::RuntimeDecides => expect_that(self.findings().is_empty(), "the hook refused"),
        }
    }

    /// The hook's own lines: on stderr, which crun throws away, and in the log, which is opened
    /// once a GPU was asked for.
    fn findings(&self) -> Vec<&str> {
        let has_code = |line: &&str| line.contains(" OG0");
        let told: Vec<&str> = self.output.stderr.lines().filter(has_code).collect();
        match told.is_empty() {
            true => self.log.lines().filter(has_code).collect(),
            false => told,
        }
    }

    fn works(&self, check: fn(&Seen<'_>) -> Result<()>, outside: &Path, host: &Path) -> Result<()> {
        let report = Report::of(self.output)?;
        for node in ["/dev/nvidia0", "/dev/nvidiactl"] {
            let found = report.open(node);
            expect_that(found == "ENXIO", format!("{node}: {found}"))?;
        }
        let mounts = mounts(report.read("/proc/self/mountinfo").unwrap_or_default());
        let inside = format!("{}/", name_of(&self.bundle.rootfs.path));
        if let Some((source, place)) = mounts.iter().find(|(s, _)| s.contains(&inside)) {
            return Err(Error::new(format!(
                "{source} of the container is mounted at {place}"
            )));
        }
        let seen = Seen {
            report,
            root: &self.bundle.rootfs.path,
            host,
            outside,
            log: self.log.to_owned(),
            mounts,
        };
        expect_that(!seen.places(&libcuda()).is_empty(), "no driver library")?;
        check(&seen)
    }

    fn refused(&self, words: &[&str]) -> Result<()> {
        expect_that(!self.output.success(), "it ran")?;
        let lines = self.findings();
        let [line] = lines[..] else {
            return Err(Error::new(format!("not one finding: {lines:?}")));
        };
        for word in words {
            expect_that(line.contains(word), format!("no {word:?} in {line:?}"))?;
        }
        self.unchanged()
    }

    fn unchanged(&self) -> Result<()> {
        expect_that(
            self.changes.is_empty(),
            format!("the root was changed: {:?}", self.changes),
        )
    }

    fn left_nothing(&self, changed: &[String], root: &Tree) -> Result<()> {
        expect_that(
            changed.is_empty(),
            format!("changed outside of the container: {changed:?}"),
        )?;
        let processes = leftovers::processes(&self.bundle.dir);
        expect_that(
            processes.is_empty(),
            format!("processes are left: {processes:?}"),
        )?;
        let groups = leftovers::cgroups(&self.bundle.id);
        expect_that(
            groups.is_empty(),
            format!("control groups are left: {groups:?}"),
        )?;
        let temporary = root.names_with(TEMPORARY);
        expect_that(
            temporary.is_empty(),
            format!("temporary files are left: {temporary:?}"),
        )?;
        // A runtime that was killed hung, or its hook did.
        let ended = self.output.status.code().is_some_and(|code| code != 137);
        expect_that(ended, "it did not end by itself")?;
        let said = format!("{}{}", self.output.stderr, self.log);
        expect_that(!said.contains("OG0104"), "the hook ran into its deadline")?;
        expect_that(!said.contains("signal: "), "the hook was killed")
    }
}

/// Source (the path in its file system) and place of each line of mountinfo
/// (proc_pid_mountinfo(5)).
fn mounts(mountinfo: &str) -> Vec<(String, String)> {
    let lines = mountinfo.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(3);
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    });
    lines.collect()
}

/// The last three components: what file system a temporary directory lies on does not matter.
fn name_of(path: &Path) -> String {
    let names: Vec<_> = path.components().rev().take(3).collect();
    let names = names.iter().rev().map(|c| c.as_os_str().to_string_lossy());
    names.collect::<Vec<_>>().join("/")
}

fn expect_that(holds: bool, otherwise: impl Into<String>) -> Result<()> {
    match holds {
        true => Ok(()),
        false => Err(Error::new(otherwise)),
    }
}
