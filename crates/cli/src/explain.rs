//! `oci-gpu explain`: the plan for a bundle, without carrying it out.

use std::path::Path;
use std::process::ExitCode;

use oci_gpu::discover::evidence;
use oci_gpu::explain::Explanation;
use oci_gpu::finding::Finding;
use oci_gpu::{Plan, Request, discover, select};

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
    explanation.inventory(&inventory);
    let grant = select(&inventory, &request)?;
    explanation.grant(&grant);
    let plan = Plan::new(
        &inventory,
        &grant,
        &bundle::facts(&rootfs, &inventory, config.cuda_compat),
    )?;
    explanation.plan(&plan);
    Ok(())
}
