//! `oci-gpu system create-device-nodes`.

use std::path::PathBuf;

use oci_gpu::CapabilitySet;
use oci_gpu::discover::{KernelNode, KernelNodeKind, imex_nodes, kernel_nodes, needed_nodes};
use oci_gpu::finding::{Code, Finding};
use oci_gpu::host::Host;
use oci_gpu::inventory::NodeState;
use oci_gpu::request::{DeviceId, Devices, Request};
use oci_gpu_inject::host_nodes::make_node;
use serde::Serialize;

use super::modules;
use crate::output::{Output, table};

/// Which nodes, and how.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only the control nodes: nvidiactl, nvidia-uvm and the like
    #[arg(long)]
    control_devices: bool,
    /// Only these GPUs and MIG instances, as NVIDIA_VISIBLE_DEVICES names them, and the control nodes
    #[arg(
        long,
        visible_alias = "device-ids",
        value_name = "IDS",
        value_delimiter = ','
    )]
    #[arg(conflicts_with = "control_devices")]
    devices: Vec<String>,
    /// IMEX channels as well: numbers, or all that the driver has
    #[arg(long, value_name = "N,N|all", value_delimiter = ',')]
    imex_channels: Vec<String>,
    /// Load the driver's kernel modules first
    #[arg(long)]
    load_kernel_modules: bool,
    /// Even where the driver's parameters forbid it (ModifyDeviceFiles: 0)
    #[arg(long)]
    force: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// What a node needs.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Need {
    /// It is there as it should be.
    Nothing,
    Create,
    Replace,
    /// It has another owner or mode.
    Correct,
}

/// What became of one node.
#[derive(Serialize)]
struct Row {
    path: PathBuf,
    major: u32,
    minor: u32,
    /// Permission bits, in octal.
    mode: String,
    need: Need,
    /// Whether that was done: not in a dry run.
    done: bool,
    /// What is wrong with the node that is there, or why nothing was done.
    why: Option<String>,
}

pub(super) fn run(host: &Host, output: &Output, args: &Args) -> Result<(), Finding> {
    if args.load_kernel_modules && !args.dry_run {
        modules::load_usual(host, output)?;
    }
    let (rows, failed) = create(host, &wanted(host, args)?, args.force, args.dry_run);
    // What was made before the first failure is told as well.
    if failed.is_none() || rows.iter().any(|r| r.done || r.why.is_some()) {
        output.data(&rows, || text(&rows))?;
    }
    failed.map_or(Ok(()), Err)
}

/// Makes every node that is missing or wrong, and says which. Ends at the first that fails.
pub(crate) fn make_missing_nodes(host: &Host) -> Result<Vec<PathBuf>, Finding> {
    let (rows, failed) = create(host, &kernel_nodes(host)?, false, false);
    let made = rows.into_iter().filter(|r| r.done).map(|r| r.path);
    failed.map_or(Ok(made.collect()), Err)
}

fn wanted(host: &Host, args: &Args) -> Result<Vec<KernelNode>, Finding> {
    let mut wanted = match &args.devices[..] {
        [] => kernel_nodes(host)?,
        names => needed_nodes(host, &by_name(devices(names)?))?,
    };
    if args.control_devices {
        wanted.retain(|n| n.kind == KernelNodeKind::Control);
    }
    match &args.imex_channels[..] {
        [] => {}
        [all] if all == "all" => wanted.extend(imex_nodes(host, None)?),
        numbers => wanted.extend(imex_nodes(host, Some(&channels(numbers)?))?),
    }
    Ok(wanted)
}

fn by_name(devices: Devices) -> Request {
    Request::new(devices, CapabilitySet::all(), "--devices")
}

fn devices(names: &[String]) -> Result<Devices, Finding> {
    if let [all] = names
        && all == "all"
    {
        return Ok(Devices::All);
    }
    let ids = names.iter().map(|name| {
        name.parse::<DeviceId>().map_err(|e| {
            Finding::new(
                Code::RequestSyntax,
                format!("--devices: \"{name}\" is no device: {e}"),
                "write what NVIDIA_VISIBLE_DEVICES takes: see docs/requests.md",
            )
        })
    });
    Ok(Devices::List(ids.collect::<Result<_, _>>()?))
}

fn channels(numbers: &[String]) -> Result<Vec<u32>, Finding> {
    let parse = |word: &String| {
        word.parse().map_err(|_| {
            Finding::new(
                Code::RequestSyntax,
                format!("--imex-channels: \"{word}\" is no number"),
                "write numbers, as in 0,1, or all",
            )
        })
    };
    numbers.iter().map(parse).collect()
}

/// Makes what is missing and replaces what is wrong, up to the first failure.
fn create(
    host: &Host,
    wanted: &[KernelNode],
    force: bool,
    dry_run: bool,
) -> (Vec<Row>, Option<Finding>) {
    let mut rows = Vec::new();
    let mut forbidden = 0;
    for wanted in wanted {
        let (need, mut why) = need(wanted);
        let may = wanted.may_modify || force;
        if need != Need::Nothing && !may {
            forbidden += 1;
            let reason = "the driver's parameter ModifyDeviceFiles forbids it";
            why = Some(why.map_or(reason.to_owned(), |w| format!("{w}; {reason}")));
        }
        let done = need != Need::Nothing && may && !dry_run;
        if done && let Err(finding) = make_node(host, wanted) {
            return (rows, Some(finding));
        }
        rows.push(Row {
            mode: format!("{:04o}", wanted.owner.mode),
            major: wanted.node.major,
            minor: wanted.node.minor,
            path: wanted.node.path.clone(),
            need,
            done,
            why,
        });
    }
    let refusal = || {
        Finding::new(
            Code::NodeMissing,
            format!(
                "{forbidden} device nodes are missing or wrong, and /proc/driver/nvidia forbids that tools make them (ModifyDeviceFiles or DeviceFileModify is not 1)"
            ),
            "load the nvidia module with NVreg_ModifyDeviceFiles=1, or use --force",
        )
    };
    (rows, (forbidden > 0).then(refusal))
}

fn need(wanted: &KernelNode) -> (Need, Option<String>) {
    let KernelNode { node, owner, .. } = wanted;
    match (&node.state, node.owner) {
        (NodeState::Missing, _) => (Need::Create, None),
        (NodeState::Wrong(why), _) => (Need::Replace, Some(why.clone())),
        (NodeState::Present, Some(found))
            if (found.mode, found.uid, found.gid) != (owner.mode, owner.uid, owner.gid) =>
        {
            let why = format!(
                "it has mode {:04o} and owner {}:{}, and the driver wants {:04o} and {}:{}",
                found.mode, found.uid, found.gid, owner.mode, owner.uid, owner.gid
            );
            (Need::Correct, Some(why))
        }
        (NodeState::Present, _) => (Need::Nothing, None),
    }
}

fn text(rows: &[Row]) -> String {
    let cells = |r: &Row| {
        let verdict = match (r.need, r.done) {
            (Need::Nothing, _) => "present",
            (Need::Create, true) => "created",
            (Need::Create, false) => "would be created",
            (Need::Replace, true) => "replaced",
            (Need::Replace, false) => "would be replaced",
            (Need::Correct, true) => "corrected",
            (Need::Correct, false) => "would be corrected",
        };
        let why = r.why.as_deref();
        let why = why.map(|w| format!(": {w}")).unwrap_or_default();
        vec![
            r.path.display().to_string(),
            format!("{}:{}", r.major, r.minor),
            r.mode.clone(),
            format!("{verdict}{why}"),
        ]
    };
    table(&rows.iter().map(cells).collect::<Vec<_>>())
}
