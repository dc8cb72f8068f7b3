//! The hook under strace(1): what it called, and what it does when a call fails or a signal comes.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::error::{Context, Result, run};
use crate::gpu::GpuHost;
use crate::scratch::Scratch;

/// A system call as strace writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `openat2`.
    pub name: String,
    /// The whole line, process number apart.
    pub line: String,
    /// How many calls of that name came before it in its process, and one.
    pub nth: usize,
}

/// What strace wrote, calls only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// In order.
    pub calls: Vec<Call>,
}

impl Trace {
    /// Reads what `strace -o FILE` wrote; with -f each line begins with a process number.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn read(path: &Path) -> Result<Trace> {
        let bytes = fs::read(path).during(format_args!("read {}", path.display()))?;
        Ok(Trace::parse(&String::from_utf8_lossy(&bytes)))
    }

    fn parse(text: &str) -> Trace {
        let mut calls: Vec<Call> = Vec::new();
        let mut counts: HashMap<String, usize> = HashMap::new();
        for line in text.lines() {
            let line = line.trim_start_matches(|c: char| c.is_ascii_digit());
            let line = line.trim_start();
            let Some((name, _)) = line.split_once('(') else {
                continue;
            };
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(is_name) {
                continue;
            }
            let nth = counts.entry(name.to_owned()).or_default();
            *nth += 1;
            calls.push(Call {
                name: name.to_owned(),
                line: line.to_owned(),
                nth: *nth,
            });
        }
        Trace { calls }
    }

    /// The calls from the first one that `begins` on.
    pub fn from(&self, begins: impl Fn(&Call) -> bool) -> &[Call] {
        let at = self.calls.iter().position(begins);
        at.and_then(|at| self.calls.get(at..)).unwrap_or_default()
    }

    /// The calls of the hook's own code: the language's run time comes before.
    pub fn of_hook(&self) -> &[Call] {
        self.from(|c| c.name == "close_range")
    }

    /// The calls once the container was entered.
    pub fn inside(&self) -> &[Call] {
        self.from(|c| c.name == "setns")
            .get(1..)
            .unwrap_or_default()
    }
}

/// Runs the hook by hand under strace with `options`, and reads what that wrote to `file`.
///
/// # Errors
/// Where it cannot be started, or wrote nothing.
pub fn traced(
    host: &GpuHost,
    file: &Path,
    options: &[&str],
    arguments: &[&str],
    state: &[u8],
) -> Result<(Output, Trace)> {
    let path = file.display().to_string();
    let mut before = vec!["strace", "-s", "256", "-o", &path];
    before.extend(options);
    let output = host.call_by(&before, arguments, state)?;
    Ok((output, Trace::read(file)?))
}

/// How many system calls of `program DIRECTORY ARGUMENTS` concern `directory` or what is below it.
///
/// # Errors
/// Where it cannot be traced, or fails.
pub fn calls_below(directory: &Path, program: &Path, arguments: &[&str]) -> Result<usize> {
    let scratch = Scratch::new()?;
    let file = scratch.path().join("trace");
    // -y: descriptors are written with their paths.
    let mut command = Command::new("strace");
    command.args(["-y", "-s", "4096", "-o"]).arg(&file);
    run(command.arg(program).arg(directory).args(arguments))?;
    let below = directory.display().to_string();
    let trace = Trace::read(&file)?;
    let concerns = |c: &&Call| c.name != "execve" && c.line.contains(&below);
    Ok(trace.calls.iter().filter(concerns).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_from_signals_and_exits() {
        let text = "12 openat2(3, \"a\", {flags=O_PATH}, 24) = 4\n\
                    12 --- SIGTERM {si_signo=SIGTERM} ---\n\
                    12 close(4)                          = 0\n\
                    +++ exited with 0 +++\n\
                    openat2(3, \"b\", {flags=O_PATH}, 24) = -1 EIO (INJECTED)\n";
        let trace = Trace::parse(text);
        let names: Vec<_> = trace
            .calls
            .iter()
            .map(|c| (c.name.as_str(), c.nth))
            .collect();
        assert_eq!(names, [("openat2", 1), ("close", 1), ("openat2", 2)]);
        assert_eq!(trace.from(|c| c.name == "close").len(), 2);
    }
}
