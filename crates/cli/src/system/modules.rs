//! `oci-gpu system load-modules`.
//!
//! The program that is run is the host's own modprobe(8), for it knows the host's configuration and
//! its dependencies. Of a host that lies in a directory (`--host-root`) it is that directory's, run
//! with the directory as its root: whoever names a host root trusts root's programs in it. Of a
//! driver that lies in a directory (`--driver-root`), the host's modprobe takes the modules from
//! there (`-d`): the driver's own programs are not run.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output as Ran};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, chroot};
use oci_gpu::discover::{KernelModule, ModuleState, loads_no_modules, modprobe, pci_gpus};
use oci_gpu::finding::{Code, Finding};
use oci_gpu::host::Host;
use serde::Serialize;

use crate::output::{Output, table};
use crate::owned::owned;

/// Which modules.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The modules
    #[arg(value_name = "MODULE", value_parser = parser())]
    #[arg(default_values = USUAL.map(KernelModule::name))]
    modules: Vec<KernelModule>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// What became of a module.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    /// It was loaded before.
    Already,
    /// It was not, and is now.
    Loaded,
    /// A dry run would load it.
    WouldBeLoaded,
    Failed,
    /// Not tried: one that it needs failed.
    NotTried,
}

#[derive(Serialize)]
struct Row {
    module: &'static str,
    outcome: Outcome,
    /// What modprobe said.
    why: Option<String>,
}

impl Row {
    fn of(module: KernelModule, outcome: Outcome) -> Row {
        Row {
            module: module.name(),
            outcome,
            why: None,
        }
    }
}

/// A module by its name.
fn parser() -> impl TypedValueParser<Value = KernelModule> {
    let names = PossibleValuesParser::new(KernelModule::ALL.map(KernelModule::name));
    names.try_map(|name| KernelModule::from_name(&name).ok_or("there is no such module"))
}

/// What modules are loaded where there is nothing said: what a GPU container can need.
const USUAL: [KernelModule; 3] = [
    KernelModule::Nvidia,
    KernelModule::Uvm,
    KernelModule::Modeset,
];

pub(super) fn run(host: &Host, output: &Output, args: &Args) -> Result<(), Finding> {
    // Each after those that it needs, in whatever order they were named.
    let mut asked = KernelModule::ALL.to_vec();
    asked.retain(|module| args.modules.contains(module));
    let (rows, failed) = load(host, &asked, args.dry_run)?;
    output.data(&rows, || text(&rows))?;
    failed.map_or(Ok(()), Err)
}

/// Loads the usual modules: the first step of other commands.
pub(super) fn load_usual(host: &Host, output: &Output) -> Result<(), Finding> {
    let (rows, failed) = load(host, &USUAL, false)?;
    for row in rows.iter().filter(|r| r.outcome == Outcome::Loaded) {
        output.say(&format!("loaded {}", row.module));
    }
    failed.map_or(Ok(()), Err)
}

/// Loads what is not loaded of `modules`. A finding beside the rows is the first failure.
fn load(
    host: &Host,
    modules: &[KernelModule],
    dry_run: bool,
) -> Result<(Vec<Row>, Option<Finding>), Finding> {
    let is_loaded = |module: KernelModule| module.state(host) == ModuleState::Loaded;
    if modules.iter().all(|m| is_loaded(*m)) {
        let rows = modules.iter().map(|m| Row::of(*m, Outcome::Already));
        return Ok((rows.collect(), None));
    }
    let program = program(host)?;
    let mut rows = Vec::new();
    let mut failed: Option<Finding> = None;
    let mut driver_failed = false;
    for &module in modules {
        let mut row = Row::of(module, Outcome::Loaded);
        if is_loaded(module) {
            row.outcome = Outcome::Already;
        } else if driver_failed {
            row.outcome = Outcome::NotTried;
        } else if dry_run {
            row.outcome = Outcome::WouldBeLoaded;
        } else if let Err((why, remedy)) = program.load(host, module) {
            driver_failed = module == KernelModule::Nvidia;
            let message = format!("the kernel module {}: {why}", module.name());
            failed.get_or_insert(Finding::new(Code::KernelModule, message, remedy));
            row.outcome = Outcome::Failed;
            row.why = Some(why);
        }
        rows.push(row);
    }
    Ok((rows, failed))
}

/// modprobe, and how it is run.
struct Program {
    /// The directory that is `/` to it, if it is not ours.
    root: Option<PathBuf>,
    /// The program in there, every link followed.
    path: PathBuf,
    /// The name that it is called by: it may be one program of many names.
    name: std::ffi::OsString,
    /// The driver's directory whose modules are taken.
    modules: Option<PathBuf>,
}

/// Whether modules can be loaded here at all, and by which program.
fn program(host: &Host) -> Result<Program, Finding> {
    let no = |why: String, remedy: &str| {
        let message = format!("the driver's kernel modules cannot be loaded: {why}");
        Err(Finding::new(Code::KernelModule, message, remedy))
    };
    if pci_gpus(host).is_empty() {
        return no(
            "the PCI bus has no NVIDIA GPU".to_owned(),
            "see lspci; a virtual machine must be given the GPU",
        );
    }
    if let Some(why) = loads_no_modules(host) {
        return no(
            why.to_owned(),
            "use a kernel with the driver built in, or one that loads modules",
        );
    }
    if in_user_namespace() {
        return no(
            "this process is in a user namespace, in which nobody may load modules".to_owned(),
            "run it as root of the host",
        );
    }
    let named = modprobe(host);
    let path = match trusted(host, &named) {
        Ok(path) => path,
        Err(why) => {
            return no(
                format!("{}: {why}", named.display()),
                "install kmod, or correct /proc/sys/kernel/modprobe",
            );
        }
    };
    let root = host.on_disk(Path::new("/"));
    let modules = host.driver_root().filter(|root| {
        let at = host.root_at(root);
        at.is_ok_and(|root| root.exists(Path::new("/lib/modules")))
    });
    Ok(Program {
        root: (root != Path::new("/")).then_some(root),
        path,
        name: named.file_name().unwrap_or_default().to_os_string(),
        modules: modules.map(Path::to_path_buf),
    })
}

/// Whether user ids of this process are not the host's own (user_namespaces(7)).
fn in_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let words: Vec<&str> = map.split_whitespace().collect();
    !words.is_empty() && words != ["0", "0", "4294967295"]
}

/// The program that `path` leads to, if nobody but root can have put it there.
fn trusted(host: &Host, path: &Path) -> Result<PathBuf, String> {
    let real = host.files().resolve(path).map_err(|e| e.to_string())?;
    owned(host, &real)?;
    let found = host.files().metadata(&real).map_err(|e| e.to_string())?;
    match found.is_file() && found.permissions().mode() & 0o111 != 0 {
        true => Ok(real),
        false => Err("it is no program".to_owned()),
    }
}

impl Program {
    /// Loads `module`, and sees whether it is there: why it is not, and what to do.
    fn load(&self, host: &Host, module: KernelModule) -> Result<(), (String, &'static str)> {
        let ran = self.run(module.name()).map_err(|e| {
            (
                format!("run {}: {e}", self.path.display()),
                remedy(&e.to_string()),
            )
        })?;
        let said = String::from_utf8_lossy(&ran.stderr).trim().to_owned();
        match module.state(host) {
            // Whatever modprobe says: somebody else may have loaded it meanwhile.
            ModuleState::Loaded => match module.has_devices(host) {
                Ok(true) => Ok(()),
                Ok(false) => Err((
                    "it is loaded, and /proc/devices does not name its devices".to_owned(),
                    "dmesg tells what the driver makes of the GPUs",
                )),
                Err(finding) => Err((finding.message, "")),
            },
            state if ran.status.success() => {
                let state = match state {
                    ModuleState::Changing(word) => format!("is \"{word}\""),
                    _ => "is not there".to_owned(),
                };
                let directory = module.name().replace('-', "_");
                Err((
                    format!(
                        "{} succeeded, and /sys/module/{directory} {state}",
                        self.path.display()
                    ),
                    "see whether modprobe's configuration replaces it (modprobe --showconfig)",
                ))
            }
            _ if said.is_empty() => Err((
                format!("{} ended with {}", self.path.display(), ran.status),
                "dmesg tells why",
            )),
            _ => {
                let remedy = remedy(&said);
                Err((said, remedy))
            }
        }
    }

    /// Runs it for one module: no environment but a path, no input, the host's root.
    fn run(&self, module: &str) -> io::Result<Ran> {
        let mut command = Command::new(&self.path);
        command.arg0(&self.name).env_clear();
        // Commands that modprobe's configuration names ("install").
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        if let Some(modules) = &self.modules {
            command.arg("-d").arg(modules);
        }
        // Ours, whatever the other root has.
        let nothing = fs::File::open("/dev/null")?;
        command.arg(module).stdin(nothing).current_dir("/");
        match &self.root {
            None => command.output(),
            // A thread's own root, so that this process keeps its own.
            Some(root) => {
                let in_root = || {
                    unshare(CloneFlags::CLONE_FS)?;
                    chroot(root.as_path())?;
                    chdir("/")?;
                    command.output()
                };
                let ran = std::thread::scope(|scope| scope.spawn(in_root).join());
                ran.unwrap_or_else(|_| Err(io::Error::other("it could not be started")))
            }
        }
    }
}

/// What to do about what modprobe or the kernel said.
fn remedy(said: &str) -> &'static str {
    let has = |words: &[&str]| words.iter().any(|w| said.contains(w));
    match () {
        () if has(&["Key was rejected", "Required key"]) => {
            "sign the module and enrol its key, or turn Secure Boot off"
        }
        () if has(&["Operation not permitted", "Permission denied"]) => {
            "run it as root of the host with CAP_SYS_MODULE"
        }
        () if has(&["not found", "No such file"]) => {
            "install the driver's modules for the running kernel (uname -r), and run depmod"
        }
        () if has(&["No such device"]) => {
            "dmesg tells why the driver takes no GPU: another driver has it (nouveau, vfio-pci), or it is too old or too new"
        }
        () if has(&["Exec format", "Invalid argument", "Unknown symbol"]) => {
            "the module is for another kernel: build it anew (dkms autoinstall)"
        }
        () => "dmesg tells why",
    }
}

fn text(rows: &[Row]) -> String {
    let cells = |r: &Row| {
        let verdict = match r.outcome {
            Outcome::Already => "loaded already",
            Outcome::Loaded => "loaded",
            Outcome::WouldBeLoaded => "would be loaded",
            Outcome::Failed => "failed",
            Outcome::NotTried => "not tried: it needs nvidia",
        };
        let why = r.why.as_deref();
        let why = why.map(|w| format!(": {}", oci_gpu::finding::one_line(w)));
        let why = why.unwrap_or_default();
        vec![r.module.to_owned(), format!("{verdict}{why}")]
    };
    table(&rows.iter().map(cells).collect::<Vec<_>>())
}
