//! What is fetched or built once and used by every test: below the target directory.

use std::fs;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::error::{Context, Error, Result};

/// Names the directory of the cache where several checkouts shall share one.
pub const CACHE_VARIABLE: &str = "OCI_GPU_TEST_CACHE";

/// `TARGET/oci-gpu-cache`, or the directory that [`CACHE_VARIABLE`] names.
///
/// # Errors
/// Where the running program does not lie below a cargo target directory.
pub fn directory() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os(CACHE_VARIABLE) {
        return Ok(dir.into());
    }
    Ok(target_directory()?.join("oci-gpu-cache"))
}

/// The cargo target directory that the running program lies in.
///
/// # Errors
/// Where it lies in none.
pub fn target_directory() -> Result<PathBuf> {
    let program = std::env::current_exe().during("find the running program")?;
    // Cargo marks its target directory with this file, wherever CARGO_TARGET_DIR puts it.
    let target = program
        .ancestors()
        .find(|dir| dir.join("CACHEDIR.TAG").is_file());
    let target = target.ok_or_else(|| {
        Error::new(format!(
            "{} lies below no cargo target directory: set {CACHE_VARIABLE}",
            program.display()
        ))
    })?;
    Ok(target.to_path_buf())
}

/// Holds `path.lock` until dropped, so that test programs that run side by side take turns.
///
/// # Errors
/// Where the lock file cannot be made.
pub fn lock(path: &Path) -> Result<Flock<fs::File>> {
    let name = beside(path, "lock");
    if let Some(parent) = name.parent() {
        fs::create_dir_all(parent).during(format_args!("create {}", parent.display()))?;
    }
    let file = fs::File::create(&name).during(format_args!("create {}", name.display()))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| Error::new(format!("lock {}: {errno}", name.display())))
}

/// The directory `path`, which `build` fills the first time: in another place, so that a build
/// that fails or is killed leaves nothing half done.
///
/// # Errors
/// Those of `build`, and of creating and renaming the directory.
pub fn once(path: &Path, build: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let _turn = lock(path)?;
    if path.is_dir() {
        return Ok(());
    }
    let unfinished = beside(path, "new");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).during(format_args!("remove {}", unfinished.display()))?;
    }
    fs::create_dir_all(&unfinished).during(format_args!("create {}", unfinished.display()))?;
    build(&unfinished)?;
    fs::rename(&unfinished, path).during(format_args!("rename {}", unfinished.display()))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}
