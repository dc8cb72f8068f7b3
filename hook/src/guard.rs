//! What surrounds the hook's work: a clean process, a deadline, and signals that end it in order.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};
use nix::unistd::chdir;

use oci_gpu::finding::{Code, Finding};

/// How long the hook may take. Its work takes milliseconds; a file system that hangs takes for ever.
const DEADLINE: Duration = Duration::from_secs(5);

/// After this many seconds the kernel ends the hook, whatever call it is in.
const LAST_RESORT: u32 = 10;

/// Largest file that the hook writes, in bytes: an ld.so.cache, with room.
const FILE_SIZE: u64 = 16 << 20;

/// Memory that is set aside, in bytes: several times what a plan, a message and a usual ld.so.cache
/// take, and less than the most that glibc's allocator takes from the heap (32 MiB).
const MEMORY: usize = 16 << 20;

/// Signals by which runtimes and administrators stop a hook.
const STOP: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];

/// The deadline, and the signals that came.
pub(crate) struct Guard {
    deadline: Instant,
    signals: SignalFd,
}

impl Guard {
    /// Frees the process of what its caller left in it: environment, descriptors, signal mask
    /// (crun blocks nearly everything), umask (crun's is 0), working directory.
    #[allow(
        clippy::disallowed_methods,
        reason = "chdir to / before anything of a container is known"
    )]
    pub(crate) fn new() -> Result<Guard, Finding> {
        let broken = |what: &str, e: std::io::Error| {
            let (code, remedy) = match e.raw_os_error() {
                Some(nix::libc::EMFILE) => {
                    (Code::Limit, "raise the limit of open files (RLIMIT_NOFILE)")
                }
                _ => (Code::Privilege, ""),
            };
            Finding::new(code, format!("{what}: {e}"), remedy)
        };
        oci_gpu_sys::process::clear_environment();
        oci_gpu_sys::process::close_from(3)
            .map_err(|e| broken("close inherited descriptors", e))?;
        oci_gpu_sys::process::alarm(LAST_RESORT);
        set_memory_aside()?;
        // Nobody but root may look into this process, and nothing that it might execute gains
        // anything.
        prctl::set_dumpable(false).map_err(|e| broken("prctl PR_SET_DUMPABLE", e.into()))?;
        prctl::set_no_new_privs().map_err(|e| broken("prctl PR_SET_NO_NEW_PRIVS", e.into()))?;
        for (limit, most) in [
            (Resource::RLIMIT_CORE, 0),
            (Resource::RLIMIT_FSIZE, FILE_SIZE),
        ] {
            setrlimit(limit, most, most).map_err(|e| broken("setrlimit", e.into()))?;
        }
        umask(Mode::from_bits_truncate(0o022));
        chdir("/").map_err(|e| broken("chdir /", e.into()))?;
        let stop: SigSet = STOP.into_iter().collect();
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&stop), None)
            .map_err(|e| broken("set the signal mask", e.into()))?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let signals =
            SignalFd::with_flags(&stop, flags).map_err(|e| broken("signalfd", e.into()))?;
        Ok(Guard {
            deadline: Instant::now() + DEADLINE,
            signals,
        })
    }

    /// Why the work must end now, if it must.
    pub(crate) fn interrupted(&self) -> Option<Finding> {
        if let Ok(Some(info)) = self.signals.read_signal() {
            let name = Signal::try_from(info.ssi_signo as i32).map_or("a signal", Signal::as_str);
            return Some(Finding::new(
                Code::Deadline,
                format!("stopped by {name}"),
                "start the container again",
            ));
        }
        (Instant::now() > self.deadline).then(late)
    }

    /// Waits until `file` has something to read, or a reason to end comes.
    pub(crate) fn wait_for(&self, file: impl AsFd) -> Result<(), Finding> {
        loop {
            if let Some(reason) = self.interrupted() {
                return Err(reason);
            }
            let left = self.deadline.saturating_duration_since(Instant::now());
            let timeout =
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            let mut files =
                [file.as_fd(), self.signals.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            let ready = poll(&mut files, timeout).is_ok_and(|ready| ready > 0);
            if ready && files[1].any() != Some(true) {
                return Ok(());
            }
        }
    }

    /// Raises the number of files that may be open to the most that is allowed: every mounted file
    /// is one until the end; and that of locked memory, as far as allowed. What fails for want of
    /// either says so.
    pub(crate) fn raise_limits(&self) {
        if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
            && soft < hard
        {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
        }
        // Before Linux 5.11 device programs count as locked memory.
        let without_limit = nix::sys::resource::RLIM_INFINITY;
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, without_limit, without_limit);
    }
}

/// Makes the heap large enough beforehand: an allocation that fails ends the process where it is,
/// with nothing undone.
///
/// glibc's allocator maps the first block and gives it back; it then counts blocks of that size as
/// ordinary, takes the second one from the heap, and keeps it there (mallopt(3), dynamic
/// M_MMAP_THRESHOLD). No page of it is touched.
fn set_memory_aside() -> Result<(), Finding> {
    for _ in 0..2 {
        let mut block: Vec<u8> = Vec::new();
        block.try_reserve_exact(MEMORY).map_err(|e| {
            Finding::new(
                Code::Limit,
                format!("set {} MiB of memory aside: {e}", MEMORY >> 20),
                "raise the limit of the address space (RLIMIT_AS) of the runtime",
            )
        })?;
        drop(std::hint::black_box(block));
    }
    Ok(())
}

fn late() -> Finding {
    Finding::new(
        Code::Deadline,
        format!("not done after {} s", DEADLINE.as_secs()),
        "see whether a file system of the container or of the host hangs",
    )
}
