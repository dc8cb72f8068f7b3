//! The names that a device goes by: their spellings, and one spelling for each.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// Longest name of a device, in bytes. Real ones are below 60.
pub const NAME_LIMIT: usize = 256;

/// The spellings of [`DeviceId`], for messages.
pub(super) const FORMS: &str = "a GPU index (0), a GPU UUID or the beginning of one (GPU-1a2b3c), \
    a PCI address (0000:1a:00.0), a MIG instance (0:1, MIG-UUID, MIG-GPU-UUID/1/0) \
    or a CDI name (nvidia.com/gpu=0)";

/// A device by one of its names.
///
/// [`FromStr`] reads every usual spelling; [`fmt::Display`] writes the one that is kept, and that
/// reads back as the same name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub enum DeviceId {
    /// A GPU by its place in PCI order.
    Index(u32),
    /// A GPU by its UUID, or a beginning of it that fits one GPU only: "GPU-" and then lower-case
    /// hexadecimal digits with dashes where a UUID has them.
    Uuid(String),
    /// A GPU by its PCI address, normalised to "dddd:bb:dd.f" in lower case; a domain above ffff
    /// takes as many digits as it needs.
    BusId(String),
    /// A MIG instance by its GPU's index and its place in that GPU ("0:1").
    MigIndex(u32, u32),
    /// A MIG instance by its whole UUID: "MIG-" and then the UUID in lower case.
    MigUuid(String),
    /// A MIG instance by its GPU's UUID and its two numbers ("MIG-GPU-.../1/0").
    MigNumbers {
        /// The GPU's whole UUID, "GPU-" and then the UUID in lower case.
        gpu: String,
        /// GPU instance number.
        gi: u32,
        /// Compute instance number.
        ci: u32,
    },
    /// A fully qualified CDI name ("nvidia.com/gpu=0"), as written.
    Cdi(String),
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceId::Index(i) => write!(f, "{i}"),
            DeviceId::Uuid(s) | DeviceId::BusId(s) | DeviceId::MigUuid(s) | DeviceId::Cdi(s) => {
                f.write_str(s)
            }
            DeviceId::MigIndex(gpu, mig) => write!(f, "{gpu}:{mig}"),
            DeviceId::MigNumbers { gpu, gi, ci } => write!(f, "MIG-{gpu}/{gi}/{ci}"),
        }
    }
}

/// Why a text is no device name, to follow "X is no device name: ".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadName(&'static str);

impl FromStr for DeviceId {
    type Err = BadName;

    /// Reads one name, without white space around it. "GPU-", "MIG-" and hexadecimal digits may
    /// have either case. Whether there is such a device is not known here.
    fn from_str(name: &str) -> Result<DeviceId, BadName> {
        if name.len() > NAME_LIMIT {
            Err(BadName("it is longer than 256 bytes"))
        } else if name.contains('=') {
            cdi(name)
        } else if let Some(rest) = after(name, "MIG-GPU-") {
            mig_numbers(rest)
        } else if let Some(uuid) = after(name, "MIG-") {
            match uuid.len() == UUID_LENGTH && begins_uuid(uuid) {
                true => Ok(DeviceId::MigUuid(format!("MIG-{}", lower(uuid)))),
                false => Err(BadName("MIG- is followed by a whole UUID")),
            }
        } else if let Some(uuid) = after(name, "GPU-") {
            match begins_uuid(uuid) {
                true => Ok(DeviceId::Uuid(format!("GPU-{}", lower(uuid)))),
                false => Err(BadName(
                    "GPU- is followed by a UUID or the beginning of one",
                )),
            }
        } else if let Some((address, function)) = name.rsplit_once('.') {
            bus_id(address, function)
        } else if let Some((gpu, mig)) = name.split_once(':') {
            match (decimal(gpu), decimal(mig)) {
                (Some(gpu), Some(mig)) => Ok(DeviceId::MigIndex(gpu, mig)),
                _ => Err(BadName(
                    "a colon is part of two indices (0:1) or of a PCI address, which ends in .0",
                )),
            }
        } else if name.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty() {
            match decimal(name) {
                Some(index) => Ok(DeviceId::Index(index)),
                None => Err(BadName("the index is too large")),
            }
        } else {
            Err(BadName("it has none of the forms of a name"))
        }
    }
}

/// 8-4-4-4-12 hexadecimal digits and the dashes between them.
const UUID_LENGTH: usize = 36;

fn begins_uuid(text: &str) -> bool {
    (1..=UUID_LENGTH).contains(&text.len())
        && text.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

fn mig_numbers(rest: &str) -> Result<DeviceId, BadName> {
    let mut parts = rest.split('/');
    let (uuid, gi, ci) = (parts.next(), parts.next(), parts.next());
    let whole = uuid.filter(|u| u.len() == UUID_LENGTH && begins_uuid(u));
    match (
        whole,
        gi.and_then(decimal),
        ci.and_then(decimal),
        parts.next(),
    ) {
        (Some(uuid), Some(gi), Some(ci), None) => Ok(DeviceId::MigNumbers {
            gpu: format!("GPU-{}", lower(uuid)),
            gi,
            ci,
        }),
        _ => Err(BadName(
            "MIG-GPU- is followed by a whole UUID and the numbers of two instances (/1/0)",
        )),
    }
}

/// [DOMAIN:]BUS:DEVICE and a function: the kernel writes "0000:1a:00.0", NVML "00000000:1A:00.0",
/// lspci "1a:00.0".
fn bus_id(address: &str, function: &str) -> Result<DeviceId, BadName> {
    const BAD: BadName = BadName("a PCI address is [DOMAIN:]BUS:DEVICE.FUNCTION in hexadecimal");
    let (head, device) = address.rsplit_once(':').ok_or(BAD)?;
    let (domain, bus) = head.rsplit_once(':').unwrap_or(("0", head));
    let domain = hexadecimal(domain, 8).ok_or(BAD)?;
    let bus = hexadecimal(bus, 2).ok_or(BAD)?;
    let device = hexadecimal(device, 2).filter(|d| *d < 32).ok_or(BAD)?;
    let function = hexadecimal(function, 1).filter(|f| *f < 8).ok_or(BAD)?;
    let normal = format!("{domain:04x}:{bus:02x}:{device:02x}.{function}");
    Ok(DeviceId::BusId(normal))
}

/// VENDOR/CLASS=DEVICE by the grammar of the Container Device Interface (SPEC.md, "kind" and
/// "name").
fn cdi(name: &str) -> Result<DeviceId, BadName> {
    let (kind, device) = name.split_once('=').unwrap_or((name, ""));
    let (vendor, class) = kind.split_once('/').unwrap_or((kind, ""));
    let letter = |text: &str| text.starts_with(|c: char| c.is_ascii_alphabetic());
    let well_formed = letter(vendor)
        && letter(class)
        && word(vendor, b"_-.")
        && word(class, b"_-.")
        && word(device, b"_-.:");
    match well_formed {
        true => Ok(DeviceId::Cdi(name.to_owned())),
        false => Err(BadName(
            "a CDI name is VENDOR/CLASS=DEVICE, each of letters, digits and _-.",
        )),
    }
}

/// Whether `text` begins and ends with a letter or digit and has nothing but those and `between`.
fn word(text: &str, between: &[u8]) -> bool {
    let bytes = text.as_bytes();
    let plain = |b: &u8| b.is_ascii_alphanumeric();
    bytes.first().is_some_and(plain)
        && bytes.last().is_some_and(plain)
        && bytes.iter().all(|b| plain(b) || between.contains(b))
}

/// What follows `prefix`, whatever the prefix' case.
fn after<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix)
        .then(|| text.get(prefix.len()..))?
}

fn lower(text: &str) -> String {
    text.to_ascii_lowercase()
}

/// A number of ASCII digits alone: no sign, no white space, no digits of other scripts.
pub(super) fn decimal(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

fn hexadecimal(text: &str, longest: usize) -> Option<u32> {
    let digits = text.bytes().all(|b| b.is_ascii_hexdigit()) && text.len() <= longest;
    u32::from_str_radix(text, 16).ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "1a2b3c4d-0001-4000-8000-00000000abcd";

    #[test]
    fn every_usual_spelling_is_read_and_kept_as_one() {
        let gpu = format!("GPU-{UUID}");
        let mig = format!("MIG-{UUID}");
        let numbers = format!("MIG-{gpu}/13/2");
        let upper = |s: &str| s.to_ascii_uppercase();
        let rows = [
            ("0", "0"),
            ("4294967295", "4294967295"),
            ("007", "7"),
            (gpu.as_str(), &gpu),
            (&upper(&gpu), &gpu),
            (&format!("gpu-{UUID}"), &gpu),
            ("GPU-1", "GPU-1"),
            ("GPU-1A2B3C4D-", "GPU-1a2b3c4d-"),
            ("0000:1a:00.0", "0000:1a:00.0"),
            ("00000000:1A:00.0", "0000:1a:00.0"),
            ("00010000:1A:1F.7", "10000:1a:1f.7"),
            ("1a:00.0", "0000:1a:00.0"),
            ("0:1:0.0", "0000:01:00.0"),
            ("0:1", "0:1"),
            (&mig, &mig),
            (&upper(&mig), &mig),
            (&numbers, &numbers),
            (&upper(&numbers), &numbers),
            ("nvidia.com/gpu=0", "nvidia.com/gpu=0"),
            ("runtime.nvidia.com/gpu=all", "runtime.nvidia.com/gpu=all"),
            ("nvidia.com/gpu=0:1", "nvidia.com/gpu=0:1"),
        ];
        for (name, kept) in rows {
            let id: DeviceId = name.parse().unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(id.to_string(), kept, "{name}");
            assert_eq!(kept.parse(), Ok(id), "{name}");
        }
    }

    #[test]
    fn names_tell_their_kind() {
        assert_eq!("3".parse(), Ok(DeviceId::Index(3)));
        assert_eq!("3:4".parse(), Ok(DeviceId::MigIndex(3, 4)));
        let numbers = DeviceId::MigNumbers {
            gpu: format!("GPU-{UUID}"),
            gi: 1,
            ci: 0,
        };
        assert_eq!(format!("MIG-GPU-{UUID}/1/0").parse(), Ok(numbers));
    }

    #[test]
    fn other_texts_are_refused() {
        let long_uuid = format!("GPU-{UUID}0");
        let long = "1".repeat(NAME_LIMIT + 1);
        let rows = [
            "",
            " ",
            "-1",
            "+1",
            "1 ",
            "0x1",
            "4294967296",
            "99999999999999999999",
            "٣",
            "１",
            "1e3",
            "../../dev/mem",
            "/dev/nvidia0",
            "nvidia0",
            "gpu0",
            "GPU",
            "GPU-",
            "GPU-xyz",
            "GPU-1a2b3c4d0",
            "GPU-1-",
            &long_uuid,
            "GPU-1a2b\n",
            "GPU-é",
            "MIG-",
            "MIG-1a2b",
            "MIG-xyz",
            "MIG-GPU-1/0/0",
            "MIG-GPU-1a2b3c4d-0001-4000-8000-00000000abcd",
            "MIG-GPU-1a2b3c4d-0001-4000-8000-00000000abcd/1",
            "MIG-GPU-1a2b3c4d-0001-4000-8000-00000000abcd/1/0/0",
            "MIG-GPU-1a2b3c4d-0001-4000-8000-00000000abcd/-1/0",
            "0:",
            ":1",
            "0:1:2",
            "0:-1",
            "0:1:2:3",
            "0000:1a:00",
            "1a:00.8",
            "1a:20.0",
            "1a:00.",
            "1a.0",
            "100:00.0",
            "0:0:1a:00.0",
            "000000000:1a:00.0",
            "+1a:00.0",
            "1a:00.00",
            "é:00.0",
            ".",
            ":",
            ".0",
            "=",
            "gpu=0",
            "/gpu=0",
            "nvidia.com/=0",
            "nvidia.com/gpu=",
            "nvidia.com/gpu=../x",
            "1nvidia.com/gpu=0",
            "nvidia.com/gpu=a=b",
            "a/b/c=0",
            "nvidia.com-/gpu=0",
            "nvidia.com/gpu= 0",
            &long,
            "all,0",
            "0,1",
        ];
        for name in rows {
            assert!(name.parse::<DeviceId>().is_err(), "{name:?}");
        }
    }

    fn device_id() -> impl proptest::strategy::Strategy<Value = DeviceId> {
        use proptest::prelude::*;
        let uuid = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}";
        prop_oneof![
            any::<u32>().prop_map(DeviceId::Index),
            (uuid, 1usize..=UUID_LENGTH)
                .prop_map(|(u, n)| DeviceId::Uuid(format!("GPU-{}", &u[..n]))),
            (any::<u32>(), any::<u8>(), 0u8..32, 0u8..8)
                .prop_map(|(d, b, s, f)| DeviceId::BusId(format!("{d:04x}:{b:02x}:{s:02x}.{f}"))),
            any::<(u32, u32)>().prop_map(|(gpu, mig)| DeviceId::MigIndex(gpu, mig)),
            uuid.prop_map(|u| DeviceId::MigUuid(format!("MIG-{u}"))),
            (uuid, any::<u32>(), any::<u32>()).prop_map(|(u, gi, ci)| DeviceId::MigNumbers {
                gpu: format!("GPU-{u}"),
                gi,
                ci
            }),
            "[a-zA-Z][a-z.]{0,9}[a-z]/[a-z][a-z0-9_-]{0,9}[0-9]=[a-z0-9]([a-zA-Z0-9:._-]{0,9}[a-z])?"
                .prop_map(DeviceId::Cdi),
        ]
    }

    proptest::proptest! {
        #[test]
        fn what_is_displayed_reads_back(id in device_id()) {
            proptest::prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn no_text_panics_and_what_is_read_reads_back(
            text in "(GPU-|MIG-|MIG-GPU-)?\\PC{0,50}|[0-9a-fA-F:./=-]{0,50}",
        ) {
            if let Ok(id) = text.parse::<DeviceId>() {
                proptest::prop_assert_eq!(id.to_string().parse(), Ok(id));
            }
        }
    }
}
