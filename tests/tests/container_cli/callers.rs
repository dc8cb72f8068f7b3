//! Containers by the command lines of those who call the tool: the legacy hook of NVIDIA's toolkit
//! (Docker, containerd, Sarus), gVisor, LXC, Enroot, Apptainer.

use std::process::Command;

use oci_gpu_tests::bundle::{Bundle, Hook, Stage};
use oci_gpu_tests::gpu::GpuHost;
use oci_gpu_tests::probe::{Loaded, Report};
use oci_gpu_tests::rootfs::Kind;
use oci_gpu_tests::runtime::{CgroupMode, Runtime};

use crate::tool::link;

/// What the probe looks at.
pub(crate) const LOOK: [&str; 20] = [
    "--list",
    "/dev",
    "--list",
    "/proc/driver/nvidia/gpus",
    "--open",
    "/dev/nvidia0",
    "--open",
    "/dev/nvidia1",
    "--open",
    "/dev/nvidiactl",
    "--dlopen",
    "libcuda.so.1",
    "--dlopen",
    "libnvidia-ml.so.1",
    "--dlopen",
    "libnvidia-encode.so.1",
    "--stat",
    "/usr/bin/nvidia-smi",
    "--stat",
    "/lib/firmware/nvidia/550.163.01/gsp_ga10x.bin",
];

/// The tool on `host`, as the first words of a shell's command line.
pub(crate) fn tool(host: &GpuHost) -> String {
    let link = link(host.setting.dir.path());
    format!("{} --host-root={}", link.display(), host.root.display())
}

/// GPUs 0 and 1 of eight, and what compute and utility bring.
pub(crate) fn assert_two_gpus(report: &Report, what: &str) {
    let names = report.list("/dev").unwrap();
    let nvidia: Vec<_> = names.iter().filter(|n| n.starts_with("nvidia")).collect();
    assert_eq!(
        nvidia,
        [
            &"nvidia-uvm",
            &"nvidia-uvm-tools",
            &"nvidia0",
            &"nvidia1",
            &"nvidiactl"
        ],
        "{what}"
    );
    for node in ["/dev/nvidia0", "/dev/nvidia1", "/dev/nvidiactl"] {
        // No driver stands behind the node, but nothing forbids opening it.
        assert_eq!(report.open(node), "ENXIO", "{what}: {node}");
    }
    for (name, stem) in [
        ("libcuda.so.1", "libcuda"),
        ("libnvidia-ml.so.1", "libnvidia-ml"),
    ] {
        match report.dlopen(name) {
            Loaded::Found {
                version: Some(version),
                ..
            } => assert_eq!(version, format!("{stem} 550.163.01"), "{what}"),
            other => panic!("{what}: {name}: {other:?}"),
        }
    }
    // Capability video was not asked for.
    assert!(
        matches!(report.dlopen("libnvidia-encode.so.1"), Loaded::Failed(_)),
        "{what}"
    );
    let smi = report.stat("/usr/bin/nvidia-smi").unwrap();
    assert_eq!(smi.kind, "file", "{what}");
    let gpus = report.list("/proc/driver/nvidia/gpus").unwrap();
    assert_eq!(gpus, ["0000:1a:00.0", "0000:1b:00.0"], "{what}");
}

/// The toolkit's legacy hook, in the runtimes' own stages: with all of its options, in its order.
#[test]
fn the_legacy_hooks_call_under_runc_and_crun() {
    let host = GpuHost::new("debian-8").unwrap();
    let runtimes = [
        (Runtime::runc(CgroupMode::V1), Stage::Prestart, None),
        (Runtime::runc(CgroupMode::V2), Stage::CreateRuntime, None),
        (Runtime::crun(CgroupMode::V1), Stage::CreateRuntime, None),
        (
            Runtime::runc(CgroupMode::V1),
            Stage::Prestart,
            Some(200_000),
        ),
    ];
    for (runtime, stage, user_namespace) in runtimes {
        let runtime = runtime.unwrap();
        let what = format!("{runtime}, {}, {user_namespace:?}", stage.name());
        if let Some(reason) = runtime.impossible() {
            oci_gpu_tests::skip::record(&what, &reason).unwrap();
            continue;
        }
        let mut bundle = host.bundle(Kind::Bookworm, &[]).unwrap();
        if let Some(first) = user_namespace {
            bundle.rootfs.give_to(first).unwrap();
            bundle.user_namespace = user_namespace;
        }
        let debug = bundle.dir.join("debug.log");
        let line = format!(
            "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/' | grep '^[0-9]'); exec {} --root=/ \
             --load-kmods --no-create-imex-channels --no-pivot --debug={} \
             --ldcache=/etc/ld.so.cache --user=root:video configure --cuda-compat-mode=ldconfig \
             --ldconfig=@/sbin/ldconfig --device=0,1 --compute --utility --require='cuda>=12.0' \
             --require='driver>=999 driver>=550' --pid=$pid {}",
            tool(&host),
            debug.display(),
            bundle.rootfs.path.display()
        );
        bundle.hooks.push((stage, Hook::shell(&line)));
        let report = host
            .setting
            .probe
            .run(&runtime, bundle, &LOOK)
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_two_gpus(&report, &what);
        let log = std::fs::read_to_string(&debug).unwrap();
        assert!(log.contains("--ldconfig=@/sbin/ldconfig: "), "{log}");
        host.assert_untouched().unwrap();
    }
}

/// A rule of the device cgroup is what opens a node that the tool did not put there.
#[test]
fn cgroups_and_nodes_can_be_left_alone() {
    let host = GpuHost::new("debian-8").unwrap();
    let runtime = Runtime::runc(CgroupMode::V1).unwrap();
    for (options, in_dev, planted) in [
        ("", true, "ENXIO"),
        ("--no-devbind", false, "ENXIO"),
        ("--no-cgroups", true, "EPERM"),
        ("--no-cgroups --no-devbind", false, "EPERM"),
    ] {
        let mut bundle = host.bundle(Kind::Bookworm, &[]).unwrap();
        let node = bundle.rootfs.on_host("/planted");
        let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
        let number = nix::sys::stat::makedev(195, 1);
        nix::sys::stat::mknod(&node, nix::sys::stat::SFlag::S_IFCHR, mode, number).unwrap();
        let line = format!(
            "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/'); exec {} configure {options} -d1 -cu \
             --pid=$pid {}",
            tool(&host),
            bundle.rootfs.path.display()
        );
        bundle
            .hooks
            .push((Stage::CreateRuntime, Hook::shell(&line)));
        let look = [
            "--list",
            "/dev",
            "--open",
            "/planted",
            "--dlopen",
            "libcuda.so.1",
        ];
        let report = host.setting.probe.run(&runtime, bundle, &look);
        let report = report.unwrap_or_else(|e| panic!("{options}: {e}"));
        let names = report.list("/dev").unwrap();
        assert_eq!(names.contains(&"nvidia1"), in_dev, "{options}: {names:?}");
        assert_eq!(report.open("/planted"), planted, "{options}");
        assert!(
            matches!(report.dlopen("libcuda.so.1"), Loaded::Found { .. }),
            "{options}"
        );
    }
    host.assert_untouched().unwrap();
}

/// A container's root, mounted in a namespace by `unshare`, into which `call` puts GPUs, and what
/// the probe then sees there.
fn standalone(host: &GpuHost, bundle: &Bundle, unshare: &[&str], call: &str, what: &str) -> Report {
    host.setting.probe.install(&bundle.rootfs).unwrap();
    let script = format!(
        "set -e
        root={root}
        mount --rbind $root $root
        mount -t tmpfs tmpfs $root/dev
        mount --rbind /proc $root/proc
        {call}
        exec chroot $root /probe {look}",
        root = bundle.rootfs.path.display(),
        look = LOOK.join(" "),
    );
    let output = Command::new("unshare")
        .args(unshare)
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {told}");
    assert_eq!(told, "", "{what}");
    Report::parse(&output.stdout).unwrap()
}

/// Those who call the tool inside of the container's mount namespace, before its root is entered:
/// in a user namespace, or (Apptainer) as root.
#[test]
fn calls_without_a_process_number() {
    let host = GpuHost::new("debian-8").unwrap();
    let rows: &[(&str, &[&str], &str)] = &[
        (
            "LXC",
            &["--user", "--map-root-user"],
            "--debug=$root/../nvidia.log --user --ldcache=/etc/ld.so.cache configure --no-cgroups \
             --ldconfig=@/sbin/ldconfig --device=0,1 --compute --utility --require='cuda>=11.0'",
        ),
        (
            "Enroot",
            &["--user", "--map-root-user"],
            "--user configure --no-cgroups --ldconfig=@/sbin/ldconfig.real --device=0,1 --utility \
             --compute",
        ),
        (
            "Apptainer in a user namespace",
            &["--user", "--map-root-user"],
            "--user configure --no-cgroups --device=0,1 --compute --utility \
             --ldconfig=@/sbin/ldconfig",
        ),
        (
            "Apptainer as root",
            &[],
            "configure --no-cgroups --device=0,1 --compute --utility --ldconfig=@/sbin/ldconfig",
        ),
    ];
    for (what, unshare, call) in rows {
        let bundle = host.bundle(Kind::Bookworm, &[]).unwrap();
        let call = format!("{} {call} $root", tool(&host));
        let report = standalone(&host, &bundle, unshare, &call, what);
        assert_two_gpus(&report, what);
        let firmware = report.stat("/lib/firmware/nvidia/550.163.01/gsp_ga10x.bin");
        assert_eq!(firmware.unwrap().kind, "file", "{what}");
        host.assert_untouched().unwrap();
    }
}

/// gVisor's call: the process is one that serves the container's files.
#[test]
fn gvisors_call() {
    let host = GpuHost::new("debian-8").unwrap();
    let bundle = host.bundle(Kind::Bookworm, &[]).unwrap();
    let call = format!(
        "unshare --mount --propagation private sleep 60 &
        trap \"kill $!\" EXIT
        while test $(readlink /proc/$!/ns/mnt) = $(readlink /proc/self/ns/mnt); do sleep 0.01; done
        {} --load-kmods configure --ldconfig=@/sbin/ldconfig --no-cgroups --pid=$! --device=0,1 \
         --utility --compute $root
        nsenter --mount --target $! chroot $root /probe {}
        exit 0",
        tool(&host),
        LOOK.join(" "),
    );
    let report = standalone(&host, &bundle, &[], &call, "gVisor");
    assert_two_gpus(&report, "gVisor");
    host.assert_untouched().unwrap();
}
