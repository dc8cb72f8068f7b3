//! `cargo xtask test`: formatting, lints, every test, and the skips by name.

use std::process::Command;
use std::time::Instant;

use oci_gpu_tests::error::{Context, Error, Result};
use oci_gpu_tests::{binaries, skip};

use oci_gpu_tests::packages::{CONTAINERS, TESTS};

use crate::packages;

pub(crate) fn run() -> Result<()> {
    let begin = Instant::now();
    packages::need_root("the test suite")?;
    packages::install(&[CONTAINERS, TESTS].concat())?;
    let _ = std::fs::remove_file(skip::file()?);
    step("formatting", &["fmt", "--all", "--check"])?;
    step(
        "lints",
        &[
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "--deny",
            "warnings",
        ],
    )?;
    println!("== programs");
    println!("{}", binaries::hook()?.display());
    step(
        "tests",
        &["test", "--quiet", "--workspace", "--no-fail-fast"],
    )?;
    let skips = skip::recorded()?;
    println!("== {} skips", skips.len());
    skips.iter().for_each(|s| println!("SKIP {s}"));
    println!("all checks passed in {} s", begin.elapsed().as_secs());
    Ok(())
}

fn step(name: &str, arguments: &[&str]) -> Result<()> {
    println!("== {name}: cargo {}", arguments.join(" "));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(arguments)
        .status()
        .during("start cargo")?;
    match status.success() {
        true => Ok(()),
        false => Err(Error::new(format!("{name} failed"))),
    }
}
