//! What discovery costs, without NVML, on hosts of many kinds and sizes.

use std::path::Path;
use std::process::Command;

use oci_gpu_sim::HostSpec;
use oci_gpu_tests::error::{Context, Result, run};
use oci_gpu_tests::large;
use oci_gpu_tests::scratch::Scratch;
use oci_gpu_tests::strace;

use crate::bench::RUNS;

/// Built-in hosts, by where the driver is found.
const HOSTS: &[(&str, &str)] = &[
    ("1 GPU, ld.so.cache", "run-1"),
    ("1 GPU, well-known directory", "cos-1"),
    ("1 GPU, NixOS", "nixos-1"),
    ("1 GPU, Talos up to 1.12", "talos-old-1"),
    ("4 GPUs, Bottlerocket", "bottlerocket-1"),
    ("8 GPUs, driver container", "driver-container-8"),
    ("8 GPUs, Debian, everything", "debian-8"),
    ("16 GPUs", "run-16"),
];

/// Prints the median time of a discovery and the number of its system calls, for each host.
pub(crate) fn table(program: &Path) -> Result<()> {
    println!("{:<30} {:>9} {:>7}", "discovery", "median", "calls");
    for (name, host) in HOSTS {
        row(
            program,
            name,
            HostSpec::named(host).during("describe a host")?,
        )?;
    }
    row(program, "64 GPUs", large::gpus(64)?)?;
    row(program, "8 GPUs, 56 MIG instances", large::mig(8)?)?;
    let channels = large::channels(large::CHANNELS)?;
    row(program, "8 GPUs, 2,048 IMEX channels", channels)
}

fn row(program: &Path, name: &str, spec: HostSpec) -> Result<()> {
    let scratch = Scratch::new()?;
    spec.create(scratch.path()).during("simulate a host")?;
    let mut command = Command::new(program);
    let output = run(command.arg(scratch.path()).arg(RUNS.to_string()))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let nanoseconds: f64 = printed.trim().parse().during("read the time")?;
    let calls = strace::calls_below(scratch.path(), program, &["1"])?;
    println!("{name:<30} {:>6.2} ms {calls:>7}", nanoseconds / 1e6);
    Ok(())
}
