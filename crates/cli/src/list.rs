//! `oci-gpu list`: what the host has.

use std::fmt::Write;
use std::process::ExitCode;

use oci_gpu::discover;
use oci_gpu::finding::Finding;
use oci_gpu::inventory::{DeviceNode, Gpu, Inventory, NodeState, Platform};

use crate::Global;
use crate::nvml::Nvml;
use crate::output::{Output, table};

pub(crate) fn run(global: &Global, output: &Output, nvml: &Nvml) -> Result<ExitCode, Finding> {
    let (host, _) = global.host()?;
    let mut inventory = discover(&host)?;
    nvml.complete(&host, &mut inventory);
    output.data(&inventory, || text(&inventory, output.verbose))?;
    Ok(ExitCode::SUCCESS)
}

fn text(inventory: &Inventory, verbose: bool) -> String {
    let mut text = String::new();
    let mut section = |name: &str, rows: Vec<Vec<String>>| {
        if !rows.is_empty() {
            let _ = write!(text, "{name}\n{}", table(&rows));
        }
    };
    let mut gpus = Vec::new();
    for gpu in &inventory.gpus {
        gpus.push(vec![
            format!("  {}", gpu.index),
            gpu.uuid
                .clone()
                .unwrap_or_else(|| "UUID unknown".to_owned()),
            gpu.bus_id.clone(),
            gpu.model.clone(),
            traits(gpu),
            node(&gpu.node),
        ]);
        for (place, m) in gpu.mig.iter().enumerate() {
            gpus.push(vec![
                format!("  {}:{place}", gpu.index),
                m.uuid.clone().unwrap_or_else(|| "MIG instance".to_owned()),
                format!("GI {} CI {}", m.gi, m.ci),
                String::new(),
                String::new(),
                format!("{} {}", node(&m.gi_access.node), node(&m.ci_access.node)),
            ]);
        }
    }
    if gpus.is_empty() {
        let text = match inventory.platform {
            Platform::Wsl => "  those of Windows, all behind one device: ask for 'all'",
            Platform::Tegra => "  0  the processor's own",
            _ => "  none",
        };
        gpus.push(vec![text.to_owned()]);
    }
    section("GPUs", gpus);
    let control = inventory
        .control
        .iter()
        .map(|c| vec![format!("  {}", node(&c.node))]);
    section("control nodes", control.collect());
    let drm = inventory.gpus.iter().flat_map(|g| &g.drm);
    section(
        "DRM nodes",
        drm.map(|d| vec![format!("  {}", node(&d.node))]).collect(),
    );
    let rights = [&inventory.mig_config, &inventory.mig_monitor];
    let rights = rights.into_iter().flatten();
    section(
        "MIG rights",
        rights
            .map(|r| {
                let name = r.proc_file.file_name().unwrap_or_default();
                vec![format!("  {}", name.display()), node(&r.node)]
            })
            .collect(),
    );
    let channels = inventory
        .imex_channels
        .iter()
        .map(|c| vec![format!("  {}", node(&c.node))]);
    section("IMEX channels", channels.collect());
    let peripherals = inventory.peripherals.iter();
    let peripherals = peripherals.map(|p| vec![format!("  {}", p.kind.class()), node(&p.node)]);
    section("hardware beside the GPUs", peripherals.collect());
    let libraries = inventory.libraries.iter().map(|l| {
        let soname = l.soname.clone().unwrap_or_else(|| "no soname".to_owned());
        vec![
            format!("  {}", l.path.display()),
            soname,
            l.capabilities.to_string(),
        ]
    });
    section("libraries", libraries.collect());
    let files = inventory.files.iter().map(|f| {
        vec![
            format!("  {}", f.path.display()),
            f.capabilities.to_string(),
        ]
    });
    section(
        "programs, firmware, sockets, configuration",
        files.collect(),
    );
    if verbose {
        let refused = inventory
            .driver
            .candidates
            .iter()
            .filter(|c| !c.accepted)
            .map(|c| {
                vec![
                    format!("  {}", c.path.display()),
                    c.evidence.to_owned(),
                    c.why.clone(),
                ]
            });
        section("refused", refused.collect());
    }
    let findings = inventory.findings.iter().map(|f| vec![format!("  {f}")]);
    section("findings", findings.collect());
    text
}

/// Brand and compute capability, as far as they are known.
fn traits(gpu: &Gpu) -> String {
    let arch = gpu
        .arch
        .map(|(major, minor)| format!("compute {major}.{minor}"));
    let known: Vec<String> = gpu.brand.clone().into_iter().chain(arch).collect();
    known.join(", ")
}

fn node(node: &DeviceNode) -> String {
    let path = node.path.display();
    match &node.state {
        NodeState::Present => format!("{path} {}:{}", node.major, node.minor),
        NodeState::Missing => format!("{path} missing ({}:{})", node.major, node.minor),
        NodeState::Wrong(what) => format!("{path} wrong: {what}"),
    }
}
