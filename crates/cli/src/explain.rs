//! `oci-gpu explain`: the plan for a bundle, without carrying it out.

use std::path::Path;
use std::process::ExitCode;

use oci_gpu::discover::{KernelNode, evidence, needed_nodes, with_nodes};
use oci_gpu::explain::Explanation;
use oci_gpu::finding::{Code, Finding};
use oci_gpu::inventory::NodeState;
use oci_gpu::{Host, Inventory, Plan, Request, discover, select};

use crate::Global;
use crate::bundle;
use crate::output::{Format, Output};

pub(crate) fn run(global: &Global, output: &Output, path: &Path) -> Result<ExitCode, Finding> {
    let mut explanation = Explanation::new();
    let explained = fill(global, path, &mut explanation);
    match &explained {
        // People read it on standard error, as from every other command.
        Err(_) if output.format == Format::Text => {}
        Err(finding) => explanation.error(finding),
        Ok(()) => {}
    }
    if explained.is_ok() || !explanation.is_empty() {
        output.data(&explanation, || explanation.text(output.verbose))?;
    }
    explained.map(|()| ExitCode::SUCCESS)
}

/// Goes as far as it can, so that what is known is shown beside what went wrong.
fn fill(global: &Global, path: &Path, explanation: &mut Explanation) -> Result<(), Finding> {
    let (host, config) = global.host()?;
    let (container, rootfs) = bundle::read(path)?;
    let asked = Request::read(&container, &config.policy)?;
    asked.notes.iter().for_each(|note| explanation.error(note));
    let Some(request) = asked.request else {
        return Ok(());
    };
    explanation.request(&request);
    let inventory = match discover(&host) {
        Ok(inventory) => inventory,
        Err(finding) => {
            if let Ok(evidence) = evidence(&host) {
                explanation.candidates(&evidence.candidates);
            }
            return Err(finding);
        }
    };
    let inventory = match config.create_device_nodes {
        true => completed(&host, &request, inventory, explanation)?,
        false => inventory,
    };
    explanation.inventory(&inventory);
    let grant = select(&inventory, &request)?;
    explanation.grant(&grant);
    let facts = bundle::facts(&rootfs, &inventory, config.cuda_compat)?;
    let plan = Plan::new(&inventory, &grant, &facts)?;
    explanation.plan(&plan);
    Ok(())
}

/// `inventory` as the hook finds it, once it has made the nodes that the request needs.
fn completed(
    host: &Host,
    request: &Request,
    inventory: Inventory,
    explanation: &mut Explanation,
) -> Result<Inventory, Finding> {
    let mut made = needed_nodes(host, request)?;
    made.retain(|n| n.may_modify && n.node.state != NodeState::Present);
    for KernelNode { node, .. } in &made {
        let message = format!(
            "the device node {} ({}:{}) is missing or wrong on the host; the hook makes it first (create-device-nodes)",
            node.path.display(),
            node.major,
            node.minor
        );
        explanation.error(&Finding::new(Code::NodeMissing, message, ""));
    }
    Ok(with_nodes(inventory, &made))
}
