//! TEMP
use crate::finding::Finding;
use crate::host::Host;
use crate::request::Policy;
use std::path::{Path, PathBuf};
/// x
#[derive(Debug, Default)]
pub struct Config {
    /// x
    pub policy: Policy,
    /// x
    pub driver_root: Option<PathBuf>,
    /// x
    pub no_cgroups: bool,
    /// x
    pub log: Option<PathBuf>,
    /// x
    pub source: Option<PathBuf>,
    /// x
    pub dev_root: Option<PathBuf>,
}
impl Config {
    /// x
    pub fn load(_p: Option<&Path>, _h: &Host) -> Result<Config, Finding> {
        Ok(Config::default())
    }
    /// x
    pub fn apply_to(&self, h: Host) -> Host {
        match &self.driver_root {
            Some(r) => h.with_driver_root(r),
            None => h,
        }
    }
}
