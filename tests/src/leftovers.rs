//! What a container must not leave behind: mounts, cgroups, processes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};

/// The mounts of this process's mount namespace at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounts(BTreeSet<String>);

impl Mounts {
    /// What /proc/self/mountinfo says, without the number of each mount.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn now() -> Result<Mounts> {
        Mounts::read("self")
    }

    /// The same of the mount namespace of another process.
    ///
    /// # Errors
    /// As [`Mounts::now`].
    pub fn of_process(pid: u32) -> Result<Mounts> {
        Mounts::read(&pid.to_string())
    }

    fn read(process: &str) -> Result<Mounts> {
        let path = format!("/proc/{process}/mountinfo");
        let text = fs::read_to_string(&path).during(format_args!("read {path}"))?;
        Ok(Mounts(text.lines().map(without_numbers).collect()))
    }

    /// Whether one of them is as `wanted`: a line of mountinfo without its first two numbers.
    pub fn any(&self, wanted: impl Fn(&str) -> bool) -> bool {
        self.0.iter().any(|line| wanted(line))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The mounts that differ in `after`: `+LINE` new, `-LINE` gone.
    pub fn changes_to(&self, after: &Mounts) -> Vec<String> {
        let gone = self.0.difference(&after.0).map(|line| format!("-{line}"));
        gone.chain(after.0.difference(&self.0).map(|line| format!("+{line}")))
            .collect()
    }
}

/// A line of mountinfo (proc_pid_mountinfo(5)) from its third field on: mount and parent numbers
/// change when a mount is made and taken away again.
fn without_numbers(line: &str) -> String {
    line.splitn(3, ' ').last().unwrap_or_default().to_owned()
}

/// The cgroup directories, in all hierarchies mounted here, whose name contains `name`.
pub fn cgroups(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let hierarchies = ["/sys/fs/cgroup"]
        .map(PathBuf::from)
        .into_iter()
        .chain(below("/sys/fs/cgroup"));
    for hierarchy in hierarchies {
        let groups = below(&hierarchy).into_iter();
        found.extend(groups.filter(|path| {
            path.file_name()
                .is_some_and(|group| group.to_string_lossy().contains(name))
        }));
    }
    found
}

/// The processes that have to do with the directory `dir`: it is in their arguments, or they run,
/// work or hold a file below it. Each as `PID: COMMAND LINE`.
pub fn processes(dir: &Path) -> Vec<String> {
    let own = std::process::id().to_string();
    let numbers = below("/proc").into_iter().filter(|path| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()) && name != own)
    });
    let mut found = Vec::new();
    for process in numbers {
        let arguments = fs::read(process.join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        let links = ["exe", "cwd", "root"]
            .map(|name| process.join(name))
            .into_iter();
        let below_dir = |link: &PathBuf| fs::read_link(link).is_ok_and(|to| to.starts_with(dir));
        if arguments.contains(&*dir.to_string_lossy())
            || links
                .chain(below(process.join("fd")))
                .any(|link| below_dir(&link))
        {
            let number = process.file_name().unwrap_or_default().to_string_lossy();
            found.push(format!("{number}: {}", arguments.trim_end()));
        }
    }
    found
}

fn below(dir: impl AsRef<Path>) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_is_found_by_its_arguments_and_by_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        assert!(processes(dir.path()).is_empty());
        let mut here = Command::new("sleep")
            .arg("60")
            .current_dir(dir.path())
            .spawn()
            .unwrap();
        let found = processes(dir.path());
        here.kill().unwrap();
        here.wait().unwrap();
        assert_eq!(found, [format!("{}: sleep 60", here.id())]);
    }

    #[test]
    fn mounts_are_compared_without_their_numbers() {
        let line = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw";
        assert_eq!(
            without_numbers(line),
            "98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw"
        );
        let (before, after) = (
            Mounts(["a".to_owned()].into()),
            Mounts(["b".to_owned()].into()),
        );
        assert_eq!(before.changes_to(&after), ["-a", "+b"]);
        assert_eq!(Mounts::now().unwrap(), Mounts::now().unwrap());
    }
}
