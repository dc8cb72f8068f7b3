//! What only NVML knows, from the file that `oci-gpu refresh` keeps.
//!
//! The file decides which MIG instance a UUID names, so it is believed only where root wrote it,
//! and only for the host as it is now: same boot, same driver, same GPUs, same MIG layout, which
//! are all told anew by the kernel. Anything else is refused with the reason; what needs the file
//! then fails with that reason, and all else goes on without.

mod format;

use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub use format::{FORMAT, Stored, StoredGpu, StoredInstance};

use crate::finding::{Code, Finding};
use crate::host::Host;
use crate::inventory::{Driver, Gpu, StoredState};

/// Where it lies on a host.
pub const FILE: &str = "/run/oci-gpu/inventory.json";

/// Longest file, in bytes. 32 GPUs with 8 instances each take 80 KiB.
pub const LIMIT: u64 = 1 << 20;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Permission bits of group and others to write.
const OTHERS_WRITE: u32 = 0o022;

/// Completes `driver` and `gpus` from the file, where it is to be believed.
pub(super) fn complete(
    host: &Host,
    driver: &mut Driver,
    gpus: &mut [Gpu],
    findings: &mut Vec<Finding>,
) -> StoredState {
    let stored = read(host).and_then(|stored| match stored {
        Some(stored) => fits(&stored, host, driver, gpus).map(|()| Some(stored)),
        None => Ok(None),
    });
    match stored {
        Ok(Some(stored)) => {
            fill(stored, driver, gpus);
            StoredState::Used
        }
        Ok(None) => StoredState::Absent,
        Err(why) => {
            findings.push(Finding::new(
                Code::StoredInventory,
                format!("{FILE} is not used: {why}"),
                "write it anew with oci-gpu refresh",
            ));
            StoredState::Refused { why }
        }
    }
}

/// The file, or why it is not to be believed; nothing where there is none.
fn read(host: &Host) -> Result<Option<Stored>, String> {
    let files = host.files();
    let file = Path::new(FILE);
    let (Some(directory), Some(name)) = (file.parent(), file.file_name()) else {
        return Ok(None);
    };
    // A link in place of the file itself is not followed: root made none.
    let directory = match files.resolve(directory) {
        Ok(directory) => directory,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(format!("it cannot be reached: {e}")),
    };
    let mut opened = match files.open_resolved(&directory.join(name)) {
        Ok(opened) => opened,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) if e.raw_os_error() == Some(libc::ELOOP) => {
            return Err("it is a symbolic link".to_owned());
        }
        Err(e) => return Err(format!("it cannot be opened: {e}")),
    };
    let cannot = |e: std::io::Error| format!("it cannot be read: {e}");
    let found = opened.metadata().map_err(cannot)?;
    if !found.is_file() {
        return Err("it is no regular file".to_owned());
    }
    if found.uid() != 0 && Some(found.uid()) != host.trusted_owner() {
        return Err(format!("its owner is user {}, not root", found.uid()));
    }
    if found.mode() & OTHERS_WRITE != 0 {
        return Err(format!(
            "others than its owner may write it (mode {:04o})",
            found.mode() & 0o7777
        ));
    }
    let mut text = Vec::new();
    opened
        .by_ref()
        .take(LIMIT + 1)
        .read_to_end(&mut text)
        .map_err(cannot)?;
    if text.len() as u64 > LIMIT {
        return Err(format!("it is larger than {LIMIT} bytes"));
    }
    Stored::parse(&text).map(Some)
}

/// Which start of the machine this is.
///
/// # Errors
/// [`Code::HostRead`] where the kernel does not tell.
pub fn boot_id(host: &Host) -> Result<String, Finding> {
    let path = Path::new(BOOT_ID);
    let text = host
        .files()
        .read_text(path)
        .map_err(|e| super::unreadable(path, &e))?;
    match text.is_empty() {
        false => Ok(text),
        true => Err(Finding::new(
            Code::Malformed,
            format!("{BOOT_ID} is empty"),
            "mount the kernel's procfs on /proc",
        )),
    }
}

/// Whether `stored` is about the host as it is, else in what it is about another.
fn fits(stored: &Stored, host: &Host, driver: &Driver, gpus: &[Gpu]) -> Result<(), String> {
    let boot_id = boot_id(host).map_err(|e| e.message)?;
    if stored.boot_id != boot_id {
        return Err("it was written before the machine was last started".to_owned());
    }
    if stored.driver_version != driver.version {
        return Err(format!(
            "it was written under driver {}, and the kernel runs {}",
            stored.driver_version, driver.version
        ));
    }
    let identity =
        |s: &StoredGpu, g: &Gpu| s.uuid == g.uuid && s.bus_id == g.bus_id && s.minor == g.minor;
    let pairs = || stored.gpus.iter().zip(gpus);
    if stored.gpus.len() != gpus.len() || !pairs().all(|(s, g)| identity(s, g)) {
        return Err("the host had other GPUs when it was written".to_owned());
    }
    for (s, g) in pairs() {
        let now = g.mig.iter().map(|m| {
            let minors = (m.gi_access.node.minor, m.ci_access.node.minor);
            (m.gi, m.ci, minors)
        });
        let then = s.mig.iter().map(|m| (m.gi, m.ci, (m.gi_minor, m.ci_minor)));
        if !now.eq(then) {
            return Err(format!(
                "GPU {} was split into other MIG instances when it was written",
                g.index
            ));
        }
    }
    Ok(())
}

fn fill(stored: Stored, driver: &mut Driver, gpus: &mut [Gpu]) {
    driver.cuda = stored.cuda.or(driver.cuda);
    for (gpu, told) in gpus.iter_mut().zip(stored.gpus) {
        gpu.brand = told.brand.or(gpu.brand.take());
        gpu.arch = told.arch;
        for (instance, told) in gpu.mig.iter_mut().zip(told.mig) {
            instance.uuid = told.uuid;
        }
    }
}
