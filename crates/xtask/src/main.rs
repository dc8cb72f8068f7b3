//! `cargo xtask`: demo, test, bench, dist.
#![forbid(unsafe_code)]

mod bench;
mod checks;
mod demo;
mod discovery;
mod dist;
mod floor;
mod packages;

use std::process::ExitCode;

use oci_gpu_tests::error::{Error, Result};

const USAGE: &str = "usage: cargo xtask COMMAND
  demo    a GPU of a simulated host in a runc and in a crun container
  test    every check and test
  bench   what discovery costs, and the hook beside a program that does the same from a list
  dist    the release's files, below target/dist";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut words = std::env::args().skip(1);
    match (words.next().as_deref(), words.next()) {
        (Some("demo"), None) => demo::run(),
        (Some("test"), None) => checks::run(),
        (Some("bench"), None) => bench::run(),
        (Some("dist"), None) => dist::run(),
        _ => Err(Error::new(USAGE)),
    }
}
