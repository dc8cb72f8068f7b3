//! The Debian packages that the demonstration and the tests need.

use std::process::Command;

use oci_gpu_tests::error::{Error, Result, run};
use oci_gpu_tests::packages;

/// Installs what is missing of `wanted` where the caller is root, and says what is missing otherwise.
///
/// # Errors
/// What is missing and how to install it.
pub(crate) fn install(wanted: &[&'static str]) -> Result<()> {
    let missing = packages::missing(wanted)?;
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::new(format!(
            "these Debian packages are missing: {names}; run as root: apt-get install {names}"
        )));
    }
    println!("installing {names}");
    let apt = |arguments: &[&str]| {
        run(Command::new("apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive"))
    };
    let install = || {
        let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
        arguments.extend(&missing);
        apt(&arguments)
    };
    // The lists may be absent or old: a second try with new ones.
    if install().is_err() {
        apt(&["update"])?;
        install()?;
    }
    Ok(())
}

/// Ends with an error where the caller is not root: device nodes, mounts and containers need it.
///
/// # Errors
/// As above.
pub(crate) fn need_root(what: &str) -> Result<()> {
    match nix::unistd::geteuid().is_root() {
        true => Ok(()),
        false => Err(Error::new(format!(
            "{what} makes device nodes, mounts and containers: run it as root"
        ))),
    }
}
