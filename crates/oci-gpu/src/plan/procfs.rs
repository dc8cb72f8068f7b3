//! The container's view of /proc/driver/nvidia: the granted GPUs and nothing else.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::{BindKind, FileEntry, Operation, Plan};
use crate::container::{ContainerFacts, ProcDriver};
use crate::discover::PROC_DRIVER;
use crate::inventory::{Inventory, Platform};
use crate::select::Grant;

/// A read-only file system in memory over /proc/driver/nvidia with copies of params, version and
/// registry, and the kernel's own directories of the granted GPUs and MIG instances mounted in it.
pub(super) fn plan(plan: &mut Plan, inventory: &Inventory, grant: &Grant, facts: &ContainerFacts) {
    if grant.platform != Platform::Native {
        return;
    }
    if grant.management {
        let why = "who manages GPUs sees them all, and may make nodes for new ones";
        return plan.skip(PROC_DRIVER, why);
    }
    let mut entries = Entries::default();
    for file in &inventory.driver.proc_files {
        let content = match file.name.as_str() {
            "params" => without_node_changes(&file.content),
            _ => file.content.clone(),
        };
        entries.file(Path::new(&file.name), content.into_bytes());
    }
    let mut sources: Vec<(PathBuf, String)> = Vec::new();
    for gpu in &grant.gpus {
        sources.push((
            gpu.proc_dir.clone(),
            format!("GPU {} ({})", gpu.index, gpu.model),
        ));
        entries.directory(below(&gpu.proc_dir));
    }
    if !grant.mig_rights.is_empty() {
        // Who configures or watches MIG works with all instances, those to come included.
        let all = Path::new(PROC_DRIVER).join("capabilities");
        entries.directory(below(&all));
        sources.push((all, "MIG configuration or monitoring".to_owned()));
    } else {
        for (gpu, m) in &grant.mig {
            for access in [&m.gi_access, &m.ci_access] {
                let path = &access.proc_file;
                // Compute instances share their GPU instance's.
                if !entries.file(below(path), Vec::new()) {
                    continue;
                }
                let why = format!("MIG instance {}/{} of GPU {gpu}", m.gi, m.ci);
                sources.push((path.clone(), why));
            }
        }
    }
    // Nobody can make a directory in procfs: without the kernel module's, the view lies one level
    // higher.
    let target = Path::new(match facts.proc_driver {
        ProcDriver::Nvidia => PROC_DRIVER,
        ProcDriver::Above => "/proc/driver",
        ProcDriver::Absent => return plan.skip(PROC_DRIVER, "the container mounts no procfs"),
    });
    let prefix = Path::new(PROC_DRIVER)
        .strip_prefix(target)
        .unwrap_or(Path::new(""));
    let files = Operation::Files {
        target: target.to_path_buf(),
        entries: entries.under(prefix),
    };
    let why = "a container sees its own GPUs only; ModifyDeviceFiles is 0, so that the driver's \
               programs make no nodes in it";
    plan.add(files, true, why.to_owned());
    for (source, why) in sources {
        let target = source.clone();
        plan.add(
            Operation::Bind {
                kind: BindKind::Proc,
                source,
                target,
            },
            true,
            why,
        );
    }
}

/// `path` as it is named below /proc/driver/nvidia.
fn below(path: &Path) -> &Path {
    path.strip_prefix(PROC_DRIVER).unwrap_or(path)
}

/// params with `ModifyDeviceFiles: 0`: with 1, libcuda and nvidia-smi make nodes for every GPU of
/// the host when they run as root.
fn without_node_changes(params: &str) -> String {
    let mut text = String::with_capacity(params.len());
    for line in params.lines() {
        text.push_str(match line.starts_with("ModifyDeviceFiles:") {
            true => "ModifyDeviceFiles: 0",
            false => line,
        });
        text.push('\n');
    }
    text
}

/// Entries of the file system, parents before children, each once.
#[derive(Default)]
struct Entries {
    all: Vec<FileEntry>,
    known: HashSet<PathBuf>,
}

impl Entries {
    fn directory(&mut self, path: &Path) {
        if path.as_os_str().is_empty() || !self.known.insert(path.to_path_buf()) {
            return;
        }
        if let Some(parent) = path.parent() {
            self.directory(parent);
        }
        self.all.push(FileEntry {
            path: path.to_path_buf(),
            content: None,
            mode: 0o555,
        });
    }

    /// Whether it is new.
    fn file(&mut self, path: &Path, content: Vec<u8>) -> bool {
        if !self.known.insert(path.to_path_buf()) {
            return false;
        }
        if let Some(parent) = path.parent() {
            self.directory(parent);
        }
        let path = path.to_path_buf();
        self.all.push(FileEntry {
            path,
            content: Some(content),
            mode: 0o444,
        });
        true
    }

    fn under(self, prefix: &Path) -> Vec<FileEntry> {
        let mut all = Entries::default();
        all.directory(prefix);
        all.all.extend(self.all.into_iter().map(|e| FileEntry {
            path: prefix.join(&e.path),
            ..e
        }));
        all.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn params_lose_the_right_to_make_nodes_only() {
        let params = "DeviceFileMode: 438\nModifyDeviceFiles: 1\nRegistryDwords: \"\"\n";
        let text = without_node_changes(params);
        assert_eq!(
            text,
            "DeviceFileMode: 438\nModifyDeviceFiles: 0\nRegistryDwords: \"\"\n"
        );
    }

    #[test]
    fn parents_come_first_and_once() {
        let mut entries = Entries::default();
        entries.file(Path::new("capabilities/gpu0/mig/gi1/access"), Vec::new());
        entries.directory(Path::new("capabilities/gpu0"));
        let under = entries.under(Path::new("nvidia"));
        let names: Vec<_> = under.iter().map(|e| e.path.to_str().unwrap()).collect();
        assert_eq!(names[0], "nvidia");
        assert_eq!(names[1], "nvidia/capabilities");
        assert_eq!(
            names.last(),
            Some(&"nvidia/capabilities/gpu0/mig/gi1/access")
        );
        assert_eq!(names.len(), 6);
    }
}
