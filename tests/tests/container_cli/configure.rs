//! `configure` by hand, in a container that stays: all or nothing, once and again.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use oci_gpu_tests::gpu::GpuHost;
use oci_gpu_tests::rootfs::{Kind, image};
use oci_gpu_tests::standin::{Ground, Snapshot, StandIn};
use oci_gpu_tests::strace::Trace;

use crate::tool::{NAME, Ran, link, named};

/// A host with eight GPUs, and containers of an image.
struct Scene {
    host: GpuHost,
    ground: Ground,
}

impl Scene {
    fn new(kind: Kind) -> Scene {
        Scene::on("debian-8", kind)
    }

    fn on(host: &str, kind: Kind) -> Scene {
        let host = GpuHost::new(host).unwrap();
        let image = image(&host.setting.debs, kind).unwrap();
        let bundle = host.setting.dir.path().join("standin");
        let ground = Ground::new(&bundle, &image, &[]).unwrap();
        Scene { host, ground }
    }

    fn configure(&self, container: &StandIn, options: &[&str]) -> Output {
        named(NAME)
            .arg(format!("--host-root={}", self.host.root.display()))
            .arg("configure")
            .args(options)
            .arg(format!("--pid={}", container.pid))
            .arg(self.ground.bundle.join("rootfs"))
            .output()
            .unwrap()
    }

    /// The tool by hand, under strace with `options`.
    fn traced(&self, container: &StandIn, file: &Path, options: &[&str]) -> Output {
        Command::new("strace")
            .arg("-o")
            .arg(file)
            .args(options)
            .arg(link(self.host.setting.dir.path()))
            .arg(format!("--host-root={}", self.host.root.display()))
            .args(["configure", "-d0", "-cu"])
            .arg(format!("--pid={}", container.pid))
            .arg(self.ground.bundle.join("rootfs"))
            .output()
            .unwrap()
    }

    /// The tool refuses in a container that `commands` prepare, and everything is as it was.
    fn refused(&self, commands: &str, options: &[&str], stage: &str, code: &str, words: &[&str]) {
        let what = format!("{options:?}, {commands}");
        let container = StandIn::prepared(&self.ground, commands).unwrap();
        let first = container.snapshot().unwrap();
        let ran = Ran::of(self.configure(&container, options));
        ran.failed(stage, code, words, &what);
        let changes = first.changes_to(&container.snapshot().unwrap());
        assert_eq!(changes, [""; 0], "{what}");
        self.host.assert_untouched().unwrap();
    }

    /// What the tool changes in a new container.
    fn changes(&self, options: &[&str]) -> Vec<String> {
        let container = StandIn::new(&self.ground).unwrap();
        let first = container.snapshot().unwrap();
        let ran = Ran::of(self.configure(&container, options));
        assert_eq!(ran.done(&format!("{options:?}")), "");
        let then: Snapshot = container.snapshot().unwrap();
        self.host.assert_untouched().unwrap();
        first.changes_to(&then)
    }
}

/// Whether something was put at a path that ends so.
fn has(changes: &[String], path: &str) -> bool {
    let ends = |change: &String| change.split(' ').any(|word| word.ends_with(path));
    changes.iter().any(|c| c.starts_with('+') && ends(c))
}

/// The reference died of a segmentation fault here, and left 25 mounts behind (libnvidia-container
/// 1.17, `--imex-channel` without a node).
#[test]
fn an_absent_imex_channel_is_an_error_that_names_it() {
    let scene = Scene::new(Kind::Bookworm);
    scene.refused(
        "true",
        &["-d0", "-cu", "--imex-channel=99"],
        "device",
        "OG0404",
        &[
            "IMEX channel 99 has no node",
            "4 channels",
            "; create the node",
        ],
    );
    let changes = scene.changes(&["-d0", "-cu", "--imex-channel=3,1"]);
    assert!(
        has(&changes, "channel1") && has(&changes, "channel3"),
        "{changes:#?}"
    );
    assert!(!has(&changes, "channel0"), "{changes:#?}");
}

/// The reference left the mounts and placeholders of the steps before the one that failed.
#[test]
fn what_was_done_before_a_failure_is_undone() {
    let scene = Scene::new(Kind::Bookworm);
    let taken = "mkdir $root/usr/bin/nvidia-cuda-mps-server";
    let words = [
        "nvidia-cuda-mps-server of the container is a directory",
        "; ",
    ];
    scene.refused(taken, &["-d0", "-cu"], "mount", "OG0602", &words);
    let missing = scene.host.root.join("dev/nvidia1");
    fs::remove_file(&missing).unwrap();
    let container = StandIn::new(&scene.ground).unwrap();
    let first = container.snapshot().unwrap();
    Ran::of(scene.configure(&container, &["-d0,1", "-cu"])).failed(
        "mount",
        "OG0305",
        &[
            "/dev/nvidia1 (195:1) is missing",
            "; run `oci-gpu system create-device-nodes`",
        ],
        "a missing node",
    );
    assert_eq!(first.changes_to(&container.snapshot().unwrap()), [""; 0]);
}

/// The reference mounted everything a second time.
#[test]
fn a_second_run_changes_nothing() {
    let scene = Scene::new(Kind::Bookworm);
    let container = StandIn::new(&scene.ground).unwrap();
    let options = ["-d0,1", "-cuvgn", "--compat32"];
    Ran::of(scene.configure(&container, &options)).done("first");
    let first = container.snapshot().unwrap();
    Ran::of(scene.configure(&container, &options)).done("second");
    assert_eq!(first.changes_to(&container.snapshot().unwrap()), [""; 0]);
    scene.host.assert_untouched().unwrap();
}

/// The reference succeeded without a cache where the image has no ldconfig, or no /sys. Here the
/// cache is written without either; where it cannot be, that is an error and all is undone.
#[test]
fn the_cache_is_written_without_ldconfig_or_not_at_all() {
    for kind in [Kind::Distroless, Kind::Scratch] {
        let scene = Scene::new(kind);
        let changes = scene.changes(&["-d0", "-cu", "--ldconfig=@/nowhere/ldconfig"]);
        assert!(has(&changes, "ld.so.cache"), "{kind:?}: {changes:#?}");
    }
    let scene = Scene::new(Kind::Bookworm);
    scene.refused(
        "rm -f $root/etc/ld.so.cache; mkdir $root/etc/ld.so.cache",
        &["-d0", "-cu"],
        "ldcache",
        "OG0605",
        &["ld.so.cache"],
    );
}

/// Each capability and each "--no-" option decides about its own files.
#[test]
fn options_decide_what_a_container_gets() {
    let scene = Scene::new(Kind::Bookworm);
    let rows: &[(&[&str], &[&str], &[&str])] = &[
        // No device: the driver's files and control nodes.
        (
            &["--utility"],
            &[
                "nvidia-smi",
                "libnvidia-ml.so.550.163.01",
                "nvidiactl",
                "gsp_ga10x.bin",
            ],
            &["nvidia0", "libcuda.so.550.163.01", "nvidia-uvm"],
        ),
        (
            &["--compute", "-d3"],
            &["libcuda.so.550.163.01", "nvidia3", "nvidia-uvm"],
            &["nvidia-smi"],
        ),
        (
            &["--video", "-d0"],
            &["libnvcuvid.so.550.163.01"],
            &["nvidia-smi"],
        ),
        (
            &["--graphics", "-d0"],
            &["libGLX_nvidia.so.550.163.01"],
            &["nvidia-smi"],
        ),
        (&["--display", "-d0"], &["nvidia-modeset"], &["nvidia-smi"]),
        (
            &["--ngx", "-d0"],
            &["libnvidia-ngx.so.550.163.01"],
            &["nvidia-smi"],
        ),
        (
            &["--utility", "--no-persistenced", "--no-gsp-firmware"],
            &["nvidia-smi", "nvidia-fabricmanager/socket"],
            &["nvidia-persistenced/socket", "gsp_ga10x.bin"],
        ),
        (
            &["--utility", "--no-fabricmanager"],
            &["nvidia-persistenced/socket"],
            &["nvidia-fabricmanager/socket"],
        ),
    ];
    for (options, there, absent) in rows {
        let changes = scene.changes(options);
        for path in *there {
            assert!(has(&changes, path), "{options:?}: {path} in {changes:#?}");
        }
        for path in *absent {
            assert!(!has(&changes, path), "{options:?}: {path} in {changes:#?}");
        }
    }
}

/// A volume of the host's is not written to, though nothing told the tool which mounts are volumes.
#[test]
fn volumes_are_told_from_the_containers_own_mounts() {
    let scene = Scene::new(Kind::Bookworm);
    let volume = scene.host.setting.dir.path().join("volume");
    fs::create_dir(&volume).unwrap();
    let binds = [
        format!("mount --bind {} $root/usr/bin", volume.display()),
        // In memory like the container's own /dev, but mounted on the host, too.
        format!(
            "mount -t tmpfs tmpfs {v}; mkdir -p $root/lib/firmware; mount --bind {v} $root/usr/bin",
            v = volume.display()
        ),
    ];
    for bind in binds {
        let words = ["/usr/bin/nvidia-smi", "volume"];
        scene.refused(&bind, &["-d0", "-u"], "mount", "OG0602", &words);
        assert_eq!(fs::read_dir(&volume).unwrap().count(), 0);
    }
}

/// A MIG instance has its GPU's node and two of its own; a right over all of MIG one more.
#[test]
fn mig_instances_and_rights() {
    let scene = Scene::on("run-8-mig", Kind::Bookworm);
    let instance = scene.changes(&["-d1:0", "-u"]);
    for node in [
        "dev/nvidia1",
        "nvidia-cap201",
        "nvidia-cap202",
        "gi7/ci0/access",
    ] {
        assert!(has(&instance, node), "{node} in {instance:#?}");
    }
    for node in ["dev/nvidia0", "nvidia-cap1", "nvidia-cap2", "nvidia-cap210"] {
        assert!(!has(&instance, node), "{node} in {instance:#?}");
    }
    let rights = scene.changes(&["-d1", "-u", "--mig-config=all", "--mig-monitor=all"]);
    for node in [
        "nvidia-cap1",
        "nvidia-cap2",
        "/proc/driver/nvidia/capabilities",
    ] {
        assert!(has(&rights, node), "{node} in {rights:#?}");
    }
}

/// The driver's files and nodes come from the root that is named, as the GPU operator's hook does.
#[test]
fn a_driver_container_is_named_by_its_root() {
    let scene = Scene::on("driver-container-8", Kind::Bookworm);
    let container = StandIn::new(&scene.ground).unwrap();
    let output = named(NAME)
        .arg(format!("--host-root={}", scene.host.root.display()))
        .args(["--root=/run/nvidia/driver", "configure", "-d7", "-cu"])
        .arg(format!("--pid={}", container.pid))
        .arg(scene.ground.bundle.join("rootfs"))
        .output();
    Ran::of(output.unwrap()).done("--root");
    let library = "/usr/lib/x86_64-linux-gnu/libcuda.so.550.163.01";
    for path in [library, "/dev/nvidia7", "/usr/bin/nvidia-smi"] {
        assert!(container.path(path).exists(), "{path}");
    }
    scene.host.assert_untouched().unwrap();
}

/// A signal in the middle ends the tool in order.
#[test]
fn a_signal_undoes_what_was_done() {
    let scene = Scene::new(Kind::Bookworm);
    let container = StandIn::new(&scene.ground).unwrap();
    let first = container.snapshot().unwrap();
    let signal = "inject=symlinkat:signal=SIGTERM:when=5";
    let ran = Ran::of(scene.traced(&container, Path::new("/dev/null"), &["-e", signal]));
    ran.failed("mount", "OG0104", &["stopped by SIGTERM"], "SIGTERM");
    assert_eq!(first.changes_to(&container.snapshot().unwrap()), [""; 0]);
    scene.host.assert_untouched().unwrap();
}

/// No program is run, nobody is spoken to, and once inside nothing but the work itself is possible.
#[test]
fn the_tool_gives_up_what_it_does_not_need() {
    let scene = Scene::new(Kind::Bookworm);
    let container = StandIn::new(&scene.ground).unwrap();
    let file = scene.host.setting.dir.path().join("trace");
    let output = scene.traced(&container, &file, &["-f"]);
    Ran::of(output).done("under strace");
    let trace = Trace::read(&file).unwrap();
    let names: Vec<&str> = trace.calls.iter().map(|c| c.name.as_str()).collect();
    let first = |name: &str| names.iter().position(|n| *n == name);
    let is_filter = |line: &str| line.starts_with("prctl(PR_SET_SECCOMP");
    let filtered = trace.calls.iter().position(|c| is_filter(&c.line)).unwrap();
    let entered = first("setns").unwrap();
    let mounted = first("move_mount").unwrap();
    assert!(first("capset").unwrap() < entered, "{names:?}");
    assert!(entered < filtered && filtered < mounted, "{names:?}");
    for never in [
        "fork", "vfork", "clone", "clone3", "socket", "connect", "ptrace",
    ] {
        assert_eq!(first(never), None, "{never}");
    }
    assert_eq!(names.iter().filter(|n| **n == "execve").count(), 1);
}

/// `--load-kmods` on a host whose nodes nobody made yet, as gVisor calls it; without the right to
/// make nodes the tool goes on and tells what is missing.
#[test]
fn missing_nodes_are_made_when_modules_are_to_be_loaded() {
    let host = GpuHost::new("microvm-1").unwrap();
    let tool = link(host.setting.dir.path());
    let info = |before: &[&str]| {
        let (program, more) = before.split_first().unwrap();
        let mut command = Command::new(program);
        command
            .args(more)
            .arg(&tool)
            .arg(format!("--host-root={}", host.root.display()));
        Ran::of(command.args(["--load-kmods", "info"]).output().unwrap())
    };
    let user = [
        "setpriv",
        "--reuid=61500",
        "--regid=61500",
        "--clear-groups",
    ];
    assert!(info(&user).done("as a user").contains("Device Index:   0"));
    assert!(!host.root.join("dev/nvidiactl").exists());
    // Nor where the driver was told that nobody should.
    let params = host.root.join("proc/driver/nvidia/params");
    let text = fs::read_to_string(&params).unwrap();
    let never = text.replace("ModifyDeviceFiles: 1", "ModifyDeviceFiles: 0");
    fs::write(&params, never).unwrap();
    info(&["env"]).done("ModifyDeviceFiles: 0");
    assert!(!host.root.join("dev/nvidiactl").exists());
    fs::write(&params, text).unwrap();
    assert!(info(&["env"]).done("as root").contains("Device Index:   0"));
    for node in ["nvidiactl", "nvidia-uvm", "nvidia0"] {
        assert!(host.root.join("dev").join(node).exists(), "{node}");
    }
}
