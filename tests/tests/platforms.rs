//! Every platform of docs/platforms.md is found without configuration, and an older driver in a place
//! that is looked at before is refused with the reason.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use oci_gpu::finding::Code;
use oci_gpu::{Inventory, discover};
use oci_gpu_sim::HostSpec;
use oci_gpu_tests::platforms::{OLDER, PLATFORMS, Platform};
use oci_gpu_tests::sim::SimHost;

/// The paths of what a container can get from the driver, links followed.
fn taken(inventory: &Inventory) -> Vec<PathBuf> {
    let libraries = inventory.libraries.iter().map(|l| l.path.clone());
    let files = inventory.files.iter().map(|f| f.path.clone());
    libraries.chain(files).collect()
}

/// The host of `platform` with the older driver.
fn with_decoy(platform: &Platform) -> SimHost {
    let own = HostSpec::named_toml(platform.host).unwrap();
    let text = format!("{own}\n{}", platform.decoy);
    let spec = HostSpec::from_toml(&text).unwrap_or_else(|e| panic!("{}: {e}", platform.name));
    SimHost::of(spec).unwrap()
}

/// As it is, no driver of another version is in sight: what is taken is of the kernel's, and both
/// libraries without which nothing works and nvidia-smi are among it.
#[test]
fn every_platform_is_found_without_configuration() {
    for platform in PLATFORMS {
        let name = platform.name;
        let host = SimHost::named(platform.host).unwrap();
        let inventory = discover(&host.host()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let version = &host.spec.driver.as_ref().unwrap().version;
        assert_eq!(inventory.driver.version, *version, "{name}");
        for stem in ["libcuda", "libnvidia-ml"] {
            let found = inventory.libraries.iter().find(|l| l.stem == stem);
            let found = found.unwrap_or_else(|| panic!("{name}: {stem}"));
            let file = format!("{stem}.so.{version}");
            assert!(found.path.ends_with(file), "{name}: {found:?}");
        }
        let smi = inventory
            .files
            .iter()
            .find(|f| f.target.ends_with("nvidia-smi"));
        assert!(smi.is_some(), "{name}");
        assert_eq!(
            inventory.gpus.len(),
            host.spec.gpus.count as usize,
            "{name}"
        );
        let older =
            |c: &&oci_gpu::inventory::Candidate| !c.accepted && c.why.contains("its version is");
        assert_eq!(
            inventory.driver.candidates.iter().find(older),
            None,
            "{name}"
        );
    }
}

/// With an older driver in a place of higher rank, exactly the same is taken, and what was refused is
/// told in one line each.
#[test]
fn an_older_driver_changes_nothing_on_any_platform() {
    for platform in PLATFORMS {
        let name = format!("{}: {}", platform.name, platform.older);
        let alone = discover(&SimHost::named(platform.host).unwrap().host()).unwrap();
        let host = with_decoy(platform);
        let inventory = discover(&host.host()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(taken(&inventory), taken(&alone), "{name}");
        assert_eq!(inventory.driver.root, alone.driver.root, "{name}");
        let refused = inventory.driver.candidates.iter().filter(|c| !c.accepted);
        let refused: Vec<String> = refused
            .map(|c| format!("{} {}: {}", c.evidence, c.path.display(), c.why))
            .collect();
        let version = &inventory.driver.version;
        let expected: Vec<String> = platform
            .refused
            .iter()
            .map(|(evidence, path)| match path.ends_with(OLDER) {
                true => {
                    format!("{evidence} {path}: its version is {OLDER}, the kernel's is {version}")
                }
                false => format!("{evidence} {path}: it does not exist"),
            })
            .collect();
        assert_eq!(refused, expected, "{name}");
        assert!(expected.iter().any(|line| line.contains(OLDER)), "{name}");
    }
}

/// No host stands for two platforms, and no two have one name.
#[test]
fn each_platform_has_a_host_of_its_own() {
    let names: BTreeSet<&str> = PLATFORMS.iter().map(|p| p.name).collect();
    let hosts: BTreeSet<&str> = PLATFORMS.iter().map(|p| p.host).collect();
    assert_eq!(
        (names.len(), hosts.len()),
        (PLATFORMS.len(), PLATFORMS.len())
    );
}

/// Flatcar keeps the drivers of several kernels, and the link leads to that of the kernel before.
#[test]
fn flatcars_link_may_lead_to_the_driver_of_another_kernel() {
    let mut spec = HostSpec::named("flatcar-1").unwrap();
    let directory = "/opt/nvidia/550.163.01/6.6.95-flatcar/usr/lib64";
    spec.paths.lib = Some(directory.to_owned());
    spec.link[0].target = format!("/opt/nvidia/{OLDER}/6.1.90-flatcar");
    let decoy = format!(
        "[[decoy]]\nversion = \"{OLDER}\"\ndirectory = \"/opt/nvidia/current/usr/lib64\"\n[driver]\nversion = \"550.163.01\"\n"
    );
    spec.decoy = HostSpec::from_toml(&decoy).unwrap().decoy;
    let inventory = discover(&SimHost::of(spec).unwrap().host()).unwrap();
    for library in &inventory.libraries {
        assert!(library.path.starts_with(directory), "{library:?}");
    }
    let older = format!("/opt/nvidia/{OLDER}/6.1.90-flatcar/usr/lib64/libcuda.so.{OLDER}");
    let refused = inventory
        .driver
        .candidates
        .iter()
        .find(|c| c.path.ends_with(&older));
    assert!(refused.unwrap().why.contains(OLDER), "{refused:?}");
}

/// musl's own list of directories is the last to be asked.
#[test]
fn musls_path_file_leads_to_a_driver() {
    let text = "[driver]\nversion = \"550.163.01\"\npackages = [\"compute\"]\n[paths]\n\
                lib = \"/srv/nvidia/lib\"\nld-cache = \"\"\n[[file]]\n\
                path = \"/etc/ld-musl-x86_64.path\"\ntext = \"/lib:/srv/nvidia/lib\"\n";
    let host = SimHost::of(HostSpec::from_toml(text).unwrap()).unwrap();
    // The simulated host tells glibc's loader, too.
    std::fs::remove_file(host.on_disk("/etc/ld.so.conf.d/nvidia.conf")).unwrap();
    let inventory = discover(&host.host()).unwrap();
    let accepted = inventory
        .driver
        .candidates
        .iter()
        .find(|c| c.accepted)
        .unwrap();
    assert_eq!(accepted.evidence, "ld-musl path file");
    assert_eq!(accepted.path, PathBuf::from("/srv/nvidia/lib"));
}

/// A guest without its host's version is told so, whatever its manager left to know it by; a machine
/// of one's own is told to reboot.
#[test]
fn a_guest_whose_driver_is_not_its_hosts_is_told_so() {
    let rows = [
        ("/run/systemd/container", "lxc\n", Some("lxc")),
        ("/run/host/container-manager", "incus\n", Some("incus")),
        ("/proc/1/environ", "PATH=/bin\0container=lxc\0", Some("lxc")),
        ("/.dockerenv", "", Some("docker")),
        ("/run/.containerenv", "", Some("podman")),
        ("/proc/1/environ", "PATH=/bin\0", None),
    ];
    for (path, content, kind) in rows {
        let mut spec = HostSpec::named("lxc-mismatch").unwrap();
        spec.file.clear();
        let host = SimHost::of(spec).unwrap();
        let place = host.on_disk(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, content).unwrap();
        let finding = discover(&host.host()).unwrap_err();
        assert_eq!(finding.code, Code::NoUserland, "{path}");
        let words = match kind {
            Some(kind) => format!("this system is a container ({kind}) whose host's kernel"),
            None => "upgraded by half; reboot".to_owned(),
        };
        assert!(finding.to_string().contains(&words), "{path}: {finding}");
    }
}

/// A driver root by configuration that is no such thing: what is wrong, and where the driver is.
#[test]
fn a_driver_root_that_is_wrong_is_told_what_is_right() {
    let rows = [
        ("/nowhere", "does not exist"),
        ("/empty", "is empty"),
        ("/etc", "has no files of the driver that the kernel runs"),
    ];
    let host = SimHost::named("driver-container-8").unwrap();
    std::fs::create_dir(host.on_disk("/empty")).unwrap();
    for (named, problem) in rows {
        let finding = discover(&host.host().with_driver_root(named)).unwrap_err();
        let words = format!(
            "the driver root {named} {problem}; driver 550.163.01 is in /run/nvidia/driver;"
        );
        assert!(finding.to_string().contains(&words), "{finding}");
    }
}
