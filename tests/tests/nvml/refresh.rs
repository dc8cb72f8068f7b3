//! `oci-gpu refresh`: written once, anew when the host changed, and not otherwise.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use oci_gpu_tests::nvml::mig_uuid;
use serde_json::{Value, json};

use crate::host::{NvmlHost, findings};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The second run finds the first one's file current and leaves it alone; all is told from it then.
#[test]
fn it_writes_once() {
    let host = NvmlHost::named("run-8-mig");
    let dry = host.without(&["refresh", "--dry-run"]).done("dry run");
    assert!(dry.contains("would be written: there is none"), "{dry}");
    assert!(!host.file().exists());
    let first = host.refresh();
    assert_eq!(
        (&first["state"], &first["why"]),
        (&json!("written"), &json!("there is none"))
    );
    let file = fs::metadata(host.file()).unwrap();
    assert_eq!((file.mode() & 0o7777, file.uid()), (0o600, 0));
    let directory = host.file().parent().unwrap().to_path_buf();
    assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);

    // NVML is not asked again, by nobody.
    host.nvml.forget("nvmlInit_v2").unwrap();
    let second = host.refresh();
    assert_eq!(
        (&second["state"], &second["why"]),
        (&json!("current"), &json!(null))
    );
    assert_eq!(fs::metadata(host.file()).unwrap().ino(), file.ino());
    for list in [
        host.list(),
        host.without(&["list", "--format", "json"]).json("list"),
    ] {
        assert_eq!(findings(&list), []);
        assert_eq!(list["stored"], json!({"state": "used"}));
        assert_eq!(list["gpus"][1]["mig"][2]["uuid"], mig_uuid(1, 9, 0));
        assert_eq!(list["gpus"][0]["arch"], json!([9, 0]));
    }
}

/// A change of the host.
type Change = fn(&NvmlHost);

/// Changes, and why the file is then not believed.
const CHANGES: &[(Change, &str)] = &[
    (
        |host| {
            host.write(BOOT_ID, "b0071d00-5ca1-4ab1-8e00-000000000002\n");
        },
        "before the machine was last started",
    ),
    (
        |host| {
            let version = host.sim.on_disk("/sys/module/nvidia/version");
            assert!(version.exists());
            let file = fs::read_to_string(host.file()).unwrap();
            fs::write(host.file(), file.replace("550.163.01", "550.54.14")).unwrap();
        },
        "under driver 550.54.14, and the kernel runs 550.163.01",
    ),
    (
        |host| {
            let instance = "/proc/driver/nvidia/capabilities/gpu1/mig/gi13";
            fs::remove_dir_all(host.sim.on_disk(instance)).unwrap();
        },
        "GPU 1 was split into other MIG instances",
    ),
    (
        |host| {
            let access = "/proc/driver/nvidia/capabilities/gpu1/mig/gi13/ci0/access";
            let text = fs::read_to_string(host.sim.on_disk(access)).unwrap();
            let minor = text.lines().next().unwrap().to_owned();
            host.write(access, &text.replace(&minor, "DeviceFileMinor: 4000"));
        },
        "GPU 1 was split into other MIG instances",
    ),
    (
        |host| {
            let gpus = host.sim.on_disk("/proc/driver/nvidia/gpus");
            let last = fs::read_dir(&gpus).unwrap().map(|e| e.unwrap().path());
            fs::remove_dir_all(last.max().unwrap()).unwrap();
        },
        "the host had other GPUs",
    ),
];

/// After each change the file is stale: `list` says why, `refresh` writes it anew.
#[test]
fn it_is_stale_after_each_change() {
    for (number, (change, why)) in CHANGES.iter().enumerate() {
        let host = NvmlHost::named("run-8-mig");
        host.refresh();
        change(&host);
        let list = host.without(&["list", "--format", "json"]).json(why);
        let findings = findings(&list);
        assert_eq!(findings.len(), 1, "{number}: {findings:?}");
        assert_eq!(findings[0].0, "OG0309");
        assert!(findings[0].1.contains(why), "{findings:?}");
        let gpus = list["gpus"].as_array().unwrap();
        let mut instances = gpus.iter().flat_map(|g| g["mig"].as_array().unwrap());
        assert!(instances.all(|m| m["uuid"].is_null()), "{why}");
        assert!(gpus.iter().all(|g| g["arch"].is_null()), "{why}");
        let again = host.refresh();
        assert_eq!(again["state"], "written", "{again}");
        assert!(again["why"].as_str().unwrap().contains(why), "{again}");
        assert_eq!(host.refresh()["state"], "current", "{why}");
    }
}

/// What a lost GPU did not tell is asked for again, and told once the GPU is back.
#[test]
fn it_is_written_again_until_it_is_complete() {
    let mut host = NvmlHost::named("run-8");
    let truth = host.nvml.lines.clone();
    host.nvml.say(Some(3), "lost").unwrap();
    let first = host.refresh();
    assert_eq!(first["state"], "written");
    let told = findings(&first);
    assert!(told.iter().all(|(code, _)| code == "OG0308"), "{told:?}");
    assert!(told.iter().any(|(_, m)| m.contains("GPU 3")), "{told:?}");
    let archs = |list: &Value| -> Vec<bool> {
        let gpus = list["gpus"].as_array().unwrap();
        gpus.iter().map(|g| g["arch"].is_null()).collect()
    };
    let list = host.without(&["list", "--format", "json"]).json("list");
    let missing: Vec<bool> = (0..8).map(|index| index == 3).collect();
    assert_eq!(archs(&list), missing);
    host.nvml.lines = truth;
    host.nvml.write().unwrap();
    let second = host.refresh();
    assert_eq!(
        (&second["state"], findings(&second)),
        (&json!("written"), vec![])
    );
    let list = host.without(&["list", "--format", "json"]).json("list");
    assert_eq!(archs(&list), [false; 8]);
}

/// The kernel tells the UUID of a GPU that has been started, and NVML starts it: what is kept is of
/// the host as it is then.
#[test]
fn what_nvml_starts_is_told_at_once() {
    let mut host = NvmlHost::named("run-1");
    let gpu = host.sim.spec.gpu_list().unwrap().remove(0);
    let file = format!("/proc/driver/nvidia/gpus/{}/information", gpu.bus_id);
    let file = host.sim.on_disk(file);
    let told = fs::read_to_string(&file).unwrap();
    let started = host.sim.root().join("started");
    fs::write(&started, &told).unwrap();
    let unknown = "GPU-????????-????-????-????-????????????";
    assert!(told.contains(&gpu.uuid), "{told}");
    fs::write(&file, told.replace(&gpu.uuid, unknown)).unwrap();
    let line = format!("starts {} {}", started.display(), file.display());
    host.nvml.say(None, &line).unwrap();
    assert_eq!(host.refresh()["state"], "written");
    let list = host.without(&["list", "--format", "json"]).json("list");
    assert_eq!(list["stored"], json!({"state": "used"}));
    assert_eq!(list["gpus"][0]["uuid"], json!(gpu.uuid));
    assert_eq!(host.refresh()["state"], "current");
}

/// An instance that was made again with the same numbers looks the same; `--force` asks all the same.
#[test]
fn it_asks_again_by_force() {
    let mut host = NvmlHost::named("run-8-mig");
    host.refresh();
    let (old, new) = (mig_uuid(1, 9, 0), mig_uuid(1, 9, 7));
    for line in &mut host.nvml.lines {
        *line = line.replace(&old, &new);
    }
    host.nvml.write().unwrap();
    let uuid = || {
        let list = host.without(&["list", "--format", "json"]).json("list");
        list["gpus"][1]["mig"][2]["uuid"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!((&host.refresh()["state"], uuid()), (&json!("current"), old));
    let forced = host.with_nvml(&["refresh", "--force"]).done("refresh");
    assert!(forced.contains("was written: it was asked for"), "{forced}");
    assert_eq!((&host.refresh()["state"], uuid()), (&json!("current"), new));
}

/// Nothing is written where others could change it, and no link is followed.
#[test]
fn it_writes_into_a_directory_of_roots_only() {
    let rows: [(&str, Change, &str); 4] = [
        (
            "a directory that everybody writes",
            |host| {
                let directory = host.file().parent().unwrap().to_path_buf();
                fs::create_dir(&directory).unwrap();
                chmod(&directory, 0o777);
            },
            "may be written by others than root",
        ),
        (
            "a directory of somebody else",
            |host| {
                let directory = host.file().parent().unwrap().to_path_buf();
                fs::create_dir(&directory).unwrap();
                std::os::unix::fs::chown(&directory, Some(1000), None).unwrap();
            },
            "may be written by others than root",
        ),
        (
            "a link",
            |host| symlink("/etc", host.file().parent().unwrap()).unwrap(),
            "write /run/oci-gpu/inventory.json",
        ),
        (
            "a file",
            |host| fs::write(host.file().parent().unwrap(), "").unwrap(),
            "write /run/oci-gpu/inventory.json",
        ),
    ];
    for (what, prepare, why) in rows {
        let host = NvmlHost::named("run-1");
        fs::create_dir_all(host.sim.on_disk("/run")).unwrap();
        prepare(&host);
        let ran = host.with_nvml(&["refresh"]);
        ran.failed("OG0309", &[why], what);
        assert!(!host.sim.on_disk("/etc/inventory.json").exists());
    }
}

/// A file in whose place something else is, or that is hostile, is replaced, not written to.
#[test]
fn it_replaces_what_is_in_its_place() {
    let host = NvmlHost::named("run-1");
    host.refresh();
    let other = host.sim.on_disk("/etc/other");
    fs::write(&other, "other").unwrap();
    fs::remove_file(host.file()).unwrap();
    symlink(&other, host.file()).unwrap();
    assert_eq!(host.refresh()["state"], "written");
    assert_eq!(fs::read_to_string(&other).unwrap(), "other");
    assert!(fs::symlink_metadata(host.file()).unwrap().is_file());
}

fn chmod(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A host without GPUs has nothing that NVML could tell.
#[test]
fn a_host_without_gpus_needs_no_nvml() {
    let host = NvmlHost::named("no-devices");
    assert_eq!(
        host.without(&["refresh", "--format", "json"]).json("")["state"],
        "written"
    );
    assert_eq!(host.refresh()["state"], "current");
}
