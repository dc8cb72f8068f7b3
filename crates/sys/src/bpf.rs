//! bpf(2), as far as the device programs of control groups need it.
//!
//! Structures and numbers: `include/uapi/linux/bpf.h`. The kernel accepts shorter attributes than
//! it knows, so each call passes the members that it uses and no more.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use crate::{check, owned};

const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
const PROG_DETACH: libc::c_long = 9;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const PROG_QUERY: libc::c_long = 16;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_TYPE_CGROUP_DEVICE: u32 = 6;

/// Most programs that are read from one control group; the kernel's own limit.
const MAX_PROGRAMS: usize = 64;

/// Attach flag: programs of descendants and ancestors all run (`BPF_F_ALLOW_MULTI`).
pub const ALLOW_MULTI: u32 = 2;
const REPLACE: u32 = 4;

#[repr(C)]
#[derive(Default)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    pad: u32,
}

#[repr(C)]
struct GetInfo {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The beginning of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Default)]
struct ProgInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_prog_len: u32,
    xlated_prog_len: u32,
    jited_prog_insns: u64,
    xlated_prog_insns: u64,
}

#[repr(C)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
}

#[repr(C)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

fn bpf<T>(command: libc::c_long, attribute: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attribute` is a plain structure that lives through the call, its size is passed, and
    // every address in it is of a buffer that the caller holds, with its length beside it.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, attribute as *mut T, size_of::<T>()) })
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

/// The device programs attached to the control group at `cgroup` itself: their identifiers in the
/// order in which they run, and the flags that they were attached with (BPF_PROG_QUERY).
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN in the initial user namespace, `EBADF` where `cgroup` is no
/// directory of a cgroup2 file system, `EINVAL` before Linux 4.15.
pub fn device_programs(cgroup: BorrowedFd<'_>) -> io::Result<(Vec<u32>, u32)> {
    let mut ids = vec![0_u32; MAX_PROGRAMS];
    let mut query = Query {
        target_fd: raw(cgroup),
        attach_type: ATTACH_TYPE_CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: MAX_PROGRAMS as u32,
        ..Query::default()
    };
    bpf(PROG_QUERY, &mut query)?;
    ids.truncate(query.prog_cnt as usize);
    Ok((ids, query.attach_flags))
}

/// The program of that identifier (BPF_PROG_GET_FD_BY_ID).
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN, `ENOENT` where it is gone.
pub fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    // prog_id, next_id, open_flags.
    bpf(PROG_GET_FD_BY_ID, &mut [id, 0, 0]).map(owned)
}

/// The instructions of a program as the verifier left them, a word each (BPF_OBJ_GET_INFO_BY_FD).
/// Empty where the kernel hides them (`bpf_jit_harden` 2 with a blinded program).
///
/// # Errors
/// `EPERM` without CAP_PERFMON or CAP_SYS_ADMIN.
pub fn instructions(program: BorrowedFd<'_>) -> io::Result<Vec<u64>> {
    let mut info = ProgInfo::default();
    get_info(program, &mut info)?;
    let mut words = vec![0_u64; info.xlated_prog_len as usize / size_of::<u64>()];
    if words.is_empty() {
        return Ok(words);
    }
    let mut info = ProgInfo {
        xlated_prog_len: info.xlated_prog_len,
        xlated_prog_insns: words.as_mut_ptr() as u64,
        ..ProgInfo::default()
    };
    get_info(program, &mut info)?;
    if info.xlated_prog_insns == 0 {
        words.clear();
    }
    Ok(words)
}

fn get_info(program: BorrowedFd<'_>, info: &mut ProgInfo) -> io::Result<()> {
    let mut get = GetInfo {
        bpf_fd: raw(program),
        info_len: size_of::<ProgInfo>() as u32,
        info: &raw mut *info as u64,
    };
    bpf(OBJ_GET_INFO_BY_FD, &mut get).map(|_| ())
}

/// Loads a device program (BPF_PROG_LOAD). `log` receives the verifier's words.
///
/// # Errors
/// `EINVAL` and `EACCES` where the verifier refuses it, `EPERM` without CAP_BPF and CAP_NET_ADMIN,
/// or where locked memory is at its limit (before Linux 5.11), `E2BIG` for too many instructions.
pub fn load_device_program(
    instructions: &[u64],
    license: &CStr,
    log: &mut [u8],
) -> io::Result<OwnedFd> {
    let mut load = Load {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: instructions.len() as u32,
        insns: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: u32::from(!log.is_empty()),
        log_size: log.len() as u32,
        log_buf: if log.is_empty() {
            0
        } else {
            log.as_mut_ptr() as u64
        },
    };
    bpf(PROG_LOAD, &mut load).map(owned)
}

/// Attaches a device program to a control group, in `old`'s place if there is one
/// (BPF_PROG_ATTACH, `BPF_F_REPLACE`). The exchange is atomic: there is no moment without a filter.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN, or where a group above allows no programs below; `ENOENT` where
/// `old` is not attached; `EINVAL` before Linux 5.6 with `old`.
pub fn attach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    old: Option<BorrowedFd<'_>>,
    flags: u32,
) -> io::Result<()> {
    let mut attach = Attach {
        target_fd: raw(cgroup),
        attach_bpf_fd: raw(program),
        attach_type: ATTACH_TYPE_CGROUP_DEVICE,
        attach_flags: flags | if old.is_some() { REPLACE } else { 0 },
        replace_bpf_fd: old.map_or(0, raw),
    };
    bpf(PROG_ATTACH, &mut attach).map(|_| ())
}

/// Takes a device program off a control group (BPF_PROG_DETACH).
///
/// # Errors
/// `ENOENT` where it is not attached, `EPERM` without CAP_NET_ADMIN.
pub fn detach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attach = Attach {
        target_fd: raw(cgroup),
        attach_bpf_fd: raw(program),
        attach_type: ATTACH_TYPE_CGROUP_DEVICE,
        attach_flags: 0,
        replace_bpf_fd: 0,
    };
    bpf(PROG_DETACH, &mut attach).map(|_| ())
}
