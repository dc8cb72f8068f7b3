//! Requests by volume mounts: /dev/null on a path below one directory, whose rest is the request.
//!
//! Only who writes the container's mounts can ask so; an image cannot. That is why Kubernetes'
//! device plugin offers it as a way that needs no trust in the image's environment.

use std::path::{Component, Path};

use super::env::{LIST_LIMIT, syntax};
use crate::container::Mount;
use crate::finding::{Code, Finding, quote};

const DIRECTORY: &str = "/var/run/nvidia-container-devices";

const REMEDY: &str = "mount /dev/null at /var/run/nvidia-container-devices/NAME, NAME being a \
    device, all, imex/CHANNEL, cdi/VENDOR/CLASS/DEVICE or cdi/VENDOR/CLASS=DEVICE";

/// What mounts ask for, each with the mount's destination for messages.
#[derive(Default)]
pub(super) struct Mounted {
    /// Devices and special words.
    pub(super) devices: Vec<(String, String)>,
    /// IMEX channels.
    pub(super) channels: Vec<(String, String)>,
}

/// Reads the requests among `mounts`. A mount of anything but /dev/null is the user's own and asks
/// for nothing; `notes` gets a word about it.
pub(super) fn requested(mounts: &[Mount], notes: &mut Vec<Finding>) -> Result<Mounted, Finding> {
    let mut mounted = Mounted::default();
    let mut below = 0;
    for mount in mounts {
        // By components, so that "...-devices-evil" is another directory.
        let Ok(rest) = mount.destination.strip_prefix(DIRECTORY) else {
            continue;
        };
        below += 1;
        if below > LIST_LIMIT {
            let what = format!("more than {LIST_LIMIT} mounts lie below it");
            return Err(syntax(DIRECTORY, what, "ask for all"));
        }
        let origin = format!("mount at {}", quote(&mount.destination.to_string_lossy()));
        if mount.source != Path::new("/dev/null") {
            let message = format!("{origin} asks for no device: its source is not /dev/null");
            notes.push(Finding::new(Code::RequestIgnored, message, REMEDY));
            continue;
        }
        let mut names = Vec::new();
        for component in rest.components() {
            match component {
                Component::Normal(name) => names.push(name.to_str().unwrap_or("\u{fffd}")),
                _ => return Err(syntax(&origin, "the destination has .. in it", REMEDY)),
            }
        }
        match names.as_slice() {
            [] => {}
            ["imex", channel] => mounted.channels.push((origin, (*channel).to_owned())),
            ["cdi", vendor, class, device] => {
                let name = format!("{vendor}/{class}={device}");
                mounted.devices.push((origin, name));
            }
            ["cdi", vendor, name] if name.contains('=') => {
                mounted.devices.push((origin, format!("{vendor}/{name}")));
            }
            ["imex" | "cdi", ..] => {
                return Err(syntax(
                    &origin,
                    "the name is incomplete or too long",
                    REMEDY,
                ));
            }
            // MIG-GPU-UUID/1/0 has slashes of its own.
            names => mounted.devices.push((origin, names.join("/"))),
        }
    }
    Ok(mounted)
}
