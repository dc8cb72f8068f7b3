//! `nvidia-container-cli info`: the driver and the GPUs, as text or as CSV.

use std::fmt::Write;

use oci_gpu::capability::CapabilitySet;
use oci_gpu::host::Host;
use oci_gpu::inventory::{Gpu, Inventory};
use oci_gpu::{Scope, discover_within};

use super::fail::{At, Failure, Stage};
use super::log::Log;
use super::print;

/// What stands for a fact that only NVML tells, and that nobody told: NVML's own word for a brand
/// that it does not know. The reference fails without NVML.
const UNKNOWN: &str = "Unknown";

const HEADINGS: [&str; 7] = [
    "Device Index",
    "Device Minor",
    "Model",
    "Brand",
    "GPU UUID",
    "Bus Location",
    "Architecture",
];

pub(super) fn run(host: &Host, csv: bool, log: &mut Log) -> Result<(), Failure> {
    let scope = Scope {
        capabilities: CapabilitySet::EMPTY,
        imex_channels: false,
        peripherals: false,
        every_list: false,
        stored: true,
    };
    let inventory = discover_within(host, &scope).at(Stage::Detection)?;
    log.line(format_args!("{} GPUs", inventory.gpus.len()));
    print(&match csv {
        true => as_csv(&inventory),
        false => as_text(&inventory),
    })
}

fn versions(inventory: &Inventory) -> (&str, String) {
    let cuda = inventory.driver.cuda;
    let cuda = cuda.map(|(major, minor)| format!("{major}.{minor}"));
    (
        &inventory.driver.version,
        cuda.unwrap_or(UNKNOWN.to_owned()),
    )
}

fn cells(gpu: &Gpu) -> [String; 7] {
    let known = |value: &Option<String>| value.clone().unwrap_or(UNKNOWN.to_owned());
    let arch = gpu.arch.map(|(major, minor)| format!("{major}.{minor}"));
    [
        gpu.index.to_string(),
        gpu.minor.to_string(),
        gpu.model.clone(),
        known(&gpu.brand),
        known(&gpu.uuid),
        bus_location(&gpu.bus_id),
        known(&arch),
    ]
}

/// NVML writes eight digits of the domain where the kernel writes four.
fn bus_location(bus_id: &str) -> String {
    match bus_id.split_once(':') {
        Some((domain, rest)) => format!("{domain:0>8}:{rest}"),
        None => bus_id.to_owned(),
    }
}

fn as_text(inventory: &Inventory) -> String {
    let mut text = String::new();
    let mut row = |heading: &str, value: &str| {
        let heading = format!("{heading}:");
        let _ = writeln!(text, "{heading:<15} {value}");
    };
    let (driver, cuda) = versions(inventory);
    row("NVRM version", driver);
    row("CUDA version", &cuda);
    for gpu in &inventory.gpus {
        let _ = writeln!(text);
        for (heading, value) in HEADINGS.iter().zip(cells(gpu)) {
            let heading = format!("{heading}:");
            let _ = writeln!(text, "{heading:<15} {value}");
        }
    }
    text
}

fn as_csv(inventory: &Inventory) -> String {
    let (driver, cuda) = versions(inventory);
    let headings = HEADINGS.join(",");
    let mut text = format!("NVRM version,CUDA version\n{driver},{cuda}\n\n{headings}\n");
    for gpu in &inventory.gpus {
        let _ = writeln!(text, "{}", cells(gpu).join(","));
    }
    text
}
