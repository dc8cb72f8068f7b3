//! Hosts that are broken, odd, or laid out as nobody expects.

use std::fs;
use std::path::Path;

use oci_gpu::discover;
use oci_gpu::finding::Code;
use oci_gpu::inventory::NodeState;
use oci_gpu_sim::HostSpec;
use oci_gpu_tests::sim::SimHost;

use crate::decoys::{assert_taken_from, host_with_libraries_in};

/// What a test does to a host's files.
type Spoil = fn(&SimHost);

fn write(host: &SimHost, path: &str, text: &str) {
    fs::remove_file(host.on_disk(path)).unwrap();
    fs::write(host.on_disk(path), text).unwrap();
}

fn replace(host: &SimHost, path: &str, from: &str, to: &str) {
    let text = fs::read_to_string(host.on_disk(path)).unwrap();
    assert!(text.contains(from), "{path}: {text}");
    write(host, path, &text.replace(from, to));
}

const INFORMATION: &str = "/proc/driver/nvidia/gpus/0000:1a:00.0/information";

/// Hosts on which nothing can be found: the code, and what the message and the remedy name.
#[test]
fn hosts_that_cannot_be_told_fail_with_the_cause() {
    let rows: &[(&str, &str, Spoil, Code, &[&str])] = &[
        (
            "the module is not loaded, and there are GPUs",
            "[driver]\nversion = \"550.163.01\"\nloaded = false\n[gpus]\ncount = 2\n",
            |_| {},
            Code::NoDriver,
            &[
                "no NVIDIA driver is loaded",
                "0000:1a:00.0 (driver: none), 0000:1b:00.0",
                "oci-gpu system load-modules",
            ],
        ),
        (
            "no user-space driver",
            "[driver]\nversion = \"550.163.01\"\npackages = []\n[gpus]\ncount = 1\n",
            |_| {},
            Code::NoUserland,
            &[
                "no libcuda.so.550.163.01 or libnvidia-ml.so.550.163.01",
                "ld.so.cache",
                "--driver-root",
            ],
        ),
        (
            "links and cache lead to files that are gone",
            "[driver]\nversion = \"550.163.01\"\n[faults]\ndangling = [\"libcuda\", \"libnvidia-ml\"]\n",
            |_| {},
            Code::NoUserland,
            &["no libcuda.so.550.163.01"],
        ),
        (
            "the version is no version",
            "[driver]\nversion = \"550.163.01\"\n",
            |host| {
                write(host, "/sys/module/nvidia/version", "unknown\n");
                write(host, "/proc/driver/nvidia/version", "NVRM version: none\n");
            },
            Code::Malformed,
            &["/sys/module/nvidia/version holds no driver version: 'unknown'"],
        ),
        (
            "a GPU without a minor number",
            "[driver]\nversion = \"550.163.01\"\n[gpus]\ncount = 1\n",
            |host| replace(host, INFORMATION, "Device Minor:", "Device Major:"),
            Code::Malformed,
            &["0000:1a:00.0/information has no 'Device Minor:'"],
        ),
        (
            "a GPU that describes nothing",
            "[driver]\nversion = \"550.163.01\"\n[gpus]\ncount = 1\n",
            |host| fs::remove_file(host.on_disk(INFORMATION)).unwrap(),
            Code::HostRead,
            &["read /proc/driver/nvidia/gpus/0000:1a:00.0/information: "],
        ),
        (
            "GPUs without a major number",
            "[driver]\nversion = \"550.163.01\"\n[gpus]\ncount = 1\n",
            |host| write(host, "/proc/devices", "Character devices:\n  1 mem\n"),
            Code::Malformed,
            &["/proc/devices has no line 'nvidia'"],
        ),
        (
            "no /proc/devices",
            "[driver]\nversion = \"550.163.01\"\n",
            |host| fs::remove_file(host.on_disk("/proc/devices")).unwrap(),
            Code::HostRead,
            &["read /proc/devices: "],
        ),
        (
            "MIG instances without a major number",
            "[driver]\nversion = \"550.163.01\"\n[gpus]\ncount = 1\n[[gpu]]\nindex = 0\nmig = [{ gi = 1 }]\n",
            |host| replace(host, "/proc/devices", "nvidia-caps\n", "other\n"),
            Code::Malformed,
            &["no line 'nvidia-caps'", "MIG"],
        ),
        (
            "a MIG instance without a minor number",
            "[driver]\nversion = \"550.163.01\"\n[gpus]\ncount = 1\n[[gpu]]\nindex = 0\nmig = [{ gi = 1 }]\n",
            |host| {
                let path = "/proc/driver/nvidia/capabilities/gpu0/mig/gi1/ci0/access";
                write(host, path, "DeviceFileMinor: many\n");
            },
            Code::Malformed,
            &["gpu0/mig/gi1/ci0/access has no 'DeviceFileMinor:'"],
        ),
    ];
    for (what, text, spoil, code, words) in rows {
        let host = SimHost::of(HostSpec::from_toml(text).unwrap()).unwrap();
        spoil(&host);
        match discover(&host.host()) {
            Ok(inventory) => panic!("{what}: found {:?}", inventory.driver),
            Err(finding) => {
                assert_eq!(finding.code, *code, "{what}: {finding}");
                assert!(!finding.remedy.is_empty(), "{what}: {finding}");
                let text = finding.to_string();
                for word in *words {
                    assert!(text.contains(word), "{what}: '{word}' in {text}");
                }
            }
        }
    }
}

/// What is odd and stops nothing is told beside what was found.
#[test]
fn what_is_odd_is_told_and_stops_nothing() {
    let text = "[driver]\nversion = \"550.163.01\"\npackages = [\"compute\"]\n[gpus]\ncount = 2\n\
                [faults]\ntruncated = [\"libnvidia-opencl\"]\ndangling = [\"libnvidia-ml\"]\n";
    let host = SimHost::of(HostSpec::from_toml(text).unwrap()).unwrap();
    replace(
        &host,
        INFORMATION,
        "GPU-5ca1ab1e-1d5e-4f0c-9a3b-a0b1c2d3e400",
        "GPU-????????-????-????-????-????????????",
    );
    replace(
        &host,
        "/proc/driver/nvidia/version",
        "550.163.01",
        "550.90.07",
    );
    let inventory = discover(&host.host()).unwrap();
    assert_eq!(inventory.driver.version, "550.163.01");
    let uuids: Vec<Option<&str>> = inventory.gpus.iter().map(|g| g.uuid.as_deref()).collect();
    assert_eq!(
        uuids,
        [None, Some("GPU-5da2ac1f-1d5e-4f0c-9a3b-a0b1c2d3e401")]
    );
    let findings: Vec<(Code, &str)> = inventory
        .findings
        .iter()
        .map(|f| (f.code, f.message.as_str()))
        .collect();
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert_eq!(findings[0].0, Code::VersionDisagree);
    assert!(findings[0].1.contains("550.90.07"), "{findings:?}");
    assert_eq!(findings[1].0, Code::Malformed);
    assert!(findings[1].1.contains("tells no UUID"), "{findings:?}");

    let has = |stem: &str| inventory.libraries.iter().any(|l| l.stem == stem);
    assert!(has("libcuda") && !has("libnvidia-opencl") && !has("libnvidia-ml"));
    let why = |name: &str| {
        let ends = |p: &Path| p.file_name().is_some_and(|n| n == name);
        let c = inventory.driver.candidates.iter().find(|c| ends(&c.path));
        let c = c.unwrap_or_else(|| panic!("{name} in {:?}", inventory.driver.candidates));
        assert!(!c.accepted, "{c:?}");
        c.why.clone()
    };
    assert!(why("libnvidia-opencl.so.550.163.01").contains("no usable ELF file"));
    assert_eq!(why("libnvidia-ml.so.1"), "it does not exist");
}

/// The driver's directory is known to the loader's configuration alone.
#[test]
fn directories_of_ld_so_conf_come_last() {
    let directory = "/srv/drivers/nvidia/lib";
    let host = host_with_libraries_in(directory, "ld-cache = \"\"\n");
    let refused = assert_taken_from(&host, directory, directory);
    assert_eq!(refused, ["ld.so.cache /etc/ld.so.cache: it does not exist"]);
    let inventory = discover(&host.host()).unwrap();
    let accepted: Vec<_> = inventory
        .driver
        .candidates
        .iter()
        .filter(|c| c.accepted)
        .collect();
    assert_eq!(accepted.len(), 1, "{accepted:?}");
    assert_eq!(accepted[0].evidence, "ld.so.conf");
}

/// A driver container in a place that nobody knows, until it is named: its root is taken, and its
/// nodes with it.
#[test]
fn a_driver_root_that_is_named_is_taken_with_its_nodes() {
    let sim = SimHost::named("driver-container-8").unwrap();
    fs::create_dir(sim.on_disk("/opt")).unwrap();
    fs::rename(
        sim.on_disk("/run/nvidia/driver"),
        sim.on_disk("/opt/driver"),
    )
    .unwrap();
    let unknown = discover(&sim.host()).unwrap_err();
    assert_eq!(unknown.code, Code::NoUserland, "{unknown}");

    let inventory = discover(&sim.host().with_driver_root("/opt/driver")).unwrap();
    assert_eq!(inventory.driver.root, Path::new("/opt/driver"));
    assert_eq!(inventory.libraries.len(), 33);
    assert!(
        inventory
            .libraries
            .iter()
            .all(|l| l.path.starts_with("/opt/driver/usr"))
    );
    assert!(
        inventory
            .gpus
            .iter()
            .all(|g| g.node.state == NodeState::Present)
    );
    assert_eq!(
        inventory.gpus[3].node.path,
        Path::new("/opt/driver/dev/nvidia3")
    );
    assert_eq!(inventory.gpus[3].node.target, Path::new("/dev/nvidia3"));

    // Whoever names the directory of the nodes is taken at their word.
    let host = sim
        .host()
        .with_driver_root("/opt/driver")
        .with_dev_root("/");
    let inventory = discover(&host).unwrap();
    assert_eq!(inventory.gpus[3].node.path, Path::new("/dev/nvidia3"));
    assert_eq!(inventory.gpus[3].node.state, NodeState::Missing);

    let wrong = discover(&sim.host().with_driver_root("/opt/other")).unwrap_err();
    assert_eq!(wrong.code, Code::NoUserland, "{wrong}");
    assert!(
        wrong.message.contains("/opt/other does not exist"),
        "{wrong}"
    );
}
