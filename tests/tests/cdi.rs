//! Specifications of the Container Device Interface: what they name, and containers that podman
//! starts by them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use oci_gpu_sim::{HostSpec, Peripheral};
use oci_gpu_tests::binaries;
use oci_gpu_tests::gpu::GpuHost;
use oci_gpu_tests::probe::{Loaded, Report};
use oci_gpu_tests::rootfs::{Kind, Rootfs};
use oci_gpu_tests::sim::SimHost;
use serde_json::{Value, json};

/// `oci-gpu cdi generate` on the host at `root`, with these arguments.
fn generated(root: &Path, arguments: &[&str]) -> Result<Value, String> {
    let output = Command::new(binaries::cli().unwrap())
        .arg("--host-root")
        .arg(root)
        .args(["--format", "json", "cdi", "generate"])
        .args(arguments)
        .output()
        .unwrap();
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn names(spec: &Value) -> Vec<&str> {
    let devices = spec["devices"].as_array().unwrap().iter();
    devices.map(|d| d["name"].as_str().unwrap()).collect()
}

fn device<'a>(spec: &'a Value, name: &str) -> &'a Value {
    let devices = spec["devices"].as_array().unwrap();
    let found = devices.iter().find(|d| d["name"] == name);
    &found.unwrap_or_else(|| panic!("{name} in {:?}", names(spec)))["containerEdits"]
}

fn paths<'a>(edits: &'a Value, list: &str, member: &str) -> BTreeSet<&'a str> {
    let items = edits[list].as_array().into_iter().flatten();
    items.map(|i| i[member].as_str().unwrap()).collect()
}

#[test]
fn devices_have_the_names_that_were_asked_for() {
    let eight = SimHost::named("debian-8").unwrap();
    let uuid = "GPU-5ca1ab1e-1d5e-4f0c-9a3b-a0b1c2d3e400";
    for (arguments, has, has_not) in [
        (&[][..], &["0", "7", uuid, "all"][..], &["gpu0", "8"][..]),
        (
            &["--device-name-strategy", "type-index", "--no-all-device"],
            &["gpu0", "gpu7"],
            &["0", "all", uuid],
        ),
        (&["--device-name-strategy", "uuid"], &[uuid, "all"], &["0"]),
    ] {
        let spec = generated(eight.root(), arguments).unwrap();
        assert_eq!(spec["kind"], "nvidia.com/gpu");
        let names = names(&spec);
        assert!(
            has.iter().all(|n| names.contains(n)),
            "{arguments:?}: {names:?}"
        );
        assert!(
            !has_not.iter().any(|n| names.contains(n)),
            "{arguments:?}: {names:?}"
        );
        let once: BTreeSet<&&str> = names.iter().collect();
        assert_eq!(once.len(), names.len());
    }
    // 2 before 10.
    let sixteen = SimHost::named("run-16").unwrap();
    let spec = generated(sixteen.root(), &["--device-name-strategy", "index"]).unwrap();
    let numbers: Vec<String> = (0..16).map(|n| n.to_string()).collect();
    assert_eq!(names(&spec)[..16], numbers);
    let vendor = ["--vendor", "example.com", "--class", "accelerator"];
    let spec = generated(sixteen.root(), &vendor).unwrap();
    assert_eq!(spec["kind"], "example.com/accelerator");
}

/// A split GPU goes by its instances only, each with both of its nodes.
#[test]
fn instances_take_the_place_of_a_split_gpu() {
    let host = SimHost::named("run-8-mig").unwrap();
    let spec = generated(host.root(), &[]).unwrap();
    let names = names(&spec);
    assert!(names.contains(&"0") && names.contains(&"1:6"), "{names:?}");
    assert!(!names.contains(&"1"), "{names:?}");
    let nodes = paths(device(&spec, "1:6"), "deviceNodes", "path");
    let expected = [
        "/dev/nvidia1",
        "/dev/nvidia-caps/nvidia-cap255",
        "/dev/nvidia-caps/nvidia-cap256",
    ];
    assert_eq!(nodes, expected.into());
    // Five GPUs are whole, and have two DRM nodes each.
    let all = device(&spec, "all")["deviceNodes"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(all, 8 + 11 + 12 + 2 * 5);
}

/// Nothing of a GPU is common, and nothing that is common is repeated.
#[test]
fn common_edits_and_devices_do_not_overlap() {
    for host in [
        "debian-8",
        "rpm-8",
        "nixos-1",
        "cos-1",
        "driver-container-8",
        "wsl-1",
        "jetson-orin",
    ] {
        let sim = SimHost::named(host).unwrap();
        let spec = generated(sim.root(), &[]).unwrap();
        let common = &spec["containerEdits"];
        let mounts = paths(common, "mounts", "containerPath");
        let nodes = paths(common, "deviceNodes", "path");
        assert!(!mounts.is_empty() && !nodes.is_empty(), "{host}");
        let gpu = |path: &&&str| {
            let number = path.strip_prefix("/dev/nvidia");
            number.is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
        };
        assert!(!nodes.iter().any(|n| gpu(&n)), "{host}: {nodes:?}");
        for d in spec["devices"].as_array().unwrap() {
            let edits = &d["containerEdits"];
            assert!(
                edits
                    .as_object()
                    .unwrap()
                    .values()
                    .any(|v| v.as_array().is_some_and(|a| !a.is_empty())),
                "{host}: {d}"
            );
            assert!(
                mounts.is_disjoint(&paths(edits, "mounts", "containerPath")),
                "{host}: {d}"
            );
            assert!(
                nodes.is_disjoint(&paths(edits, "deviceNodes", "path")),
                "{host}: {d}"
            );
        }
        let targets = common["mounts"].as_array().unwrap().len();
        assert_eq!(targets, mounts.len(), "{host}: one target twice");
        let hooks = common["hooks"].as_array().unwrap();
        assert_eq!(hooks.len(), 1, "{host}");
        assert_eq!(hooks[0]["hookName"], "createContainer");
        assert_eq!(hooks[0]["args"], json!(["oci-gpu-hook", "cdi"]));
        // The same text every time.
        assert_eq!(generated(sim.root(), &[]).unwrap(), spec, "{host}");
    }
}

/// Every file that `list` names is mounted, whatever it is.
#[test]
fn every_file_that_discovery_names_is_mounted() {
    let sim = SimHost::named("run-8").unwrap();
    let inventory = oci_gpu::discover(&sim.host()).unwrap();
    let spec = generated(sim.root(), &[]).unwrap();
    let mounted = paths(&spec["containerEdits"], "mounts", "hostPath");
    let libraries = inventory.libraries.iter();
    let libraries = libraries.map(|l| &l.path);
    let files = inventory.files.iter().map(|f| &f.path);
    for path in libraries.chain(files) {
        let path = path.display().to_string();
        assert!(mounted.contains(path.as_str()), "{path} in {mounted:#?}");
    }
}

#[test]
fn the_version_is_the_lowest_that_will_do() {
    let debian = SimHost::named("debian-8").unwrap();
    let compute = ["--driver-capabilities", "compute,utility"];
    for (arguments, version) in [
        // Groups of DRM nodes.
        (vec![], "0.7.0"),
        (compute.to_vec(), "0.5.0"),
        (
            [&compute[..], &["--device-name-strategy", "type-index"]].concat(),
            "0.3.0",
        ),
    ] {
        let spec = generated(debian.root(), &arguments).unwrap();
        assert_eq!(spec["cdiVersion"], version, "{arguments:?}");
    }
}

#[test]
fn other_modes_have_kinds_of_their_own() {
    let mut spec = HostSpec::named("run-8-mig").unwrap();
    spec.peripherals = vec![Peripheral::Gds, Peripheral::Nvswitch];
    spec.imex_channels = vec![0, 3];
    let host = SimHost::of(spec).unwrap();
    for (mode, kind, device_name, nodes) in [
        (
            "gds",
            "nvidia.com/gds",
            "all",
            &["/dev/nvidia-fs0", "/dev/nvidia-fs1"][..],
        ),
        (
            "nvswitch",
            "nvidia.com/nvswitch",
            "all",
            &[
                "/dev/nvidia-nvswitch0",
                "/dev/nvidia-nvswitch1",
                "/dev/nvidia-nvswitchctl",
            ],
        ),
        (
            "imex",
            "nvidia.com/imex-channel",
            "3",
            &["/dev/nvidia-caps-imex-channels/channel3"],
        ),
    ] {
        let spec = generated(host.root(), &["--mode", mode]).unwrap();
        assert_eq!(spec["kind"], kind);
        let found = paths(device(&spec, device_name), "deviceNodes", "path");
        assert_eq!(found, nodes.iter().copied().collect(), "{mode}");
    }
    let spec = generated(host.root(), &["--mode", "management"]).unwrap();
    assert_eq!(spec["kind"], "management.nvidia.com/gpu");
    assert_eq!(names(&spec), ["all"]);
    let nodes = paths(&spec["containerEdits"], "deviceNodes", "path");
    for node in [
        "/dev/nvidia7",
        "/dev/nvidia-caps/nvidia-cap1",
        "/dev/nvidia-caps-imex-channels/channel0",
    ] {
        assert!(nodes.contains(node), "{node} in {nodes:?}");
    }
    for mode in ["gdrcopy", "mofed"] {
        let error = generated(host.root(), &["--mode", mode]).unwrap_err();
        assert!(error.contains("OG0405"), "{error}");
    }
    let none = SimHost::named("no-devices").unwrap();
    let error = generated(none.root(), &[]).unwrap_err();
    assert!(error.contains("OG0401"), "{error}");
}

/// The file appears whole, under a name that engines read.
#[test]
fn a_file_is_written_whole() {
    let host = SimHost::named("run-1").unwrap();
    let dir = tempfile::tempdir().unwrap();
    for name in ["new/nvidia.yaml", "nvidia.json"] {
        let path = dir.path().join(name);
        let text = path.display().to_string();
        let output = Command::new(binaries::cli().unwrap())
            .arg("--host-root")
            .arg(host.root())
            .args(["cdi", "generate", "--output", &text])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let written = fs::read(&path).unwrap();
        let spec: Value = match name.ends_with("json") {
            true => serde_json::from_slice(&written).unwrap(),
            false => serde_yaml_ng::from_slice(&written).unwrap(),
        };
        assert_eq!(spec, generated(host.root(), &[]).unwrap());
        assert_eq!(
            fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1 + usize::from(name == "nvidia.json")
        );
    }
}

/// Links that others made are not followed, and what is no file is left alone.
#[test]
fn a_file_is_written_nowhere_else() {
    let host = SimHost::named("run-1").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let generate = |name: &str| {
        let mut command = Command::new("sh");
        // The shell's number becomes the command's.
        let line =
            format!("umask 0; ln -s \"$PWD/victim\" .{name}.$$; exec \"$@\" --output {name}");
        command.args(["-c", &line, "sh"]);
        command.arg(binaries::cli().unwrap()).arg("--host-root");
        command.arg(host.root()).args(["cdi", "generate"]);
        command.current_dir(dir.path()).output().unwrap()
    };
    fs::write(dir.path().join("victim"), "as it was").unwrap();
    std::os::unix::fs::symlink("victim", dir.path().join("a.yaml")).unwrap();
    let output = generate("a.yaml");
    assert!(output.status.success(), "{output:?}");
    let written = fs::symlink_metadata(dir.path().join("a.yaml")).unwrap();
    assert!(written.is_file());
    assert_eq!(written.permissions().mode() & 0o7777, 0o644);
    let victim = || fs::read_to_string(dir.path().join("victim")).unwrap();
    assert_eq!(victim(), "as it was");

    nix::unistd::mkfifo(&dir.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let output = generate("pipe");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("pipe: it is no regular file"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert_eq!(victim(), "as it was");
}

/// The specification of a simulated host, for engines of this machine: host paths below `root`, and
/// the hook that is told so.
fn for_this_machine(mut spec: Value, root: &Path, hook: &Path) -> Value {
    let below = |path: &Value| json!(format!("{}{}", root.display(), path.as_str().unwrap()));
    let mut edits: Vec<&mut Value> = Vec::new();
    let spec_map = spec.as_object_mut().unwrap();
    for (name, value) in spec_map.iter_mut() {
        match name.as_str() {
            "containerEdits" => edits.push(value),
            "devices" => {
                let devices = value.as_array_mut().unwrap().iter_mut();
                edits.extend(devices.map(|d| &mut d["containerEdits"]));
            }
            _ => {}
        }
    }
    for edits in edits {
        for mount in edits["mounts"].as_array_mut().into_iter().flatten() {
            mount["hostPath"] = below(&mount["hostPath"]);
        }
        for node in edits["deviceNodes"].as_array_mut().into_iter().flatten() {
            let path = node.get("hostPath").unwrap_or(&node["path"]).clone();
            node["hostPath"] = below(&path);
        }
        for entry in edits["hooks"].as_array_mut().into_iter().flatten() {
            entry["path"] = json!(hook);
            entry["args"] = json!(["oci-gpu-hook", "--host-root", root, "cdi"]);
        }
        edits.as_object_mut().unwrap().retain(|_, v| !v.is_null());
    }
    spec
}

/// Podman 4.3, by crun and runc: exactly the GPU that was named, what its loader finds, and the view
/// of procfs.
#[test]
fn podman_starts_containers_by_our_specification() {
    let host = GpuHost::new("debian-8").unwrap();
    let spec = generated(
        &host.root,
        &["--driver-capabilities", "compute,utility,video"],
    )
    .unwrap();
    let spec = for_this_machine(spec, &host.root, &host.hook);
    let file = host.setting.dir.path().join("nvidia.json");
    fs::write(&file, spec.to_string()).unwrap();
    for (number, engine) in ["crun", "runc"].into_iter().enumerate() {
        for (kind, devices, given, missing) in [
            (Kind::Bookworm, &["1"][..], &[1][..], &[0, 2][..]),
            (
                Kind::Lib64,
                &["0", "GPU-5fa4ae21-1d5e-4f0c-9a3b-a0b1c2d3e403"],
                &[0, 3],
                &[1],
            ),
        ] {
            let what = format!("{engine}, {kind:?}, {devices:?}");
            let directory = host.setting.dir.path().join(format!("{number}{kind:?}"));
            fs::create_dir(&directory).unwrap();
            let report = podman(&host, &directory, engine, kind, &file, devices, &[]).unwrap();
            for gpu in given {
                let opened = report.open(&format!("/dev/nvidia{gpu}")).to_owned();
                assert_eq!(opened, "ENXIO", "{what}: {gpu}");
            }
            for gpu in missing {
                assert_eq!(
                    report.open(&format!("/dev/nvidia{gpu}")),
                    "ENOENT",
                    "{what}: {gpu}"
                );
            }
            for soname in [
                "libcuda.so.1",
                "libnvidia-ml.so.1",
                "libnvcuvid.so.1",
                "libcuda.so",
            ] {
                let loaded = report.dlopen(soname);
                assert!(
                    matches!(loaded, Loaded::Found { .. }),
                    "{what}: {soname}: {loaded:?}: {}",
                    host.log()
                );
            }
            let gpus = report.list("/proc/driver/nvidia/gpus").unwrap();
            assert_eq!(gpus.len(), given.len(), "{what}: {gpus:?}");
            let params = report
                .read("/proc/driver/nvidia/params")
                .unwrap_or_default();
            assert!(params.contains("ModifyDeviceFiles: 0"), "{what}: {params}");
            assert!(report.stat("/usr/bin/nvidia-smi").is_ok(), "{what}");
        }
    }
    host.assert_untouched().unwrap();
}

/// Engines know nothing of an image's conditions; the hook does.
#[test]
fn conditions_hold_for_containers_by_specification_too() {
    let host = GpuHost::new("debian-8").unwrap();
    let spec = generated(&host.root, &["--driver-capabilities", "compute,utility"]).unwrap();
    let spec = for_this_machine(spec, &host.root, &host.hook);
    let file = host.setting.dir.path().join("nvidia.json");
    fs::write(&file, spec.to_string()).unwrap();
    for (number, (env, met)) in [
        (&["NVIDIA_REQUIRE_CUDA=cuda>=12.4 driver>=999"][..], true),
        (&["NVIDIA_REQUIRE_CUDA=cuda>=99.0"], false),
        (
            &[
                "NVIDIA_REQUIRE_CUDA=cuda>=99.0",
                "NVIDIA_DISABLE_REQUIRE=true",
            ],
            true,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let directory = host.setting.dir.path().join(number.to_string());
        fs::create_dir(&directory).unwrap();
        let kind = Kind::Bookworm;
        let started = podman(&host, &directory, "runc", kind, &file, &["0"], env);
        assert_eq!(started.is_ok(), met, "{env:?}: {started:?}");
        if let Err(text) = started {
            assert!(text.contains("OG0204"), "{text}");
        }
    }
    host.assert_untouched().unwrap();
}

fn podman(
    host: &GpuHost,
    directory: &Path,
    engine: &str,
    kind: Kind,
    spec: &Path,
    devices: &[&str],
    env: &[&str],
) -> Result<Report, String> {
    let rootfs = directory.join("rootfs");
    let rootfs = Rootfs::instance(&host.setting.debs, kind, &rootfs).unwrap();
    host.setting.probe.install(&rootfs).unwrap();
    for made in ["home", "run", "store"] {
        fs::create_dir(directory.join(made)).unwrap();
    }
    let at = |name: &str| directory.join(name).display().to_string();
    let mut words: Vec<String> = vec!["podman".to_owned(), "--root".to_owned(), at("store")];
    words.extend([
        "--runroot".to_owned(),
        at("run"),
        "--runtime".to_owned(),
        engine.to_owned(),
    ]);
    let fixed = "--storage-driver vfs --cgroup-manager cgroupfs run --rm --network none --log-driver none \
                 --ulimit nofile=1024:1024 --ulimit nproc=4096:4096";
    words.extend(fixed.split_whitespace().map(str::to_owned));
    for variable in env {
        words.extend(["--env".to_owned(), (*variable).to_owned()]);
    }
    for device in devices {
        words.extend(["--device".to_owned(), format!("nvidia.com/gpu={device}")]);
    }
    words.extend(["--rootfs".to_owned(), at("rootfs"), "/probe".to_owned()]);
    for node in [
        "/dev/nvidia0",
        "/dev/nvidia1",
        "/dev/nvidia2",
        "/dev/nvidia3",
    ] {
        words.extend(["--open".to_owned(), node.to_owned()]);
    }
    for soname in [
        "libcuda.so.1",
        "libnvidia-ml.so.1",
        "libnvcuvid.so.1",
        "libcuda.so",
    ] {
        words.extend(["--dlopen".to_owned(), soname.to_owned()]);
    }
    for (option, path) in [
        ("--list", "/proc/driver/nvidia/gpus"),
        ("--read", "/proc/driver/nvidia/params"),
        ("--stat", "/usr/bin/nvidia-smi"),
    ] {
        words.extend([option.to_owned(), path.to_owned()]);
    }
    // Podman looks in two directories of the machine: here they are the test's own.
    let script = "! test -d /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified; \
                  mount -t tmpfs tmpfs /run && mkdir /run/cdi && cp \"$1\" /run/cdi/nvidia.json; \
                  shift; exec \"$@\"";
    let output = Command::new("timeout")
        .args(["-s", "KILL", "120", "unshare", "--mount"])
        .args(["--propagation", "private", "sh", "-c", script, "sh"])
        .arg(spec)
        .args(&words)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", at("home"))
        .output()
        .unwrap();
    Report::parse(&output.stdout).map_err(|e| {
        let errors = String::from_utf8_lossy(&output.stderr);
        format!("{e}: {errors} {}", host.log())
    })
}
