//! Tegra (Jetson): the GPU is part of the processor, and L4T's lists name what a container gets.
//!
//! There is no version to match and no node with a number that the kernel would name: the lists of
//! /etc/nvidia-container-runtime/host-files-for-container.d say which files belong to the release
//! that is installed. A line that matches nothing is ignored by NVIDIA's tools; a release that is
//! installed by half is then seen in the container only. Here each list says how many there are.

pub(crate) mod csv;

use std::path::{Component, Path, PathBuf};

use super::Scope;
use super::nodes::Nodes;
use crate::capability::CapabilitySet;
use crate::elf;
use crate::finding::{Code, Finding};
use crate::host::{Host, Root};
use crate::inventory::{
    Candidate, ControlNode, ControlRole, DeviceFileParams, Driver, DriverFile, FileKind, HostLink,
    Inventory, Library, Platform, StoredState,
};
use csv::{Kind, Line};

const RELEASE: &str = "/etc/nv_tegra_release";

/// Where the lists are (`nvidia-container-runtime.modes.csv.mount-spec-path`).
const LISTS: &str = "/etc/nvidia-container-runtime/host-files-for-container.d";

/// The lists of the driver itself; others (CUDA, cuDNN and TensorRT of old releases) are for
/// containers that ask for them.
const BASE: [&str; 3] = ["devices.csv", "drivers.csv", "l4t.csv"];

/// Largest list that is read, in bytes.
const LIST_LIMIT: u64 = 1 << 20;

/// Most files that one line may match.
const MATCH_LIMIT: usize = 4096;

/// How many lines that match nothing are named.
const NAMED: usize = 5;

/// The newest CUDA version of L4T releases: major, minor from which on (JetPack's release notes).
const CUDA: &[(u32, u32, (u32, u32))] = &[
    (38, 0, (13, 0)),
    (36, 4, (12, 6)),
    (36, 0, (12, 2)),
    (35, 0, (11, 4)),
    (34, 0, (11, 4)),
    (32, 0, (10, 2)),
];

/// Whether the host is a Tegra one, with lists.
pub(super) fn is_here(host: &Host) -> bool {
    let files = host.files();
    let text = |path: &str| files.read_text(Path::new(path)).unwrap_or_default();
    // Most hosts lack the lists, so that is one look-up.
    files.exists(Path::new(LISTS))
        && (files.exists(Path::new(RELEASE))
            || text("/sys/devices/soc0/family")
                .to_ascii_lowercase()
                .starts_with("tegra")
            || text("/proc/device-tree/compatible").contains("nvidia,tegra"))
}

/// What the lists name, and what they name in vain.
#[derive(Default)]
struct Listed {
    control: Vec<ControlNode>,
    libraries: Vec<Library>,
    files: Vec<DriverFile>,
    links: Vec<HostLink>,
    candidates: Vec<Candidate>,
    findings: Vec<Finding>,
}

pub(super) fn discover(host: &Host, scope: &Scope) -> Result<Inventory, Finding> {
    let nodes = Nodes::of(host)?;
    let mut listed = Listed::default();
    let names = host.files().list(Path::new(LISTS)).unwrap_or_default();
    for name in names.iter().filter(|n| n.ends_with(".csv")) {
        if scope.every_list || BASE.contains(&name.as_str()) {
            listed.list(&nodes, name)?;
        }
    }
    if listed.control.is_empty() && listed.libraries.is_empty() {
        let why = match listed.findings.first() {
            Some(first) => first.message.clone(),
            None => format!("{LISTS} has none of {}", BASE.join(", ")),
        };
        return Err(Finding::new(
            Code::Tegra,
            format!("nothing that L4T's lists name is on this host: {why}"),
            "install the packages nvidia-l4t-init and nvidia-l4t-core of the release that runs",
        ));
    }
    // /etc/nv_tegra_release is what programs in the container tell the release by.
    if let Ok(path) = host.files().resolve(Path::new(RELEASE)) {
        let target = PathBuf::from(RELEASE);
        let all = CapabilitySet::all();
        listed
            .files
            .push(DriverFile::at(FileKind::Config, path, target, all));
    }
    listed.libraries.sort_by(|a, b| a.path.cmp(&b.path));
    let release = host.files().read_text(Path::new(RELEASE));
    let version = release.ok().and_then(|text| release_of(&text));
    Ok(Inventory {
        platform: Platform::Tegra,
        stored: StoredState::NotRead,
        driver: Driver {
            cuda: version.as_deref().and_then(cuda_of),
            version: version.unwrap_or_else(|| "unknown".to_owned()),
            version_source: PathBuf::from(RELEASE),
            flavour: None,
            root: PathBuf::from("/"),
            candidates: listed.candidates,
            proc_files: Vec::new(),
            device_files: DeviceFileParams::default(),
        },
        gpus: Vec::new(),
        control: listed.control,
        mig_config: None,
        mig_monitor: None,
        imex_channels: Vec::new(),
        peripherals: Vec::new(),
        libraries: listed.libraries,
        files: listed.files,
        links: listed.links,
        findings: listed.findings,
    })
}

impl Listed {
    fn list(&mut self, nodes: &Nodes, name: &str) -> Result<(), Finding> {
        let path = Path::new(LISTS).join(name);
        let text = nodes.host.files().read(&path, LIST_LIMIT).map_err(|e| {
            Finding::new(
                Code::Tegra,
                format!("the list {}: {e}", path.display()),
                "reinstall the package nvidia-l4t-init",
            )
        })?;
        let list = csv::parse(&String::from_utf8_lossy(&text));
        let vain: Vec<&Line> = list
            .lines
            .iter()
            .filter(|line| !self.line(nodes, line))
            .collect();
        if !vain.is_empty() {
            let named = vain.iter().take(NAMED);
            let named: Vec<String> = named
                .map(|l| format!("line {} ({})", l.number, l.pattern))
                .collect();
            let more = match vain.len() > NAMED {
                true => ", ...",
                false => "",
            };
            self.findings.push(Finding::new(
                Code::Tegra,
                format!(
                    "{}: {} of {} lines match nothing on this host: {}{more}",
                    path.display(),
                    vain.len(),
                    list.lines.len(),
                    named.join(", ")
                ),
                "install the packages of L4T that are missing, or remove the lines",
            ));
        }
        if !list.bad.is_empty() {
            let numbers: Vec<String> = list.bad.iter().take(NAMED).map(usize::to_string).collect();
            self.findings.push(Finding::new(
                Code::Tegra,
                format!(
                    "{}: {} lines are not read, the first of them {}: they are not 'dev|lib|sym|dir, PATH'",
                    path.display(),
                    list.bad.len(),
                    numbers.join(", ")
                ),
                "correct or remove them",
            ));
        }
        Ok(())
    }

    /// Takes what `line` names; whether there is any of it.
    fn line(&mut self, nodes: &Nodes, line: &Line) -> bool {
        let root = nodes.host.files();
        let pattern = match line.kind {
            // Nodes lie where the host has its nodes.
            Kind::Device => nodes.on_host(&line.pattern),
            _ => PathBuf::from(&line.pattern),
        };
        let mut found = false;
        for path in matches(root, &pattern) {
            found |= match line.kind {
                Kind::Device => self.device(nodes, &path),
                Kind::Library => self.library(root, &path),
                Kind::Link => self.link(root, &path),
                Kind::Directory => self.directory(root, &path),
            };
        }
        found
    }

    fn device(&mut self, nodes: &Nodes, path: &Path) -> bool {
        let Some(node) = nodes.in_container(path).and_then(|p| nodes.found(&p)) else {
            return false;
        };
        if !self.control.iter().any(|c| c.node.path == node.path) {
            self.control.push(ControlNode {
                role: ControlRole::Platform,
                node,
            });
        }
        true
    }

    fn library(&mut self, root: &Root, path: &Path) -> bool {
        let Ok(real) = root.resolve(path) else {
            return false;
        };
        if !root.metadata(&real).is_ok_and(|m| m.is_file()) {
            return false;
        }
        let known = |l: &Library| l.path == real;
        if self.libraries.iter().any(known) || self.files.iter().any(|f| f.path == real) {
            return true;
        }
        let facts = root.open_resolved(&real).ok().map(|f| elf::read(&f));
        let name = real.file_name().unwrap_or_default().to_string_lossy();
        match facts {
            Some(Ok(facts)) if name.contains(".so") => self.libraries.push(Library {
                stem: name.split(".so").next().unwrap_or_default().to_owned(),
                path: real.clone(),
                soname: facts.soname,
                class: facts.class,
                machine: facts.machine,
                capabilities: CapabilitySet::all(),
                evidence: "L4T's lists".to_owned(),
                foreign: None,
            }),
            // Configuration and programs stand beside libraries in these lists.
            _ => self.files.push(DriverFile::at(
                FileKind::Module,
                real.clone(),
                real.clone(),
                CapabilitySet::all(),
            )),
        }
        true
    }

    /// Every link from `path` on, as the host has it.
    fn link(&mut self, root: &Root, path: &Path) -> bool {
        let Ok(chain) = root.link_chain(path) else {
            self.candidates.push(Candidate {
                path: path.to_path_buf(),
                evidence: "L4T's lists",
                accepted: false,
                why: "it is a link that leads nowhere".to_owned(),
            });
            return false;
        };
        let mut found = false;
        for link in &chain {
            let Ok(points_to) = root.read_link(link) else {
                continue;
            };
            found = true;
            let link = HostLink {
                path: link.clone(),
                points_to,
            };
            if !self.links.contains(&link) {
                self.links.push(link);
            }
        }
        found
    }

    fn directory(&mut self, root: &Root, path: &Path) -> bool {
        let Ok(real) = root.resolve(path) else {
            return false;
        };
        if !root.metadata(&real).is_ok_and(|m| m.is_dir()) {
            return false;
        }
        if !self.files.iter().any(|f| f.path == real) {
            let all = CapabilitySet::all();
            let directory = DriverFile::at(FileKind::Tree, real.clone(), real, all);
            self.files.push(directory);
        }
        true
    }
}

/// The paths that fit `pattern`, in order, up to the limit. Directories with a wildcard are listed,
/// others are not even looked at.
fn matches(root: &Root, pattern: &Path) -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::from("/")];
    for component in pattern.components() {
        let Component::Normal(part) = component else {
            continue;
        };
        let part = part.to_string_lossy();
        if !part.contains(['*', '?', '[']) {
            paths.iter_mut().for_each(|p| p.push(part.as_ref()));
            continue;
        }
        let mut next = Vec::new();
        for path in paths {
            let names = root.list(&path).unwrap_or_default();
            let fitting = names.iter().filter(|n| csv::fits(&part, n));
            next.extend(fitting.map(|n| path.join(n)));
            next.truncate(MATCH_LIMIT);
        }
        paths = next;
    }
    paths
}

/// "36.4.3" of "# R36 (release), REVISION: 4.3, GCID: ...".
fn release_of(text: &str) -> Option<String> {
    let rest = text.trim_start_matches(['#', ' ']).strip_prefix('R')?;
    let major: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let (_, revision) = rest.split_once("REVISION:")?;
    let revision = revision.split(',').next()?.trim();
    let plain = |c: char| c.is_ascii_digit() || c == '.';
    (!major.is_empty() && !revision.is_empty() && revision.chars().all(plain))
        .then(|| format!("{major}.{revision}"))
}

fn cuda_of(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split('.').map(|p| p.parse::<u32>().ok());
    let (major, minor) = (parts.next()??, parts.next()??);
    let mut rows = CUDA.iter();
    let row = rows.find(|(r, from, _)| *r == major && minor >= *from);
    row.map(|(_, _, cuda)| *cuda)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_and_their_cuda() {
        let rows = [
            (
                "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64",
                Some("36.4.3"),
                Some((12, 6)),
            ),
            (
                "# R36 (release), REVISION: 3.0, x",
                Some("36.3.0"),
                Some((12, 2)),
            ),
            (
                "# R35 (release), REVISION: 4.1, x",
                Some("35.4.1"),
                Some((11, 4)),
            ),
            (
                "# R32 (release), REVISION: 7.1, x",
                Some("32.7.1"),
                Some((10, 2)),
            ),
            ("# R99 (release), REVISION: 1.0, x", Some("99.1.0"), None),
            ("# R36 (release)", None, None),
            ("garbage", None, None),
            ("# R36 REVISION: x,", None, None),
        ];
        for (text, release, cuda) in rows {
            let found = release_of(text);
            assert_eq!(found.as_deref(), release, "{text}");
            assert_eq!(found.as_deref().and_then(cuda_of), cuda, "{text}");
        }
    }
}
