//! What surrounds the work in a container: signals that end it in order, umask, limits.

use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};
use nix::unistd::alarm;

use oci_gpu::finding::{Code, Finding};

/// Signals by which callers and administrators stop the tool.
const STOP: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];

/// How long the work may take; it takes milliseconds. Files of an image may be anywhere.
const DEADLINE: Duration = Duration::from_secs(5);

/// After this many seconds the kernel ends the process, whatever call it is in.
const LAST_RESORT: u32 = 10;

/// The deadline, and the signals that came.
pub(super) struct Guard {
    deadline: Instant,
    signals: SignalFd,
}

impl Guard {
    /// From now on signals wait until they are asked for: what was done can be undone.
    pub(super) fn new() -> Result<Guard, Finding> {
        let broken =
            |what: &str, e: nix::Error| Finding::new(Code::Privilege, format!("{what}: {e}"), "");
        alarm::set(LAST_RESORT);
        umask(Mode::from_bits_truncate(0o022));
        // Every mounted file is open until the end.
        if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
            && soft < hard
        {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
        }
        // Nothing is executed from here on; a filter of system calls wants to be sure of it.
        prctl::set_no_new_privs().map_err(|e| broken("prctl PR_SET_NO_NEW_PRIVS", e))?;
        let stop: SigSet = STOP.into_iter().collect();
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&stop), None)
            .map_err(|e| broken("set the signal mask", e))?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let signals = SignalFd::with_flags(&stop, flags).map_err(|e| broken("signalfd", e))?;
        Ok(Guard {
            deadline: Instant::now() + DEADLINE,
            signals,
        })
    }

    /// Why the work must end now, if it must.
    pub(super) fn interrupted(&self) -> Option<Finding> {
        if let Ok(Some(info)) = self.signals.read_signal() {
            let name = Signal::try_from(info.ssi_signo as i32).map_or("a signal", Signal::as_str);
            return Some(Finding::new(
                Code::Deadline,
                format!("stopped by {name}; what was done is undone"),
                "start the container again",
            ));
        }
        (Instant::now() > self.deadline).then(|| {
            Finding::new(
                Code::Deadline,
                format!("not done after {} s", DEADLINE.as_secs()),
                "see whether a file system of the container or of the host hangs",
            )
        })
    }
}
