//! Simulated hosts without a container: for tests of what is found on a host and decided from it.

use std::path::{Path, PathBuf};

use oci_gpu::Host;
use oci_gpu_sim::HostSpec;

use crate::error::{Context, Result};
use crate::scratch::Scratch;

/// A simulated host in a temporary directory, which goes when this is dropped.
pub struct SimHost {
    /// What the host was made from.
    pub spec: HostSpec,
    dir: Scratch,
}

impl SimHost {
    /// The built-in host of that name.
    ///
    /// # Errors
    /// Where there is none, or it cannot be made (device nodes need root).
    pub fn named(name: &str) -> Result<SimHost> {
        SimHost::of(HostSpec::named(name).during("describe the host")?)
    }

    /// The host that `spec` describes.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn of(spec: HostSpec) -> Result<SimHost> {
        let dir = Scratch::new()?;
        spec.create(dir.path()).during("make the host")?;
        Ok(SimHost { spec, dir })
    }

    /// The directory that is `/` to the host.
    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// Where `path` of the host lies; links in it are not followed.
    pub fn on_disk(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root().join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The host as the library sees it.
    pub fn host(&self) -> Host {
        Host::at(self.root())
    }
}
