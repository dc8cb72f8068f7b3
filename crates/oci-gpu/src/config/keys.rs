//! The keys of our file and of NVIDIA's.

use super::Config;
use super::document::Document;
use crate::finding::{Finding, quote};

/// Every key of our file.
pub(super) const OURS: [&str; 13] = [
    "create-device-nodes",
    "cuda-compat",
    "dev-root",
    "disable-require",
    "driver-capabilities",
    "driver-root",
    "env-when-unprivileged",
    "ignore-imex-channels",
    "log",
    "mps-pipe-directory",
    "no-cgroups",
    "swarm-resources",
    "volume-mounts",
];

/// What NVIDIA's file has at its top level and ours has not.
const NVIDIAS: [&str; 9] = [
    "accept-nvidia-visible-devices-as-volume-mounts",
    "accept-nvidia-visible-devices-envvar-when-unprivileged",
    "features",
    "nvidia-container-cli",
    "nvidia-container-runtime",
    "nvidia-container-runtime-hook",
    "nvidia-ctk",
    "supported-driver-capabilities",
    "swarm-resource",
];

/// Whether a file is of NVIDIA's kind: it has a key that only NVIDIA's has, and none of ours alone.
pub(super) fn is_nvidias(document: &Document<'_>) -> bool {
    let has = |keys: &[&str]| document.values().any(|(_, v)| keys.contains(&v.key));
    let only_ours = OURS.map(|key| if key == "disable-require" { "" } else { key });
    has(&NVIDIAS) && !has(&only_ours)
}

/// Our file.
pub(super) fn ours(document: &Document<'_>) -> Result<Config, Finding> {
    let mut config = Config::default();
    let policy = &mut config.policy;
    for (at, value) in document.values() {
        match value.key {
            "create-device-nodes" => config.create_device_nodes = value.boolean()?,
            "cuda-compat" => config.cuda_compat = value.boolean()?,
            "dev-root" => config.dev_root = Some(value.path()?),
            "disable-require" => policy.disable_require = value.boolean()?,
            "driver-capabilities" => policy.capabilities = value.capabilities()?,
            "driver-root" => config.driver_root = Some(value.path()?),
            "env-when-unprivileged" => policy.env_when_unprivileged = value.boolean()?,
            "ignore-imex-channels" => policy.ignore_imex = value.boolean()?,
            "mps-pipe-directory" => config.mps_directory = Some(value.path()?),
            "log" => config.log = Some(value.path()?),
            "no-cgroups" => config.no_cgroups = value.boolean()?,
            "swarm-resources" => {
                policy.swarm_resources = value.words()?.into_iter().map(str::to_owned).collect();
            }
            "volume-mounts" => policy.volume_mounts = value.boolean()?,
            other => {
                let what = format!("there is no key {}", quote(other));
                let remedy = format!(
                    "the nearest is {}; the keys are {}",
                    nearest(other),
                    OURS.join(", ")
                );
                return Err(document.error(Some(at), &what, &remedy));
            }
        }
    }
    config.source = Some(document.path.to_owned());
    Ok(config)
}

/// NVIDIA's file. Keys that decide nothing here are not looked at, as unknown ones are not there.
pub(super) fn nvidias(document: &Document<'_>) -> Result<Config, Finding> {
    let mut config = Config::default();
    let policy = &mut config.policy;
    for (_, value) in document.values() {
        match value.key {
            "disable-require" => policy.disable_require = value.boolean()?,
            "supported-driver-capabilities" => policy.capabilities = value.capabilities()?,
            "accept-nvidia-visible-devices-envvar-when-unprivileged" => {
                policy.env_when_unprivileged = value.boolean()?;
            }
            "accept-nvidia-visible-devices-as-volume-mounts" => {
                policy.volume_mounts = value.boolean()?;
            }
            "swarm-resource" => {
                policy.swarm_resources = value.words()?.into_iter().map(str::to_owned).collect();
            }
            "features" => {
                for value in value.table()? {
                    if value.key == "ignore-imex-channel-requests" {
                        policy.ignore_imex = value.boolean()?;
                    }
                }
            }
            "nvidia-container-runtime" => {
                let key = ["modes", "legacy", "cuda-compat-mode"];
                if let Some(mode) = value.below(&key)? {
                    config.cuda_compat = mode.string()? != "disabled";
                }
            }
            "nvidia-container-cli" => {
                for value in value.table()? {
                    match value.key {
                        "no-cgroups" => config.no_cgroups = value.boolean()?,
                        "root" if value.string()?.is_empty() => {}
                        "root" => config.driver_root = Some(value.path()?),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    config.source = Some(document.path.to_owned());
    Ok(config)
}

/// The key of our file that takes the fewest edits to reach from `key`.
fn nearest(key: &str) -> &'static str {
    let near = OURS.into_iter().min_by_key(|known| distance(key, known));
    near.unwrap_or_default()
}

/// The number of characters to insert, delete or replace (Levenshtein). Bounded by looking at the
/// beginning of `a` only.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().take(100).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.chars()) {
            let replaced = diagonal + usize::from(x != y);
            diagonal = *cell;
            left = replaced.min(left + 1).min(diagonal + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_edits() {
        let rows = [
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "abc", 0),
            ("abc", "axc", 1),
            ("ab", "abc", 1),
            ("kitten", "sitting", 3),
        ];
        for (a, b, expected) in rows {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
        assert_eq!(nearest("volume-mount"), "volume-mounts");
        assert_eq!(nearest("driver_root"), "driver-root");
        assert_eq!(nearest("no-cgroup"), "no-cgroups");
        assert_eq!(
            nearest("supported-driver-capabilities"),
            "driver-capabilities"
        );
    }
}
