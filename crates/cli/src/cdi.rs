//! `oci-gpu cdi`: specifications of the Container Device Interface.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use oci_gpu::capability::CapabilityWords;
use oci_gpu::cdi::{Mode, NameStrategy, Options, generate};
use oci_gpu::finding::{Code, Finding};
use oci_gpu::peripheral::Peripheral;
use oci_gpu::{CapabilitySet, discover};

use crate::Global;
use crate::output::{Format, Output};
use crate::replace::replace;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Makes the specification of this host's GPUs
    Generate(Generate),
}

#[derive(Args)]
pub(crate) struct Generate {
    /// File to write, atomically, instead of standard output; .json and .yaml decide the format
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What it is about
    #[arg(long, value_enum, default_value = "auto", alias = "discovery-mode")]
    mode: ModeName,
    /// How devices are named
    #[arg(long, value_enum, value_delimiter = ',', default_value = "index,uuid")]
    device_name_strategy: Vec<StrategyName>,
    /// Vendor of the kind
    #[arg(long, alias = "cdi-vendor", value_name = "NAME")]
    vendor: Option<String>,
    /// Class of the kind
    #[arg(long, alias = "cdi-class", value_name = "NAME")]
    class: Option<String>,
    /// The hook's program on the host
    #[arg(
        long,
        alias = "nvidia-cdi-hook-path",
        value_name = "FILE",
        default_value = "/usr/bin/oci-gpu-hook"
    )]
    hook_path: PathBuf,
    /// No device `all`
    #[arg(long)]
    no_all_device: bool,
    /// Parts of the driver
    #[arg(long, value_name = "LIST", default_value = "all")]
    driver_capabilities: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum ModeName {
    Auto,
    Nvml,
    Csv,
    Wsl,
    Management,
    Gds,
    Gdrcopy,
    Mofed,
    Nvswitch,
    Imex,
}

#[derive(Clone, Copy, ValueEnum)]
enum StrategyName {
    Index,
    TypeIndex,
    Uuid,
}

pub(crate) fn run(
    global: &Global,
    output: &Output,
    command: &Command,
) -> Result<ExitCode, Finding> {
    let Command::Generate(asked) = command;
    let (host, _) = global.host()?;
    let inventory = discover(&host)?;
    let mut options = Options::default();
    options.mode = match asked.mode {
        // What kind of host it is decides by itself.
        ModeName::Auto | ModeName::Nvml | ModeName::Csv | ModeName::Wsl => Mode::Gpu,
        ModeName::Management => Mode::Management,
        ModeName::Gds => Mode::Peripheral(Peripheral::Gds),
        ModeName::Gdrcopy => Mode::Peripheral(Peripheral::Gdrcopy),
        ModeName::Mofed => Mode::Peripheral(Peripheral::Mofed),
        ModeName::Nvswitch => Mode::Peripheral(Peripheral::Nvswitch),
        ModeName::Imex => Mode::Imex,
    };
    options.names = asked
        .device_name_strategy
        .iter()
        .map(|s| match s {
            StrategyName::Index => NameStrategy::Index,
            StrategyName::TypeIndex => NameStrategy::TypeIndex,
            StrategyName::Uuid => NameStrategy::Uuid,
        })
        .collect();
    options.vendor.clone_from(&asked.vendor);
    options.class.clone_from(&asked.class);
    options.hook.clone_from(&asked.hook_path);
    options.all = !asked.no_all_device;
    options.capabilities = capabilities(&asked.driver_capabilities)?;
    let spec = generate(&host, &inventory, &options)?;
    let format = match (&asked.output, output.format) {
        (Some(path), Format::Text) if path.extension().is_some_and(|e| e == "json") => Format::Json,
        // Specifications are for programs: there is no text for people.
        (_, Format::Text) => Format::Yaml,
        (_, other) => other,
    };
    let broken =
        |e: String| Finding::new(Code::Config, format!("print the specification: {e}"), "");
    let text = match format {
        Format::Json => {
            serde_json::to_string_pretty(&spec).map_err(|e| broken(e.to_string()))? + "\n"
        }
        _ => serde_yaml_ng::to_string(&spec).map_err(|e| broken(e.to_string()))?,
    };
    match &asked.output {
        Some(path) => {
            write(path, &text).map_err(|e| {
                Finding::new(
                    Code::Config,
                    format!("write {}: {e}", path.display()),
                    "name a file in a directory that you may write; without --output it is printed",
                )
            })?;
            let (devices, version) = (spec.devices.len(), spec.cdi_version);
            output.say(&format!(
                "wrote {}: {}, {devices} devices, version {version}",
                path.display(),
                spec.kind
            ));
        }
        None => {
            if let Err(e) = std::io::stdout().write_all(text.as_bytes())
                && e.kind() != std::io::ErrorKind::BrokenPipe
            {
                return Err(broken(e.to_string()));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn capabilities(list: &str) -> Result<CapabilitySet, Finding> {
    let words = CapabilityWords::read(list);
    match (words.all, words.unknown) {
        (true, _) => Ok(CapabilitySet::all()),
        (false, None) => Ok(words.named),
        (false, Some(word)) => Err(Finding::new(
            Code::RequestCapability,
            format!("--driver-capabilities: '{word}' is no driver capability"),
            format!("use {}", oci_gpu::capability::VALID_WORDS),
        )),
    }
}

/// Replaces the file at `path`, and makes the directories above it where they are missing.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::other("it is no file's name"))?;
    // A device or a pipe (/dev/stdout) must not be replaced by a file.
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => return Err(io::Error::other("it is no regular file")),
        _ => {}
    }
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let directory = fs::File::open(parent)?;
    replace(&directory.into(), Path::new(name), text, 0o644)
}
