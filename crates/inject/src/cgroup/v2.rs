//! Version 2: device programs of a control group, read back, extended and exchanged.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use oci_gpu::finding::{Code, Finding};
use oci_gpu_sys::bpf;

use super::program::{self, Program};
use super::{Device, Refused};

/// Room for the verifier's words about a program that it refuses.
const LOG_SIZE: usize = 16 << 10;

const LICENSE: &CStr = c"Apache-2.0";

/// Programs that were exchanged.
#[derive(Debug)]
pub(crate) struct Added {
    group: OwnedFd,
    flags: u32,
    /// Each old program with the one that took its place.
    exchanged: Vec<(OwnedFd, OwnedFd)>,
}

/// Puts a program that knows the devices in the place of each one that the group has: all of a
/// group's programs must say yes. Each exchange is atomic. `None` where nothing had to be done: no
/// programs, so nothing is forbidden, or the programs know the devices already.
pub(super) fn allow(group: OwnedFd, devices: &[Device]) -> Result<Option<Added>, Refused> {
    let (ids, flags) = bpf::device_programs(group.as_fd()).map_err(|e| {
        Refused::new(
            "query the device programs of the container's control group",
            e,
        )
    })?;
    let head = program::allowing(devices).ok_or_else(|| too_many(devices.len()))?;
    let mut added = Added {
        group,
        flags,
        exchanged: Vec::new(),
    };
    for id in ids {
        if let Err(refused) = added.exchange(id, &head) {
            added.undo();
            return Err(refused);
        }
    }
    Ok((!added.exchanged.is_empty()).then_some(added))
}

impl Added {
    fn exchange(&mut self, id: u32, head: &Program) -> Result<(), Refused> {
        let old = bpf::program_by_id(id)
            .map_err(|e| Refused::new(format!("open the device program {id}"), e))?;
        let body = bpf::instructions(old.as_fd())
            .map_err(|e| Refused::new(format!("read the device program {id}"), e))?;
        if body.is_empty() {
            return Err(Refused::Failed(Finding::new(
                Code::Cgroup,
                format!(
                    "the kernel does not show the device program {id} of the container's control group"
                ),
                "set net.core.bpf_jit_harden to 0 or 1, or use a runtime mode that puts the devices into config.json",
            )));
        }
        if head.begins(&body) {
            return Ok(());
        }
        let merged = head.before(&body);
        let new = bpf::load_device_program(&merged, LICENSE, &mut []).map_err(|e| {
            let what = format!(
                "load the device program that replaces {id} ({})",
                reason(&merged)
            );
            Refused::new(what, e)
        })?;
        self.attach(&new, &old)
            .map_err(|e| Refused::new(format!("replace the device program {id}"), e))?;
        self.exchanged.push((old, new));
        Ok(())
    }

    /// Only groups that allow several programs name the one to replace; in others a new program
    /// takes the only place.
    fn attach(&self, new: &OwnedFd, old: &OwnedFd) -> std::io::Result<()> {
        let several = self.flags & bpf::ALLOW_MULTI != 0;
        let replaced = several.then(|| old.as_fd());
        bpf::attach_device_program(self.group.as_fd(), new.as_fd(), replaced, self.flags)
    }

    pub(super) fn undo(self) {
        for (old, new) in self.exchanged.iter().rev() {
            let _ = self.attach(old, new);
        }
    }
}

/// The verifier's last words about a program that it refused. Asked for separately: a log that is
/// longer than its buffer fails programs that are good.
fn reason(program: &[u64]) -> String {
    let mut log = vec![0; LOG_SIZE];
    let _ = bpf::load_device_program(program, LICENSE, &mut log);
    let end = log.iter().position(|b| *b == 0).unwrap_or(log.len());
    let words = String::from_utf8_lossy(&log[..end]).into_owned();
    words.lines().last().unwrap_or_default().to_owned()
}

fn too_many(devices: usize) -> Refused {
    Refused::Failed(Finding::new(
        Code::Cgroup,
        format!("{devices} devices are too many for one device program"),
        "ask for fewer devices",
    ))
}
