//! `oci-gpu info`: the driver, with evidence.

use std::process::ExitCode;

use oci_gpu::discover;
use oci_gpu::finding::Finding;
use oci_gpu::inventory::Candidate;
use serde::Serialize;

use crate::Global;
use crate::output::{Output, table};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    driver_version: String,
    driver_version_source: String,
    kernel_module: Option<&'static str>,
    cuda_version: Option<String>,
    driver_root: String,
    gpus: usize,
    libraries: usize,
    candidates: Vec<Candidate>,
    configuration: String,
    findings: Vec<Finding>,
}

pub(crate) fn run(global: &Global, output: &Output) -> Result<ExitCode, Finding> {
    let (host, config) = global.host()?;
    let inventory = discover(&host)?;
    let driver = inventory.driver;
    let info = Info {
        driver_version: driver.version,
        driver_version_source: driver.version_source.display().to_string(),
        kernel_module: driver.flavour,
        cuda_version: driver.cuda.map(|(major, minor)| format!("{major}.{minor}")),
        driver_root: driver.root.display().to_string(),
        gpus: inventory.gpus.len(),
        libraries: inventory.libraries.len(),
        candidates: driver.candidates,
        configuration: config
            .source
            .map_or_else(|| "defaults".to_owned(), |p| p.display().to_string()),
        findings: inventory.findings,
    };
    output.data(&info, || text(&info))?;
    Ok(ExitCode::SUCCESS)
}

fn text(info: &Info) -> String {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![
        row(
            "driver version",
            format!("{} ({})", info.driver_version, info.driver_version_source),
        ),
        row(
            "kernel module",
            info.kernel_module.unwrap_or("not told").to_owned(),
        ),
        row(
            "CUDA version",
            info.cuda_version
                .clone()
                .unwrap_or_else(|| "not known".to_owned()),
        ),
        row("driver root", info.driver_root.clone()),
        row("GPUs", info.gpus.to_string()),
        row("libraries", info.libraries.to_string()),
        row("configuration", info.configuration.clone()),
    ];
    for c in &info.candidates {
        let verdict = if c.accepted { "accepted" } else { "refused" };
        rows.push(row(
            verdict,
            format!("{} ({}): {}", c.path.display(), c.evidence, c.why),
        ));
    }
    rows.extend(info.findings.iter().map(|f| row("finding", f.to_string())));
    table(&rows)
}
