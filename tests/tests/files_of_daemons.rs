//! The MPS daemon's directory lies in /tmp, where any user can be there first.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::Path;

use oci_gpu::inventory::FileKind;
use oci_gpu::{Host, discover};
use oci_gpu_tests::gpu::{GpuHost, STAGES};
use oci_gpu_tests::rootfs::Kind;
use oci_gpu_tests::runtime::{CgroupMode, Runtime};
use oci_gpu_tests::sim::SimHost;

const MPS: &str = "/tmp/nvidia-mps";

/// What discovery takes on `host`, and why it refused the usual place.
fn found(host: &Host) -> (Option<String>, Option<String>) {
    let inventory = discover(host).unwrap();
    let taken = inventory
        .files
        .iter()
        .find(|f| f.kind == FileKind::Directory);
    let refused = inventory.driver.candidates.iter();
    let mut refused = refused.filter(|c| !c.accepted && c.evidence == "MPS directory");
    (
        taken.map(|f| f.target.display().to_string()),
        refused.next().map(|c| c.why.clone()),
    )
}

#[test]
fn what_somebody_else_put_there_is_not_taken() {
    let sim = SimHost::named("run-1").unwrap();
    assert_eq!(found(&sim.host()), (None, None));
    let place = sim.on_disk(MPS);
    fs::create_dir_all(sim.on_disk("/root/secret")).unwrap();

    symlink("/root", &place).unwrap();
    assert_eq!(
        found(&sim.host()),
        (None, Some("it is no directory".to_owned()))
    );
    fs::remove_file(&place).unwrap();

    fs::write(&place, "").unwrap();
    assert_eq!(
        found(&sim.host()),
        (None, Some("it is no directory".to_owned()))
    );
    fs::remove_file(&place).unwrap();

    fs::create_dir(&place).unwrap();
    assert_eq!(found(&sim.host()), (Some(MPS.to_owned()), None));
    chown(&place, Some(61_500), None).unwrap();
    assert_eq!(
        found(&sim.host()),
        (None, Some("its owner is not root".to_owned()))
    );

    // The administrator knows better.
    fs::create_dir_all(sim.on_disk("/run/user/mps")).unwrap();
    chown(sim.on_disk("/run/user/mps"), Some(61_500), None).unwrap();
    let named = sim.host().with_mps_directory("/run/user/mps");
    assert_eq!(found(&named), (Some("/run/user/mps".to_owned()), None));
    let gone = sim.host().with_mps_directory("/run/user/none");
    assert_eq!(found(&gone), (None, None));
}

/// A container gets the pipes, and never what a link leads to.
#[test]
fn containers_see_pipes_and_no_secrets() {
    let host = GpuHost::new("run-8").unwrap();
    let runtime = Runtime::runc(CgroupMode::V1).unwrap();
    let env = ["NVIDIA_VISIBLE_DEVICES=0"];
    let run = |arguments: &[&str]| {
        let bundle = host.bundle(Kind::Bookworm, &env).unwrap();
        host.run(&runtime, bundle, STAGES[1], arguments).unwrap()
    };
    let report = run(&["--list", MPS]);
    let names = report.list(MPS).unwrap_or_default();
    assert!(names.contains(&"control"), "{names:?}");

    let place = host.root.join(MPS.trim_start_matches('/'));
    let kept = host.root.join("tmp/kept");
    fs::rename(&place, &kept).unwrap();
    let secret = host.root.join("root");
    fs::create_dir_all(&secret).unwrap();
    fs::write(secret.join("secret"), "x").unwrap();
    symlink("/root", &place).unwrap();
    let report = run(&["--list", MPS]);
    assert_eq!(report.list(MPS), None);
    assert!(Path::new(&secret.join("secret")).exists());
    fs::remove_file(&place).unwrap();
    fs::rename(&kept, &place).unwrap();
    fs::remove_dir_all(&secret).unwrap();
    host.assert_untouched().unwrap();
}
