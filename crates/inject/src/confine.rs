//! What a process gives up that carries out a plan, phase by phase: the hook, and the command that
//! does its work.

use std::collections::HashSet;

use caps::{CapSet, Capability};
use oci_gpu::finding::{Code, Finding};
use oci_gpu_sys::seccomp::{Verdict, filter};

/// Before that, where nodes of the host are made: beside those of [`TO_ENTER`].
const TO_MAKE_NODES: &[Capability] = &[
    Capability::CAP_CHOWN,  // the owner that the driver wants
    Capability::CAP_FOWNER, // the mode, once the owner is another
    Capability::CAP_MKNOD,
];

/// While host files are opened, device rules added and the container entered.
const TO_ENTER: &[Capability] = &[
    Capability::CAP_BPF,             // device programs, cgroup v2
    Capability::CAP_DAC_OVERRIDE,    // the container's root, its cgroup
    Capability::CAP_DAC_READ_SEARCH, // host files of any owner
    Capability::CAP_NET_ADMIN,       // attaching device programs
    Capability::CAP_PERFMON,         // reading device programs
    Capability::CAP_SETGID,          // becoming root of a user namespace
    Capability::CAP_SETUID,
    Capability::CAP_SYS_ADMIN,  // mounts, setns
    Capability::CAP_SYS_CHROOT, // setns into a mount namespace
    Capability::CAP_SYS_PTRACE, // /proc/PID/root, /proc/PID/ns
];

/// Once inside: mounts, and writing the container's root.
const INSIDE: &[Capability] = &[
    Capability::CAP_BPF,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_NET_ADMIN,
    Capability::CAP_SYS_ADMIN,
];

/// What carrying out a plan, undoing it and logging call, and what the language's run time does.
/// Not here, so never again: execve, fork, clone, connect, setns, ptrace, and all the rest.
const CALLS: &[libc::c_long] = &[
    libc::SYS_bpf,
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fchmod,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_mkdirat,
    libc::SYS_mmap,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_newfstatat,
    libc::SYS_open_tree,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_statx,
    libc::SYS_symlinkat,
    libc::SYS_tgkill,
    libc::SYS_umount2,
    libc::SYS_unlinkat,
    libc::SYS_write,
    libc::SYS_writev,
];

/// Keeps what it takes to make nodes of the host ([`crate::host_nodes`]), and to enter a container
/// afterwards: a few capabilities, for good.
///
/// # Errors
/// [`Code::Privilege`].
pub fn to_make_nodes() -> Result<(), Finding> {
    keep(&[TO_MAKE_NODES, TO_ENTER].concat())
}

/// Keeps what it takes to enter a container: a few capabilities, for good.
///
/// # Errors
/// [`Code::Privilege`].
pub fn to_enter() -> Result<(), Finding> {
    keep(TO_ENTER)
}

/// Keeps what it takes to carry out a plan inside, and no other system call. The process must have
/// `PR_SET_NO_NEW_PRIVS` (prctl(2)), or CAP_SYS_ADMIN.
///
/// # Errors
/// [`Code::Privilege`].
pub fn inside() -> Result<(), Finding> {
    keep(INSIDE)?;
    let calls: Vec<_> = CALLS.iter().map(|call| (*call, Verdict::Allow)).collect();
    let denied = Verdict::Fail(libc::EPERM as u16);
    filter(&calls, denied).map_err(|e| cannot("set the filter of system calls", e))
}

/// Drops every capability that is not in `wanted`, for good, and all from the bounding set.
fn keep(wanted: &[Capability]) -> Result<(), Finding> {
    let drop =
        |what: &str, e: caps::errors::CapsError| cannot(what, std::io::Error::other(e.to_string()));
    let held = caps::read(None, CapSet::Permitted).map_err(|e| drop("read capabilities", e))?;
    let kept: HashSet<Capability> = wanted
        .iter()
        .copied()
        .filter(|c| held.contains(c))
        .collect();
    caps::clear(None, CapSet::Ambient).map_err(|e| drop("drop ambient capabilities", e))?;
    // The bounding set says what a program executed later could gain: none is, so nothing. Without
    // CAP_SETPCAP, which rootless callers may lack, it stays as it is; in a user namespace that was
    // joined it is full again.
    if held.contains(&Capability::CAP_SETPCAP) {
        for capability in caps::all() {
            let _ = caps::drop(None, CapSet::Bounding, capability);
        }
    }
    caps::set(None, CapSet::Inheritable, &HashSet::new())
        .map_err(|e| drop("drop inheritable capabilities", e))?;
    caps::set(None, CapSet::Effective, &kept)
        .map_err(|e| drop("drop effective capabilities", e))?;
    caps::set(None, CapSet::Permitted, &kept).map_err(|e| drop("drop permitted capabilities", e))
}

fn cannot(what: &str, e: std::io::Error) -> Finding {
    Finding::new(
        Code::Privilege,
        format!("{what}: {e}"),
        "see the seccomp profile and the capabilities of the runtime",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::process::Command;

    /// In a thread of its own, to which alone all this applies: reading goes on, but no program can
    /// be run, nobody be spoken to, and no capability be used that the work does not need.
    #[test]
    #[allow(
        clippy::disallowed_methods,
        reason = "what is tried here is what the hook never does"
    )]
    fn inside_only_the_work_itself_is_possible() {
        let tried = std::thread::spawn(|| {
            nix::sys::prctl::set_no_new_privs().unwrap();
            inside().unwrap();
            let errno = |e: std::io::Error| e.raw_os_error();
            let executed = Command::new("/bin/true").status().map(drop).map_err(errno);
            let connected = UnixStream::connect("/run/x").map(drop).map_err(errno);
            let opened = std::fs::File::open("/").map(drop).map_err(errno);
            let held = caps::read(None, CapSet::Effective).map_err(|e| e.to_string());
            (executed, connected, opened, held)
        });
        let (executed, connected, opened, held) = tried.join().unwrap();
        assert_eq!(executed, Err(Some(libc::EPERM)));
        assert_eq!(connected, Err(Some(libc::EPERM)));
        assert_eq!(opened, Ok(()));
        // capget(2) is none of the calls.
        assert!(held.is_err(), "{held:?}");
    }
}
