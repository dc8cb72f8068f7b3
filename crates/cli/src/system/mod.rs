//! `oci-gpu system`: what the driver's packages, udev or nvidia-modprobe should have done.

mod links;
mod modules;
mod nodes;

pub(crate) use nodes::make_missing_nodes;

use std::process::ExitCode;

use clap::Subcommand as ClapSubcommand;
use oci_gpu::finding::Finding;

use crate::Global;
use crate::output::Output;

#[derive(ClapSubcommand)]
pub(crate) enum Command {
    /// Loads the driver's kernel modules that are not loaded
    #[command(visible_alias = "load-kernel-modules")]
    LoadModules(modules::Args),
    /// Makes the driver's device nodes, with the numbers that the kernel says; wrong ones are replaced
    CreateDeviceNodes(nodes::Args),
    /// Makes the links /dev/char/MAJOR:MINOR to the driver's nodes, by which systemd knows them
    #[command(visible_alias = "create-dev-char-symlinks")]
    CreateDevCharLinks(links::Args),
}

pub(crate) fn run(
    global: &Global,
    output: &Output,
    command: &Command,
) -> Result<ExitCode, Finding> {
    let (host, _) = global.host()?;
    match command {
        Command::LoadModules(args) => modules::run(&host, output, args),
        Command::CreateDeviceNodes(args) => nodes::run(&host, output, args),
        Command::CreateDevCharLinks(args) => links::run(&host, output, args),
    }?;
    Ok(ExitCode::SUCCESS)
}
