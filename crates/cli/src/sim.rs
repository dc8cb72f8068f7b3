//! `oci-gpu sim`: simulated GPU hosts.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand as ClapSubcommand;
use oci_gpu::finding::{Code, Finding};
use oci_gpu_sim::HostSpec;

use crate::output::Output;

#[derive(ClapSubcommand)]
pub(crate) enum Command {
    /// Makes a host as a directory tree, for --host-root
    Create {
        /// A built-in host (`sim list`), or a file with a description in TOML
        host: String,
        /// The directory: empty, or not there yet
        directory: PathBuf,
    },
    /// Names the built-in hosts
    List,
}

pub(crate) fn run(output: &Output, command: &Command) -> Result<ExitCode, Finding> {
    match command {
        Command::Create { host, directory } => {
            let spec = spec(host)?;
            spec.create(directory)?;
            output.say(&format!(
                "made {}; use it with --host-root",
                directory.display()
            ));
        }
        Command::List => {
            let names: Vec<&str> = HostSpec::names().collect();
            output.data(&names, || names.join("\n") + "\n")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn spec(host: &str) -> Result<HostSpec, Finding> {
    if !host.contains(['/', '.']) {
        return HostSpec::named(host);
    }
    let text = fs::read_to_string(host).map_err(|e| {
        Finding::new(
            Code::Sim,
            format!("read {host}: {e}"),
            "name a built-in host, or a file",
        )
    })?;
    HostSpec::from_toml(&text)
}
