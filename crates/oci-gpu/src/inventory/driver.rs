//! The driver of a host: its version, and what led to its files.

use std::path::PathBuf;

use serde::Serialize;

/// The driver in the kernel and the user-space files that fit it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Driver {
    /// The version, as the kernel spells it ("550.163.01").
    pub version: String,
    /// The file that told the version.
    pub version_source: PathBuf,
    /// "open" or "proprietary" kernel modules, where /proc/driver/nvidia/version tells.
    pub flavour: Option<&'static str>,
    /// The directory that is `/` to the driver's user-space files.
    pub root: PathBuf,
    /// The newest CUDA version that the driver supports, major and minor, where it is known.
    pub cuda: Option<(u32, u32)>,
    /// Every place that was looked at for user-space files, in the order of trial.
    pub candidates: Vec<Candidate>,
    /// /proc/driver/nvidia files that a container gets a copy of.
    pub proc_files: Vec<ProcFile>,
    /// `DeviceFileUID`, `DeviceFileGID`, `DeviceFileMode` of /proc/driver/nvidia/params.
    pub device_files: DeviceFileParams,
}

/// A file below /proc/driver/nvidia and its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcFile {
    /// Its name below /proc/driver/nvidia ("params").
    pub name: String,
    /// Its content.
    pub content: String,
}

/// Owner and mode that the kernel module wants its device nodes to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceFileParams {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

impl Default for DeviceFileParams {
    /// The module's own defaults: root, root, 0666.
    fn default() -> DeviceFileParams {
        DeviceFileParams {
            uid: 0,
            gid: 0,
            mode: 0o666,
        }
    }
}

/// A place that was looked at for the driver's user-space files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// The file, directory or root.
    pub path: PathBuf,
    /// What kind of evidence it is ("ld.so.cache", "well-known directory").
    pub evidence: &'static str,
    /// Whether files were taken from it.
    pub accepted: bool,
    /// Why it was accepted or refused.
    pub why: String,
}
