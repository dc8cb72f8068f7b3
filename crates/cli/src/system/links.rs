//! `oci-gpu system create-dev-char-links`.
//!
//! systemd looks a device up by /dev/char/MAJOR:MINOR when it writes a unit's device rules, and
//! leaves out what it does not find: with the systemd cgroup driver, the next `systemctl
//! daemon-reload` takes a container's GPUs away. udev makes such links for nodes that the kernel
//! announces; NVIDIA's driver announces none.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use oci_gpu::discover::{Majors, existing_nodes, kernel_nodes, possible_nodes};
use oci_gpu::finding::Finding;
use oci_gpu::host::Host;
use oci_gpu::inventory::{DeviceNode, NodeState};
use oci_gpu_inject::host_nodes::make_link;
use serde::Serialize;

use super::{modules, nodes};
use crate::output::{Output, table};

/// Which links, and where.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Links for nodes as well that are not there yet: every GPU, every MIG instance that there can be
    #[arg(long)]
    create_all: bool,
    /// The directory of the links, on the host
    #[arg(long, value_name = "DIR", default_value = "/dev/char")]
    dev_char_path: PathBuf,
    /// Load the driver's kernel modules first
    #[arg(long, requires = "create_all")]
    load_kernel_modules: bool,
    /// Make the driver's device nodes first
    #[arg(long, requires = "create_all")]
    create_device_nodes: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// What a link needs.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Need {
    /// It leads where it should.
    Nothing,
    Create,
    Replace,
    /// Its node is wrong: a link to it would help nobody.
    Skip,
    /// It is of the driver's numbers, of no node of the driver, and leads nowhere.
    Dangling,
}

/// What became of one link.
#[derive(Serialize)]
struct Row {
    path: PathBuf,
    /// What the link holds, or should hold.
    target: PathBuf,
    need: Need,
    /// Whether that was done: not in a dry run, and never for what is dangling.
    done: bool,
    why: Option<String>,
}

pub(super) fn run(host: &Host, output: &Output, args: &Args) -> Result<(), Finding> {
    if args.load_kernel_modules && !args.dry_run {
        modules::load_usual(host, output)?;
    }
    if args.create_device_nodes && !args.dry_run {
        for made in nodes::make_missing_nodes(host)? {
            output.say(&format!("made {}", made.display()));
        }
    }
    let wanted = match args.create_all {
        true => possible_nodes(host)?,
        false => existing_nodes(host)?,
    };
    let wrong = match args.create_all {
        true => HashSet::new(),
        // Without a driver no node is wrong, and none is of use either.
        false => wrong_nodes(host),
    };
    let mut rows = Vec::new();
    let mut failed = None;
    let mut seen = HashSet::new();
    for node in &wanted {
        let mut row = row(host, &args.dev_char_path, node);
        if !seen.insert(row.path.clone()) {
            continue;
        }
        if wrong.contains(&node.path) {
            row.need = Need::Skip;
            row.why = Some("the kernel gives this node another number".to_owned());
        }
        if matches!(row.need, Need::Create | Need::Replace) && !args.dry_run {
            if let Err(finding) = make_link(host, &row.path, &row.target) {
                failed = Some(finding);
                break;
            }
            row.done = true;
        }
        rows.push(row);
    }
    rows.extend(dangling(host, &args.dev_char_path, &seen)?);
    if failed.is_none() || rows.iter().any(|r| r.done) {
        output.data(&rows, || text(&rows))?;
    }
    failed.map_or(Ok(()), Err)
}

/// Nodes whose number is not the kernel's.
fn wrong_nodes(host: &Host) -> HashSet<PathBuf> {
    let all = kernel_nodes(host).unwrap_or_default().into_iter();
    let wrong = all.filter(|n| matches!(n.node.state, NodeState::Wrong(_)));
    wrong.map(|n| n.node.path).collect()
}

fn row(host: &Host, directory: &Path, node: &DeviceNode) -> Row {
    let path = directory.join(format!("{}:{}", node.major, node.minor));
    let target = target(directory, &node.path);
    let (need, why) = match host.files().metadata_nofollow(&path) {
        Err(_) => (Need::Create, None),
        Ok(_) => match host.files().read_link(&path) {
            Ok(held) if held == target => (Need::Nothing, None),
            Ok(held) => match host.device(&path) {
                // By another way, as links of nvidia-ctk hold whole paths.
                Some(number) if number == (node.major, node.minor) => (Need::Nothing, None),
                _ => (
                    Need::Replace,
                    Some(format!("it leads to {}", held.display())),
                ),
            },
            Err(_) => (Need::Replace, Some("it is no link".to_owned())),
        },
    };
    Row {
        path,
        target,
        need,
        done: false,
        why,
    }
}

/// What a link in `directory` to `node` holds: "../nvidia0", as udev's do, where the directory lies
/// beside the node; else the whole path.
fn target(directory: &Path, node: &Path) -> PathBuf {
    let beside = directory.parent().filter(|p| p.file_name().is_some());
    match beside.and_then(|dev| node.strip_prefix(dev).ok()) {
        Some(below) => Path::new("..").join(below),
        None => node.to_path_buf(),
    }
}

/// Links of the driver's numbers, other than those of `wanted`, that lead nowhere: those of nodes
/// that were removed, or of numbers that the kernel gave out at an earlier boot.
fn dangling(host: &Host, directory: &Path, wanted: &HashSet<PathBuf>) -> Result<Vec<Row>, Finding> {
    let majors = Majors::read(host)?;
    let majors = [majors.nvidia, majors.uvm, majors.caps, majors.imex];
    let names = host.files().list(directory).unwrap_or_default().into_iter();
    let ours = names.filter(|name| {
        let major = name.split(':').next().and_then(|m| m.parse().ok());
        major.is_some() && majors.contains(&major)
    });
    let links = ours.filter_map(|name| {
        let path = directory.join(name);
        let target = host.files().read_link(&path).ok()?;
        let lost = !wanted.contains(&path) && !host.files().exists(&path);
        lost.then(|| Row {
            path,
            target,
            need: Need::Dangling,
            done: false,
            why: Some("it leads nowhere".to_owned()),
        })
    });
    Ok(links.collect())
}

fn text(rows: &[Row]) -> String {
    let cells = |r: &Row| {
        let verdict = match (r.need, r.done) {
            (Need::Nothing, _) => "present",
            (Need::Create, true) => "created",
            (Need::Create, false) => "would be created",
            (Need::Replace, true) => "replaced",
            (Need::Replace, false) => "would be replaced",
            (Need::Skip, _) => "left out",
            (Need::Dangling, _) => "dangling",
        };
        let why = r.why.as_deref();
        let why = why.map(|w| format!(": {w}")).unwrap_or_default();
        vec![
            r.path.display().to_string(),
            r.target.display().to_string(),
            format!("{verdict}{why}"),
        ]
    };
    table(&rows.iter().map(cells).collect::<Vec<_>>())
}
