//! Findings for system calls that failed.

use std::fmt::Display;
use std::io;

use oci_gpu::finding::{Code, Finding};

/// "verb object: reason", with a remedy where the error number suggests one.
pub(crate) fn failed(code: Code, what: impl Display, error: impl Into<io::Error>) -> Finding {
    let error: io::Error = error.into();
    let (code, remedy) = match error.raw_os_error() {
        Some(libc::ENOSYS) => (
            Code::Kernel,
            "use Linux 5.14 or later, or allow the call in the seccomp profile around the runtime",
        ),
        Some(libc::EPERM | libc::EACCES) if matches!(code, Code::Target | Code::LdCache) => (
            code,
            "see what lies there in the image and its volumes, whose it is, and what attributes it has",
        ),
        Some(libc::EPERM | libc::EACCES) => (
            code,
            "the runtime must run with CAP_SYS_ADMIN over the container",
        ),
        Some(libc::ENOSPC) if code == Code::Mount => (code, "raise fs.mount-max, or free space"),
        Some(libc::ENOSPC) => (code, "free space in the container's file system"),
        Some(libc::EROFS) => (
            code,
            "register the hook as createRuntime, which runs before the root becomes read-only",
        ),
        Some(libc::ESRCH) => (
            code,
            "the container's process is gone: see the runtime's log",
        ),
        Some(libc::EMFILE | libc::ENFILE) => {
            (code, "raise the limit of open files (RLIMIT_NOFILE)")
        }
        _ => (code, ""),
    };
    Finding::new(code, format!("{what}: {error}"), remedy)
}
