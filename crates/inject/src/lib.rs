//! Carries out a [`Plan`] in a live container, before its program runs.
//!
//! A path of the container is never handed to the kernel as a string: it is resolved component by
//! component by the kernel itself below one descriptor of the container's root
//! (openat2(2) with `RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS`), and everything
//! that happens there happens relative to the descriptor that was checked. A host file is a
//! detached mount that was checked and restricted before the container can see it. The two meet in
//! move_mount(2).
//!
//! ```text
//! Container::of_process / here      find the container's root, its namespaces and its facts
//!        │  (the caller makes the Plan from these facts)
//! Sources::open                     every host file: opened, checked, cloned, restricted
//! cgroup::allow                     device rules, v1 or v2
//! Container::enter                  setns(2) by pidfd, the user namespace first
//! steps::apply                      mounts, links, procfs view; then the loader's cache, last
//! ```
//!
//! Either everything is done or nothing: what was done is undone in reverse order when a required
//! action fails. The loader's cache is renamed into place when nothing after it can fail.
//!
//! Kernel floor: Linux 5.14 for all of it (openat2 5.6, new mount calls 5.2, mount_setattr 5.12,
//! setns by pidfd 5.8). The calling process must have one thread.
#![forbid(unsafe_code)]

mod attach;
mod cgroup;
mod container;
mod fail;
mod loader_cache;
mod resolve;
mod rootfs;
mod sources;
mod steps;
mod undo;
mod view;

pub use container::{Container, rootfs_path};

use oci_gpu::finding::Finding;
use oci_gpu::host::Host;
use oci_gpu::plan::{Plan, Skipped};

use sources::Sources;

/// What was done, and what was left out.
#[derive(Debug, Default)]
pub struct Receipt {
    /// Actions that changed the container.
    pub done: usize,
    /// Actions that found their work done.
    pub present: usize,
    /// Optional actions that could not be done, and why.
    pub skipped: Vec<Skipped>,
}

/// Puts what `plan` says into `container`. The calling process ends up in the container's
/// namespaces, so it should have nothing else to do afterwards; it must have one thread.
/// `interrupted` is asked before each step; a finding ends the work, and what was done is undone.
///
/// # Errors
/// A finding of the 0600 range. Everything that had been done is undone, device rules included as
/// far as the process still may.
pub fn apply(
    plan: &Plan,
    host: &Host,
    container: Container,
    devices: Devices,
    interrupted: &mut dyn FnMut() -> Option<Finding>,
) -> Result<Receipt, Finding> {
    let mut receipt = Receipt::default();
    let sources = Sources::open(plan, host, &mut receipt)?;
    let rules = match devices {
        Devices::Leave => cgroup::Added::default(),
        Devices::Allow => cgroup::allow(plan, &container, &mut receipt)?,
    };
    let carried_out = container
        .enter()
        .and_then(|entered| steps::apply(plan, &sources, &entered, &mut receipt, interrupted));
    match carried_out {
        Ok(()) => Ok(receipt),
        Err(finding) => {
            rules.undo();
            Err(finding)
        }
    }
}

/// What happens to the container's device rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Devices {
    /// The granted devices are allowed.
    Allow,
    /// Nothing: whoever makes the container sees to it, or may not (`no-cgroups`).
    Leave,
}
