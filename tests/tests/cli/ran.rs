//! One run of the command.

use std::path::Path;
use std::process::{Command, Output};

use oci_gpu_tests::binaries;
use serde_json::Value;

/// What a run printed, and how it exited.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The command, before its arguments; nothing of this process' environment.
pub(crate) fn command() -> Command {
    let mut command = Command::new(binaries::cli().unwrap());
    command.env_clear();
    command
}

pub(crate) fn run(args: &[&str]) -> Ran {
    Ran::of(command().args(args).output().unwrap())
}

/// On the host in that directory.
pub(crate) fn run_on(host: &Path, args: &[&str]) -> Ran {
    let output = command().arg("--host-root").arg(host).args(args).output();
    Ran::of(output.unwrap())
}

impl Ran {
    pub(crate) fn of(output: Output) -> Ran {
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Standard output of a run that did what it should, without a word about anything else.
    pub(crate) fn done(self, what: &str) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{what}");
        self.stdout
    }

    /// [`Ran::done`], as JSON.
    pub(crate) fn json(self, what: &str) -> Value {
        let text = self.done(what);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{what}: {e}: {text}"))
    }

    /// Fails unless the run failed with one line on standard error: the code, and the words. Returns
    /// standard output.
    pub(crate) fn failed(self, code: &str, words: &[&str], what: &str) -> String {
        assert_eq!(self.code, Some(1), "{what}: {self:?}");
        let lines: Vec<&str> = self.stderr.lines().collect();
        assert_eq!(lines.len(), 1, "{what}: {self:?}");
        let begin = format!("oci-gpu: {code}: ");
        assert!(lines[0].starts_with(&begin), "{what}: {}", lines[0]);
        assert_eq!(lines[0].matches("OG0").count(), 1, "{what}: {}", lines[0]);
        for word in words {
            assert!(lines[0].contains(word), "{what}: '{word}' in {}", lines[0]);
        }
        self.stdout
    }
}
