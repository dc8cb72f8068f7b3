//! CUDA forward compatibility: a newer libcuda that the image brings along for older drivers.
//!
//! CUDA's images have it in /usr/local/cuda/compat. It works with the driver branches that it was
//! tested with, which it lists in a note of its ELF file, on data-centre GPUs. Where it fits, the
//! loader's cache names it before the driver's own; nothing of the image is mounted or executed
//! (CUDA Compatibility, "Forward Compatibility").

use std::cmp::Ordering;
use std::path::PathBuf;

use super::ContainerFacts;
use super::view::RootView;
use crate::elf;

/// Where images have it.
pub const DIRECTORY: &str = "/usr/local/cuda/compat";

/// Most names of the directory that are looked at; it has about ten.
const NAME_LIMIT: usize = 256;

const NOTE_SECTION: &str = ".note.cuda.fwd_compatibility";
const NOTE_OWNER: &str = "NVIDIA Corporation";

/// GPUs that refuse it (cuInit answers CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE), by brand.
const CONSUMER_BRANDS: [&str; 4] = ["GeForce", "GeForceRTX", "Titan", "TitanRTX"];

/// What the image has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compat {
    /// The version of its libcuda ("560.35.03").
    pub version: String,
    /// Its libraries: soname and path in the container.
    pub libraries: Vec<(String, PathBuf)>,
    /// The major versions of the drivers that it works with, where it says so.
    pub drivers: Option<Vec<u32>>,
}

impl ContainerFacts {
    /// Adds what the image has of CUDA forward compatibility. One look-up where it has nothing.
    pub fn with_compat(mut self, view: &impl RootView) -> ContainerFacts {
        self.compat = find(view, self.native);
        self
    }
}

/// What is in the directory, where it has exactly one libcuda.
fn find(view: &impl RootView, native: (elf::Class, elf::Machine)) -> Option<Compat> {
    let names = view.list(DIRECTORY, NAME_LIMIT);
    let versions = names.iter().filter_map(|n| n.strip_prefix("libcuda.so."));
    let mut versions = versions.filter(|v| numbers(v).is_some_and(|n| n.len() > 1));
    let version = versions.next()?.to_owned();
    if versions.next().is_some() {
        return None;
    }
    let suffix = format!(".so.{version}");
    let mut libraries = Vec::new();
    let mut drivers = None;
    for name in names.iter().filter(|n| n.ends_with(&suffix)) {
        let path = format!("{DIRECTORY}/{name}");
        let Some(file) = view.open(&path) else {
            continue;
        };
        let Ok(facts) = elf::read(&file) else {
            continue;
        };
        let soname = facts.soname.filter(|s| !s.is_empty() && !s.contains('/'));
        let Some(soname) = soname.filter(|_| (facts.class, facts.machine) == native) else {
            continue;
        };
        if soname == "libcuda.so.1" {
            let note = elf::note(&file, NOTE_SECTION, NOTE_OWNER).ok().flatten();
            drivers = note.and_then(|n| drivers_of(&n));
        }
        libraries.push((soname, PathBuf::from(path)));
    }
    libraries.sort();
    let has_cuda = libraries.iter().any(|(soname, _)| soname == "libcuda.so.1");
    has_cuda.then_some(Compat {
        version,
        libraries,
        drivers,
    })
}

/// The majors in the note's JSON: `{"driver": [535, 550], ...}`, numbers or texts.
fn drivers_of(note: &[u8]) -> Option<Vec<u32>> {
    let text = note.split(|b| *b == 0).next()?;
    let json: serde_json::Value = serde_json::from_slice(text).ok()?;
    let majors = json.get("driver")?.as_array()?.iter();
    let major = |v: &serde_json::Value| match v {
        serde_json::Value::String(text) => text.split('.').next()?.parse().ok(),
        number => number.as_u64()?.try_into().ok(),
    };
    Some(majors.filter_map(major).collect())
}

impl Compat {
    /// Whether it is for driver `host` and GPUs of these brands.
    ///
    /// # Errors
    /// The reason why the driver's own libraries are used.
    pub fn fits<'a>(
        &self,
        host: &str,
        mut brands: impl Iterator<Item = &'a str>,
    ) -> Result<(), String> {
        let version = &self.version;
        let (Some(theirs), Some(ours)) = (numbers(version), numbers(host)) else {
            return Err(format!(
                "the versions {version} and {host} cannot be compared"
            ));
        };
        if compare(&theirs, &ours) != Ordering::Greater {
            return Err(format!("it is {version}, no newer than the driver, {host}"));
        }
        let (theirs, ours) = (theirs.first().copied(), ours.first().copied());
        match (&self.drivers, ours) {
            (Some(drivers), Some(major)) if !drivers.contains(&major) => {
                let drivers: Vec<String> = drivers.iter().map(u32::to_string).collect();
                return Err(format!(
                    "it is for drivers of the branches {}, and this one is {host}",
                    drivers.join(", ")
                ));
            }
            (None, _) if ours >= theirs => {
                return Err(format!("it is {version}, of the driver's own branch"));
            }
            _ => {}
        }
        match brands.find(|b| CONSUMER_BRANDS.iter().any(|c| c.eq_ignore_ascii_case(b))) {
            Some(brand) => Err(format!(
                "it works on data-centre GPUs only, and the container gets one of brand {brand}"
            )),
            None => Ok(()),
        }
    }
}

/// The numbers of a version with dots.
fn numbers(version: &str) -> Option<Vec<u32>> {
    let digits = |n: &str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit());
    let parts = version.split('.');
    parts
        .map(|n| digits(n).then(|| n.parse().ok()).flatten())
        .collect()
}

fn compare(a: &[u32], b: &[u32]) -> Ordering {
    let longest = a.len().max(b.len());
    let at = |v: &[u32], i: usize| v.get(i).copied().unwrap_or(0);
    (0..longest)
        .map(|i| at(a, i).cmp(&at(b, i)))
        .find(|o| o.is_ne())
        .unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compat(version: &str, drivers: Option<&[u32]>) -> Compat {
        Compat {
            version: version.to_owned(),
            libraries: Vec::new(),
            drivers: drivers.map(<[u32]>::to_vec),
        }
    }

    #[test]
    fn the_note_decides_and_without_one_the_branch() {
        type Row = (
            &'static str,
            Option<&'static [u32]>,
            &'static str,
            &'static str,
            bool,
        );
        let rows: &[Row] = &[
            ("560.35.03", Some(&[535, 550]), "550.163.01", "Tesla", true),
            ("560.35.03", Some(&[535]), "550.163.01", "Tesla", false),
            ("550.163.01", Some(&[550]), "550.163.01", "Tesla", false),
            ("550.54.15", Some(&[550]), "550.163.01", "Tesla", false),
            ("550.163.02", Some(&[550]), "550.163.01", "Tesla", true),
            ("560.35.03", None, "550.163.01", "Tesla", true),
            ("550.163.02", None, "550.163.01", "Tesla", false),
            ("1000.1", None, "999.9", "Tesla", true),
            ("999.9", None, "1000.1", "Tesla", false),
            ("560.35.03", None, "550.163.01", "GeForceRTX", false),
            ("560.35.03", None, "550.163.01", "geforce", false),
            ("560.35.03", None, "unknown", "Tesla", false),
            ("560.35.03", Some(&[]), "550.163.01", "Tesla", false),
        ];
        for (version, drivers, host, brand, expected) in rows {
            let fits = compat(version, *drivers).fits(host, std::iter::once(*brand));
            assert_eq!(
                fits.is_ok(),
                *expected,
                "{version} {drivers:?} {host} {brand}: {fits:?}"
            );
        }
    }

    #[test]
    fn majors_of_notes() {
        let of = |text: &str| drivers_of(text.as_bytes());
        assert_eq!(of(r#"{"driver":[535,550]}"#), Some(vec![535, 550]));
        assert_eq!(
            of("{\"driver\":[\"535\",\"550.54\"]}\0\0"),
            Some(vec![535, 550])
        );
        assert_eq!(of(r#"{"driver":[]}"#), Some(Vec::new()));
        assert_eq!(of(r#"{"driver":"535"}"#), None);
        assert_eq!(of("x"), None);
        assert_eq!(of(""), None);
    }
}
