//! Libraries beside the driver that somebody else built: given where the container can load them
//! and has none of its own, else left out with the reason.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::path::Path;

use oci_gpu::plan::{BindKind, Operation};
use oci_gpu_sim::{HostSpec, SharedObject, Target};
use oci_gpu_tests::gpu::{GpuHost, STAGES};
use oci_gpu_tests::probe::Loaded;
use oci_gpu_tests::rootfs::Kind;
use oci_gpu_tests::runtime::{CgroupMode, Runtime};

const GBM: &str = "libnvidia-egl-gbm.so.1";
const GBM_FILE: &str = "libnvidia-egl-gbm.so.1.1.2";
const PLATFORM: &str = "/usr/share/egl/egl_external_platform.d/15_nvidia_gbm.json";

/// A host whose libraries need that version of glibc, and what a distribution's libraries need
/// besides.
fn host(glibc: &str) -> GpuHost {
    GpuHost::with(|dir| {
        let mut spec = HostSpec::named("run-8").unwrap();
        let driver = spec.driver.as_mut().unwrap();
        driver.glibc = Some(glibc.to_owned());
        driver.strict_needed = true;
        spec.create(dir).map(drop).unwrap();
        Ok(())
    })
    .unwrap()
}

/// What is planned for graphics in that root: targets, and what was left out.
fn planned(host: &GpuHost, rootfs: &Path) -> (Vec<String>, Vec<(String, String)>) {
    let env = [
        "NVIDIA_VISIBLE_DEVICES=0",
        "NVIDIA_DRIVER_CAPABILITIES=graphics,compat32",
    ];
    let plan = oci_gpu_tests::planned::planned(&host.root, rootfs, &env).unwrap();
    let binds = plan.actions.iter().filter_map(|a| match &a.what {
        Operation::Bind {
            kind: BindKind::Library | BindKind::Config,
            target,
            ..
        } => Some(target.display().to_string()),
        _ => None,
    });
    let name = |what: &str| what.rsplit('/').next().unwrap().to_owned();
    let skipped = plan.skipped.iter();
    (
        binds.collect(),
        skipped.map(|s| (name(&s.what), s.why.clone())).collect(),
    )
}

/// An empty library of that soname.
fn library(directory: &Path, soname: &str, target: Target) {
    fs::create_dir_all(directory).unwrap();
    let bytes = SharedObject {
        target,
        soname: Some(soname),
        needed: &[],
        glibc: target.oldest_glibc(),
        text: soname,
    };
    fs::write(directory.join(soname), bytes.to_bytes()).unwrap();
}

fn why<'a>(skipped: &'a [(String, String)], name: &str) -> &'a str {
    let found = skipped.iter().find(|(what, _)| what == name);
    &found.unwrap_or_else(|| panic!("{name} in {skipped:?}")).1
}

#[test]
fn the_container_decides_and_the_plan_says_why() {
    let host = host("2.34");
    let in_lib = |kind: Kind| format!("{}/{GBM_FILE}", kind.library_directory().unwrap());

    // It has a newer C library and what the library needs.
    for kind in [Kind::Bookworm, Kind::Trixie, Kind::Lib64] {
        let bundle = host.bundle(kind, &[]).unwrap();
        let lib = bundle
            .rootfs
            .path
            .join(&kind.library_directory().unwrap()[1..]);
        let (_, skipped) = planned(&host, &bundle.rootfs.path);
        let lacks = why(&skipped, GBM_FILE);
        assert!(
            lacks.starts_with("it needs lib") && lacks.ends_with(", which the container lacks"),
            "{kind:?}: {lacks}"
        );
        assert_eq!(
            why(&skipped, "15_nvidia_gbm.json"),
            "it leads to libnvidia-egl-gbm, which the container has not"
        );
        for needed in ["libgbm.so.1", "libdrm.so.2"] {
            library(&lib, needed, Target::X86_64);
        }
        let (given, _) = planned(&host, &bundle.rootfs.path);
        assert!(given.contains(&in_lib(kind)), "{kind:?}: {given:?}");
        assert!(given.iter().any(|t| t == PLATFORM), "{kind:?}: {given:?}");

        // Its own: kept, and the configuration that leads to it still comes.
        library(&lib, GBM, Target::X86_64);
        let (given, skipped) = planned(&host, &bundle.rootfs.path);
        assert!(!given.contains(&in_lib(kind)), "{kind:?}");
        assert!(
            why(&skipped, GBM_FILE).starts_with("the container has its own, "),
            "{kind:?}: {skipped:?}"
        );
        assert!(given.iter().any(|t| t == PLATFORM), "{kind:?}: {given:?}");

        // A library of another word size in its place is none, nor is an empty file.
        library(&lib, GBM, Target::I386);
        assert!(
            planned(&host, &bundle.rootfs.path)
                .0
                .contains(&in_lib(kind))
        );
        fs::write(lib.join(GBM), "").unwrap();
        assert!(
            planned(&host, &bundle.rootfs.path)
                .0
                .contains(&in_lib(kind))
        );
    }

    // Debian 11 has glibc 2.31, which came without symbols of its own.
    let bundle = host.bundle(Kind::Bullseye, &[]).unwrap();
    let (_, skipped) = planned(&host, &bundle.rootfs.path);
    assert_eq!(
        why(&skipped, GBM_FILE),
        "it needs GLIBC_2.34, and the container's C library ends at GLIBC_2.30"
    );

    for (kind, reason) in [
        (
            Kind::Musl,
            "it is built for glibc, and the container's C library is musl",
        ),
        (
            Kind::Scratch,
            "it is built for glibc, and the container has none of its kind",
        ),
    ] {
        let bundle = host.bundle(kind, &[]).unwrap();
        let (given, skipped) = planned(&host, &bundle.rootfs.path);
        assert_eq!(why(&skipped, GBM_FILE), reason, "{kind:?}");
        // The driver's own libraries are no concern of this.
        let has = |name: &str| given.iter().any(|t| t.contains(name));
        assert!(has("libEGL_nvidia.so.550.163.01"), "{kind:?}: {given:?}");
    }
}

/// What the plan says is what the container's loader finds.
#[test]
fn containers_get_what_their_loader_can_load() {
    let host = host("2.34");
    let env = [
        "NVIDIA_VISIBLE_DEVICES=0",
        "NVIDIA_DRIVER_CAPABILITIES=graphics",
    ];
    let runtimes = [
        Runtime::runc(CgroupMode::V1).unwrap(),
        Runtime::crun(CgroupMode::V1).unwrap(),
    ];
    for (kind, expected) in [
        (Kind::Bullseye, false),
        (Kind::Bookworm, true),
        (Kind::Trixie, true),
    ] {
        for (runtime, stage) in runtimes.iter().zip(STAGES) {
            let what = format!("{kind:?}, {runtime}, {}", stage.name());
            let bundle = host.bundle(kind, &env).unwrap();
            let lib = bundle
                .rootfs
                .path
                .join(&kind.library_directory().unwrap()[1..]);
            for needed in ["libgbm.so.1", "libdrm.so.2"] {
                library(&lib, needed, Target::X86_64);
            }
            let arguments = ["--dlopen", GBM, "--stat", PLATFORM];
            let report = host.run(runtime, bundle, stage, &arguments).unwrap();
            let loaded = report.dlopen(GBM);
            let found = matches!(loaded, Loaded::Found { .. });
            assert_eq!(found, expected, "{what}: {loaded:?}");
            assert_eq!(report.stat(PLATFORM).is_ok(), expected, "{what}");
        }
    }
    host.assert_untouched().unwrap();
}

/// Images hold anything: what decides is read within bounds, and nothing waits.
#[test]
fn hostile_files_decide_nothing() {
    let host = host("2.34");
    let bundle = host.bundle(Kind::Bookworm, &[]).unwrap();
    let root = &bundle.rootfs.path;
    let lib = root.join("usr/lib/x86_64-linux-gnu");
    for needed in ["libgbm.so.1", "libdrm.so.2"] {
        library(&lib, needed, Target::X86_64);
    }
    let fifo = lib.join(GBM);
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let cache = root.join("etc/ld.so.cache");
    fs::write(&cache, vec![0xff; 100_000]).unwrap();
    let given = |what: &str| {
        let (given, skipped) = planned(&host, root);
        let has = given.iter().any(|t| t.ends_with(GBM_FILE));
        assert!(has, "{what}: {skipped:?}");
    };
    given("a FIFO in its place, and a cache of garbage");
    fs::remove_file(&fifo).unwrap();
    std::os::unix::fs::symlink("/../../../../../../dev/zero", &fifo).unwrap();
    fs::remove_file(&cache).unwrap();
    std::os::unix::fs::symlink("ld.so.cache", &cache).unwrap();
    given("links to nowhere and to itself");
}
