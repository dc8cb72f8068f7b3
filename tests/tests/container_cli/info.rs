//! `info` prints what the reference prints, byte for byte, as far as the kernel's files tell it.

use oci_gpu_sim::HostSpec;
use oci_gpu_tests::sim::SimHost;

use crate::tool::run_on;

#[test]
fn one_gpu_as_text() {
    let host = SimHost::named("debian-1").unwrap();
    let text = run_on(host.root(), &["info"]).done("info");
    assert_eq!(
        text,
        "NVRM version:   550.163.01
CUDA version:   12.4

Device Index:   0
Device Minor:   0
Model:          NVIDIA H100 80GB HBM3
Brand:          Nvidia
GPU UUID:       GPU-5ca1ab1e-1d5e-4f0c-9a3b-a0b1c2d3e400
Bus Location:   00000000:1a:00.0
Architecture:   Unknown
"
    );
}

#[test]
fn several_gpus_as_csv() {
    let mut spec = HostSpec::named("run-8").unwrap();
    spec.gpus.count = 3;
    spec.gpus.minors = oci_gpu_sim::Minors::Reversed;
    let host = SimHost::of(spec).unwrap();
    let text = run_on(host.root(), &["info", "--csv"]).done("info --csv");
    assert_eq!(
        text,
        "NVRM version,CUDA version
550.163.01,12.4

Device Index,Device Minor,Model,Brand,GPU UUID,Bus Location,Architecture
0,2,NVIDIA H100 80GB HBM3,Nvidia,GPU-5ca1ab1e-1d5e-4f0c-9a3b-a0b1c2d3e400,00000000:1a:00.0,Unknown
1,1,NVIDIA H100 80GB HBM3,Nvidia,GPU-5da2ac1f-1d5e-4f0c-9a3b-a0b1c2d3e401,00000000:1b:00.0,Unknown
2,0,NVIDIA H100 80GB HBM3,Nvidia,GPU-5ea3ad20-1d5e-4f0c-9a3b-a0b1c2d3e402,00000000:4a:00.0,Unknown
"
    );
}

/// A section a GPU, eight of them, with an empty line before each.
#[test]
fn eight_gpus_as_text() {
    let host = SimHost::named("debian-8").unwrap();
    let text = run_on(host.root(), &["info"]).done("info");
    let sections: Vec<&str> = text.split("\n\n").collect();
    assert_eq!(sections.len(), 9, "{text}");
    for (index, section) in sections[1..].iter().enumerate() {
        let lines: Vec<&str> = section.lines().collect();
        assert_eq!(lines.len(), 7, "{section}");
        assert_eq!(lines[0], format!("Device Index:   {index}"));
        assert_eq!(lines[1], format!("Device Minor:   {index}"));
    }
}

#[test]
fn without_gpus_the_driver_is_told() {
    let host = SimHost::named("no-devices").unwrap();
    let text = run_on(host.root(), &["info"]).done("info");
    assert_eq!(text.lines().count(), 2, "{text}");
    let csv = run_on(host.root(), &["info", "--csv"]).done("info --csv");
    assert_eq!(csv.lines().count(), 4, "{csv}");
    assert!(csv.ends_with("Bus Location,Architecture\n"), "{csv}");
}
