//! A bundle's config.json, and the short cut that looks at its bytes only.

use std::path::Path;

use oci_gpu::finding::Code;
use oci_gpu::{Container, Policy, Request};
use serde_json::Value;

use crate::findings::presentable;

/// A container is what a general JSON decoder sees, and the short cut never passes over a request.
pub fn check(data: &[u8]) {
    let container = match Container::parse(data) {
        Ok(container) => container,
        Err(finding) => {
            assert_eq!(finding.code, Code::Bundle);
            return presentable(&finding);
        }
    };
    assert_ne!(container.root, Path::new(""));
    assert_ne!(container.root, Path::new("/"));
    // The general decoder refuses deep nesting and huge numbers in members that decide nothing.
    if let Ok(value) = serde_json::from_slice(data) {
        agrees(&container, &value);
    }
    for policy in policies() {
        if !Request::possible(data, &policy) {
            let asked = Request::read(&container, &policy).unwrap();
            assert_eq!(asked.request, None, "{policy:?}");
        }
    }
}

/// The members by another decoder. What is `null` counts as absent.
fn agrees(container: &Container, value: &Value) {
    let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let env: Vec<String> = list(&value["process"]["env"]).iter().map(text).collect();
    assert_eq!(env, container.env);
    let mounts: Vec<(String, String)> = list(&value["mounts"])
        .iter()
        .map(|m| (text(&m["destination"]), text(&m["source"])))
        .collect();
    let parsed = container.mounts.iter();
    let lossless = |path: &Path| path.to_str().unwrap().to_owned();
    let parsed: Vec<(String, String)> = parsed
        .map(|m| (lossless(&m.destination), lossless(&m.source)))
        .collect();
    assert_eq!(mounts, parsed);
    assert_eq!(value["root"]["path"].as_str(), container.root.to_str());
    let readonly = value["root"]["readonly"].as_bool().unwrap_or(false);
    assert_eq!(readonly, container.root_readonly);
    let bounding = list(&value["process"]["capabilities"]["bounding"]);
    if bounding.iter().any(|c| c == "CAP_SYS_ADMIN") {
        assert!(container.privileged);
    } else if value["process"]["capabilities"].is_object() {
        assert!(!container.privileged);
    }
    let namespaces = list(&value["linux"]["namespaces"]);
    let user = namespaces.iter().any(|n| n["type"] == "user");
    assert_eq!(user, container.user_namespace);
    let label = value["linux"]["mountLabel"]
        .as_str()
        .filter(|l| !l.is_empty());
    assert_eq!(label, container.mount_label.as_deref());
}

/// The defaults, and everything that makes a container ask for more.
fn policies() -> [Policy; 2] {
    let mut open = Policy::default();
    open.volume_mounts = true;
    open.swarm_resources = ["DOCKER_RESOURCE_GPU", "GPU_é", "A&B", "A/\"B"]
        .map(str::to_owned)
        .to_vec();
    [Policy::default(), open]
}
