//! What nearly every test begins with.

use std::fs;

use crate::bundle::Bundle;
use crate::debs::Debs;
use crate::error::{Context, Result};
use crate::probe::Probe;
use crate::rootfs::{Kind, Rootfs};
use crate::scratch::Scratch;

/// Packages, the probe, and a directory of the test's own.
#[derive(Debug)]
pub struct Setting {
    /// Where packages come from.
    pub debs: Debs,
    /// The probe, compiled.
    pub probe: Probe,
    /// Goes with this value.
    pub dir: Scratch,
}

impl Setting {
    /// Makes all three.
    ///
    /// # Errors
    /// Where a package is not to be had or the probe cannot be compiled.
    pub fn new() -> Result<Setting> {
        let debs = Debs::new()?;
        let probe = Probe::build(&debs)?;
        Ok(Setting {
            debs,
            probe,
            dir: Scratch::new()?,
        })
    }

    /// A bundle in the directory `name`, which must be new, with a fresh image in `name/rootfs`.
    ///
    /// # Errors
    /// Where the image's packages are not to be had, or the directory is there.
    pub fn bundle(&self, name: &str, kind: Kind) -> Result<Bundle> {
        let dir = self.dir.path().join(name);
        fs::create_dir(&dir).during(format_args!("create {}", dir.display()))?;
        let rootfs = Rootfs::instance(&self.debs, kind, &dir.join("rootfs"))?;
        Ok(Bundle::new(&dir, &rootfs))
    }
}
