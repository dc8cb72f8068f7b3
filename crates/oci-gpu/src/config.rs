//! The administrator's configuration: our file, else NVIDIA's, else defaults.
//!
//! `/etc/oci-gpu/config.toml` has flat keys; a key that is not one of these is an error. Where it
//! does not exist, `/etc/nvidia-container-runtime/config.toml` is read, of which the keys named
//! here count and the others are accepted and ignored. A file that is named explicitly may be of
//! either kind, and tells by its keys which.
//!
//! | key | NVIDIA's key | value | default |
//! |---|---|---|---|
//! | `driver-capabilities` | `supported-driver-capabilities` | words that containers may have, or `"all"`: a comma list or an array | all |
//! | `env-when-unprivileged` | `accept-nvidia-visible-devices-envvar-when-unprivileged` | whether unprivileged containers may ask by environment variable | true |
//! | `volume-mounts` | `accept-nvidia-visible-devices-as-volume-mounts` | whether containers may ask by volume mounts | false |
//! | `swarm-resources` | `swarm-resource` | variables that replace NVIDIA_VISIBLE_DEVICES: a comma list or an array | none |
//! | `disable-require` | `disable-require` | whether NVIDIA_REQUIRE_* is not looked at | false |
//! | `ignore-imex-channels` | `features.ignore-imex-channel-requests` | whether requests for IMEX channels are not looked at | false |
//! | `driver-root` | `nvidia-container-cli.root` | directory with the driver's user-space files, in place of a search | search |
//! | `dev-root` | | directory whose `dev` has the device nodes, in place of a search | search |
//! | `cuda-compat` | `nvidia-container-runtime.modes.legacy.cuda-compat-mode`, all but `"disabled"` | whether an image's CUDA forward compatibility is used where it fits | true |
//! | `mps-pipe-directory` | | directory with the MPS daemon's pipes, whoever owns it | /tmp/nvidia-mps, if root's |
//! | `create-device-nodes` | | whether the hook makes missing device nodes of the host: see below | false |
//! | `no-cgroups` | `nvidia-container-cli.no-cgroups` | whether device-cgroup rules are left alone (rootless) | false |
//! | `log` | | file that the hook writes failures and what it left out to | /var/log/oci-gpu.log |
//!
//! `create-device-nodes` is for hosts without udev: the hook makes those nodes, and IMEX channels,
//! that a container was granted and that the host lacks. NVIDIA's `nvidia-container-cli.load-kmods`
//! has no such meaning here: it is ignored, because it asks for programs to be run (modprobe), which
//! the hook never does. `oci-gpu system load-modules` is for that, at boot.
//!
//! Paths are absolute. A value of the wrong type is an error in either file: a policy that cannot be
//! read must not become a more generous one.

mod document;
mod keys;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::finding::{Code, Finding};
use crate::host::Host;
use crate::request::Policy;
use document::Document;

/// Our own configuration file.
pub const OWN_FILE: &str = "/etc/oci-gpu/config.toml";

/// NVIDIA's configuration file.
pub const NVIDIA_FILE: &str = "/etc/nvidia-container-runtime/config.toml";

/// Largest configuration file that is read, in bytes.
pub const FILE_LIMIT: u64 = 256 << 10;

/// What the administrator configured.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// What containers may ask for.
    pub policy: Policy,
    /// The directory with the driver's user-space files, where it is not to be searched for.
    pub driver_root: Option<PathBuf>,
    /// The directory whose `dev` has the device nodes, where it is not `/`.
    pub dev_root: Option<PathBuf>,
    /// Whether an image's CUDA forward compatibility is used where it fits.
    pub cuda_compat: bool,
    /// The directory of the MPS daemon's pipes, where it is not the usual one.
    pub mps_directory: Option<PathBuf>,
    /// Whether the hook makes device nodes of the host that are missing.
    pub create_device_nodes: bool,
    /// Whether device-cgroup rules are left alone.
    pub no_cgroups: bool,
    /// The file that the hook writes to.
    pub log: Option<PathBuf>,
    /// The file that all this was read from; `None` for defaults.
    pub source: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            policy: Policy::default(),
            driver_root: None,
            dev_root: None,
            cuda_compat: true,
            mps_directory: None,
            create_device_nodes: false,
            no_cgroups: false,
            log: None,
            source: None,
        }
    }
}

impl Config {
    /// Reads the configuration of `host`, or the file at `path`, which is a path of the calling
    /// process and must exist.
    ///
    /// This runs at each start of a GPU container: a file that does not exist costs a few failed
    /// system calls, one that does a single pass over its text.
    ///
    /// # Errors
    /// A finding [`Code::Config`] that names the file, the line and the key: a file that cannot be
    /// read, is larger than [`FILE_LIMIT`], is no TOML, has a value of the wrong type or (ours) an
    /// unknown key.
    pub fn load(path: Option<&Path>, host: &Host) -> Result<Config, Finding> {
        if let Some(path) = path {
            let content = read_regular(path).map_err(|e| unreadable(path, &e))?;
            return Config::parse(path, &content);
        }
        if let Some(content) = read_if_there(host, Path::new(OWN_FILE))? {
            return keys::ours(&Document::parse(Path::new(OWN_FILE), &content)?);
        }
        if let Some(content) = read_if_there(host, Path::new(NVIDIA_FILE))? {
            return keys::nvidias(&Document::parse(Path::new(NVIDIA_FILE), &content)?);
        }
        Ok(Config::default())
    }

    /// Parses a file of either kind, which tells by its keys. `path` is for messages and for
    /// [`Config::source`]; nothing is read.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(path: &Path, content: &[u8]) -> Result<Config, Finding> {
        if content.len() as u64 > FILE_LIMIT {
            return Err(unreadable(path, &too_large()));
        }
        let document = Document::parse(path, content)?;
        match keys::is_nvidias(&document) {
            true => keys::nvidias(&document),
            false => keys::ours(&document),
        }
    }

    /// `host` with the driver root, the dev root and the MPS directory of the configuration.
    pub fn apply_to(&self, host: Host) -> Host {
        let host = match &self.mps_directory {
            Some(directory) => host.with_mps_directory(directory),
            None => host,
        };
        let host = match &self.driver_root {
            Some(root) => host.with_driver_root(root),
            None => host,
        };
        match &self.dev_root {
            Some(root) => host.with_dev_root(root),
            None => host,
        }
    }
}

/// The content of a file of `host`; `None` where there is no such file.
fn read_if_there(host: &Host, path: &Path) -> Result<Option<Vec<u8>>, Finding> {
    match host.files().read(path, FILE_LIMIT) {
        Ok(content) => Ok(Some(content)),
        // A link that leads nowhere was meant to lead to a policy.
        Err(e) if e.kind() == io::ErrorKind::NotFound => match host.files().read_link(path) {
            Ok(_) => Err(unreadable(path, &e)),
            Err(_) => Ok(None),
        },
        Err(e) => Err(unreadable(path, &e)),
    }
}

fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    // A FIFO would block the open: look first.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut content = Vec::new();
    let mut file = fs::File::open(path)?.take(FILE_LIMIT + 1);
    match file.read_to_end(&mut content)? as u64 > FILE_LIMIT {
        true => Err(too_large()),
        false => Ok(content),
    }
}

fn too_large() -> io::Error {
    io::Error::other(format!("it is larger than {FILE_LIMIT} bytes"))
}

fn unreadable(path: &Path, error: &io::Error) -> Finding {
    let message = format!("configuration file {}: {error}", path.display());
    Finding::new(Code::Config, message, "correct or remove the file")
}

#[cfg(test)]
mod tests;
