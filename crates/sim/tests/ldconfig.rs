//! The ld.so.cache of simulated hosts, against what the real ldconfig makes of the same tree.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests are tests

mod common;

use std::process::Command;

use common::{SimHost, has_tool, is_root, skip};
use oci_gpu::ldcache::{self, Cache};
use oci_gpu_sim::{HostSpec, Layout};

fn cache(host: &SimHost, root: &str) -> Cache {
    let path = host.at(&format!("{root}/etc/ld.so.cache"));
    ldcache::parse(&std::fs::read(path).unwrap()).unwrap()
}

/// Runs ldconfig on the tree at `root` of the host.
fn ldconfig(host: &SimHost, root: &str) {
    let mut command = Command::new("ldconfig");
    command.arg("-r").arg(host.at(root));
    if host.spec.layout == Layout::Rpm {
        // What an RPM distribution's ldconfig searches by default.
        command.args(["/lib64", "/lib"]);
    }
    common::output(&mut command);
}

fn assert_kept(host: &SimHost, root: &str, what: &str) {
    let ours = cache(host, root);
    ldconfig(host, root);
    let theirs = cache(host, root);
    let lines = |cache: &Cache| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        cache
            .entries
            .iter()
            .map(|e| format!("{:#x} {} {}", e.flags, text(&e.soname), text(&e.path)))
            .collect::<Vec<_>>()
    };
    assert_eq!(lines(&ours), lines(&theirs), "{what}");
    assert_eq!(ours.entries, theirs.entries, "{what}");
}

#[test]
fn ldconfig_makes_the_same_cache_of_every_built_in_host() {
    if !has_tool("ldconfig") {
        return;
    }
    if !is_root() {
        return skip("ldconfig -r needs root for its chroot");
    }
    let mut checked = Vec::new();
    for name in HostSpec::names() {
        let host = SimHost::named(name);
        for root in ["", "/run/nvidia/driver"] {
            let path = format!("{root}/etc/ld.so.cache");
            let machine = host.spec.arch.as_str();
            if host.exists(&path) && machine == std::env::consts::ARCH {
                assert_kept(&host, root, &format!("{name}, {path}"));
                checked.push(name);
            }
        }
    }
    assert!(checked.contains(&"debian-8") && checked.contains(&"driver-container-8"));
    assert!(!checked.contains(&"nixos-1") && !checked.contains(&"microvm-1"));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn ldconfig_makes_the_same_cache_of_odd_hosts() {
    if !has_tool("ldconfig") {
        return;
    }
    if !is_root() {
        return skip("ldconfig -r needs root for its chroot");
    }
    for (what, text) in [
        (
            "flat directories",
            "[driver]\nversion = \"560.35.03\"\ncompat32 = true\n\
             [paths]\nlib = \"/usr/lib\"\nlib32 = \"/usr/lib32\"",
        ),
        (
            "an older driver in a directory that is searched first",
            "[driver]\nversion = \"550.163.01\"\n[[decoy]]\nversion = \"535.261.03\"\n\
             directory = \"/opt/old\"\npreferred = true",
        ),
        (
            "two drivers in one directory, one of them with a library without soname",
            "[driver]\nversion = \"535.261.03\"\n[[decoy]]\nversion = \"470.256.02\"",
        ),
        (
            "the same, with the links leading to the older",
            "[driver]\nversion = \"535.261.03\"\n[[decoy]]\nversion = \"470.256.02\"\n\
             preferred = true",
        ),
        (
            "a library missing",
            "[driver]\nversion = \"535.261.03\"\n[faults]\nmissing = [\"libcuda\"]",
        ),
        (
            "Debian with driver 535",
            "layout = \"debian\"\n[driver]\nversion = \"535.261.03\"\ncompat32 = true",
        ),
    ] {
        assert_kept(&SimHost::of_toml(text), "", what);
    }
}

#[test]
fn a_cache_can_lead_to_another_driver_or_to_nothing() {
    let host = SimHost::of_toml(
        "[driver]\nversion = \"550.163.01\"\n[[decoy]]\nversion = \"535.261.03\"\n\
         directory = \"/opt/old\"\npreferred = true\n[faults]\ndangling = [\"libnvidia-ml\"]",
    );
    let cache = cache(&host, "");
    let found = cache.lookup(b"libcuda.so.1", 0x303).unwrap();
    assert_eq!(found.path, b"/opt/old/libcuda.so.1");
    assert_eq!(
        host.resolve("/opt/old/libcuda.so.1"),
        "/opt/old/libcuda.so.535.261.03"
    );
    let paths: Vec<_> = cache
        .lookup_all(b"libnvidia-ml.so.1", 0x303)
        .map(|entry| String::from_utf8_lossy(&entry.path).into_owned())
        .collect();
    assert_eq!(
        paths,
        [
            "/opt/old/libnvidia-ml.so.1",
            "/lib/x86_64-linux-gnu/libnvidia-ml.so.1"
        ]
    );
    assert!(!host.exists(&paths[1]));
}
