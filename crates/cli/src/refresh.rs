//! `oci-gpu refresh`: what only NVML knows, kept for the hook.

mod write;

use std::process::ExitCode;

use clap::Args;
use oci_gpu::discover;
use oci_gpu::discover::stored::{FILE, Stored, boot_id};
use oci_gpu::finding::Finding;
use oci_gpu::inventory::StoredState;
use serde::Serialize;

use crate::Global;
use crate::nvml::{Helper, is_complete};
use crate::output::Output;

#[derive(Args)]
pub(crate) struct Refresh {
    #[command(flatten)]
    helper: Helper,
    /// Ask NVML and write even where nothing looks stale
    #[arg(long)]
    force: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// What became of the file.
#[derive(Serialize)]
struct Done {
    file: &'static str,
    state: State,
    /// Why it was, or would be, written.
    why: Option<String>,
    /// What NVML did not tell.
    findings: Vec<Finding>,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// It tells all about the host as it is.
    Current,
    /// It would be written.
    Stale,
    Written,
}

pub(crate) fn run(
    global: &Global,
    output: &Output,
    refresh: &Refresh,
) -> Result<ExitCode, Finding> {
    let (host, _) = global.host()?;
    let mut inventory = discover(&host)?;
    let why = match &inventory.stored {
        StoredState::Used if refresh.force => Some("it was asked for".to_owned()),
        StoredState::Used if is_complete(&inventory) => None,
        StoredState::Used => Some("NVML did not tell all when it was written".to_owned()),
        StoredState::Refused { why } => Some(why.clone()),
        StoredState::Absent | StoredState::NotRead => Some("there is none".to_owned()),
    };
    let mut done = Done {
        file: FILE,
        state: match why {
            Some(_) => State::Stale,
            None => State::Current,
        },
        why,
        findings: Vec::new(),
    };
    if let State::Stale = done.state
        && !refresh.dry_run
    {
        let boot_id = boot_id(&host)?;
        // Without a GPU NVML has nothing to tell.
        if !inventory.gpus.is_empty() {
            let answer = refresh.helper.answer(&host, &inventory)?;
            // The kernel tells a GPU's UUID once the driver has started it, as NVML has now.
            inventory = discover(&host)?;
            done.findings = answer.complete(&mut inventory)?;
        }
        write::store(&host, &Stored::of(&inventory, &boot_id))?;
        done.state = State::Written;
    }
    output.data(&done, || done.text())?;
    Ok(ExitCode::SUCCESS)
}

impl Done {
    fn text(&self) -> String {
        let why = self.why.as_deref().unwrap_or_default();
        let mut text = match self.state {
            State::Current => format!("{FILE} is current\n"),
            State::Stale => format!("{FILE} would be written: {why}\n"),
            State::Written => format!("{FILE} was written: {why}\n"),
        };
        for finding in &self.findings {
            text += &format!("{finding}\n");
        }
        text
    }
}
