//! The driver's libraries in images of every kind: found by soname, kept by a later ldconfig.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::path::Path;
use std::process::Command;

use oci_gpu_tests::bundle::Stage;
use oci_gpu_tests::gpu::{GpuHost, STAGES};
use oci_gpu_tests::probe::Loaded;
use oci_gpu_tests::rootfs::Kind;
use oci_gpu_tests::runtime::{CgroupMode, Runtime};
use oci_gpu_tests::tree::Tree;

const VERSION: &str = "550.163.01";

/// Every library by its soname, with every capability, in images of three glibc releases, one
/// without a cache, one with another library directory, and with a read-only root. A later ldconfig
/// in the container, as package managers run it, keeps them.
#[test]
fn every_library_loads_in_every_image() {
    let host = GpuHost::new("run-8").unwrap();
    let env = ["NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_DRIVER_CAPABILITIES=all"];
    let sonames = sonames(&host);
    assert!(sonames.len() > 20, "{sonames:?}");
    let arguments: Vec<&str> = sonames
        .iter()
        .flat_map(|s| ["--dlopen", s.as_str()])
        .collect();
    for kind in Kind::GLIBC {
        for readonly in [false, true] {
            for stage in STAGES {
                for runtime in [
                    Runtime::runc(CgroupMode::V1).unwrap(),
                    Runtime::crun(CgroupMode::V1).unwrap(),
                ] {
                    let what =
                        format!("{kind:?}, readonly {readonly}, {}, {runtime}", stage.name());
                    let mut bundle = host.bundle(kind, &env).unwrap();
                    bundle.readonly = readonly;
                    let rootfs = bundle.rootfs.clone();
                    let report = host
                        .run(&runtime, bundle, stage, &arguments)
                        .unwrap_or_else(|e| panic!("{what}: {e}"));
                    for soname in &sonames {
                        let loaded = report.dlopen(soname);
                        let Loaded::Found {
                            version: Some(version),
                            ..
                        } = loaded
                        else {
                            panic!("{what}: {soname}: {loaded:?}");
                        };
                        assert!(version.ends_with(VERSION), "{what}: {soname}: {version}");
                    }
                    // The image's own ldconfig reads what we wrote.
                    if kind != Kind::Distroless {
                        let listed = listed_by_ldconfig(&rootfs.path);
                        for soname in &sonames {
                            assert!(
                                listed.contains(&format!("\t{soname} (libc6,x86-64)")),
                                "{what}: {soname} in {listed}"
                            );
                        }
                    }
                }
            }
        }
    }
    host.assert_untouched().unwrap();
}

/// Sonames of the host's 64-bit libraries.
fn sonames(host: &GpuHost) -> Vec<String> {
    let inventory = oci_gpu::discover(&oci_gpu::Host::at(&host.root)).unwrap();
    let native = inventory
        .libraries
        .iter()
        .filter(|l| l.class == oci_gpu::elf::Class::Elf64);
    native.filter_map(|l| l.soname.clone()).collect()
}

fn listed_by_ldconfig(root: &Path) -> String {
    let ldconfig = ["usr/sbin/ldconfig", "sbin/ldconfig"].map(|p| root.join(p));
    let ldconfig = ldconfig.iter().find(|p| p.exists()).unwrap();
    let cache = root.join("etc/ld.so.cache");
    let output = Command::new(ldconfig)
        .arg("-p")
        .arg("-C")
        .arg(cache)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a package manager in the container does after every installation.
#[test]
fn a_later_ldconfig_in_the_container_keeps_the_libraries() {
    let host = GpuHost::new("run-8").unwrap();
    let env = ["NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_DRIVER_CAPABILITIES=all"];
    let sonames = sonames(&host);
    for kind in [Kind::Bullseye, Kind::Bookworm, Kind::Trixie, Kind::Lib64] {
        let runtime = Runtime::runc(CgroupMode::V1).unwrap();
        let mut bundle = host.bundle(kind, &env).unwrap();
        let ldconfig = ["/usr/sbin/ldconfig", "/sbin/ldconfig"];
        let ldconfig = ldconfig
            .iter()
            .find(|p| bundle.rootfs.on_host(p).exists())
            .unwrap();
        bundle.args = vec![(*ldconfig).to_owned()];
        // So that what is read below was written by it.
        bundle
            .rootfs
            .write("/etc/ld.so.conf.d/marker.conf", "/opt\n")
            .unwrap();
        let output = host
            .try_run(&runtime, &mut bundle, Stage::CreateRuntime)
            .unwrap();
        assert!(output.success(), "{kind:?}: {output}");
        let listed = listed_by_ldconfig(&bundle.rootfs.path);
        // libvdpau looks for its driver in a directory of its own, which no ldconfig knows.
        for soname in sonames.iter().filter(|s| *s != "libvdpau_nvidia.so.1") {
            assert!(
                listed.contains(&format!("\t{soname} (libc6,x86-64)")),
                "{kind:?}: {soname} in {listed}"
            );
        }
    }
}

/// `ldconfig -p` in the container names every library, at the place where it is.
#[test]
fn ldconfig_in_the_container_agrees() {
    let host = GpuHost::new("run-8").unwrap();
    let env = ["NVIDIA_VISIBLE_DEVICES=0"];
    let runtimes = [
        Runtime::runc(CgroupMode::V1).unwrap(),
        Runtime::crun(CgroupMode::V1).unwrap(),
    ];
    for (kind, directory) in [
        (Kind::Bullseye, "/usr/lib/x86_64-linux-gnu"),
        (Kind::Bookworm, "/usr/lib/x86_64-linux-gnu"),
        (Kind::Trixie, "/usr/lib/x86_64-linux-gnu"),
        (Kind::Lib64, "/usr/lib64"),
    ] {
        for (runtime, stage) in runtimes.iter().flat_map(|r| STAGES.map(|s| (r, s))) {
            let what = format!("{kind:?}, {runtime}, {}", stage.name());
            let mut bundle = host.bundle(kind, &env).unwrap();
            let ldconfig = ["/usr/sbin/ldconfig", "/sbin/ldconfig"];
            let found = ldconfig.iter().find(|p| bundle.rootfs.on_host(p).exists());
            bundle.args = vec![(*found.unwrap()).to_owned(), "-p".to_owned()];
            let output = host.try_run(runtime, &mut bundle, stage).unwrap();
            assert!(output.success(), "{what}: {output}");
            for (soname, file) in [
                ("libcuda.so.1", "libcuda"),
                ("libcuda.so", "libcuda"),
                ("libnvidia-ml.so.1", "libnvidia-ml"),
            ] {
                let line =
                    format!("\t{soname} (libc6,x86-64) => {directory}/{file}.so.{VERSION}\n");
                assert!(
                    output.stdout.contains(&line),
                    "{what}: {line}{}",
                    output.stdout
                );
            }
        }
    }
}

/// musl finds libraries by its path file, where it has one.
#[test]
fn musl_images_keep_their_search_path() {
    let host = GpuHost::new("run-1").unwrap();
    let runtime = Runtime::runc(CgroupMode::V1).unwrap();
    let path_file = "/etc/ld-musl-x86_64.path";
    for (before, after) in [
        ("/opt/lib\n/lib", "/opt/lib\n/lib\n/usr/lib\n"),
        ("/opt/lib\n", "/opt/lib\n/usr/lib\n"),
        ("/lib:/usr/lib:/opt", "/lib:/usr/lib:/opt"),
    ] {
        let bundle = host
            .bundle(Kind::Musl, &["NVIDIA_VISIBLE_DEVICES=0"])
            .unwrap();
        bundle.rootfs.write(path_file, before).unwrap();
        let arguments = [
            "--read",
            path_file,
            "--stat",
            "/usr/lib/libcuda.so.1",
            "--stat",
            "/etc/ld.so.cache",
        ];
        let report = host
            .run(&runtime, bundle, Stage::CreateRuntime, &arguments)
            .unwrap();
        assert_eq!(report.read(path_file), Some(after));
        assert_eq!(report.stat("/usr/lib/libcuda.so.1").unwrap().kind, "link");
        assert_eq!(report.stat("/etc/ld.so.cache").unwrap_err(), "ENOENT");
    }
}

/// Without a path file musl searches /usr/lib, so none is made.
#[test]
fn musl_images_without_a_path_file_get_none() {
    let host = GpuHost::new("run-1").unwrap();
    let runtime = Runtime::crun(CgroupMode::V1).unwrap();
    let path_file = "/etc/ld-musl-x86_64.path";
    let bundle = host
        .bundle(Kind::Musl, &["NVIDIA_VISIBLE_DEVICES=0"])
        .unwrap();
    let _ = std::fs::remove_file(bundle.rootfs.on_host(path_file));
    let arguments = ["--stat", path_file, "--stat", "/usr/lib/libcuda.so.1"];
    let report = host
        .run(&runtime, bundle, Stage::CreateRuntime, &arguments)
        .unwrap();
    assert_eq!(report.stat(path_file).unwrap_err(), "ENOENT");
    assert_eq!(report.stat("/usr/lib/libcuda.so.1").unwrap().kind, "link");
}

/// An image that has nothing at all, not even /usr or /etc.
#[test]
fn an_empty_image_gets_what_it_lacks() {
    let host = GpuHost::new("run-1").unwrap();
    for runtime in [
        Runtime::runc(CgroupMode::V1).unwrap(),
        Runtime::crun(CgroupMode::V1).unwrap(),
    ] {
        for stage in STAGES {
            let what = format!("{runtime}, {}", stage.name());
            let bundle = host
                .bundle(Kind::Scratch, &["NVIDIA_VISIBLE_DEVICES=0"])
                .unwrap();
            for empty in ["usr", "etc"] {
                let _ = std::fs::remove_dir_all(bundle.rootfs.path.join(empty));
            }
            let arguments = [
                "--open",
                "/dev/nvidia0",
                "--stat",
                "/usr/lib64/libcuda.so.1",
                "--stat",
                "/usr",
                "--stat",
                "/etc/ld.so.cache",
            ];
            let report = host.run(&runtime, bundle, stage, &arguments).unwrap();
            assert_eq!(report.open("/dev/nvidia0"), "ENXIO", "{what}");
            assert_eq!(
                report.stat("/usr/lib64/libcuda.so.1").unwrap().kind,
                "link",
                "{what}"
            );
            let usr = report.stat("/usr").unwrap();
            assert_eq!((usr.mode & 0o7777, usr.owner), (0o755, (0, 0)), "{what}");
            assert_eq!(
                report.stat("/etc/ld.so.cache").unwrap().mode & 0o7777,
                0o644,
                "{what}"
            );
        }
    }
}

/// The files of another driver version, as `docker commit` leaves them in an image: links and
/// empty files. The newer ones win, and the rest stays.
#[test]
fn leftovers_of_another_driver_do_not_win() {
    let host = GpuHost::new("run-8").unwrap();
    let bundle = host
        .bundle(Kind::Bookworm, &["NVIDIA_VISIBLE_DEVICES=0"])
        .unwrap();
    let library = bundle.rootfs.on_host("/usr/lib/x86_64-linux-gnu");
    std::fs::write(library.join("libcuda.so.470.57.02"), "").unwrap();
    std::fs::write(library.join("libcuda.so.550.163.01"), "").unwrap();
    std::os::unix::fs::symlink("libcuda.so.470.57.02", library.join("libcuda.so.1")).unwrap();
    let runtime = Runtime::runc(CgroupMode::V1).unwrap();
    let rootfs = bundle.rootfs.clone();
    let arguments = [
        "--dlopen",
        "libcuda.so.1",
        "--stat",
        "/usr/lib/x86_64-linux-gnu/libcuda.so.1",
    ];
    let report = host
        .run(&runtime, bundle, Stage::Prestart, &arguments)
        .unwrap();
    let Loaded::Found {
        version: Some(version),
        ..
    } = report.dlopen("libcuda.so.1")
    else {
        panic!("{report:?}");
    };
    assert_eq!(version, format!("libcuda {VERSION}"));
    let link = report
        .stat("/usr/lib/x86_64-linux-gnu/libcuda.so.1")
        .unwrap();
    assert_eq!(link.target.as_deref(), Some("libcuda.so.550.163.01"));
    assert!(
        rootfs
            .on_host("/usr/lib/x86_64-linux-gnu/libcuda.so.470.57.02")
            .exists()
    );
}

/// Programs of the host run in the container.
#[test]
fn nvidia_smi_runs_in_the_container() {
    let host = GpuHost::new("debian-8").unwrap();
    for runtime in [
        Runtime::runc(CgroupMode::V1).unwrap(),
        Runtime::crun(CgroupMode::V1).unwrap(),
    ] {
        let mut bundle = host
            .bundle(Kind::Scratch, &["NVIDIA_VISIBLE_DEVICES=0"])
            .unwrap();
        bundle.args = vec!["/usr/bin/nvidia-smi".to_owned()];
        let output = host
            .try_run(&runtime, &mut bundle, Stage::CreateRuntime)
            .unwrap();
        assert!(
            output.success() && output.stdout.contains("nvidia-smi"),
            "{runtime}: {output}"
        );
    }
}

/// Starting one root again and again changes nothing after the first time.
#[test]
fn a_second_start_of_a_root_adds_nothing() {
    let host = GpuHost::new("run-8").unwrap();
    let runtime = Runtime::runc(CgroupMode::V1).unwrap();
    let bundle = host
        .bundle(
            Kind::Bookworm,
            &[
                "NVIDIA_VISIBLE_DEVICES=all",
                "NVIDIA_DRIVER_CAPABILITIES=all",
            ],
        )
        .unwrap();
    let arguments = ["--dlopen", "libcuda.so.1"];
    host.run(&runtime, bundle.clone(), Stage::Prestart, &arguments)
        .unwrap();
    let first = Tree::of(&bundle.rootfs.path).unwrap();
    for stage in STAGES {
        host.run(&runtime, bundle.clone(), stage, &arguments)
            .unwrap();
    }
    assert_eq!(
        first.changes_to(&Tree::of(&bundle.rootfs.path).unwrap()),
        [""; 0]
    );
}

/// The hook registered three times for one container does its work once.
#[test]
fn the_hook_in_three_stages_of_one_container_works_once() {
    let host = GpuHost::new("debian-8").unwrap();
    for runtime in Runtime::all(&host.setting.debs).unwrap() {
        let mut bundle = host
            .bundle(Kind::Bookworm, &["NVIDIA_VISIBLE_DEVICES=0,1"])
            .unwrap();
        bundle.hooks.push(host.hook(Stage::Prestart));
        bundle.hooks.push(host.hook(Stage::CreateContainer));
        let arguments = [
            "--read",
            "/proc/self/mountinfo",
            "--open",
            "/dev/nvidia1",
            "--dlopen",
            "libcuda.so.1",
        ];
        let report = host
            .run(&runtime, bundle, Stage::CreateRuntime, &arguments)
            .unwrap();
        assert_eq!(report.open("/dev/nvidia1"), "ENXIO", "{runtime}");
        let mounts = report.read("/proc/self/mountinfo").unwrap();
        let points: Vec<&str> = mounts.lines().filter_map(|l| l.split(' ').nth(4)).collect();
        let ours: Vec<&&str> = points
            .iter()
            .filter(|p| p.contains("nvidia") || p.contains("libcuda"))
            .collect();
        assert!(ours.len() > 10, "{runtime}: {points:?}");
        for point in &ours {
            let times = points.iter().filter(|p| *p == *point).count();
            assert_eq!(times, 1, "{runtime}: {point} is mounted {times} times");
        }
    }
    host.assert_untouched().unwrap();
}
