//! Runs a program under a filter that fails some system calls, as an old kernel or an old seccomp
//! profile does: `oci-gpu-deny CALL=ENOSYS,CALL=EPERM... PROGRAM ARGUMENTS`.
#![forbid(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use oci_gpu_sys::seccomp::{Verdict, filter};

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let [_, calls, program, arguments @ ..] = &words[..] else {
        return Err(io::Error::other(
            "usage: oci-gpu-deny CALL=ERRNO,... PROGRAM ARGUMENTS",
        ));
    };
    let calls: io::Result<Vec<_>> = calls.split(',').map(denied).collect();
    filter(&calls?, Verdict::Allow)?;
    Err(Command::new(program).args(arguments).exec())
}

fn denied(word: &str) -> io::Result<(nix::libc::c_long, Verdict)> {
    use nix::libc;
    let unknown = || io::Error::other(format!("unknown call or error: {word}"));
    let (call, errno) = word.split_once('=').ok_or_else(unknown)?;
    let call = match call {
        "openat2" => libc::SYS_openat2,
        "open_tree" => libc::SYS_open_tree,
        "move_mount" => libc::SYS_move_mount,
        "mount_setattr" => libc::SYS_mount_setattr,
        "fsopen" => libc::SYS_fsopen,
        "pidfd_open" => libc::SYS_pidfd_open,
        "close_range" => libc::SYS_close_range,
        "statx" => libc::SYS_statx,
        _ => return Err(unknown()),
    };
    let errno = match errno {
        "ENOSYS" => libc::ENOSYS,
        "EPERM" => libc::EPERM,
        _ => return Err(unknown()),
    };
    Ok((call, Verdict::Fail(errno as u16)))
}
