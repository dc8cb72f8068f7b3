//! seccomp(2) filters over system call numbers.

use std::io;

use crate::check;

/// `AUDIT_ARCH_*` of the programs that this is compiled for (include/uapi/linux/audit.h).
const ARCHITECTURE: u32 = match () {
    () if cfg!(target_arch = "aarch64") => 0xC000_00B7,
    () => 0xC000_003E,
};

/// System calls of x86-64's x32 have this bit; on other architectures no call is so large.
const X32_BIT: u32 = 0x4000_0000;

/// The number that a tracer puts in the place of a call that is not to be carried out; the kernel
/// has no such call (seccomp(2), ptrace(2)).
const SKIPPED: u32 = u32::MAX;

const LOAD_WORD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

/// What a filter says of a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is carried out.
    Allow,
    /// It fails with this error number.
    Fail(u16),
    /// The process dies.
    Kill,
}

impl Verdict {
    fn code(self) -> u32 {
        match self {
            Verdict::Allow => libc::SECCOMP_RET_ALLOW,
            Verdict::Fail(errno) => libc::SECCOMP_RET_ERRNO | u32::from(errno),
            Verdict::Kill => libc::SECCOMP_RET_KILL_PROCESS,
        }
    }
}

/// Filters the system calls of the calling thread, and of what it executes, for good: each number
/// of `calls` has its verdict, others have `otherwise`. Calls of another architecture's numbering
/// kill the process.
///
/// # Errors
/// `EACCES` without no_new_privs and without CAP_SYS_ADMIN, `EINVAL` before Linux 3.5 (4.14 for
/// [`Verdict::Kill`]) or for more calls than a filter can hold.
pub fn filter(calls: &[(libc::c_long, Verdict)], otherwise: Verdict) -> io::Result<()> {
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = vec![
        step(LOAD_WORD, 0, 0, ARCH),
        step(JUMP_EQUAL, 1, 0, ARCHITECTURE),
        step(RETURN, 0, 0, Verdict::Kill.code()),
        step(LOAD_WORD, 0, 0, NUMBER),
        step(JUMP_EQUAL, 2, 0, SKIPPED),
        step(JUMP_GREATER_OR_EQUAL, 0, 1, X32_BIT),
        step(RETURN, 0, 0, Verdict::Kill.code()),
    ];
    for (call, verdict) in calls {
        program.push(step(JUMP_EQUAL, 0, 1, *call as u32));
        program.push(step(RETURN, 0, 0, verdict.code()));
    }
    program.push(step(RETURN, 0, 0, otherwise.code()));
    let Ok(len) = u16::try_from(program.len()) else {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    };
    let program = libc::sock_fprog {
        len,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: `program` names an array of that many instructions, which lives through the call.
    check(i64::from(unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    }))?;
    Ok(())
}
