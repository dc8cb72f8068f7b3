//! Where the hook says what it has to say: stderr, which runc shows to the user, and a file, for
//! crun throws a hook's stderr away.

use std::fmt::Display;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use oci_gpu::finding::{Finding, one_line};
use oci_gpu::host::Host;
use oci_gpu::plan::Skipped;

/// The log file where none is configured.
const DEFAULT: &str = "/var/log/oci-gpu.log";

/// The log. Its directory is opened before the container is entered; its file, when there is
/// something to write.
#[derive(Default)]
pub(crate) struct Log {
    container: String,
    file: Option<(OwnedFd, PathBuf)>,
}

impl Log {
    /// From now on messages are about `container`, and go to the file as well.
    #[allow(
        clippy::disallowed_methods,
        reason = "the host's directory, before the container is entered"
    )]
    pub(crate) fn open(&mut self, container: &str, host: &Host, path: Option<&Path>) {
        self.container = container.to_owned();
        let path = host.on_disk(path.unwrap_or(Path::new(DEFAULT)));
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return;
        };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        if let Ok(directory) = nix::fcntl::open(parent, flags, Mode::empty()) {
            self.file = Some((directory, PathBuf::from(name)));
        }
    }

    /// The cause of a failure.
    pub(crate) fn failure(&self, finding: &Finding) {
        to_stderr(finding);
        self.to_file(finding);
    }

    /// What was ignored of a request.
    pub(crate) fn note(&self, finding: &Finding) {
        self.to_file(finding);
    }

    /// What was done to the host.
    pub(crate) fn done(&self, what: &str) {
        self.to_file(one_line(what));
    }

    /// What was left out.
    pub(crate) fn notes(&self, skipped: &[Skipped]) {
        for s in skipped {
            self.to_file(format_args!(
                "left out {}: {}",
                one_line(&s.what),
                one_line(&s.why)
            ));
        }
    }

    /// A line in the file. That the file cannot be written is no reason to fail a container.
    fn to_file(&self, message: impl Display) {
        let Some((directory, name)) = &self.file else {
            return;
        };
        let flags = OFlag::O_WRONLY
            | OFlag::O_CREAT
            | OFlag::O_APPEND
            | OFlag::O_NOFOLLOW
            | OFlag::O_CLOEXEC
            | OFlag::O_NONBLOCK;
        if let Ok(file) = openat(directory, name, flags, Mode::from_bits_truncate(0o600)) {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            let line = format!(
                "{}.{:03} {} {message}\n",
                now.as_secs(),
                now.subsec_millis(),
                one_line(&self.container)
            );
            let _ = File::from(file).write_all(line.as_bytes());
        }
    }
}

/// A line on stderr, which may be closed.
pub(crate) fn to_stderr(finding: &Finding) {
    let line = format!("oci-gpu-hook: {finding}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}
