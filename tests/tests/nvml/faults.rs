//! What goes wrong with NVML is a finding, and `list` works.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::host::{NvmlHost, findings};
use crate::ran::run_on;

/// How NVML is made to fail.
enum Fault {
    /// A line of the library's file, after those of a GPU.
    Line(Option<usize>, &'static str),
    /// A function that the library does not have.
    Missing(&'static str),
}

use Fault::{Line, Missing};

/// (fault, words of each finding, architectures that are known of eight)
const FAULTS: &[(Fault, &[&str], usize)] = &[
    (Missing("nvmlInit_v2"), &["nvmlInit_v2"], 0),
    (
        Missing("nvmlDeviceGetCount_v2"),
        &["nvmlDeviceGetCount_v2"],
        0,
    ),
    (Line(None, "init 9"), &["driver is not loaded"], 0),
    (Line(None, "init 18"), &["version mismatch"], 0),
    (Line(None, "init 12345"), &["12345"], 0),
    (Line(None, "init hang"), &["no answer within 10 s"], 0),
    (Line(None, "init flood"), &["more than 1048576 bytes"], 0),
    (
        Line(None, "abort nvmlDeviceGetUUID"),
        &["signal 6: ", "crashed"],
        0,
    ),
    (
        Line(Some(3), "lost"),
        &["GPU 3: device fell off", "not show GPU 3"],
        7,
    ),
    (
        Line(None, "driver 535.1.1"),
        &["driver 535.1.1, and the kernel runs 550.163.01"],
        0,
    ),
];

fn known(list: &Value) -> usize {
    let gpus = list["gpus"].as_array().unwrap();
    assert_eq!(gpus.len(), 8);
    gpus.iter().filter(|g| !g["arch"].is_null()).count()
}

/// Command lines of this machine that name `library`.
fn processes_with(library: &Path) -> Vec<String> {
    let name = library.to_str().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap();
    let lines = processes.filter_map(|p| std::fs::read(p.ok()?.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
    lines.filter(|line| line.contains(name)).collect()
}

/// Nothing is left running either: what hangs was ended.
#[test]
fn each_fault_is_a_finding_and_list_works() {
    for (fault, words, count) in FAULTS {
        let mut host = NvmlHost::named("run-8");
        let what = match fault {
            Line(gpu, line) => {
                host.nvml.say(*gpu, line).unwrap();
                *line
            }
            Missing(function) => {
                host.nvml.forget(function).unwrap();
                function
            }
        };
        let list = host.list();
        let findings = findings(&list);
        let left = processes_with(&host.nvml.library);
        assert_eq!(left, Vec::<String>::new(), "{what}");
        assert_eq!(known(&list), *count, "{what}: {findings:?}");
        assert!(!findings.is_empty(), "{what}");
        for word in *words {
            let told = findings.iter().any(|(_, message)| message.contains(word));
            assert!(told, "{what}: {word} in {findings:?}");
        }
        for (code, message) in &findings {
            assert_eq!(code, "OG0308", "{what}: {message}");
        }
    }
}

/// What is decoration may be missing: the rest is told, and each thing that is missing by name.
#[test]
fn a_function_that_is_missing_costs_its_answer_only() {
    let rows = [
        ("nvmlDeviceGetBrand", 8),
        ("nvmlDeviceGetUUID", 8),
        ("nvmlDeviceGetMinorNumber", 8),
        ("nvmlDeviceGetMigMode", 8),
        ("nvmlSystemGetCudaDriverVersion_v2", 8),
        ("nvmlSystemGetDriverVersion", 8),
        ("nvmlDeviceGetCudaComputeCapability", 0),
    ];
    for (function, count) in rows {
        let host = NvmlHost::named("run-8");
        host.nvml.forget(function).unwrap();
        let list = host.list();
        let findings = findings(&list);
        assert_eq!(known(&list), count, "{function}: {findings:?}");
        let named = findings.iter().filter(|(_, m)| m.contains(function));
        assert_eq!(named.count(), findings.len(), "{findings:?}");
        assert!(!findings.is_empty(), "{function}");
    }
}

/// Without the numbers of its instances NVML's UUIDs are nobody's.
#[test]
fn instances_without_numbers_have_no_uuid() {
    for function in [
        "nvmlDeviceGetGpuInstanceId",
        "nvmlDeviceGetComputeInstanceId",
    ] {
        let host = NvmlHost::named("run-8-mig");
        host.nvml.forget(function).unwrap();
        let list = host.list();
        let gpus = list["gpus"].as_array().unwrap();
        let mut instances = gpus.iter().flat_map(|g| g["mig"].as_array().unwrap());
        assert!(instances.all(|m| m["uuid"].is_null()));
        assert!(findings(&list).iter().any(|(_, m)| m.contains(function)));
    }
}

/// What NVML says of another GPU than the kernel has is not taken over.
#[test]
fn another_gpu_than_the_kernels_is_not_believed() {
    for (from, to) in [("-a0b1c2d3e400 ", "-a0b1c2d3e4ff "), (" 0 14 ", " 5 14 ")] {
        let mut host = NvmlHost::named("run-8");
        let lines = host.nvml.lines.iter_mut();
        let mut gpus = lines.filter(|l| l.starts_with("gpu ") && l.contains(from));
        let line = gpus.next().unwrap();
        let bus_id = line.split(' ').nth(2).unwrap().to_owned();
        *line = line.replace(from, to);
        host.nvml.write().unwrap();
        let list = host.list();
        assert_eq!(known(&list), 7);
        let findings = findings(&list);
        let told = format!("it shows another GPU at {bus_id}");
        assert!(findings[0].1.contains(&told), "{findings:?}");
        assert_eq!(findings.len(), 1);
    }
}

/// A program that is not there, or no such program, is a finding too: it was asked for by name.
#[test]
fn a_wrong_program_is_a_finding() {
    let host = NvmlHost::named("run-8");
    let script = host.sim.root().join("script");
    std::fs::write(&script, "#!/bin/sh\necho '{'\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let rows = [
        ("/nowhere", "run /nowhere: "),
        ("/bin/false", "without a word"),
        (script.to_str().unwrap(), "its answer is malformed"),
    ];
    for (program, why) in rows {
        let args = ["list", "--format", "json", "--nvml-helper", program];
        let list = run_on(host.sim.root(), &args).json(program);
        let findings = findings(&list);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].1.contains(why), "{findings:?}");
        let args = ["refresh", "--nvml-helper", program];
        run_on(host.sim.root(), &args).failed("OG0308", &[why], program);
        assert!(!host.file().exists());
    }
}

/// A library that somebody else could have put there is not loaded, for root would run it.
#[test]
fn the_library_of_somebody_else_is_not_loaded() {
    /// Makes the library, or a directory above it, somebody else's.
    type Change = fn(&NvmlHost);
    let rows: [(Change, &str); 5] = [
        (|host| give_away(&host.nvml.library), "owner 1000"),
        (|host| chmod(&host.nvml.library, 0o757), "mode 0757"),
        (
            |host| give_away(host.nvml.library.parent().unwrap()),
            "owner 1000",
        ),
        (|host| chmod(&host.sim.on_disk("/usr"), 0o777), "/usr ("),
        (|host| give_away(host.sim.root()), "owner 1000"),
    ];
    for (change, why) in rows {
        let host = NvmlHost::named("run-8");
        change(&host);
        let list = host.list();
        let findings = findings(&list);
        assert_eq!(known(&list), 0, "{why}: {findings:?}");
        assert_eq!(findings.len(), 1, "{why}: {findings:?}");
        assert_eq!(findings[0].0, "OG0308", "{findings:?}");
        assert!(findings[0].1.contains(why), "{findings:?}");
        let words = ["was not loaded: others than root can change", why];
        host.with_nvml(&["refresh"]).failed("OG0308", &words, why);
        assert!(!host.file().exists());
    }
    // Nobody replaces what is not his own in a directory with the sticky bit.
    let host = NvmlHost::named("run-8");
    chmod(&host.sim.on_disk("/usr"), 0o1777);
    assert_eq!(known(&host.list()), 8);
}

fn give_away(path: &Path) {
    std::os::unix::fs::chown(path, Some(1000), None).unwrap();
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// The simulated libraries have no code: the program says so, and nothing else changes.
#[test]
fn a_library_without_functions_is_a_finding() {
    let sim = oci_gpu_tests::sim::SimHost::named("run-8").unwrap();
    let helper = oci_gpu_tests::binaries::nvml().unwrap();
    let args = ["list", "--format", "json", "--nvml-helper"];
    let args = [&args[..], &[helper.to_str().unwrap()]].concat();
    let list = run_on(sim.root(), &args).json("list");
    assert_eq!(known(&list), 0);
    assert_eq!(findings(&list).len(), 1);
}
