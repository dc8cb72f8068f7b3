//! The command line of `nvidia-container-cli`, which this program takes when it is started under
//! that name: info, list, configure.
//!
//! What LXC, Enroot, Apptainer, Charliecloud, gVisor and the legacy hook of NVIDIA's toolkit call. The words,
//! the output and the exit statuses are libnvidia-container's; what is found, decided and done is
//! the library's, as in the hook. docs/nvidia-container-cli.md lists what differs.
//!
//! Exit status: 0 done, 1 everything else, a wrong command line included.

mod args;
mod components;
mod configure;
mod fail;
mod grammar;
mod guard;
mod info;
mod list;
mod log;
mod mountinfo;
mod options;
mod request;
mod values;

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use oci_gpu::finding::{Code, Finding};
use oci_gpu::host::Host;

use self::args::{Args, Command, Global};
use self::fail::{At, Failure, Stage};
use self::log::Log;

/// The version whose command line this is; callers ask for it (gVisor, scripts).
const COMPATIBLE_VERSION: &str = "1.18.0";

/// Names that the program is started under for this command line. Images of NVIDIA's toolkit put a
/// script in the first one's place, which starts the second.
const NAMES: [&str; 2] = ["nvidia-container-cli", "nvidia-container-cli.real"];

/// Whether the program was started under the name of this tool.
pub(crate) fn is_called() -> bool {
    let name = std::env::args_os().next();
    let file = name.as_deref().and_then(|name| Path::new(name).file_name());
    NAMES.iter().any(|tool| file == Some(OsStr::new(tool)))
}

/// Does what the command line says.
pub(crate) fn main() -> ExitCode {
    match Args::parse().and_then(|args| run(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(io::stderr(), "nvidia-container-cli: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    let mut log = Log::open(args.global.debug.as_deref());
    let done = command(args, &mut log);
    if let Err(failure) = &done {
        log.line(failure);
    }
    done
}

fn command(args: &Args, log: &mut Log) -> Result<(), Failure> {
    match &args.command {
        Command::Print(text) => print(text),
        Command::Info { csv } => info::run(&host(&args.global, log)?, *csv, log),
        Command::List(list) => list::run(&host(&args.global, log)?, list, log),
        Command::Configure(configure) => configure::run(&host(&args.global, log)?, configure, log),
    }
}

/// The host that the global options describe; what they ask for and this program does not do is
/// logged.
fn host(global: &Global, log: &mut Log) -> Result<Host, Failure> {
    for note in &global.notes {
        log.line(note);
    }
    let mut host = Host::at(&global.host_root);
    if let Some(root) = &global.root {
        host = host.with_driver_root(root);
    }
    if let Some(cache) = &global.ldcache {
        host = host.with_ld_cache(cache);
    }
    if global.load_kmods {
        log.line(
            "--load-kmods: no module is loaded by this program; missing device nodes are made",
        );
        make_nodes(&host, log);
    }
    Ok(host)
}

/// Device nodes that the driver's own tools would have made by now. What fails is a note, as in the
/// reference: what a container then lacks is told with it.
fn make_nodes(host: &Host, log: &mut Log) {
    let params = Path::new("/proc/driver/nvidia/params");
    let params = host.files().read_text(params).unwrap_or_default();
    if params.lines().any(|line| line == "ModifyDeviceFiles: 0") {
        log.line("no device node is made: the driver's parameter ModifyDeviceFiles is 0");
        return;
    }
    match crate::system::make_missing_nodes(host) {
        Ok(made) => made.iter().for_each(|path| {
            log.line(format_args!("made the device node {}", path.display()));
        }),
        Err(finding) => log.line(&finding),
    }
}

/// Prints all of `text`, or says why not: who reads half a list must not take it for the whole.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        // Whoever reads has seen enough ("| head").
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Finding::new(
            Code::Config,
            format!("print the result: {e}"),
            "",
        ))
        .at(Stage::Input),
        _ => Ok(()),
    }
}
