//! The command line: what was typed, checked as far as that needs no host.

use std::ffi::OsString;
use std::path::PathBuf;

use oci_gpu::capability::{Capability, CapabilitySet};

use super::COMPATIBLE_VERSION;
use super::fail::Failure;
use super::grammar::{Grammar, Item};
use super::options::{CONFIGURE, INFO, LIST, TOOL};
use super::values::{absolute, items, pid, root_directory, string, user};

/// As many `--require` as the reference takes.
const REQUIRE_LIMIT: usize = 32;

/// What was typed.
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) global: Global,
    pub(crate) command: Command,
}

/// The options before the command.
#[derive(Debug)]
pub(crate) struct Global {
    pub(crate) debug: Option<PathBuf>,
    pub(crate) load_kmods: bool,
    /// The driver root.
    pub(crate) root: Option<PathBuf>,
    pub(crate) ldcache: Option<PathBuf>,
    /// Directory that holds the host's proc, sys, dev, etc and usr.
    pub(crate) host_root: PathBuf,
    /// What options ask for that has no effect here, and why.
    pub(crate) notes: Vec<&'static str>,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Command {
    /// Help, usage, version.
    Print(String),
    Info {
        csv: bool,
    },
    List(List),
    Configure(Configure),
}

/// `list`: what is listed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct List {
    /// `None`: no device, and no control node.
    pub(crate) devices: Option<Vec<String>>,
    pub(crate) libraries: bool,
    pub(crate) binaries: bool,
    pub(crate) ipcs: bool,
    pub(crate) firmwares: bool,
    pub(crate) compat32: bool,
    pub(crate) mig: Mig,
    pub(crate) imex: Vec<String>,
    pub(crate) without: Without,
}

/// `configure`: what the container gets.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Configure {
    pub(crate) rootfs: PathBuf,
    /// The container's process; none where the caller is in the container's mount namespace.
    pub(crate) pid: Option<i32>,
    pub(crate) devices: Vec<String>,
    pub(crate) require: Vec<String>,
    pub(crate) capabilities: CapabilitySet,
    pub(crate) mig: Mig,
    pub(crate) imex: Vec<String>,
    pub(crate) no_cgroups: bool,
    pub(crate) no_devbind: bool,
    pub(crate) without: Without,
    /// Whether an image's CUDA forward compatibility is not looked at.
    pub(crate) no_cuda_compat: bool,
    pub(crate) notes: Vec<String>,
}

/// `--mig-config` and `--mig-monitor`, item by item.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Mig {
    pub(crate) config: Vec<String>,
    pub(crate) monitor: Vec<String>,
}

/// What is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Without {
    pub(crate) persistenced: bool,
    pub(crate) fabricmanager: bool,
    pub(crate) gsp_firmware: bool,
}

impl Args {
    /// Reads the process' command line.
    pub(crate) fn parse() -> Result<Args, Failure> {
        Args::from(lexopt::Parser::from_env())
    }

    fn from(mut parser: lexopt::Parser) -> Result<Args, Failure> {
        let mut global = Global {
            debug: None,
            load_kmods: false,
            root: None,
            ldcache: None,
            host_root: PathBuf::from("/"),
            notes: Vec::new(),
        };
        loop {
            let (name, value) = match TOOL.next(&mut parser)? {
                Some(Item::Option(name, value)) => (name, value.unwrap_or_default()),
                Some(Item::Word(word)) => {
                    let command = command(&word, &mut parser)?;
                    return Ok(Args { global, command });
                }
                None => return Err(TOOL.wrong("no command was given: info, list or configure")),
            };
            match name {
                "debug" => global.debug = Some(PathBuf::from(value)),
                "load-kmods" => global.load_kmods = true,
                "no-pivot" => global
                    .notes
                    .push("--no-pivot: nothing here changes its root"),
                "user" => {
                    user(&value)?;
                    let note =
                        "--user: no code of the driver is run, so nobody's identity is taken";
                    global.notes.push(note);
                }
                "root" => global.root = Some(absolute("--root", value)?),
                "ldcache" => global.ldcache = Some(absolute("--ldcache", value)?),
                "no-create-imex-channels" => {
                    let note = "--no-create-imex-channels: this program makes none";
                    global.notes.push(note);
                }
                "host-root" => global.host_root = absolute("--host-root", value)?,
                common => {
                    let command = Command::Print(text(&TOOL, common));
                    return Ok(Args { global, command });
                }
            }
        }
    }
}

/// What `--help`, `--usage` or `--version` prints.
fn text(grammar: &Grammar, option: &str) -> String {
    match option {
        "help" => grammar.help(),
        "usage" => grammar.usage(),
        _ => format!(
            "cli-version: {COMPATIBLE_VERSION}\nlib-version: {COMPATIBLE_VERSION}\noci-gpu-version: {}\n",
            env!("CARGO_PKG_VERSION")
        ),
    }
}

fn command(word: &OsString, parser: &mut lexopt::Parser) -> Result<Command, Failure> {
    match word.to_str() {
        Some("info") => info(parser),
        Some("list") => list(parser),
        Some("configure") => configure(parser),
        _ => Err(TOOL.wrong(format!(
            "'{}' is no command: info, list or configure",
            word.display()
        ))),
    }
}

fn info(parser: &mut lexopt::Parser) -> Result<Command, Failure> {
    let mut csv = false;
    while let Some(item) = INFO.next(parser)? {
        match item {
            Item::Option("csv", _) => csv = true,
            Item::Option(common, _) => return Ok(Command::Print(text(&INFO, common))),
            Item::Word(word) => return Err(unexpected(&INFO, &word)),
        }
    }
    Ok(Command::Info { csv })
}

fn list(parser: &mut lexopt::Parser) -> Result<Command, Failure> {
    let mut list = List::default();
    let mut all = true;
    while let Some(item) = LIST.next(parser)? {
        let (name, value) = match item {
            Item::Option(name, value) => (name, value.unwrap_or_default()),
            Item::Word(word) => return Err(unexpected(&LIST, &word)),
        };
        all &= name == "imex-channel";
        match name {
            "device" => {
                let devices = list.devices.get_or_insert_default();
                devices.extend(items(name, value)?);
            }
            "libraries" => list.libraries = true,
            "binaries" => list.binaries = true,
            "ipcs" => list.ipcs = true,
            "firmwares" => list.firmwares = true,
            "compat32" => list.compat32 = true,
            "mig-config" => list.mig.config.extend(items(name, value)?),
            "mig-monitor" => list.mig.monitor.extend(items(name, value)?),
            "imex-channel" => list.imex.extend(items(name, value)?),
            other if list.without.take(other) => {}
            common => return Ok(Command::Print(text(&LIST, common))),
        }
    }
    if all {
        list.devices = Some(vec!["all".to_owned()]);
        list.libraries = true;
        list.binaries = true;
        list.ipcs = true;
        list.firmwares = true;
        list.compat32 = true;
    }
    Ok(Command::List(list))
}

fn configure(parser: &mut lexopt::Parser) -> Result<Command, Failure> {
    let mut configure = Configure::default();
    let mut rootfs = None;
    let mut compat_mode: Option<String> = None;
    while let Some(item) = CONFIGURE.next(parser)? {
        let (name, value) = match item {
            Item::Option(name, value) => (name, value.unwrap_or_default()),
            Item::Word(word) if rootfs.is_none() => {
                rootfs = Some(word);
                continue;
            }
            Item::Word(word) => return Err(unexpected(&CONFIGURE, &word)),
        };
        match name {
            "pid" => configure.pid = Some(pid(value)?),
            "device" => configure.devices.extend(items(name, value)?),
            "require" if configure.require.len() == REQUIRE_LIMIT => {
                return Err(CONFIGURE.wrong(format!(
                    "too many requirements: more than {REQUIRE_LIMIT} times --require"
                )));
            }
            "require" => configure.require.push(string(name, value)?),
            "ldconfig" => configure.notes.push(format!(
                "--ldconfig={}: no ldconfig is run, the cache is written by this program",
                value.display()
            )),
            "mig-config" => configure.mig.config.extend(items(name, value)?),
            "mig-monitor" => configure.mig.monitor.extend(items(name, value)?),
            "imex-channel" => configure.imex.extend(items(name, value)?),
            "no-cgroups" => configure.no_cgroups = true,
            "no-devbind" => configure.no_devbind = true,
            "no-cntlibs" => mode("disabled".to_owned(), &mut compat_mode)?,
            "cuda-compat-mode" => mode(string(name, value)?, &mut compat_mode)?,
            other if configure.without.take(other) => {}
            other => match Capability::from_word(other) {
                Some(capability) => configure.capabilities.insert(capability),
                None => return Ok(Command::Print(text(&CONFIGURE, other))),
            },
        }
    }
    configure.no_cuda_compat = compat_mode.as_deref() == Some("disabled");
    if compat_mode.as_deref() == Some("mount") {
        configure.notes.push(
            "--cuda-compat-mode=mount: the image's CUDA compatibility libraries stay where they \
             are, and the loader's cache names them first"
                .to_owned(),
        );
    }
    let rootfs = rootfs.ok_or_else(|| CONFIGURE.wrong("no ROOTFS was given"))?;
    configure.rootfs = root_directory(rootfs)?;
    Ok(Command::Configure(configure))
}

impl Without {
    /// Takes the option of that name; whether it is one of these.
    fn take(&mut self, option: &str) -> bool {
        let member = match option {
            "no-persistenced" => &mut self.persistenced,
            "no-fabricmanager" => &mut self.fabricmanager,
            "no-gsp-firmware" => &mut self.gsp_firmware,
            _ => return false,
        };
        *member = true;
        true
    }
}

/// One mode of the CUDA compatibility libraries; disabled wins over another.
fn mode(word: String, chosen: &mut Option<String>) -> Result<(), Failure> {
    if !["disabled", "mount", "ldconfig"].contains(&word.as_str()) {
        return Err(CONFIGURE.wrong(format!(
            "--cuda-compat-mode: '{word}' is none of disabled, mount and ldconfig"
        )));
    }
    match chosen.as_deref() {
        Some("disabled") => {}
        Some(other) if word != "disabled" && word != other => {
            return Err(CONFIGURE.wrong("only one cuda-compat-mode can be specified at a time"));
        }
        _ => *chosen = Some(word),
    }
    Ok(())
}

fn unexpected(grammar: &Grammar, word: &OsString) -> Failure {
    grammar.wrong(format!("unexpected argument '{}'", word.display()))
}

#[cfg(test)]
mod tests;
