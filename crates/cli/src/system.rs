//! `oci-gpu system`: what the driver's packages, udev or nvidia-modprobe should have done.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand as ClapSubcommand;
use nix::fcntl::{AT_FDCWD, renameat};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, makedev, mknod};
use nix::unistd::{Gid, Uid, chown, unlink};
use oci_gpu::discover::{KernelNode, kernel_nodes};
use oci_gpu::finding::{Code, Finding};
use oci_gpu::host::Host;
use oci_gpu::inventory::NodeState;
use serde::Serialize;

use crate::Global;
use crate::output::{Output, table};

#[derive(ClapSubcommand)]
pub(crate) enum Command {
    /// Makes the driver's device nodes, with the numbers that the kernel says; wrong ones are replaced
    CreateDeviceNodes {
        /// Say what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// What a node needs.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Need {
    /// It is there as it should be.
    Nothing,
    Create,
    Replace,
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
    /// What is wrong with the node that is there.
    why: Option<String>,
}

pub(crate) fn run(
    global: &Global,
    output: &Output,
    command: &Command,
) -> Result<ExitCode, Finding> {
    let Command::CreateDeviceNodes { dry_run } = command;
    let (host, _) = global.host()?;
    let mut rows = Vec::new();
    let mut failed = None;
    for wanted in kernel_nodes(&host)? {
        let (need, why) = match &wanted.node.state {
            NodeState::Present => (Need::Nothing, None),
            NodeState::Missing => (Need::Create, None),
            NodeState::Wrong(why) => (Need::Replace, Some(why.clone())),
        };
        if need != Need::Nothing
            && !dry_run
            && let Err(finding) = make(&host, &wanted)
        {
            failed = Some(finding);
            break;
        }
        rows.push(Row {
            mode: format!("{:04o}", wanted.owner.mode),
            major: wanted.node.major,
            minor: wanted.node.minor,
            path: wanted.node.path,
            need,
            done: need != Need::Nothing && !dry_run,
            why,
        });
    }
    // What was made before the first failure is told as well.
    if failed.is_none() || rows.iter().any(|r| r.done) {
        output.data(&rows, || text(&rows))?;
    }
    failed.map_or(Ok(ExitCode::SUCCESS), Err)
}

fn text(rows: &[Row]) -> String {
    let cells = |r: &Row| {
        let verdict = match (r.need, r.done) {
            (Need::Nothing, _) => "present",
            (Need::Create, true) => "created",
            (Need::Create, false) => "would be created",
            (Need::Replace, true) => "replaced",
            (Need::Replace, false) => "would be replaced",
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

/// Makes every node that is missing or wrong, and says which. Ends at the first that fails.
pub(crate) fn make_missing_nodes(host: &Host) -> Result<Vec<PathBuf>, Finding> {
    let mut made = Vec::new();
    for wanted in kernel_nodes(host)? {
        if wanted.node.state != NodeState::Present {
            make(host, &wanted)?;
            made.push(wanted.node.path);
        }
    }
    Ok(made)
}

/// Makes the node beside its place and renames it there, so that the place is never empty.
fn make(host: &Host, wanted: &KernelNode) -> Result<(), Finding> {
    let KernelNode { node, owner } = wanted;
    let failed = |what: &str, e: io::Error| {
        let (code, remedy) = match e.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => (
                Code::Privilege,
                "run it as root with CAP_MKNOD, outside of a user namespace",
            ),
            Some(libc::EROFS) => (Code::NodeMissing, "mount the host's /dev writable"),
            Some(libc::EISDIR) => (Code::NodeWrong, "remove the directory in the node's place"),
            _ => (Code::NodeMissing, ""),
        };
        Finding::new(code, format!("{what} {}: {e}", node.path.display()), remedy)
    };
    let disk = on_disk(host, &node.path).map_err(|e| failed("find the place of", e))?;
    if let Some(parent) = disk.parent() {
        std::fs::create_dir_all(parent).map_err(|e| failed("make the directory of", e))?;
    }
    let mut new = disk.as_os_str().to_os_string();
    new.push(".oci-gpu.tmp");
    let new = PathBuf::from(new);
    let _ = unlink(&new);
    let mode = Mode::from_bits_truncate(owner.mode);
    let number = makedev(node.major.into(), node.minor.into());
    mknod(&new, SFlag::S_IFCHR, mode, number).map_err(|e| failed("make the node", e.into()))?;
    let finish = || -> nix::Result<()> {
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        chown(&new, Some(uid), Some(gid))?;
        // mknod(2) takes the umask away from the mode.
        fchmodat(AT_FDCWD, &new, mode, FchmodatFlags::FollowSymlink)?;
        renameat(AT_FDCWD, &new, AT_FDCWD, &disk)
    };
    finish().map_err(|e| {
        let _ = unlink(&new);
        failed("put in its place the node", e.into())
    })
}

/// The path that opens `path` of the host from this process. Links in its directories are followed
/// inside the host; directories that are not there are left to be made.
fn on_disk(host: &Host, path: &Path) -> io::Result<PathBuf> {
    let mut missing = Vec::new();
    let mut there = path;
    while let (Some(parent), Some(name)) = (there.parent(), there.file_name()) {
        missing.push(name);
        there = parent;
        match host.files().resolve(there) {
            Ok(real) => {
                let missing: PathBuf = missing.iter().rev().collect();
                return Ok(host.on_disk(&real).join(missing));
            }
            // A link that leads nowhere must not be followed when directories are made.
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            Err(e) if host.files().read_link(there).is_ok() => return Err(e),
            Err(_) => {}
        }
    }
    Ok(host.on_disk(path))
}
