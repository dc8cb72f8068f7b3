//! The list that the benchmark's floor program works off, made from the hook's own plan.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_gpu::container::{Container, ContainerFacts, ProcDriver};
use oci_gpu::ldcache::{self, Entry};
use oci_gpu::plan::{BindKind, Operation};
use oci_gpu::request::Policy;
use oci_gpu::{Host, Plan, Request, discover, select};
use oci_gpu_sys::mount::attr;
use oci_gpu_tests::error::{Context, Error, Result};
use oci_gpu_tests::standin::{Ground, StandIn};

use crate::bench::beside;

/// Writes the list for the request of `ground` to `path`; the process and its control group come by
/// [`for_container`].
pub(crate) fn write(path: &Path, host_root: &Path, ground: &Ground) -> Result<()> {
    let mut list = String::new();
    let done = fill(&mut list, path, host_root, ground);
    done.map_err(|e| Error::new(format!("make the floor's list: {e}")))?;
    fs::write(path, list).during("write the floor's list")
}

/// The list with the container's process and control group in it.
pub(crate) fn for_container(list: &Path, container: &StandIn) -> Result<PathBuf> {
    let text = fs::read_to_string(list).during("read the floor's list")?;
    let path = beside(list, "list-of-container");
    let mut lines = format!("pid\t{}\n", container.pid);
    let allow = container.allow_file();
    for line in text.lines() {
        match (line.strip_prefix("rule\t"), &allow) {
            (Some(rule), Some(file)) => {
                lines.push_str(&format!("allow\t{}\t{rule}\n", file.display()))
            }
            (Some(_), None) => {}
            (None, _) => lines.push_str(&format!("{line}\n")),
        }
    }
    fs::write(&path, lines).during("write the floor's list")?;
    Ok(path)
}

fn fill(
    list: &mut String,
    path: &Path,
    host_root: &Path,
    ground: &Ground,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    writeln!(list, "rootfs\t{}", ground.bundle.join("rootfs").display())?;
    let container = Container::parse(&fs::read(ground.bundle.join("config.json"))?)?;
    let Some(request) = Request::read(&container, &Policy::default())?.request else {
        return Ok(());
    };
    let host = Host::at(host_root);
    let inventory = discover(&host)?;
    let grant = select(&inventory, &request)?;
    let image = Host::at(&ground.image);
    let mut facts = ContainerFacts::of(|p| image.files().exists(Path::new(p)));
    facts.proc_driver = ProcDriver::Above;
    let plan = Plan::new(&inventory, &grant, &facts)?;
    let mut later: Vec<String> = Vec::new();
    let parts = |target: &Path| {
        let text =
            |p: Option<&std::ffi::OsStr>| p.unwrap_or_default().to_string_lossy().into_owned();
        (
            text(target.parent().map(Path::as_os_str)),
            text(target.file_name()),
        )
    };
    let mut views = BTreeSet::new();
    for action in &plan.actions {
        match &action.what {
            Operation::Device {
                source,
                target,
                major,
                minor,
                ..
            } => {
                let (at, name) = parts(target);
                writeln!(list, "rule\tc {major}:{minor} rw")?;
                writeln!(
                    list,
                    "bind\t{}\t{}\t{at}\t{name}",
                    attr::NOSUID | attr::NOEXEC,
                    host.on_disk(source).display()
                )?;
            }
            Operation::Bind {
                kind,
                source,
                target,
            } => {
                let disk = host.on_disk(source);
                let word = if disk.is_dir() { "d" } else { "bind" };
                let (at, name) = parts(target);
                let attributes = match kind {
                    BindKind::Socket | BindKind::Directory => {
                        attr::NOSUID | attr::NODEV | attr::NOEXEC
                    }
                    BindKind::Library | BindKind::Binary => {
                        attr::RDONLY | attr::NOSUID | attr::NODEV
                    }
                    _ => attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC,
                };
                writeln!(
                    list,
                    "{word}\t{attributes}\t{}\t{at}\t{name}",
                    disk.display()
                )?;
            }
            Operation::Symlink { target, points_to } => {
                let (at, name) = parts(target);
                writeln!(list, "link\t{at}\t{name}\t{}", points_to.display())?;
            }
            Operation::Files { target, entries } => {
                writeln!(list, "view\t{}", target.display())?;
                for entry in entries {
                    // The list has one line an entry: contents keep their length, not their text.
                    let content = entry
                        .content
                        .as_ref()
                        .map(|c| format!("\t{}", "x".repeat(c.len())));
                    writeln!(
                        list,
                        "entry\t{}{}",
                        entry.path.display(),
                        content.unwrap_or_default()
                    )?;
                }
                writeln!(list, "shown")?;
                views.insert(target.clone());
            }
            Operation::LdCache { entries, .. } => {
                let old = fs::read(ground.image.join("etc/ld.so.cache"))?;
                let mut cache = ldcache::parse(&old)?;
                let ours: Vec<Entry> = entries
                    .iter()
                    .map(|e| {
                        Entry::plain(e.flags, e.soname.as_bytes(), e.path.as_os_str().as_bytes())
                    })
                    .collect();
                cache.merge(&ours)?;
                let made = beside(path, "ld.so.cache");
                fs::write(&made, cache.write())?;
                later.push(format!("copy\t{}\t/etc\tld.so.cache", made.display()));
            }
            Operation::Env { .. } | Operation::Group { .. } => {}
        }
    }
    for line in later {
        writeln!(list, "{line}")?;
    }
    Ok(())
}
