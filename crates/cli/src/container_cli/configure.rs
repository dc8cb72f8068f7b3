//! `nvidia-container-cli configure`: GPUs into the container whose root is ROOTFS.
//!
//! With `--pid` the container is another process' (supervised); without, the caller is in the
//! container's mount namespace already (standalone).

use oci_gpu::finding::{Code, Finding};
use oci_gpu::host::Host;
use oci_gpu::plan::{Operation, Plan};
use oci_gpu::request::Requirement;
use oci_gpu::{Inventory, Request, Scope, discover_within, select};
use oci_gpu_inject::{Container, Devices, confine, prepare};

use super::args::Configure;
use super::fail::{At, Failure, Stage};
use super::guard::Guard;
use super::list::leave_out;
use super::log::Log;
use super::{mountinfo, request};

pub(super) fn run(host: &Host, asked: &Configure, log: &mut Log) -> Result<(), Failure> {
    asked.notes.iter().for_each(|note| log.line(note));
    let guard = Guard::new().at(Stage::Initialization)?;
    let request = from(asked)?;
    confine::to_enter().at(Stage::Permission)?;
    let mut inventory = discover_within(host, &Scope::of(&request)).at(Stage::Detection)?;
    log.inventory(&inventory);
    leave_out(&mut inventory, asked.without);
    let request = with_mig(request, asked, &inventory)?;
    let grant = select(&inventory, &request)
        .at(Stage::Device)
        .map_err(|failure| worded(request::unknown_device(failure, &asked.devices)))?;
    let container = container(asked)?;
    let facts = container
        .facts(&inventory, !asked.no_cuda_compat)
        .at(Stage::Container)?;
    let plan = Plan::new(&inventory, &grant, &facts).at(Stage::Mount)?;
    let rules = match asked.no_cgroups {
        true => Devices::Leave,
        false => Devices::Allow,
    };
    // Device rules are those of the whole plan; nodes may be somebody else's to make.
    let entered = prepare(&plan, host, container, rules).at(Stage::Mount)?;
    confine::inside().at(Stage::Permission)?;
    let mut doing = plan.clone();
    if asked.no_devbind {
        let is_node = |what: &Operation| matches!(what, Operation::Device { .. });
        doing.actions.retain(|action| !is_node(&action.what));
        log.line("--no-devbind: no device node is put into the container");
    }
    let receipt = entered
        .carry_out(&doing, &mut || guard.interrupted())
        .at(Stage::Mount)?;
    log.skipped(&plan.skipped);
    log.skipped(&plan.unusable);
    log.skipped(&receipt.skipped);
    log.line(format_args!(
        "done: {} actions, {} found done",
        receipt.done, receipt.present
    ));
    Ok(())
}

/// The request that the options make, without what depends on the host.
fn from(asked: &Configure) -> Result<Request, Failure> {
    let devices = request::devices(&asked.devices)?;
    let mut request = Request::new(
        devices,
        asked.capabilities,
        "nvidia-container-cli configure",
    );
    let expressions = asked.require.iter();
    request.requirements = expressions
        .map(|expression| Requirement {
            name: "--require".to_owned(),
            expression: expression.clone(),
        })
        .collect();
    request.imex_channels = request::channels(&asked.imex)?;
    Ok(request)
}

fn with_mig(
    mut request: Request,
    asked: &Configure,
    inventory: &Inventory,
) -> Result<Request, Failure> {
    (request.mig_config, request.mig_monitor) =
        request::mig(&asked.mig, &request.devices, inventory)?;
    Ok(request)
}

/// A requirement that is not met, with the words that the reference has for it.
fn worded(mut failure: Failure) -> Failure {
    let finding = &mut failure.finding;
    if finding.code == Code::Requirement {
        finding.message = format!("unsatisfied condition: {}", finding.message);
    }
    failure
}

fn container(asked: &Configure) -> Result<Container, Failure> {
    let mounts = mountinfo::below(&asked.rootfs, asked.pid);
    let (found, remedy) = match asked.pid {
        Some(pid) => (
            Container::of_process(pid, &asked.rootfs, &mounts),
            "check that --pid is the container's process and ROOTFS the path of its root in that process' mount namespace",
        ),
        None => (
            Container::here(&asked.rootfs, &mounts),
            "without --pid, ROOTFS is a mount point of the caller's own mount namespace (mount --bind ROOTFS ROOTFS makes it one)",
        ),
    };
    // The library's remedies are for hooks.
    found
        .map_err(|finding| Finding {
            remedy: remedy.to_owned(),
            ..finding
        })
        .at(Stage::Container)
}
