//! config.json -> [`Container`]: the members that decide something, the others skipped unread.
//!
//! Unknown members are skipped without recursion, so their depth costs nothing; known ones have a
//! fixed depth. `null` counts as absent, as it does for the runtimes' own decoders.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserialize, Deserializer};

use super::{CONFIG_LIMIT, Container, Mount};
use crate::finding::{Code, Finding, quote};
use crate::json::{Named, Object};

const REMEDY: &str = "correct the bundle's config.json as the OCI runtime specification has it";

/// A member of config.json whose errors name it.
macro_rules! members {
    ($($function:ident: $type:ty = $name:literal;)*) => {
        $(fn $function<'de, D: Deserializer<'de>>(from: D) -> Result<$type, D::Error> {
            <$type>::deserialize(from).map_err(|e| de::Error::custom(format_args!("{}: {e}", $name)))
        })*
    };
}

members! {
    oci_version: Option<String> = "ociVersion";
    env: Option<Vec<String>> = "process.env";
    capabilities: Option<Capabilities> = "process.capabilities";
    root_path: Option<PathBuf> = "root.path";
    root_readonly: Option<bool> = "root.readonly";
    mounts: Option<Vec<Object<MountMember>>> = "mounts";
    annotations: Option<BTreeMap<String, String>> = "annotations";
    namespaces: Option<Vec<Object<Namespace>>> = "linux.namespaces";
    mount_label: Option<String> = "linux.mountLabel";
}

macro_rules! named {
    ($($type:ty = $name:literal;)*) => {
        $(impl Named for $type { const NAME: &'static str = $name; })*
    };
}

named! {
    Config = "config.json";
    Process = "process";
    RootMember = "root";
    MountMember = "a mount";
    Linux = "linux";
    Namespace = "a namespace";
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Config {
    #[serde(rename = "ociVersion", deserialize_with = "oci_version")]
    oci_version: Option<String>,
    process: Option<Object<Process>>,
    root: Option<Object<RootMember>>,
    #[serde(deserialize_with = "mounts")]
    mounts: Option<Vec<Object<MountMember>>>,
    #[serde(deserialize_with = "annotations")]
    annotations: Option<BTreeMap<String, String>>,
    linux: Option<Object<Linux>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Process {
    #[serde(deserialize_with = "env")]
    env: Option<Vec<String>>,
    #[serde(deserialize_with = "capabilities")]
    capabilities: Option<Capabilities>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct RootMember {
    #[serde(deserialize_with = "root_path")]
    path: Option<PathBuf>,
    #[serde(deserialize_with = "root_readonly")]
    readonly: Option<bool>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct MountMember {
    destination: PathBuf,
    source: Option<PathBuf>,
    #[serde(rename = "type")]
    kind: Option<String>,
    options: Option<Vec<String>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Linux {
    #[serde(deserialize_with = "namespaces")]
    namespaces: Option<Vec<Object<Namespace>>>,
    #[serde(rename = "mountLabel", deserialize_with = "mount_label")]
    mount_label: Option<String>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Sets {
    bounding: Option<Vec<String>>,
}

/// process.capabilities: five sets, or one list before version 1.0.0-rc5 of the specification.
enum Capabilities {
    Sets(Sets),
    List(Vec<String>),
}

impl<'de> Deserialize<'de> for Capabilities {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Capabilities, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Capabilities;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of capability sets, or a list")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Capabilities, A::Error> {
                Sets::deserialize(MapAccessDeserializer::new(map)).map(Capabilities::Sets)
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, seq: A) -> Result<Capabilities, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(Capabilities::List)
            }
        }
        from.deserialize_any(Visitor)
    }
}

pub(super) fn parse(bytes: &[u8]) -> Result<Container, Finding> {
    if bytes.len() as u64 > CONFIG_LIMIT {
        let message = format!("config.json is larger than {CONFIG_LIMIT} bytes");
        return Err(Finding::new(Code::Bundle, message, REMEDY));
    }
    let Object(config): Object<Config> = serde_json::from_slice(bytes)
        .map_err(|e| Finding::new(Code::Bundle, format!("config.json: {e}"), REMEDY))?;
    let Object(process) = config.process.unwrap_or_default();
    let Object(root) = config.root.unwrap_or_default();
    let Object(linux) = config.linux.unwrap_or_default();
    let bounding = match process.capabilities {
        Some(Capabilities::Sets(sets)) => sets.bounding.unwrap_or_default(),
        Some(Capabilities::List(list)) if has_capability_list(&config.oci_version) => list,
        Some(Capabilities::List(_)) | None => Vec::new(),
    };
    let mounts = config.mounts.unwrap_or_default();
    let namespaces = linux.namespaces.unwrap_or_default();
    Ok(Container {
        env: process.env.unwrap_or_default(),
        mounts: mounts.into_iter().map(|Object(m)| Mount::from(m)).collect(),
        annotations: config.annotations.unwrap_or_default().into_iter().collect(),
        root: checked_root(root.path)?,
        root_readonly: root.readonly.unwrap_or(false),
        privileged: bounding.iter().any(|c| c == "CAP_SYS_ADMIN"),
        user_namespace: namespaces.iter().any(|Object(n)| n.kind == "user"),
        mount_label: linux.mount_label.filter(|label| !label.is_empty()),
    })
}

impl From<MountMember> for Mount {
    fn from(member: MountMember) -> Mount {
        // With one of these options runtimes bind, whatever the type says.
        let binds = |option: &String| option == "bind" || option == "rbind";
        let bound = member.options.iter().flatten().any(binds);
        Mount {
            destination: member.destination,
            source: member.source.unwrap_or_default(),
            fresh: !bound && matches!(member.kind.as_deref(), Some("tmpfs" | "proc")),
        }
    }
}

/// root.path, unless it cannot be a container's: then everything below it would be the host's.
fn checked_root(path: Option<PathBuf>) -> Result<PathBuf, Finding> {
    let path = path.unwrap_or_default();
    let what = if path.as_os_str().is_empty() {
        "is missing or empty".to_owned()
    } else if leads_to_host_root(&path) {
        format!("is {}, the host's own root", quote(&path.to_string_lossy()))
    } else if path.as_os_str().as_encoded_bytes().contains(&0) {
        "holds a NUL byte".to_owned()
    } else {
        return Ok(path);
    };
    let message = format!("config.json: root.path {what}");
    let remedy = "set root.path to the directory of the container's root file system";
    Err(Finding::new(Code::Bundle, message, remedy))
}

/// Whether `path` is `/` by its spelling ("/", "//.", "/a/.."). Links are the caller's to resolve.
fn leads_to_host_root(path: &Path) -> bool {
    let depth = path.components().fold(0_usize, |depth, c| match c {
        Component::Normal(_) => depth + 1,
        Component::ParentDir => depth.saturating_sub(1),
        _ => depth,
    });
    path.is_absolute() && depth == 0
}

/// Whether process.capabilities of this version of the specification is one list. A version that
/// cannot be read counts as a later one.
fn has_capability_list(version: &Option<String>) -> bool {
    let version = version.as_deref().unwrap_or_default();
    let (core, pre) = version.split_once('-').unwrap_or((version, ""));
    let numbers: Option<Vec<u64>> = core.split('.').map(|n| n.parse().ok()).collect();
    match numbers.as_deref() {
        Some([0, _, _]) => true,
        Some([1, 0, 0]) => pre
            .strip_prefix("rc")
            .map(|n| n.split(|c: char| !c.is_ascii_digit()).next().unwrap_or(""))
            .and_then(|n| n.parse::<u64>().ok())
            .is_some_and(|n| n < 5),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> Container {
        parse(json.as_bytes()).unwrap()
    }

    fn refused(json: &str) -> String {
        let finding = parse(json.as_bytes()).unwrap_err();
        assert_eq!(finding.code, Code::Bundle);
        assert!(!finding.remedy.is_empty());
        finding.message
    }

    #[test]
    fn the_members_that_decide_are_read_and_the_rest_is_skipped() {
        let c = parsed(
            r#"{"ociVersion": "1.2.1", "future": {"a": [1, {"b": null}]}, "hostname": 1e400,
            "process": {"env": ["PATH=/bin", "NO_VALUE", "A=1", "A=2=3"], "user": {"uid": 5},
              "capabilities": {"bounding": ["CAP_KILL", "CAP_SYS_ADMIN"], "effective": 7}},
            "root": {"path": "rootfs", "readonly": true, "extra": 1},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
                       {"destination": "/x", "options": ["bind"]}],
            "annotations": {"k": "v", "a": "b"},
            "linux": {"namespaces": [{"type": "pid"}, {"type": "user", "path": "/n"}],
                      "mountLabel": "system_u:object_r:t:s0", "seccomp": {}}}"#,
        );
        assert_eq!(c.env.len(), 4);
        assert_eq!((c.env("A"), c.env("NO_VALUE")), (Some("2=3"), None));
        assert_eq!(c.root, Path::new("rootfs"));
        assert!(c.root_readonly && c.privileged && c.user_namespace);
        assert_eq!(c.mounts[0].destination, Path::new("/proc"));
        assert_eq!(c.mounts[1].source, Path::new(""));
        assert!(c.mounts[0].fresh && !c.mounts[1].fresh);
        assert_eq!(c.annotations[1], ("k".to_owned(), "v".to_owned()));
        assert_eq!(c.mount_label.as_deref(), Some("system_u:object_r:t:s0"));
    }

    #[test]
    fn absent_and_null_members_are_empty() {
        let bare = parsed(r#"{"root": {"path": "/r"}}"#);
        let null = parsed(
            r#"{"ociVersion": null, "process": {"env": null, "capabilities": null}, "mounts": null,
            "root": {"path": "/r", "readonly": null}, "annotations": null,
            "linux": {"namespaces": null, "mountLabel": ""}}"#,
        );
        assert_eq!(bare, null);
        assert!(!bare.privileged && bare.env.is_empty());
        assert_eq!(
            parsed(r#"{"root":{"path":"/r"},"process":null,"linux":null}"#),
            bare
        );
    }

    #[test]
    fn only_the_bounding_set_makes_privileged_and_a_list_only_in_old_versions() {
        let list = r#"["CAP_SYS_ADMIN"]"#;
        let rows = [
            ("1.0.0", r#"{"bounding":["CAP_SYS_ADMIN"]}"#, true),
            (
                "1.0.0",
                r#"{"effective":["CAP_SYS_ADMIN"],"permitted":["CAP_SYS_ADMIN"]}"#,
                false,
            ),
            (
                "1.0.0",
                r#"{"bounding":["CAP_SYS_ADMINS","cap_sys_admin"]}"#,
                false,
            ),
            ("1.0.0-rc5", r#"{"bounding":["CAP_SYS_ADMIN"]}"#, true),
            ("0.6.0-dev", list, true),
            ("1.0.0-rc1", list, true),
            ("1.0.0-rc4-dev", list, true),
            ("1.0.0-rc5", list, false),
            ("1.0.0-rc10", list, false),
            ("1.0.0", list, false),
            ("1.3.0", list, false),
            ("nonsense", list, false),
            ("99999999999999999999.0.0", list, false),
        ];
        for (version, capabilities, expected) in rows {
            let json = format!(
                r#"{{"ociVersion":"{version}","root":{{"path":"r"}},
                "process":{{"capabilities":{capabilities}}}}}"#
            );
            assert_eq!(
                parsed(&json).privileged,
                expected,
                "{version} {capabilities}"
            );
        }
    }

    #[test]
    fn a_root_that_is_the_hosts_is_refused() {
        for path in ["", "/", "//", "/./", "/..", "/a/..", "/a/b/../../.."] {
            let text = refused(&format!(r#"{{"root":{{"path":"{path}"}}}}"#));
            assert!(text.contains("root.path"), "{path}: {text}");
        }
        assert!(refused(r#"{"root":{"path":"a\u0000b"}}"#).contains("NUL"));
        for json in ["{}", r#"{"root":null}"#, r#"{"root":{}}"#] {
            assert!(refused(json).contains("root.path is missing"), "{json}");
        }
        for path in ["rootfs", "/a", "/a/../b", "/.b", "..."] {
            parsed(&format!(r#"{{"root":{{"path":"{path}"}}}}"#));
        }
    }

    #[test]
    fn errors_name_the_member_and_the_place() {
        let rows = [
            ("", "EOF"),
            ("[]", "config.json as an object"),
            (r#"{"root": ["r", true]}"#, "root as an object"),
            (r#"{"mounts": [["/a"]]}"#, "a mount as an object"),
            ("\u{feff}{}", "line 1 column 1"),
            ("{\"root\":{\"path\":\"r\"}} x", "trailing characters"),
            (r#"{"process": 5}"#, "process as an object"),
            (
                r#"{"process": {"env": "A=1"}}"#,
                "process.env: invalid type: string",
            ),
            (
                r#"{"process": {"env": ["A=1", 5]}}"#,
                "process.env: invalid type: integer `5`",
            ),
            (
                r#"{"process": {"capabilities": {"bounding": 1}}}"#,
                "process.capabilities: ",
            ),
            (r#"{"root": {"path": 1}}"#, "root.path: invalid type"),
            (
                r#"{"mounts": [{"destination": []}]}"#,
                "mounts: invalid type",
            ),
            (r#"{"annotations": {"a": 1}}"#, "annotations: invalid type"),
            (
                r#"{"linux": {"namespaces": {}}}"#,
                "linux.namespaces: invalid type",
            ),
            (
                r#"{"process": {"env": []}, "process": {"env": []}}"#,
                "duplicate field `process`",
            ),
            (r#"{"process": {"env": ["\ud800"]}}"#, "process.env: "),
        ];
        for (json, expected) in rows {
            let text = refused(json);
            assert!(text.contains(expected), "{json}: {text}");
        }
        let text = refused("{\n\"process\": {\n  \"env\": [5]}}");
        assert!(text.contains("at line 3 column"), "{text}");
        assert_eq!(text.matches("at line").count(), 1, "{text}");
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        let json = format!(r#"{{"x": {}, "root": {{"path": "r"}}}}"#, deep(100_000));
        parsed(&json);
        refused(&format!(r#"{{"process": {{"env": {}}}}}"#, deep(100_000)));
        refused(&format!(
            r#"{{"process": {{"capabilities": {}}}}}"#,
            deep(100_000)
        ));
        refused(&"{\"a\":".repeat(100_000));
        let large = vec![b' '; CONFIG_LIMIT as usize + 1];
        assert!(parse(&large).unwrap_err().message.contains("larger than"));
    }

    proptest::proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_cut_of_a_config_panics(at in 0usize..200, byte in proptest::num::u8::ANY) {
            let mut config = br#"{"ociVersion":"1.0.0","process":{"env":["A=1"],"capabilities":
                {"bounding":["CAP_SYS_ADMIN"]}},"root":{"path":"r"},"mounts":[{"destination":"/"}]}"#
                .to_vec();
            let at = at % config.len();
            config[at] = byte;
            let _ = parse(&config);
            let _ = parse(&config[..at]);
        }
    }
}
