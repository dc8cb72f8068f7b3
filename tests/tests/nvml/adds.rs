//! What NVML adds to `list` and `info`.

use std::fs;
use std::os::unix::fs::chown;

use oci_gpu_tests::binaries;
use oci_gpu_tests::nvml::mig_uuid;
use oci_gpu_tests::scratch::Scratch;
use serde_json::{Value, json};

use crate::host::{NvmlHost, findings};
use crate::ran::Ran;

fn traits(list: &Value) -> Vec<(Value, Value)> {
    let gpus = list["gpus"].as_array().unwrap();
    gpus.iter()
        .map(|g| (g["brand"].clone(), g["arch"].clone()))
        .collect()
}

/// Eight GPUs have their brand and architecture by NVML; without it the architecture is unknown.
#[test]
fn eight_gpus_have_brand_and_architecture() {
    let rows = [
        ("run-8", [9, 0]),
        ("debian-8", [9, 0]),
        ("driver-container-8", [8, 0]),
        ("rpm-8", [8, 9]),
    ];
    for (name, arch) in rows {
        let host = NvmlHost::named(name);
        let list = host.list();
        assert_eq!(findings(&list), [], "{name}");
        let known = vec![(json!("Nvidia"), json!(arch)); 8];
        assert_eq!(traits(&list), known, "{name}");
        let info = host.with_nvml(&["info", "--format", "json"]).json(name);
        assert_eq!(info["cudaVersion"], "12.4", "{name}");
        assert_eq!(info["stored"], json!({"state": "absent"}), "{name}");
        let text = host.with_nvml(&["list"]).done(name);
        let shown = format!("Nvidia, compute {}.{}", arch[0], arch[1]);
        assert_eq!(text.matches(&shown).count(), 8, "{text}");
        for ran in [
            host.without(&["list", "--format", "json"]),
            host.without(&["list", "--no-nvml", "--format", "json"]),
        ] {
            let unknown = vec![(json!("Nvidia"), json!(null)); 8];
            assert_eq!(traits(&ran.json(name)), unknown, "{name}");
        }
    }
}

/// Instances have their own UUIDs, though NVML counts them in another order and with gaps.
#[test]
fn mig_instances_have_their_uuids() {
    let host = NvmlHost::named("run-8-mig");
    let list = host.list();
    assert_eq!(findings(&list), []);
    let mut count = 0;
    for gpu in list["gpus"].as_array().unwrap() {
        let index = gpu["index"].as_u64().unwrap() as u32;
        for instance in gpu["mig"].as_array().unwrap() {
            let number = |member: &str| instance[member].as_u64().unwrap() as u32;
            let uuid = mig_uuid(index, number("gi"), number("ci"));
            assert_eq!(instance["uuid"], uuid);
            count += 1;
        }
    }
    assert_eq!(count, 12);
}

/// NVML's CUDA version wins over the one that the driver's version tells.
#[test]
fn nvml_knows_the_cuda_version_best() {
    let mut host = NvmlHost::named("run-1");
    host.nvml.say(None, "cuda 12090").unwrap();
    let info = host.with_nvml(&["info", "--format", "json"]).json("info");
    assert_eq!(info["cudaVersion"], "12.9");
}

/// A brand that is newer than our table leaves the one that the name tells.
#[test]
fn an_unknown_brand_is_none() {
    let mut host = NvmlHost::named("run-1");
    let line = host.nvml.lines.iter_mut().find(|l| l.starts_with("gpu "));
    let line = line.unwrap();
    *line = line.replace(" 2 7.5 ", " 77 12.1 ");
    host.nvml.write().unwrap();
    let list = host.list();
    assert_eq!(findings(&list), []);
    assert_eq!(traits(&list), [(json!("Tesla"), json!([12, 1]))]);
}

/// The program is found beside the command, as a release has them, where nobody else put it there.
/// `list` of a file system in a directory runs nothing of it unasked.
#[test]
fn the_program_beside_the_command_is_found() {
    let host = NvmlHost::named("run-1");
    let dir = Scratch::new().unwrap();
    for program in [binaries::cli().unwrap(), binaries::nvml().unwrap()] {
        let name = program.file_name().unwrap();
        fs::copy(&program, dir.path().join(name)).unwrap();
    }
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(dir.path().join("oci-gpu"));
        command.arg("--host-root").arg(host.sim.root());
        Ran::of(
            command
                .args(["--format", "json"])
                .args(args)
                .output()
                .unwrap(),
        )
    };
    let arch = || run(&["list"]).json("list")["gpus"][0]["arch"].clone();
    assert_eq!(arch(), json!(null));
    let program = dir.path().join("oci-gpu-nvml");
    chown(&program, Some(1000), None).unwrap();
    let words = ["oci-gpu-nvml was not run", "owner 1000"];
    run(&["refresh"]).failed("OG0308", &words, "somebody else's");
    chown(&program, Some(0), None).unwrap();
    assert_eq!(run(&["refresh"]).json("refresh")["state"], "written");
    assert_eq!(arch(), json!([7, 5]));
}
