//! Errors of the test support: one sentence for a person who reads a failed test.

use std::fmt::{self, Display};
use std::process::{Command, Output};

/// What went wrong, on what, and what to do about it.
pub struct Error(String);

/// The result of everything here that can fail.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error that reads `message`.
    pub fn new(message: impl Into<String>) -> Error {
        Error(message.into())
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The same text as [`Display`]: `unwrap` in a test shows it.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Says what was being done when something failed.
pub trait Context<T> {
    /// Puts `what` (verb and object) before the cause.
    ///
    /// # Errors
    /// The error of `self`, with `what` before it.
    fn during(self, what: impl Display) -> Result<T>;
}

impl<T, E: Display> Context<T> for std::result::Result<T, E> {
    fn during(self, what: impl Display) -> Result<T> {
        self.map_err(|cause| Error(format!("{what}: {cause}")))
    }
}

/// Runs `command` to its end and returns what it printed.
///
/// # Errors
/// Where it cannot be started or does not exit with 0; the message holds its standard error.
pub fn run(command: &mut Command) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().during(format_args!("run {name}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(Error(format!(
        "{command:?}: {}: {}",
        output.status,
        stderr.trim_end()
    )))
}
