//! What runtimes and containers print.

use std::fmt;
use std::fs;
use std::process::ExitStatus;

use crate::bundle::Bundle;

/// What a runtime and the container in it said.
#[derive(Clone, Debug)]
pub struct Output {
    /// Of `run`: the container's.
    pub status: ExitStatus,
    /// The container's, and runc's own.
    pub stdout: String,
    /// The container's, the runtime's and (under runc) the failed hook's.
    pub stderr: String,
}

impl Output {
    /// Whether the runtime and its container exited with 0.
    pub fn success(&self) -> bool {
        self.status.success()
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, stdout {:?}, stderr {:?}",
            self.status, self.stdout, self.stderr
        )
    }
}

/// What the process of a created container has printed so far: standard output and error.
pub fn created_output(bundle: &Bundle) -> (String, String) {
    let read = |name: &str| fs::read_to_string(bundle.dir.join(name)).unwrap_or_default();
    (read("create.out"), read("create.err"))
}
