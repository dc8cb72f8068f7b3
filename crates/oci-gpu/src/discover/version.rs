//! Which driver version the kernel runs.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::proc_driver::{VersionFile, is_version};
use super::{PROC_DRIVER, unreadable};
use crate::cuda_version::cuda_of_driver;
use crate::finding::{Code, Finding};
use crate::host::Host;
use crate::inventory::{Candidate, DeviceFileParams, Driver, ProcFile};

const MODULE_VERSION: &str = "/sys/module/nvidia/version";

/// The driver as the kernel shows it.
pub(super) struct Kernel {
    pub(super) version: String,
    pub(super) source: PathBuf,
    pub(super) flavour: Option<&'static str>,
}

/// Reads the version from /sys/module/nvidia/version, else from /proc/driver/nvidia/version. That
/// the two disagree is a finding: the module was replaced on disk or by a second one.
pub(super) fn kernel(host: &Host, findings: &mut Vec<Finding>) -> Result<Kernel, Finding> {
    let proc_path = Path::new(PROC_DRIVER).join("version");
    let module = read_optional(host, Path::new(MODULE_VERSION))?;
    let proc_text = read_optional(host, &proc_path)?;
    let in_proc = proc_text.as_deref().map(VersionFile::parse);
    let flavour = in_proc.as_ref().map(|file| match file.open {
        true => "open",
        false => "proprietary",
    });
    let in_proc = in_proc.map(|file| file.version);
    match (module.as_deref(), in_proc) {
        (Some(module), in_proc) if is_version(module) => {
            if let Some(other) = in_proc.flatten().filter(|v| v != module) {
                findings.push(Finding::new(
                    Code::VersionDisagree,
                    format!(
                        "{MODULE_VERSION} says {module}, {} says {other}",
                        proc_path.display()
                    ),
                    "reboot, or unload and load the nvidia module, so that one driver runs",
                ));
            }
            Ok(Kernel {
                version: module.to_owned(),
                source: PathBuf::from(MODULE_VERSION),
                flavour,
            })
        }
        (_, Some(Some(version))) => Ok(Kernel {
            version,
            source: proc_path,
            flavour,
        }),
        (Some(odd), _) => Err(malformed(Path::new(MODULE_VERSION), odd)),
        (None, Some(None)) => Err(malformed(
            &proc_path,
            proc_text.as_deref().unwrap_or_default(),
        )),
        (None, None) => Err(no_driver(host)),
    }
}

impl Kernel {
    pub(super) fn into_driver(
        self,
        host: &Host,
        root: &Path,
        candidates: Vec<Candidate>,
    ) -> Driver {
        let proc_files = ["params", "version", "registry"]
            .into_iter()
            .filter_map(|name| {
                let content = host
                    .files()
                    .read_text(&Path::new(PROC_DRIVER).join(name))
                    .ok()?;
                Some(ProcFile {
                    name: name.to_owned(),
                    content: content + "\n",
                })
            })
            .collect::<Vec<_>>();
        let params = proc_files.iter().find(|f| f.name == "params");
        Driver {
            cuda: cuda_of_driver(&self.version),
            device_files: params
                .map(|p| DeviceFileParams::parse(&p.content))
                .unwrap_or_default(),
            version: self.version,
            version_source: self.source,
            flavour: self.flavour,
            root: root.to_path_buf(),
            candidates,
            proc_files,
        }
    }
}

fn read_optional(host: &Host, path: &Path) -> Result<Option<String>, Finding> {
    match host.files().read_text(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(unreadable(path, &e)),
    }
}

fn malformed(path: &Path, text: &str) -> Finding {
    Finding::new(
        Code::Malformed,
        format!("{} holds no driver version: '{text}'", path.display()),
        "reload the nvidia kernel module",
    )
}

/// No driver: what the PCI bus has tells whether there is a GPU without a driver, or none at all.
fn no_driver(host: &Host) -> Finding {
    let message = "no NVIDIA driver is loaded in the kernel (neither /sys/module/nvidia nor \
                   /proc/driver/nvidia exists)";
    let gpus = pci_gpus(host);
    if gpus.is_empty() {
        let message = format!("{message}, and the PCI bus has no NVIDIA GPU");
        return Finding::new(
            Code::NoDriver,
            message,
            "run the container on a machine with a GPU",
        );
    }
    let message = format!(
        "{message}, though the PCI bus has NVIDIA GPUs: {}",
        gpus.join(", ")
    );
    Finding::new(
        Code::NoDriver,
        message,
        "load it (oci-gpu system load-modules) or install the driver's packages; dmesg tells why loading fails",
    )
}

/// NVIDIA display controllers of the PCI bus (vendor 10de, class 03) by address, with the driver
/// that they are bound to, as words for messages. PCI identifiers: the kernel's Documentation/ABI/testing/sysfs-bus-pci.
pub fn pci_gpus(host: &Host) -> Vec<String> {
    let bus = Path::new("/sys/bus/pci/devices");
    let mut found = Vec::new();
    for name in host.files().list(bus).unwrap_or_default() {
        let device = bus.join(&name);
        let text = |f: &str| host.files().read_text(&device.join(f)).unwrap_or_default();
        if text("vendor") != "0x10de" || !text("class").starts_with("0x03") {
            continue;
        }
        let driver = host.files().read_link(&device.join("driver")).ok();
        let driver = driver
            .as_deref()
            .and_then(Path::file_name)
            .and_then(|n| n.to_str());
        found.push(format!("{name} (driver: {})", driver.unwrap_or("none")));
    }
    found
}
