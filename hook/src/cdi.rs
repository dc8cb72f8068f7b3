//! What no CDI specification can say: links, the loader's cache, the view of procfs. The container
//! has its nodes and files from the specification; what they are decides, and nothing else.

use oci_gpu::config::Config;
use oci_gpu::finding::Finding;
use oci_gpu::host::Host;
use oci_gpu::select::{check, present};
use oci_gpu::state::State;
use oci_gpu::{Plan, Request, Scope, discover_within};
use oci_gpu_inject::{Container, Devices, confine, prepare};

use crate::bundle;
use crate::guard::Guard;
use crate::log::Log;

pub(crate) fn run(
    guard: &Guard,
    state: &State,
    config_json: &[u8],
    host: Host,
    config: Config,
    log: &mut Log,
) -> Result<(), Finding> {
    let bundle = bundle::parse(state, config_json)?;
    log.open(&state.id, &host, config.log.as_deref());
    guard.raise_limits();
    confine::to_enter()?;
    let host = config.apply_to(host);
    // Channels and hardware beside the GPUs have neither files nor names for the loader.
    let scope = Scope {
        imex_channels: false,
        peripherals: false,
        ..Scope::all()
    };
    let inventory = discover_within(&host, &scope)?;
    let mounts = &bundle.container.mounts;
    let container = Container::here(&bundle.rootfs, mounts)?;
    let container = container.with_mount_label(bundle.container.mount_label.as_deref());
    let grant = present(&inventory, |node| container.has(node));
    // No engine asks for these.
    let conditions = Request::conditions(&bundle.container, &config.policy)?;
    check(&inventory, &grant.gpus, &conditions)?;
    let facts = container.facts(&inventory, config.cuda_compat)?;
    let plan = Plan::finish(&host, &inventory, &grant, &facts, mounts);
    // Rules of the device cgroup are the runtime's, as the nodes are.
    let entered = prepare(&plan, &host, container, Devices::Leave)?;
    confine::inside()?;
    let receipt = entered.carry_out(&plan, &mut || guard.interrupted())?;
    log.notes(&plan.unusable);
    log.notes(&receipt.skipped);
    Ok(())
}
