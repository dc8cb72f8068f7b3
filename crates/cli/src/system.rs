//! `oci-gpu system`: what the driver's packages, udev or nvidia-modprobe should have done.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand as ClapSubcommand;
use nix::fcntl::{AT_FDCWD, renameat};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{Gid, Uid, chown, unlink};
use oci_gpu::discover::{KernelNode, kernel_nodes};
use oci_gpu::finding::{Code, Finding};
use oci_gpu::inventory::{DeviceFileParams, DeviceNode, NodeState};
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

/// What became of one node.
#[derive(Serialize)]
struct Made {
    path: PathBuf,
    major: u32,
    minor: u32,
    action: &'static str,
    why: Option<String>,
}

pub(crate) fn run(
    global: &Global,
    output: &Output,
    command: &Command,
) -> Result<ExitCode, Finding> {
    let Command::CreateDeviceNodes { dry_run } = command;
    let (host, _) = global.host()?;
    let mut all = Vec::new();
    for KernelNode { node, owner } in &kernel_nodes(&host)? {
        let (action, why) = match &node.state {
            NodeState::Present => ("present", None),
            NodeState::Missing => ("created", None),
            NodeState::Wrong(why) => ("replaced", Some(why.clone())),
        };
        if action != "present" && !dry_run {
            make(&host.on_disk(&node.path), node, *owner)?;
        }
        let path = node.path.clone();
        all.push(Made {
            path,
            major: node.major,
            minor: node.minor,
            action,
            why,
        });
    }
    output.data(&all, || {
        let row = |m: &Made| {
            let why = m
                .why
                .as_deref()
                .map(|w| format!(" ({w})"))
                .unwrap_or_default();
            vec![
                m.path.display().to_string(),
                format!("{}:{}", m.major, m.minor),
                format!("{}{why}", m.action),
            ]
        };
        table(&all.iter().map(row).collect::<Vec<_>>())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Makes the node beside its place and renames it there, so that the place is never empty.
fn make(disk: &Path, node: &DeviceNode, owner: DeviceFileParams) -> Result<(), Finding> {
    let failed = |what: &str, e: io::Error| {
        let remedy = match e.raw_os_error() {
            Some(libc::EPERM) => "run as root with CAP_MKNOD, outside of a user namespace",
            Some(libc::EISDIR) => "remove the directory in the node's place",
            _ => "",
        };
        Finding::new(
            Code::NodeMissing,
            format!("{what} {}: {e}", disk.display()),
            remedy,
        )
    };
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
        // mknod(2) takes the umask away from the mode.
        nix::sys::stat::fchmodat(
            AT_FDCWD,
            &new,
            mode,
            nix::sys::stat::FchmodatFlags::FollowSymlink,
        )?;
        chown(
            &new,
            Some(Uid::from_raw(owner.uid)),
            Some(Gid::from_raw(owner.gid)),
        )?;
        renameat(AT_FDCWD, &new, AT_FDCWD, disk)
    };
    finish().map_err(|e| {
        let _ = unlink(&new);
        failed("put the node in its place,", e.into())
    })
}
