//! A simulated host and containers without a runtime, in which the hook is called by hand.

use std::process::Output;

use crate::error::{Error, Result};
use crate::gpu::GpuHost;
use crate::hostile::{HOST, TEMPORARY};
use crate::rootfs::{Kind, image};
use crate::standin::{Ground, Snapshot, StandIn};

/// A host and a bundle.
pub struct Scene {
    /// The host.
    pub host: GpuHost,
    /// The bundle, whose container asks for GPU 0.
    pub ground: Ground,
}

/// What a hook did.
#[derive(Debug)]
pub struct Ran {
    /// The container before.
    pub first: Snapshot,
    /// And afterwards.
    pub then: Snapshot,
    /// What the hook said.
    pub output: Output,
}

impl Scene {
    /// A new host, and containers of that image.
    ///
    /// # Errors
    /// Where a part is not to be had.
    pub fn new(kind: Kind) -> Result<Scene> {
        let host = GpuHost::new(HOST)?;
        let image = image(&host.setting.debs, kind)?;
        let bundle = host.setting.dir.path().join("standin");
        let ground = Ground::new(&bundle, &image, &["NVIDIA_VISIBLE_DEVICES=0"])?;
        Ok(Scene { host, ground })
    }

    /// The hook in a container that `commands` prepare (see [`StandIn::prepared`]), run by the
    /// program of `before` if there is one.
    ///
    /// # Errors
    /// Where the container cannot be made or the hook not be started.
    pub fn run(&self, commands: &str, before: &[&str]) -> Result<Ran> {
        let container = StandIn::prepared(&self.ground, commands)?;
        let first = container.snapshot()?;
        let state = container.state();
        let output = self
            .host
            .call_by(before, &["createRuntime"], state.as_bytes())?;
        let then = container.snapshot()?;
        Ok(Ran {
            first,
            then,
            output,
        })
    }

    /// The hook refuses in one line with these words, and everything is as it was.
    ///
    /// # Errors
    /// What is not so.
    pub fn refused(
        &self,
        what: &str,
        commands: &str,
        before: &[&str],
        words: &[&str],
    ) -> Result<()> {
        let ran = self.run(commands, before)?;
        let told = |why: String| Error::new(format!("{what}: {why}; {:?}", ran.output));
        is_refusal(&ran.output, words)
            .and_then(|()| is_unchanged(&ran.first, &ran.then))
            .and_then(|()| self.host.assert_untouched())
            .map_err(|e| told(e.to_string()))
    }

    /// The hook succeeds.
    ///
    /// # Errors
    /// What it said instead.
    pub fn works(&self, what: &str, commands: &str, before: &[&str]) -> Result<Ran> {
        let ran = self.run(commands, before)?;
        let told = |why: String| Error::new(format!("{what}: {why}; {:?}", ran.output));
        if !ran.output.status.success() {
            return Err(told("it failed".to_owned()));
        }
        let left = ran.then.layer.names_with(TEMPORARY);
        if !left.is_empty() {
            return Err(told(format!("temporary files are left: {left:?}")));
        }
        self.host
            .assert_untouched()
            .map_err(|e| told(e.to_string()))?;
        Ok(ran)
    }
}

/// Exit status 1, and one line with these words on stderr.
///
/// # Errors
/// What it is instead.
pub fn is_refusal(output: &Output, words: &[&str]) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    let status = output.status;
    if status.code() != Some(1) || said.lines().count() != 1 {
        return Err(Error::new(format!("{status}, {said:?}")));
    }
    match words.iter().find(|word| !said.contains(**word)) {
        None => Ok(()),
        Some(word) => Err(Error::new(format!("no {word:?} in {said:?}"))),
    }
}

/// Nothing changed.
///
/// # Errors
/// What did.
pub fn is_unchanged(first: &Snapshot, then: &Snapshot) -> Result<()> {
    let changes = first.changes_to(then);
    match changes.is_empty() {
        true => Ok(()),
        false => Err(Error::new(format!("it was changed: {changes:?}"))),
    }
}
