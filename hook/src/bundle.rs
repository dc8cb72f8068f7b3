//! The bundle's config.json.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use oci_gpu::container::{CONFIG_LIMIT, Container};
use oci_gpu::finding::{Code, Finding};
use oci_gpu::state::State;
use oci_gpu_inject::rootfs_path;

/// What the bundle says.
#[derive(Debug)]
pub(crate) struct Bundle {
    pub(crate) container: Container,
    /// The path of the container's root.
    pub(crate) rootfs: PathBuf,
}

/// The bytes of config.json in the state's bundle.
#[allow(
    clippy::disallowed_methods,
    reason = "the engine's file, whose path the runtime gave"
)]
pub(crate) fn read(state: &State) -> Result<Vec<u8>, Finding> {
    let path = state.bundle.join("config.json");
    let refused = |why: String| {
        Finding::new(
            Code::Bundle,
            format!("{}: {why}", path.display()),
            "check 'bundle' of the container's state; the bundle must hold the container's config.json",
        )
    };
    // A FIFO must not block; a link is followed, for engines may keep the file elsewhere.
    let opened = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&path);
    let file = opened.map_err(|e| refused(e.to_string()))?;
    if !file
        .metadata()
        .map_err(|e| refused(e.to_string()))?
        .is_file()
    {
        return Err(refused("it is not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(CONFIG_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| refused(e.to_string()))?;
    if bytes.len() as u64 > CONFIG_LIMIT {
        return Err(refused(format!("it is larger than {CONFIG_LIMIT} bytes")));
    }
    Ok(bytes)
}

/// What config.json says.
pub(crate) fn parse(state: &State, bytes: &[u8]) -> Result<Bundle, Finding> {
    let container = Container::parse(bytes).map_err(|mut e| {
        let path = state.bundle.join("config.json");
        e.message = format!("{}: {}", path.display(), e.message);
        e
    })?;
    let rootfs = rootfs_path(&state.bundle, &container.root)?;
    Ok(Bundle { container, rootfs })
}
