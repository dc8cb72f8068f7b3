//! NVML, by way of a program of its own: what the kernel's files do not tell.

mod child;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use oci_gpu::discover::stored::Stored;
use oci_gpu::elf::{Class, Machine};
use oci_gpu::finding::{Code, Finding};
use oci_gpu::host::Host;
use oci_gpu::inventory::{Inventory, StoredState};
use oci_gpu::nvml::{Answer, finding};

use crate::owned::owned;

/// The program's name, beside this one.
const PROGRAM: &str = "oci-gpu-nvml";

/// How long NVML may take where somebody waits for what is known without it.
const LOOK: Duration = Duration::from_secs(10);

/// How long it may take where nothing is known without it: with persistence mode off the driver
/// starts each GPU first, which takes tens of seconds where there are eight.
const REFRESH: Duration = Duration::from_secs(120);

/// The processor that this program, and so its neighbour, is for.
const MACHINE: Machine = match () {
    () if cfg!(target_arch = "aarch64") => Machine::Aarch64,
    () => Machine::X86_64,
};

/// Where the program is.
#[derive(Args)]
pub(crate) struct Helper {
    /// Program that asks NVML, instead of oci-gpu-nvml beside this one
    #[arg(long, value_name = "PATH")]
    nvml_helper: Option<PathBuf>,
}

/// Whether NVML is asked, and by what.
#[derive(Args)]
pub(crate) struct Nvml {
    #[command(flatten)]
    helper: Helper,
    /// Do not ask NVML
    #[arg(long, conflicts_with = "nvml_helper")]
    no_nvml: bool,
}

impl Nvml {
    /// Completes `inventory` by NVML, where the stored one did not, and where the program and an
    /// NVML are there. What goes wrong is among the inventory's findings.
    pub(crate) fn complete(&self, host: &Host, inventory: &mut Inventory) {
        let known = inventory.stored == StoredState::Used && is_complete(inventory);
        if self.no_nvml || known || inventory.gpus.is_empty() {
            return;
        }
        // Who looks at a file system in a directory does not expect its code to be run.
        if host.on_disk(Path::new("/")) != Path::new("/") && self.helper.nvml_helper.is_none() {
            return;
        }
        let Some(program) = self.helper.path() else {
            return;
        };
        let Some(library) = library(host, inventory) else {
            return;
        };
        let answer = program.and_then(|program| ask(&program, &library?, LOOK));
        let findings = answer.and_then(|answer| answer.complete(inventory));
        inventory
            .findings
            .extend(findings.unwrap_or_else(|e| vec![e]));
    }
}

impl Helper {
    /// NVML's answer about the host.
    ///
    /// # Errors
    /// [`Code::Nvml`] where there is no program or no NVML, or it does not answer.
    pub(crate) fn answer(&self, host: &Host, inventory: &Inventory) -> Result<Answer, Finding> {
        let program = self.path().ok_or_else(|| {
            Finding::new(
                Code::Nvml,
                format!("NVML: {PROGRAM}, the program that asks it, is not beside oci-gpu"),
                "install it there, or name it with --nvml-helper",
            )
        })??;
        let library = library(host, inventory).ok_or_else(|| {
            Finding::new(
                Code::Nvml,
                format!(
                    "NVML: driver {} has no libnvidia-ml for this processor",
                    inventory.driver.version
                ),
                "install the driver's packages; oci-gpu list shows the libraries that were found",
            )
        })??;
        ask(&program, &library, REFRESH)
    }

    /// The program: the one that was named, there or not, else the one beside this, if it is there.
    /// Nobody named that one, so it must be root's or the caller's.
    fn path(&self) -> Option<Result<PathBuf, Finding>> {
        if let Some(named) = &self.nvml_helper {
            return Some(Ok(named.clone()));
        }
        let own = std::env::current_exe().ok()?;
        let beside = own.parent()?.join(PROGRAM).canonicalize().ok()?;
        let refused = |why: String| {
            Finding::new(
                Code::Nvml,
                format!("NVML: {} was not run: {why}", beside.display()),
                "install oci-gpu where only root writes, or name the program with --nvml-helper",
            )
        };
        Some(
            owned(&Host::at("/"), &beside)
                .map_err(refused)
                .map(|()| beside),
        )
    }
}

/// Whether nothing is missing that NVML could tell.
pub(crate) fn is_complete(inventory: &Inventory) -> bool {
    Stored::of(inventory, "").is_complete()
}

/// The host's NVML, as this process opens it, if there is one. Its code will be run, so it is one
/// that only root, or the caller, can have put there.
fn library(host: &Host, inventory: &Inventory) -> Option<Result<PathBuf, Finding>> {
    let library = inventory
        .libraries
        .iter()
        .find(|l| l.stem == "libnvidia-ml" && l.class == Class::Elf64 && l.machine == MACHINE)?;
    let real = host.files().resolve(&library.path).ok()?;
    Some(match owned(host, &real) {
        Ok(()) => Ok(host.on_disk(&real)),
        Err(why) => Err(Finding::new(
            Code::Nvml,
            format!("NVML: {} was not loaded: {why}", library.path.display()),
            "name a host root whose files are root's or yours, or give --no-nvml to list and info",
        )),
    })
}

fn ask(program: &Path, library: &Path, deadline: Duration) -> Result<Answer, Finding> {
    let text = child::run(program, library, deadline).map_err(finding)?;
    Answer::parse(&text)
}
