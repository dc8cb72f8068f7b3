//! The `oci-gpu` command: what an administrator of GPU containers types.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong command line.
#![forbid(unsafe_code)]

mod bundle;
mod cdi;
mod container_cli;
mod explain;
mod info;
mod list;
mod nvml;
mod output;
mod owned;
mod refresh;
mod replace;
mod sim;
mod system;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use nix::unistd::Uid;
use oci_gpu::config::Config;
use oci_gpu::finding::{Code, Finding};
use oci_gpu::host::Host;

use crate::output::{Format, Output};

/// GPUs in OCI containers: what the host has, what a container gets, and why.
#[derive(Parser)]
#[command(name = "oci-gpu", version, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Where the host is, and how to print.
#[derive(Args)]
struct Global {
    /// Directory that holds the host's proc, sys, dev, etc and usr
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    host_root: PathBuf,
    /// Directory on the host whose files are the driver's user-space files
    #[arg(long, global = true, value_name = "DIR")]
    driver_root: Option<PathBuf>,
    /// Directory on the host whose dev holds the device nodes
    #[arg(long, global = true, value_name = "DIR")]
    dev_root: Option<PathBuf>,
    /// Configuration file instead of /etc/oci-gpu/config.toml
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How data is printed
    #[arg(long, global = true, value_enum, default_value = "text")]
    format: Format,
    /// Say more: every file, every place that was looked at
    #[arg(short, long, global = true)]
    verbose: bool,
    /// Print nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    /// GPUs, MIG instances, device nodes and driver files of the host
    List {
        #[command(flatten)]
        nvml: nvml::Nvml,
    },
    /// The driver: its version, where it was found and what was refused
    Info {
        #[command(flatten)]
        nvml: nvml::Nvml,
    },
    /// What the container of a bundle would get, why, and what was refused and why
    Explain {
        /// Directory with the container's config.json
        #[arg(long, value_name = "DIR")]
        bundle: PathBuf,
    },
    /// Specifications of the Container Device Interface
    Cdi {
        #[command(subcommand)]
        command: cdi::Command,
    },
    /// Keeps what only NVML knows (MIG UUIDs, compute capability) where the hook reads it
    Refresh(refresh::Refresh),
    /// What the driver's packages should have done
    System {
        #[command(subcommand)]
        command: system::Command,
    },
    /// Simulated GPU hosts, for tests and demonstrations
    Sim {
        #[command(subcommand)]
        command: sim::Command,
    },
}

fn main() -> ExitCode {
    if container_cli::is_called() {
        return container_cli::main();
    }
    let cli = Cli::parse();
    let output = Output::new(cli.global.format, cli.global.verbose, cli.global.quiet);
    let done = match &cli.command {
        Command::List { nvml } => list::run(&cli.global, &output, nvml),
        Command::Info { nvml } => info::run(&cli.global, &output, nvml),
        Command::Explain { bundle } => explain::run(&cli.global, &output, bundle),
        Command::Cdi { command } => cdi::run(&cli.global, &output, command),
        Command::Refresh(refresh) => refresh::run(&cli.global, &output, refresh),
        Command::System { command } => system::run(&cli.global, &output, command),
        Command::Sim { command } => sim::run(&output, command),
    };
    match done {
        Ok(code) => code,
        Err(finding) => {
            output.error(&finding);
            ExitCode::FAILURE
        }
    }
}

impl Global {
    /// The host and the configuration: flags come before the file.
    fn host(&self) -> Result<(Host, Config), Finding> {
        let root = &self.host_root;
        let seen = std::fs::metadata(root).map(|found| found.is_dir());
        let why = match seen {
            Ok(true) => None,
            Ok(false) => Some("it is no directory".to_owned()),
            Err(e) => Some(e.to_string()),
        };
        if let Some(why) = why {
            return Err(Finding::new(
                Code::HostRead,
                format!("the host root {}: {why}", root.display()),
                "name the directory that holds the host's proc, sys, dev, etc and usr",
            ));
        }
        // Who has a simulated host of his own believes what he wrote there.
        let host = Host::at(root).with_trusted_owner(Uid::effective().as_raw());
        let mut config = Config::load(self.config.as_deref(), &host)?;
        if let Some(root) = &self.driver_root {
            config.driver_root = Some(root.clone());
        }
        if let Some(root) = &self.dev_root {
            config.dev_root = Some(root.clone());
        }
        Ok((config.apply_to(host), config))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
