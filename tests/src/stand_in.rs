//! A container as a hook finds it, without a runtime: a process in a mount namespace of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::error::{Context, Error, Result};

/// A process that stands for a container's first one. It ends when this is dropped.
#[derive(Debug)]
pub struct StandIn {
    /// Its number.
    pub pid: u32,
    child: Child,
}

impl StandIn {
    /// Starts a process in a private mount namespace, in which `script` is run by sh(1) first.
    ///
    /// # Errors
    /// Where the script fails.
    pub fn start(script: &str) -> Result<StandIn> {
        let script = format!("{script} && echo ready && read end");
        let mut child = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .during("start unshare")?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).during("read")?;
        }
        let pid = child.id();
        let made = StandIn { pid, child };
        match line.as_str() {
            "ready\n" => Ok(made),
            _ => Err(Error::new(format!(
                "a container's stand-in failed: {script}"
            ))),
        }
    }

    /// The state that a runtime passes to a hook.
    pub fn state(&self, bundle: &Path) -> String {
        state(self.pid, bundle)
    }

    /// The mounts in its namespace, by their numbers: where each is.
    ///
    /// # Errors
    /// Where the process is gone.
    pub fn mounts(&self) -> Result<BTreeMap<u64, PathBuf>> {
        let path = format!("/proc/{}/mountinfo", self.pid);
        let text = fs::read_to_string(&path).during(format_args!("read {path}"))?;
        // Fields 1 and 5 of proc_pid_mountinfo(5).
        let mount = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            Some((words.first()?.parse().ok()?, PathBuf::from(words.get(4)?)))
        };
        Ok(text.lines().filter_map(mount).collect())
    }

    /// Kills it (SIGKILL) and waits until its number is free.
    pub fn kill(mut self) {
        let _ = self.child.kill();
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The state that a runtime passes to a hook for the process `pid`.
pub fn state(pid: u32, bundle: &Path) -> String {
    format!(
        r#"{{"ociVersion":"1.0.2","id":"stand-in","status":"creating","pid":{pid},"bundle":"{}"}}"#,
        bundle.display()
    )
}
