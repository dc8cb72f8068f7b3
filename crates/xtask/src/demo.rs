//! `cargo xtask demo`: GPUs of a host in a runc and in a crun container, and what is seen there.

use std::path::Path;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use oci_gpu::Host;
use oci_gpu::elf::Class;
use oci_gpu_sim::HostSpec;
use oci_gpu_tests::bundle::{Bundle, Hook, Stage};
use oci_gpu_tests::debs::Debs;
use oci_gpu_tests::error::{Context, Result};
use oci_gpu_tests::packages::CONTAINERS;
use oci_gpu_tests::probe::{Loaded, Probe, Report};
use oci_gpu_tests::rootfs::{Kind, Rootfs};
use oci_gpu_tests::runtime::{CgroupMode, Runtime};
use oci_gpu_tests::scratch::Scratch;
use oci_gpu_tests::{binaries, error};

use crate::packages;

/// What the demonstrated containers ask for, on a host with that many GPUs.
fn request(gpus: usize) -> &'static str {
    if gpus >= 4 { "1,3" } else { "0" }
}

pub(crate) fn run() -> Result<()> {
    packages::need_root("the demonstration")?;
    packages::install(CONTAINERS)?;
    println!("building the hook");
    let hook = binaries::hook()?;
    let scratch = Scratch::new()?;
    let real = oci_gpu::discover(&Host::system());
    let host = match &real {
        Ok(inventory) if !inventory.gpus.is_empty() => {
            println!(
                "this machine runs driver {}: no simulation",
                inventory.driver.version
            );
            Path::new("/").to_path_buf()
        }
        _ => {
            let directory = scratch.path().join("host");
            HostSpec::named("debian-8")
                .and_then(|spec| spec.create(&directory))
                .during("simulate a host")?;
            println!(
                "no driver here: simulated a Debian host with 8 GPUs in {}",
                directory.display()
            );
            directory
        }
    };
    let inventory = oci_gpu::discover(&Host::at(&host)).during("discover")?;
    let asked = format!("NVIDIA_VISIBLE_DEVICES={}", request(inventory.gpus.len()));
    let debs = Debs::new()?;
    let probe = Probe::build(&debs)?;
    for (name, runtime) in [
        ("runc", Runtime::runc(CgroupMode::V1)),
        ("crun", Runtime::crun(CgroupMode::V1)),
    ] {
        let runtime = runtime?;
        let directory = scratch.path().join(name);
        std::fs::create_dir(&directory).during("make the bundle's directory")?;
        let rootfs = Rootfs::instance(&debs, Kind::Bookworm, &directory.join("rootfs"))?;
        let mut bundle = Bundle::new(&directory, &rootfs);
        bundle.env.push(asked.clone());
        let args = [
            "oci-gpu-hook",
            "--host-root",
            &host.display().to_string(),
            "createRuntime",
        ];
        let hook = Hook {
            path: hook.clone(),
            args: args.map(str::to_owned).into(),
            env: None,
            timeout: Some(10),
        };
        bundle.hooks.push((Stage::CreateRuntime, hook));
        println!("\n{runtime}: a container of a Debian 12 image with {asked}");
        plant(&bundle, &inventory)?;
        show(&inventory, &runtime, &probe, bundle)?;
    }
    Ok(())
}

/// Where the image has a node of its own, of the first GPU that was not granted.
const PLANTED: &str = "/planted";

fn plant(bundle: &Bundle, inventory: &oci_gpu::Inventory) -> Result<()> {
    let Some(other) = inventory.gpus.iter().find(|g| g.index == 2) else {
        return Ok(());
    };
    let number = makedev(other.node.major.into(), other.node.minor.into());
    let mode = Mode::from_bits_truncate(0o666);
    mknod(
        &bundle.rootfs.on_host(PLANTED),
        SFlag::S_IFCHR,
        mode,
        number,
    )
    .during("make a node")
}

fn show(
    inventory: &oci_gpu::Inventory,
    runtime: &Runtime,
    probe: &Probe,
    bundle: Bundle,
) -> error::Result<()> {
    let nodes: Vec<String> = inventory
        .control
        .iter()
        .map(|c| c.node.target.display().to_string())
        .chain(
            inventory
                .gpus
                .iter()
                .map(|g| g.node.target.display().to_string()),
        )
        .collect();
    let sonames: Vec<String> = inventory
        .libraries
        .iter()
        .filter(|l| l.class == Class::Elf64)
        .filter_map(|l| l.soname.clone())
        .collect();
    let mut arguments = vec![
        "--list",
        "/proc/driver/nvidia/gpus",
        "--stat",
        "/usr/bin/nvidia-smi",
        "--stat",
        PLANTED,
        "--open",
        PLANTED,
    ];
    for node in &nodes {
        arguments.extend(["--stat", node, "--open", node]);
    }
    for soname in &sonames {
        arguments.extend(["--dlopen", soname]);
    }
    let report = probe.run(runtime, bundle, &arguments)?;
    for node in &nodes {
        println!("  {node:<24} {}", node_line(&report, node));
    }
    if report.stat(PLANTED).is_ok() {
        println!(
            "  {PLANTED:<24} {} (a node of GPU 2 that the image brings along)",
            node_line(&report, PLANTED)
        );
    }
    let (mut found, mut absent) = (Vec::new(), Vec::new());
    for soname in &sonames {
        match report.dlopen(soname) {
            Loaded::Found { path, .. } => found.push(format!("{soname} = {path}")),
            Loaded::Failed(_) => absent.push(soname.clone()),
        }
    }
    println!("  the loader finds {} libraries by soname:", found.len());
    found.iter().take(4).for_each(|f| println!("    {f}"));
    println!("    ...");
    println!(
        "  and not the {} of capabilities that were not asked for: {} ...",
        absent.len(),
        absent[..absent.len().min(2)].join(", ")
    );
    let smi = if report.stat("/usr/bin/nvidia-smi").is_ok() {
        "yes"
    } else {
        "no"
    };
    println!("  /usr/bin/nvidia-smi      {smi}");
    let gpus = report.list("/proc/driver/nvidia/gpus").unwrap_or_default();
    println!("  /proc/driver/nvidia/gpus {}", gpus.join(" "));
    Ok(())
}

/// What is at a node's place, and what opening it says.
fn node_line(report: &Report, node: &str) -> String {
    match report.stat(node) {
        Ok(stat) => {
            let (major, minor) = stat.device;
            let opened = match report.open(node) {
                "ENXIO" => "allowed (no driver behind it)",
                "OK" => "opens",
                "EPERM" => "denied by the device cgroup",
                other => other,
            };
            format!("{major}:{minor} {opened}")
        }
        Err(_) => "-".to_owned(),
    }
}
