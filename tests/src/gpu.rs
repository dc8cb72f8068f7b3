//! A simulated GPU host, and containers that the hook gives its GPUs to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use oci_gpu_sim::HostSpec;

use crate::binaries;
use crate::bundle::{Bundle, Hook, Stage};
use crate::error::{Context, Error, Result};
use crate::leftovers::Mounts;
use crate::output::Output;
use crate::probe::Report;
use crate::rootfs::Kind;
use crate::runtime::Runtime;
use crate::setting::Setting;
use crate::tree::Tree;

/// The stages in which the hook does its work.
pub const STAGES: [Stage; 3] = [
    Stage::Prestart,
    Stage::CreateRuntime,
    Stage::CreateContainer,
];

/// What a test of the hook needs: a host, the hook, the probe, and room.
pub struct GpuHost {
    /// Packages, the probe, a directory.
    pub setting: Setting,
    /// The hook, as it is shipped.
    pub hook: PathBuf,
    /// The host's directory.
    pub root: PathBuf,
    bundles: AtomicU32,
    host_before: Tree,
    mounts_before: Mounts,
}

impl GpuHost {
    /// With the built-in simulated host of that name.
    ///
    /// # Errors
    /// Where a part is not to be had.
    pub fn new(host: &str) -> Result<GpuHost> {
        let spec = HostSpec::named(host).during("describe the host")?;
        GpuHost::with(|dir| spec.create(dir).map(drop).during("make the host"))
    }

    /// With a host that `make` puts into the directory that it is given.
    ///
    /// # Errors
    /// Where a part is not to be had.
    pub fn with(make: impl FnOnce(&Path) -> Result<()>) -> Result<GpuHost> {
        let setting = Setting::new()?;
        let root = setting.dir.path().join("host");
        make(&root)?;
        fs::create_dir_all(root.join("var/log")).during("make the host's log directory")?;
        Ok(GpuHost {
            setting,
            hook: binaries::hook()?,
            bundles: AtomicU32::new(0),
            host_before: Tree::of(&root)?,
            mounts_before: Mounts::now()?,
            root,
        })
    }

    /// A bundle with a fresh image, whose environment has `env` as well.
    ///
    /// # Errors
    /// Where the image is not to be had.
    pub fn bundle(&self, kind: Kind, env: &[&str]) -> Result<Bundle> {
        let number = self.bundles.fetch_add(1, Ordering::Relaxed);
        let mut bundle = self.setting.bundle(&format!("bundle-{number}"), kind)?;
        bundle.env.extend(env.iter().map(|e| (*e).to_owned()));
        Ok(bundle)
    }

    /// The hook for `stage`, as it stands in config.json.
    pub fn hook(&self, stage: Stage) -> (Stage, Hook) {
        self.hook_with(stage, &[])
    }

    /// The hook with more arguments.
    pub fn hook_with(&self, stage: Stage, more: &[&str]) -> (Stage, Hook) {
        let mut args = vec![
            "oci-gpu-hook".to_owned(),
            "--host-root".to_owned(),
            self.root.display().to_string(),
        ];
        args.extend(more.iter().map(|a| (*a).to_owned()));
        args.push(stage.name().to_owned());
        (
            stage,
            Hook {
                path: self.hook.clone(),
                args,
                env: None,
                timeout: None,
            },
        )
    }

    /// Runs the probe in a container of `bundle`, with the hook in `stage`.
    ///
    /// # Errors
    /// Where the container does not run.
    pub fn run(
        &self,
        runtime: &Runtime,
        mut bundle: Bundle,
        stage: Stage,
        arguments: &[&str],
    ) -> Result<Report> {
        bundle.hooks.push(self.hook(stage));
        self.setting.probe.run(runtime, bundle, arguments)
    }

    /// Tries to run a container, which fails or not.
    ///
    /// # Errors
    /// Where the runtime cannot be started.
    pub fn try_run(&self, runtime: &Runtime, bundle: &mut Bundle, stage: Stage) -> Result<Output> {
        bundle.hooks.push(self.hook(stage));
        self.setting.probe.install(&bundle.rootfs)?;
        bundle.write()?;
        runtime.run(bundle)
    }

    /// Runs the hook by hand, with `state` on its standard input.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn call(&self, arguments: &[&str], state: &[u8]) -> Result<std::process::Output> {
        self.call_by(&[], arguments, state)
    }

    /// The same with a program and its arguments before the hook's path, which runs it.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn call_by(
        &self,
        before: &[&str],
        arguments: &[&str],
        state: &[u8],
    ) -> Result<std::process::Output> {
        let mut child = self
            .command(before, arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .during("start the hook")?;
        if let Some(mut stdin) = child.stdin.take() {
            // The hook may have refused before it read everything.
            let _ = std::io::Write::write_all(&mut stdin, state);
        }
        child.wait_with_output().during("wait for the hook")
    }

    /// The hook, not yet started, by the program of `before` if there is one.
    pub fn command(&self, before: &[&str], arguments: &[&str]) -> Command {
        let mut command = match before {
            [] => Command::new(&self.hook),
            [program, more @ ..] => {
                let mut command = Command::new(program);
                command.args(more).arg(&self.hook);
                command
            }
        };
        command.arg("--host-root").arg(&self.root).args(arguments);
        command
    }

    /// What the hook wrote to its log on the host, which it is free to make.
    pub fn log(&self) -> String {
        fs::read_to_string(self.root.join("var/log/oci-gpu.log")).unwrap_or_default()
    }

    /// The host's files (its log apart) and this machine's mounts are what they were.
    ///
    /// # Errors
    /// What is not.
    pub fn assert_untouched(&self) -> Result<()> {
        let _ = fs::remove_file(self.root.join("var/log/oci-gpu.log"));
        let changed = self.host_before.changes_to(&Tree::of(&self.root)?);
        let mounts = self.mounts_before.changes_to(&Mounts::now()?);
        match (&changed[..], &mounts[..]) {
            ([], []) => Ok(()),
            _ => Err(Error::new(format!(
                "the host was changed: {changed:?}, mounts: {mounts:?}"
            ))),
        }
    }
}
