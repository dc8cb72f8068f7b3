//! One run of the tool.

use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use oci_gpu_tests::binaries;

pub(crate) const NAME: &str = "nvidia-container-cli";

/// What a run printed, and how it exited.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The program under another name, with nothing of this process' environment.
pub(crate) fn named(name: &str) -> Command {
    let mut command = Command::new(binaries::cli().unwrap());
    command.arg0(name).env_clear();
    command
}

pub(crate) fn run(args: &[&str]) -> Ran {
    Ran::of(named(NAME).args(args).output().unwrap())
}

/// On the host in that directory.
pub(crate) fn run_on(host: &Path, args: &[&str]) -> Ran {
    let mut command = named(NAME);
    Ran::of(
        command
            .arg("--host-root")
            .arg(host)
            .args(args)
            .output()
            .unwrap(),
    )
}

/// A link of the tool's name in `directory`, as an administrator makes it.
pub(crate) fn link(directory: &Path) -> PathBuf {
    let link = directory.join(NAME);
    if !link.exists() {
        symlink(binaries::cli().unwrap(), &link).unwrap();
    }
    link
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

    /// Fails unless the run exited with 1 and printed nothing but one line on standard error: the
    /// stage, these words, and the code at its end.
    pub(crate) fn failed(self, stage: &str, code: &str, words: &[&str], what: &str) {
        let Ran {
            code: status,
            stdout,
            stderr,
        } = self;
        assert_eq!((status, stdout.as_str()), (Some(1), ""), "{what}: {stderr}");
        let line = stderr.strip_suffix('\n').unwrap_or_default();
        assert!(!line.contains('\n'), "{what}: {stderr}");
        let begin = format!("{NAME}: {stage} error: ");
        assert!(line.starts_with(&begin), "{what}: {line}");
        assert!(line.ends_with(&format!(" [{code}]")), "{what}: {line}");
        for word in words {
            assert!(line.contains(word), "{what}: '{word}' in {line}");
        }
    }
}
