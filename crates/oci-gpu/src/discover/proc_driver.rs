//! Texts of /proc/driver/nvidia, as the kernel module writes them: lines `Key: value`.
//!
//! Nothing here reads a file; [`crate::host::TEXT_LIMIT`] bounds what is read. What does not have
//! the form that it must have is absent from the result.

use super::field;
use crate::inventory::DeviceFileParams;
use crate::request::DeviceId;

/// Longest driver version, in bytes; real ones have ten ("550.163.01").
const VERSION_LIMIT: usize = 32;

/// Length of "GPU-" and a whole UUID.
const UUID_LENGTH: usize = 40;

/// Two or three groups of digits, the first of three or more: "550.163.01", "390.157". Such a word
/// can be part of a file name.
pub fn is_version(word: &str) -> bool {
    let digits = |group: &str| !group.is_empty() && group.bytes().all(|b| b.is_ascii_digit());
    let branch = word.split('.').next().unwrap_or_default();
    word.len() <= VERSION_LIMIT
        && branch.len() >= 3
        && (2..=3).contains(&word.split('.').count())
        && word.split('.').all(digits)
}

/// The file "version".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VersionFile {
    /// The driver's version; a word that [`is_version`] holds for.
    pub version: Option<String>,
    /// Whether it is the open kernel module.
    pub open: bool,
}

impl VersionFile {
    /// Takes the line `NVRM version:`, in which the flavour's name comes before the version.
    pub fn parse(text: &str) -> VersionFile {
        let line = field(text, "NVRM version:").unwrap_or_default();
        let mut words = line.split_whitespace();
        VersionFile {
            version: words.find(|w| is_version(w)).map(str::to_owned),
            open: line.contains("Open Kernel Module"),
        }
    }
}

/// A file "gpus/ADDRESS/information".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Information {
    /// The model's name.
    pub model: Option<String>,
    /// "GPU-" and then the UUID in lower case. Absent while the GPU was never opened, when the
    /// driver writes question marks, and in unprivileged guests.
    pub uuid: Option<String>,
    /// The minor number of the GPU's device node.
    pub minor: Option<u32>,
}

impl Information {
    /// Takes the lines `Model:`, `GPU UUID:` and `Device Minor:`.
    pub fn parse(text: &str) -> Information {
        let uuid = field(text, "GPU UUID:").and_then(|uuid| uuid.parse().ok());
        Information {
            model: field(text, "Model:").map(str::to_owned),
            uuid: uuid.and_then(|id| match id {
                DeviceId::Uuid(uuid) if uuid.len() == UUID_LENGTH => Some(uuid),
                _ => None,
            }),
            minor: field(text, "Device Minor:").and_then(|v| v.parse().ok()),
        }
    }
}

/// The minor number of the capability node that an access file ("capabilities/.../access")
/// belongs to: its line `DeviceFileMinor:`.
pub fn capability_minor(text: &str) -> Option<u32> {
    field(text, "DeviceFileMinor:").and_then(|v| v.parse().ok())
}

/// The permission bits that the driver wants that node to have: its line `DeviceFileMode:`,
/// decimal.
pub fn capability_mode(text: &str) -> Option<u32> {
    field(text, "DeviceFileMode:").and_then(|v| v.parse().ok())
}

/// Whether the driver lets its tools make nodes and change them: the line `ModifyDeviceFiles:` of
/// "params", or `DeviceFileModify:` of an access file. A text without either allows it.
pub fn may_modify(text: &str) -> bool {
    let keys = ["ModifyDeviceFiles:", "DeviceFileModify:"];
    keys.iter()
        .all(|key| field(text, key).is_none_or(|v| v == "1"))
}

/// How many IMEX channels the driver has: the line `ImexChannelCount:` of "params", which drivers
/// have since branch 550.
pub fn imex_channel_count(params: &str) -> Option<u32> {
    field(params, "ImexChannelCount:").and_then(|v| v.parse().ok())
}

impl DeviceFileParams {
    /// Parses the file "params": its lines `DeviceFileUID:`, `DeviceFileGID:` and
    /// `DeviceFileMode:`, all decimal. The default stands for what is missing.
    pub fn parse(params: &str) -> DeviceFileParams {
        let number = |key: &str| field(params, key).and_then(|v| v.parse().ok());
        let default = DeviceFileParams::default();
        DeviceFileParams {
            uid: number("DeviceFileUID:").unwrap_or(default.uid),
            gid: number("DeviceFileGID:").unwrap_or(default.gid),
            mode: number("DeviceFileMode:").unwrap_or(default.mode) & 0o777,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_from_other_words() {
        for good in ["550.163.01", "390.157", "580.82.07", "2024.04"] {
            assert!(is_version(good), "{good}");
        }
        let long = "5".repeat(VERSION_LIMIT);
        for bad in [
            "550",
            "x86_64",
            "12.2.0",
            "550..1",
            "550.1.2.3",
            "550.163.",
            ".550.1",
            "550.1/..",
            "",
            "550.1a",
            &format!("{long}.1"),
        ] {
            assert!(!is_version(bad), "{bad}");
        }
    }

    #[test]
    fn both_flavours_tell_their_version() {
        let open = VersionFile::parse(
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.82.07  Release Build\n\
             GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n",
        );
        assert_eq!(
            (open.version.as_deref(), open.open),
            (Some("580.82.07"), true)
        );
        let closed = VersionFile::parse("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.1\n");
        assert_eq!(
            (closed.version.as_deref(), closed.open),
            (Some("550.1"), false)
        );
        let other = VersionFile::parse("GCC version:  gcc version 123.4.5\n");
        assert_eq!(other, VersionFile::default());
    }

    #[test]
    fn information_tells_who_a_gpu_is() {
        let text = "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 100\n\
                    GPU UUID: \t GPU-1A2B3C4D-0001-4000-8000-00000000abcd\nDevice Minor: \t 3\n";
        let gpu = Information::parse(text);
        assert_eq!(gpu.model.as_deref(), Some("NVIDIA H100 80GB HBM3"));
        let uuid = "GPU-1a2b3c4d-0001-4000-8000-00000000abcd";
        assert_eq!((gpu.uuid.as_deref(), gpu.minor), (Some(uuid), Some(3)));
        for none in [
            "GPU UUID: GPU-????????-????-????-????-????????????",
            "GPU UUID: GPU-1a2b",
            "GPU UUID: MIG-1a2b3c4d-0001-4000-8000-00000000abcd",
            "GPU UUID:",
            "Device Minor: -1",
        ] {
            let gpu = Information::parse(none);
            assert_eq!((gpu.uuid, gpu.minor), (None, None), "{none}");
        }
    }

    #[test]
    fn params_give_owner_and_mode_of_nodes() {
        let params = "DeviceFileUID: 0\nDeviceFileGID: 44\nDeviceFileMode: 432\n";
        let expected = DeviceFileParams {
            uid: 0,
            gid: 44,
            mode: 0o660,
        };
        assert_eq!(DeviceFileParams::parse(params), expected);
        let default = DeviceFileParams::default();
        assert_eq!(DeviceFileParams::parse("DeviceFileMode: x"), default);
        let setuid = DeviceFileParams::parse("DeviceFileMode: 2541");
        assert_eq!(setuid.mode, 0o755);
    }

    #[test]
    fn params_tell_what_may_be_made() {
        for (text, may) in [
            ("", true),
            ("ModifyDeviceFiles: 1\n", true),
            ("ModifyDeviceFiles: 0\n", false),
            ("DeviceFileMinor: 1\nDeviceFileModify: 0\n", false),
            ("DeviceFileModify: 1\n", true),
            ("ModifyDeviceFiles: yes\n", false),
        ] {
            assert_eq!(may_modify(text), may, "{text}");
        }
        assert_eq!(imex_channel_count("ImexChannelCount: 2048\n"), Some(2048));
        assert_eq!(imex_channel_count("ImexChannelCount: all\n"), None);
        assert_eq!(imex_channel_count("EnableMSI: 1\n"), None);
    }

    #[test]
    fn access_files_name_a_minor_number() {
        let text = "DeviceFileMinor: 12\nDeviceFileMode: 292\nDeviceFileModify: 1\n";
        assert_eq!(capability_minor(text), Some(12));
        assert_eq!(capability_mode(text), Some(0o444));
        assert_eq!(capability_minor("DeviceFileMinor: \n"), None);
    }
}
