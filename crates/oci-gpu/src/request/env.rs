//! The grammar of the `NVIDIA_*` variables: lists with special words, switches, CUDA versions.

use std::collections::{BTreeSet, HashSet};

use super::names::{DeviceId, FORMS, decimal};
use super::{Devices, Requirement};
use crate::capability::{CapabilitySet, CapabilityWords, VALID_WORDS, unknown_word};
use crate::finding::{Code, Finding, quote};

/// Most items of one request. A host has tens of GPUs and below a thousand MIG instances.
pub(super) const LIST_LIMIT: usize = 4096;

/// IMEX channels have numbers below this (libnvidia-container's own bound).
const CHANNEL_END: u32 = 1 << 20;

/// An item of a list and where it was read: a variable, or a mount.
pub(super) type Item<'a> = (&'a str, &'a str);

/// The items of a comma list in `variable`. White space around items and empty items count for
/// nothing.
pub(super) fn items<'a>(
    variable: &'a str,
    value: &'a str,
) -> impl Iterator<Item = Item<'a>> + Clone {
    let items = value.split(',').map(str::trim);
    items.filter(|i| !i.is_empty()).map(move |i| (variable, i))
}

/// What a list says as a whole.
pub(super) enum Special {
    /// It is empty, or `void` is in it: nothing is asked for.
    Void,
    /// `all` decides.
    All,
    /// `none` decides.
    None,
    /// Its items do.
    Items,
}

/// The word that decides over a list: `void` anywhere, else the first of `all` and `none`. `all`
/// has any case, as in libnvidia-container.
pub(super) fn special<'a>(items: impl Iterator<Item = Item<'a>>) -> Special {
    let mut decided = None;
    let mut empty = true;
    for (_, item) in items {
        empty = false;
        match item {
            "void" => return Special::Void,
            "none" if decided.is_none() => decided = Some(Special::None),
            _ if decided.is_none() && item.eq_ignore_ascii_case("all") => {
                decided = Some(Special::All);
            }
            _ => {}
        }
    }
    match empty {
        true => Special::Void,
        false => decided.unwrap_or(Special::Items),
    }
}

/// The devices of a list; `None` where it asks for nothing. Repeats collapse: the reference takes
/// `0,0` for no GPU at all.
pub(super) fn devices<'a>(
    items: impl Iterator<Item = Item<'a>> + Clone,
) -> Result<Option<Devices>, Finding> {
    match special(items.clone()) {
        Special::Void => return Ok(None),
        Special::All => return Ok(Some(Devices::All)),
        Special::None => return Ok(Some(Devices::DriverOnly)),
        Special::Items => {}
    }
    let mut list = Vec::new();
    let mut seen = HashSet::new();
    for (at, (origin, item)) in items.enumerate() {
        within_limit(origin, at)?;
        let id: DeviceId = item.parse().map_err(|why| {
            let what = match item.to_ascii_lowercase().as_str() {
                word @ ("none" | "void") => format!("the word is {word}, in lower case"),
                _ => format!("{why}"),
            };
            syntax(
                origin,
                format!("{} is no device name: {what}", quote(item)),
                format!("use all, none, void, or a comma list of {FORMS}"),
            )
        })?;
        if seen.insert(id.clone()) {
            list.push(id);
        }
    }
    Ok(Some(Devices::List(list)))
}

/// IMEX channels of a list; `None` for `all`, which the reference does not grant by a variable.
pub(super) fn channels<'a>(
    items: impl Iterator<Item = Item<'a>> + Clone,
) -> Result<Option<Vec<u32>>, Finding> {
    match special(items.clone()) {
        Special::Void | Special::None => return Ok(Some(Vec::new())),
        Special::All => return Ok(None),
        Special::Items => {}
    }
    let mut channels = BTreeSet::new();
    for (at, (origin, item)) in items.enumerate() {
        within_limit(origin, at)?;
        let channel = decimal(item).filter(|c| *c < CHANNEL_END).ok_or_else(|| {
            syntax(
                origin,
                format!("{} is no IMEX channel", quote(item)),
                format!(
                    "use numbers from 0 to {}, with commas between",
                    CHANNEL_END - 1
                ),
            )
        })?;
        channels.insert(channel);
    }
    Ok(Some(channels.into_iter().collect()))
}

fn within_limit(origin: &str, at: usize) -> Result<(), Finding> {
    match at < LIST_LIMIT {
        true => Ok(()),
        false => Err(syntax(
            origin,
            format!("the list has more than {LIST_LIMIT} items"),
            "use all for every device",
        )),
    }
}

/// The capabilities of `NVIDIA_DRIVER_CAPABILITIES`, and what was ignored in it. `legacy` images
/// that say nothing get all that `supported` has.
pub(super) fn capabilities(
    value: Option<&str>,
    supported: CapabilitySet,
    legacy: bool,
) -> Result<(CapabilitySet, Option<Finding>), Finding> {
    const NAME: &str = "NVIDIA_DRIVER_CAPABILITIES";
    let remedy = format!("use a comma list of {VALID_WORDS}; leave it unset for utility,compute");
    let value = match value {
        None if legacy => return Ok((supported, None)),
        None | Some("") => {
            return Ok((CapabilitySet::default_set().intersection(supported), None));
        }
        Some(value) => value,
    };
    let words = CapabilityWords::read(value);
    let unknown = words.unknown.map(|word| {
        let message = format!("{NAME}: {}", unknown_word(word));
        Finding::new(Code::RequestCapability, message, remedy)
    });
    let refused = words.named.without(supported);
    match (words.all, unknown) {
        (true, note) => Ok((supported, note)),
        (false, Some(error)) => Err(error),
        (false, None) if !refused.is_empty() => Err(Finding::new(
            Code::RequestCapability,
            format!("{NAME}: {refused} is not allowed on this host, only {supported} is"),
            "leave it out, or allow it in the configuration file \
             (driver-capabilities, or NVIDIA's supported-driver-capabilities)",
        )),
        (false, None) => Ok((words.named, None)),
    }
}

/// A switch, by the words that Go's strconv.ParseBool takes. `Err` holds any other text.
pub(super) fn switch(value: &str) -> Result<bool, &str> {
    match value {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "" | "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        other => Err(other),
    }
}

/// The requirement that CUDA_VERSION stands for in an image without NVIDIA_REQUIRE_CUDA:
/// major[.minor[.patch]], a `v` before it allowed. `None` where it is no version.
pub(super) fn legacy_requirement(cuda_version: &str) -> Option<Requirement> {
    let version = cuda_version.strip_prefix('v').unwrap_or(cuda_version);
    let mut parts = version.split('.');
    let major = decimal(parts.next()?)?;
    let minor = parts.next().map_or(Some(0), decimal)?;
    parts.next().map_or(Some(0), decimal)?;
    parts.next().is_none().then(|| Requirement {
        name: "CUDA_VERSION".to_owned(),
        expression: format!("cuda>={major}.{minor}"),
    })
}

/// A finding [`Code::RequestSyntax`] about `origin`.
pub(super) fn syntax(
    origin: &str,
    what: impl std::fmt::Display,
    remedy: impl Into<String>,
) -> Finding {
    Finding::new(Code::RequestSyntax, format!("{origin}: {what}"), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuda_versions_of_old_images() {
        let valid = [
            ("0", "0.0"),
            ("8", "8.0"),
            ("7.5", "7.5"),
            ("9.0.116", "9.0"),
            ("v11.6", "11.6"),
            ("4294967295.4294967295.4294967295", "4294967295.4294967295"),
        ];
        for (version, expected) in valid {
            let requirement = legacy_requirement(version).unwrap();
            assert_eq!(requirement.expression, format!("cuda>={expected}"));
        }
        let invalid = [
            "",
            "v",
            "foo",
            "foo.5.10",
            "9.0.116.50",
            "9.0.116foo",
            "7.foo",
            "9.0.bar",
            "9.4294967296",
            "9.0.116.",
            "9..0",
            "9.",
            ".5.10",
            "-9",
            "+9",
            "-9.1.116",
            "11.2.3.4",
            "9 ",
        ];
        for version in invalid {
            assert_eq!(legacy_requirement(version), None, "{version:?}");
        }
    }

    #[test]
    fn switches_are_go_booleans() {
        for yes in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(switch(yes), Ok(true));
        }
        for no in ["", "0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(switch(no), Ok(false));
        }
        for other in ["yes", "tRUE", " true", "2"] {
            assert_eq!(switch(other), Err(other));
        }
    }

    #[test]
    fn long_lists_are_refused_and_long_repeats_cost_no_more() {
        let list = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>().join(",");
        let largest = list(LIST_LIMIT);
        let Some(Devices::List(ids)) = devices(items("V", &largest)).unwrap() else {
            panic!("no list");
        };
        assert_eq!(ids.len(), LIST_LIMIT);
        let error = devices(items("V", &list(LIST_LIMIT + 1))).unwrap_err();
        assert!(error.message.contains("more than 4096"), "{error}");
        assert!(channels(items("V", &"1,".repeat(1 << 19))).is_err());
        assert_eq!(devices(items("V", &",".repeat(1 << 20))), Ok(None));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,60}|[0-9a-zA-Z,.:/= -]{0,60}") {
            let _ = devices(items("V", &text));
            let _ = channels(items("V", &text));
            let _ = capabilities(Some(&text), CapabilitySet::all(), false);
            let _ = legacy_requirement(&text);
            let _ = switch(&text);
        }
    }
}
