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
//! prepare                           every host file: opened, checked, cloned, restricted;
//!        │                          device rules, v1 or v2; setns(2) by pidfd
//! Entered::carry_out                mounts, links, procfs view; then the loader's cache, last
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
pub mod confine;
mod container;
mod fail;
pub mod host_nodes;
mod loader_cache;
mod mounts;
mod peek;
#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "trees of the tests' own")]
mod races;
mod resolve;
mod rootfs;
mod sources;
mod steps;
mod target;
mod temporary;
mod undo;
mod view;

pub use container::{Container, facts_of, rootfs_path};

use oci_gpu::finding::Finding;
use oci_gpu::host::Host;
use oci_gpu::plan::{Plan, Skipped};

use rootfs::Rootfs;
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

/// A container that was entered, with everything at hand that its plan needs. Dropped, it takes
/// back the device rules that were added.
#[derive(Debug)]
pub struct Entered {
    rootfs: Rootfs,
    sources: Sources,
    rules: cgroup::Added,
    receipt: Receipt,
}

/// Opens what `plan` needs of the host, adds the device rules, and enters `container`: after this
/// the calling process needs CAP_SYS_ADMIN in its own user namespace, and the right to write the
/// container's root; nothing else, and no further program.
///
/// The calling process ends up in the container's namespaces, so it should have nothing else to do
/// afterwards; it must have one thread.
///
/// # Errors
/// A finding of the 0300 or 0600 range. Device rules that had been added are taken back, as far as
/// the process still may.
pub fn prepare(
    plan: &Plan,
    host: &Host,
    container: Container,
    devices: Devices,
) -> Result<Entered, Finding> {
    let mut receipt = Receipt::default();
    let sources = Sources::open(plan, host, &mut receipt)?;
    let rules = match devices {
        Devices::Leave => cgroup::Added::default(),
        Devices::Allow => cgroup::allow(plan, host, &container, &mut receipt)?,
    };
    Ok(Entered {
        rootfs: container.enter()?,
        sources,
        rules,
        receipt,
    })
}

impl Entered {
    /// Carries out `plan`, which is the one that was prepared. `interrupted` is asked before each
    /// step; a finding ends the work.
    ///
    /// # Errors
    /// A finding of the 0600 range, or that of `interrupted`. Everything that had been done is
    /// undone, device rules included as far as the process still may.
    pub fn carry_out(
        mut self,
        plan: &Plan,
        interrupted: &mut dyn FnMut() -> Option<Finding>,
    ) -> Result<Receipt, Finding> {
        steps::apply(
            plan,
            &self.sources,
            &self.rootfs,
            &mut self.receipt,
            interrupted,
        )?;
        self.rules.keep();
        Ok(self.receipt)
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
