//! A bundle on disk: its config.json, and what its root file system looks like.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use oci_gpu::container::{CONFIG_LIMIT, Container, ContainerFacts, ProcDriver};
use oci_gpu::finding::{Code, Finding};
use oci_gpu::inventory::Inventory;
use oci_gpu_inject::{facts_of, rootfs_path};

/// The container of the bundle at `directory`, and its root.
pub(crate) fn read(directory: &Path) -> Result<(Container, PathBuf), Finding> {
    let path = directory.join("config.json");
    let refused = |why: String| {
        Finding::new(
            Code::Bundle,
            format!("{}: {why}", path.display()),
            "name the directory that holds the container's config.json",
        )
    };
    let directory = fs::canonicalize(directory).map_err(|e| refused(e.to_string()))?;
    let mut text = Vec::new();
    File::open(directory.join("config.json"))
        .and_then(|f| f.take(CONFIG_LIMIT + 1).read_to_end(&mut text))
        .map_err(|e| refused(e.to_string()))?;
    if text.len() as u64 > CONFIG_LIMIT {
        return Err(refused(format!("it is larger than {CONFIG_LIMIT} bytes")));
    }
    let container = Container::parse(&text).map_err(|e| Finding {
        message: format!("{}: {}", path.display(), e.message),
        ..e
    })?;
    let rootfs = rootfs_path(&directory, &container.root)?;
    Ok((container, rootfs))
}

/// Facts about a root file system that no container runs in: nothing is mounted in it yet.
pub(crate) fn facts(
    rootfs: &Path,
    inventory: &Inventory,
    compat: bool,
) -> Result<ContainerFacts, Finding> {
    let mut facts = facts_of(rootfs, inventory, compat).map_err(|finding| Finding {
        remedy: "see root.path in config.json: the bundle needs that directory".to_owned(),
        ..finding
    })?;
    facts.proc_driver = ProcDriver::Nvidia;
    Ok(facts)
}
