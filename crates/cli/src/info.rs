//! `oci-gpu info`: the driver, with evidence.

use std::process::ExitCode;

use oci_gpu::config::Config;
use oci_gpu::discover::stored::FILE;
use oci_gpu::discover::{Evidence, evidence};
use oci_gpu::finding::Finding;
use oci_gpu::inventory::{Candidate, Inventory, StoredState};
use oci_gpu::{Host, discover};
use serde::Serialize;

use crate::Global;
use crate::nvml::Nvml;
use crate::output::{Output, table};

/// What is known of the driver; the members from `cuda_version` to `stored` are absent where no
/// user-space files were found.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    driver_version: String,
    driver_version_source: String,
    kernel_module: Option<&'static str>,
    cuda_version: Option<String>,
    driver_root: Option<String>,
    gpus: Option<usize>,
    libraries: Option<usize>,
    stored: Option<StoredState>,
    candidates: Vec<Candidate>,
    configuration: String,
    findings: Vec<Finding>,
}

pub(crate) fn run(global: &Global, output: &Output, nvml: &Nvml) -> Result<ExitCode, Finding> {
    let (host, config) = global.host()?;
    let (info, done) = match discover(&host) {
        Ok(mut inventory) => {
            nvml.complete(&host, &mut inventory);
            (found(inventory, &config), Ok(ExitCode::SUCCESS))
        }
        Err(finding) => (looked(&host, &config, &finding)?, Err(finding)),
    };
    output.data(&info, || text(&info))?;
    done
}

fn found(inventory: Inventory, config: &Config) -> Info {
    let driver = inventory.driver;
    Info {
        driver_version: driver.version,
        driver_version_source: driver.version_source.display().to_string(),
        kernel_module: driver.flavour,
        cuda_version: driver.cuda.map(|(major, minor)| format!("{major}.{minor}")),
        driver_root: Some(driver.root.display().to_string()),
        gpus: Some(inventory.gpus.len()),
        libraries: Some(inventory.libraries.len()),
        stored: Some(inventory.stored),
        candidates: driver.candidates,
        configuration: source(config),
        findings: inventory.findings,
    }
}

/// Where was looked, as far as the kernel tells for what.
fn looked(host: &Host, config: &Config, why: &Finding) -> Result<Info, Finding> {
    let Ok(Evidence {
        version,
        version_source,
        flavour,
        candidates,
        ..
    }) = evidence(host)
    else {
        return Err(why.clone());
    };
    Ok(Info {
        driver_version: version,
        driver_version_source: version_source.display().to_string(),
        kernel_module: flavour,
        cuda_version: None,
        driver_root: None,
        gpus: None,
        libraries: None,
        stored: None,
        candidates,
        configuration: source(config),
        findings: vec![why.clone()],
    })
}

fn source(config: &Config) -> String {
    let file = config.source.as_ref();
    file.map_or_else(|| "defaults".to_owned(), |p| p.display().to_string())
}

fn text(info: &Info) -> String {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    row(
        "driver version",
        format!("{} ({})", info.driver_version, info.driver_version_source),
    );
    row(
        "kernel module",
        info.kernel_module.unwrap_or("not told").to_owned(),
    );
    if let (Some(root), Some(gpus), Some(libraries)) =
        (&info.driver_root, info.gpus, info.libraries)
    {
        let cuda = info.cuda_version.as_deref().unwrap_or("not known");
        row("CUDA version", cuda.to_owned());
        row("driver root", root.clone());
        row("GPUs", gpus.to_string());
        row("libraries", libraries.to_string());
    }
    if let Some(stored) = &info.stored {
        let state = match stored {
            StoredState::Used => "used",
            StoredState::Refused { .. } => "refused",
            StoredState::Absent | StoredState::NotRead => "none",
        };
        row("stored", format!("{state} ({FILE})"));
    }
    row("configuration", info.configuration.clone());
    for c in &info.candidates {
        let verdict = if c.accepted { "accepted" } else { "refused" };
        row(
            verdict,
            format!("{} ({}): {}", c.path.display(), c.evidence, c.why),
        );
    }
    // What made the command fail is told on standard error.
    for finding in info.findings.iter().filter(|_| info.driver_root.is_some()) {
        row("finding", finding.to_string());
    }
    table(&rows)
}
