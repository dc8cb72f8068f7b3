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

    /// Puts `new` in the place of `old`. Only groups that allow several programs name the one to
    /// replace; in others a new program takes the only place.
    fn attach(&self, new: &OwnedFd, old: &OwnedFd) -> std::io::Result<()> {
        let group = self.group.as_fd();
        if self.flags & bpf::ALLOW_MULTI == 0 {
            return bpf::attach_device_program(group, new.as_fd(), None, self.flags);
        }
        match bpf::attach_device_program(group, new.as_fd(), Some(old.as_fd()), self.flags) {
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => self.attach_beside(new, old),
            other => other,
        }
    }

    /// Before Linux 5.6, which has no exchange: both are attached for a moment, in which both must
    /// say yes, so that nothing is open that the old one keeps shut.
    fn attach_beside(&self, new: &OwnedFd, old: &OwnedFd) -> std::io::Result<()> {
        let group = self.group.as_fd();
        bpf::attach_device_program(group, new.as_fd(), None, self.flags)?;
        bpf::detach_device_program(group, old.as_fd()).inspect_err(|_| {
            let _ = bpf::detach_device_program(group, new.as_fd());
        })
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

#[cfg(test)]
mod tests {
    use super::super::find;
    use super::*;
    use nix::fcntl::{OFlag, openat};
    use nix::sys::stat::{Mode, mkdirat};
    use nix::unistd::{UnlinkatFlags, unlinkat};

    /// `r0 = 0; exit`: no to everything.
    const DENY: [u64; 2] = [0xb7, 0x95];

    fn program() -> OwnedFd {
        bpf::load_device_program(&DENY, LICENSE, &mut []).unwrap()
    }

    /// A control group of its own, without processes.
    fn with_group(name: &str, work: impl FnOnce(OwnedFd)) {
        let Ok(root) = find::v2(std::path::Path::new("/")) else {
            println!("SKIP {name}: no cgroup2 hierarchy, or no privilege to use it");
            return;
        };
        let name = format!("oci-gpu-{name}-{}", std::process::id());
        if let Err(e) = mkdirat(&root, name.as_str(), Mode::from_bits_truncate(0o755)) {
            println!("SKIP {name}: make a control group: {e}");
            return;
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        work(openat(&root, name.as_str(), flags, Mode::empty()).unwrap());
        unlinkat(&root, name.as_str(), UnlinkatFlags::RemoveDir).unwrap();
    }

    fn attached(group: &OwnedFd) -> Vec<Vec<u64>> {
        let (ids, _) = bpf::device_programs(group.as_fd()).unwrap();
        let body = |id: &u32| bpf::instructions(bpf::program_by_id(*id).unwrap().as_fd()).unwrap();
        ids.iter().map(body).collect()
    }

    #[test]
    fn programs_are_exchanged_once_and_back() {
        with_group("exchange", |group| {
            bpf::attach_device_program(group.as_fd(), program().as_fd(), None, bpf::ALLOW_MULTI)
                .unwrap();
            let devices = [Device {
                major: 195,
                minor: 0,
            }];
            let added = allow(group.try_clone().unwrap(), &devices)
                .unwrap()
                .unwrap();
            let [merged] = &attached(&group)[..] else {
                panic!("not one program")
            };
            assert!(merged.ends_with(&DENY) && merged.len() > DENY.len());
            assert!(
                allow(group.try_clone().unwrap(), &devices)
                    .unwrap()
                    .is_none()
            );
            added.undo();
            assert_eq!(attached(&group), [DENY]);
        });
    }

    #[test]
    fn without_an_exchange_the_new_one_comes_before_the_old_one_goes() {
        with_group("beside", |group| {
            let old = program();
            bpf::attach_device_program(group.as_fd(), old.as_fd(), None, bpf::ALLOW_MULTI).unwrap();
            let yes = bpf::load_device_program(&[0x1_0000_00b7, 0x95], LICENSE, &mut []).unwrap();
            let added = Added {
                group: group.try_clone().unwrap(),
                flags: bpf::ALLOW_MULTI,
                exchanged: Vec::new(),
            };
            added.attach_beside(&yes, &old).unwrap();
            assert_eq!(attached(&group), [[0x1_0000_00b7, 0x95]]);
            assert!(
                added.attach_beside(&old, &program()).is_err(),
                "one that is not attached"
            );
            assert_eq!(attached(&group), [[0x1_0000_00b7, 0x95]]);
        });
    }
}
