//! A temporary directory for one test.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::error::{Context, Result};

/// A directory that goes when this is dropped. Unlike `tempfile`'s own it can be entered by
/// everybody: the root user of a user namespace must reach the rootfs in it.
#[derive(Debug)]
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// A new, empty directory.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn new() -> Result<Scratch> {
        let dir = tempfile::Builder::new()
            .prefix("oci-gpu-test-")
            .tempdir()
            .during("create a temporary directory")?;
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755))
            .during(format_args!("open up {}", dir.path().display()))?;
        Ok(Scratch(dir))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}
