//! The OCI hook that puts GPUs into a container.
//!
//! ```text
//! oci-gpu-hook [--config FILE] [--host-root DIR] STAGE|cdi     state JSON on stdin
//! ```
//!
//! Reading order for an audit: this file; `oci_gpu::plan` (what is decided, as data);
//! `oci_gpu_inject::steps` (one function an operation); `oci_gpu_sys` (the only unsafe code).
//!
//! Runs as root at every container start, so: one thread, no environment, no program executed, no
//! library loaded, no user looked up, no network. A container that asks for no GPU is left alone
//! at once, whatever else is wrong. Exit status: 0 done or nothing to do, 1 failed and undone, 2
//! wrong command line.
#![forbid(unsafe_code)]

mod args;
mod bundle;
mod cdi;
mod guard;
mod log;
mod nodes;
mod state;

use std::process::ExitCode;

use oci_gpu::config::Config;
use oci_gpu::finding::Finding;
use oci_gpu::host::Host;
use oci_gpu::{Plan, Request, Scope, discover_within, select};
use oci_gpu_inject::{Container, Devices, confine, prepare};

use crate::args::{Args, Stage};
use crate::guard::Guard;
use crate::log::Log;

fn main() -> ExitCode {
    let args = match Args::parse() {
        Ok(args) => args,
        Err(usage) => {
            log::to_stderr(&usage);
            return ExitCode::from(2);
        }
    };
    let mut log = Log::default();
    match run(&args, &mut log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(finding) => {
            log.failure(&finding);
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args, log: &mut Log) -> Result<(), Finding> {
    let guard = Guard::new()?;
    if args.stage == Stage::Poststop {
        // All that was given lived in the container's namespaces and control group.
        return Ok(());
    }
    let state = state::read(&guard)?;
    let bytes = bundle::read(&state)?;
    let host = Host::at(&args.host_root);
    let config = Config::load(args.config.as_deref(), &host);
    // A broken configuration is no reason to keep containers without GPUs from starting.
    let policy = config
        .as_ref()
        .map(|c| c.policy.clone())
        .unwrap_or_default();
    if args.stage == Stage::Cdi {
        return cdi::run(&guard, &state, &bytes, host, config?, log);
    }
    if !Request::possible(&bytes, &policy) {
        return Ok(());
    }
    let bundle = bundle::parse(&state, &bytes)?;
    let asked = Request::read(&bundle.container, &policy)?;
    let Some(request) = asked.request else {
        asked.notes.iter().for_each(log::to_stderr);
        return Ok(());
    };
    let config = config?;
    log.open(&state.id, &host, config.log.as_deref());
    asked.notes.iter().for_each(|note| log.note(note));
    guard.raise_limits();
    let host = config.apply_to(host);
    if config.create_device_nodes {
        nodes::complete(&host, &request, log)?;
    }
    confine::to_enter()?;

    let inventory = discover_within(&host, &Scope::of(&request))?;
    let grant = select(&inventory, &request)?;
    let mounts = &bundle.container.mounts;
    let container = match args.stage {
        Stage::CreateContainer => Container::here(&bundle.rootfs, mounts)?,
        _ => Container::of_process(state.pid, &bundle.rootfs, mounts)?,
    };
    let container = container.with_mount_label(bundle.container.mount_label.as_deref());
    let plan = Plan::new(
        &inventory,
        &grant,
        &container.facts(&inventory, config.cuda_compat)?,
    )?;
    let devices = match config.no_cgroups {
        true => Devices::Leave,
        false => Devices::Allow,
    };
    let entered = prepare(&plan, &host, container, devices)?;
    confine::inside()?;
    let receipt = entered.carry_out(&plan, &mut || guard.interrupted())?;
    log.notes(&plan.unusable);
    log.notes(&receipt.skipped);
    Ok(())
}
