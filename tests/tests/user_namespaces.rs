//! Containers with a user namespace of their own, made by root and by an unprivileged user.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use oci_gpu_tests::bundle::Stage;
use oci_gpu_tests::gpu::{GpuHost, STAGES};
use oci_gpu_tests::probe::{Loaded, Report};
use oci_gpu_tests::rootfs::Kind;
use oci_gpu_tests::runtime::{CgroupMode, Engine, Runtime};
use oci_gpu_tests::tree::give;

const FIRST_ID: u32 = 200_000;

/// Nodes, libraries and links reach the container, and what is made in its root belongs to its own
/// root user.
#[test]
fn a_user_namespace_owns_what_is_made_in_it() {
    let host = GpuHost::new("debian-8").unwrap();
    for runtime in Runtime::all(&host.setting.debs).unwrap() {
        for stage in STAGES {
            for readonly in [false, true] {
                let what = format!("{runtime}, {}, readonly {readonly}", stage.name());
                let mut bundle = host
                    .bundle(Kind::Bookworm, &["NVIDIA_VISIBLE_DEVICES=1"])
                    .unwrap();
                bundle.rootfs.give_to(FIRST_ID).unwrap();
                bundle.user_namespace = Some(FIRST_ID);
                bundle.readonly = readonly;
                let arguments = [
                    "--open",
                    "/dev/nvidia1",
                    "--open",
                    "/dev/nvidiactl",
                    "--dlopen",
                    "libcuda.so.1",
                    "--stat",
                    "/usr/lib/x86_64-linux-gnu/libcuda.so.1",
                    "--stat",
                    "/etc/ld.so.cache",
                    "--stat",
                    "/dev/nvidia1",
                    "--list",
                    "/proc/driver/nvidia/gpus",
                ];
                // In the container's own user namespace nobody may change the rules that root made.
                if stage == Stage::CreateContainer && runtime.cgroups != CgroupMode::Disabled {
                    let output = host.try_run(&runtime, &mut bundle, stage).unwrap();
                    assert!(!output.success(), "{what}: {output}");
                    // crun throws the message away, and the host's log is not this root's to write.
                    let told = output.stderr.contains("OG0606");
                    assert!(told || runtime.engine == Engine::Crun, "{what}: {output}");
                    host.assert_untouched().unwrap();
                    continue;
                }
                let report = host
                    .run(&runtime, bundle, stage, &arguments)
                    .unwrap_or_else(|e| panic!("{what}: {e} {}", host.log()));
                assert_eq!(
                    report.stat("/dev/nvidia1").unwrap().device,
                    (195, 1),
                    "{what}"
                );
                assert_eq!(
                    report.open("/dev/nvidia1"),
                    "ENXIO",
                    "{what} {}",
                    host.log()
                );
                assert!(
                    matches!(report.dlopen("libcuda.so.1"), Loaded::Found { .. }),
                    "{what}"
                );
                for made in ["/usr/lib/x86_64-linux-gnu/libcuda.so.1", "/etc/ld.so.cache"] {
                    assert_eq!(report.stat(made).unwrap().owner, (0, 0), "{what}: {made}");
                }
                assert_eq!(
                    report.list("/proc/driver/nvidia/gpus").unwrap().len(),
                    1,
                    "{what}"
                );
            }
        }
    }
    host.assert_untouched().unwrap();
}

/// An unprivileged user's containers: the runtime and so the hook run as that user, who may enter
/// the namespaces that are his own, and no device rules stand in the way.
#[test]
fn rootless_containers_get_their_gpus() {
    const USER: u32 = 61_500;
    let host = GpuHost::new("debian-8").unwrap();
    let runtimes = [
        Runtime::runc(CgroupMode::V1).unwrap(),
        Runtime::crun(CgroupMode::Disabled).unwrap(),
    ];
    for (mut runtime, stage) in runtimes
        .into_iter()
        .flat_map(|r| STAGES.map(|s| (r.clone(), s)))
    {
        let what = format!("rootless {runtime}, {}", stage.name());
        let mut bundle = host
            .bundle(Kind::Bookworm, &["NVIDIA_VISIBLE_DEVICES=1"])
            .unwrap();
        bundle.hooks.push(host.hook(stage));
        bundle.probe(&[
            "--open",
            "/dev/nvidia1",
            "--dlopen",
            "libcuda.so.1",
            "--list",
            "/dev",
        ]);
        host.setting.probe.install(&bundle.rootfs).unwrap();
        bundle.user_namespace = Some(USER);
        // crun throws a hook's stderr away unless it is told where to put it.
        let stderr = bundle.dir.join("hook.err");
        bundle.annotations.insert(
            "run.oci.hooks.stderr".to_owned(),
            stderr.display().to_string(),
        );
        let mut config = bundle.config();
        for mappings in ["uidMappings", "gidMappings"] {
            config["linux"][mappings][0]["size"] = 1.into();
        }
        rootless(&mut config);
        bundle.write_config(&config).unwrap();
        let user = bundle.dir.join("as-user");
        let script = format!(
            "#!/bin/sh\nexec setpriv --reuid={USER} --regid={USER} --clear-groups '{}' \"$@\"\n",
            runtime.program.display()
        );
        std::fs::write(&user, script).unwrap();
        std::fs::set_permissions(&user, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        give(&bundle.dir, USER).unwrap();
        runtime.env.push((
            "XDG_RUNTIME_DIR".to_owned(),
            bundle.dir.display().to_string(),
        ));
        runtime.program = user;
        let output = runtime.run(&bundle).unwrap();
        if runtime.engine == Engine::Crun && stage != Stage::CreateContainer {
            // crun's process is not dumpable: only in the last stage is the hook let in.
            let told = std::fs::read_to_string(&stderr).unwrap_or_default();
            assert!(
                !output.success() && told.contains("OG0601") && told.contains("createContainer"),
                "{what}: {output} {told}"
            );
            continue;
        }
        let report = Report::of(&output).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(report.open("/dev/nvidia1"), "ENXIO", "{what}");
        assert!(
            matches!(report.dlopen("libcuda.so.1"), Loaded::Found { .. }),
            "{what}"
        );
        assert!(!report.list("/dev").unwrap().contains(&"nvidia0"), "{what}");
    }
    host.assert_untouched().unwrap();
}

/// What `runc spec --rootless` leaves out: nothing that needs another group or a cgroup.
fn rootless(config: &mut serde_json::Value) {
    if let Some(linux) = config["linux"].as_object_mut() {
        linux.remove("resources");
        linux.remove("cgroupsPath");
    }
    for mount in config["mounts"].as_array_mut().into_iter().flatten() {
        if let Some(options) = mount["options"].as_array_mut() {
            options.retain(|o| !o.as_str().unwrap_or_default().starts_with("gid="));
        }
    }
}

/// Once it has joined the container's user namespace the hook is that namespace's root and no more:
/// a failure inside cannot be written to the host's log, which belongs to the host's root.
#[test]
fn inside_a_user_namespace_the_hook_is_its_root_only() {
    let host = GpuHost::new("debian-8").unwrap();
    let runtime = Runtime::runc(CgroupMode::V1).unwrap();
    for own_namespace in [false, true] {
        let mut bundle = host
            .bundle(Kind::Bookworm, &["NVIDIA_VISIBLE_DEVICES=1"])
            .unwrap();
        let taken = bundle
            .rootfs
            .on_host("/usr/lib/x86_64-linux-gnu/libcuda.so.550.163.01");
        std::fs::create_dir(taken).unwrap();
        if own_namespace {
            bundle.rootfs.give_to(FIRST_ID).unwrap();
            bundle.user_namespace = Some(FIRST_ID);
        }
        let output = host
            .try_run(&runtime, &mut bundle, Stage::CreateRuntime)
            .unwrap();
        assert!(output.stderr.contains("OG0602"), "{output}");
        assert_eq!(
            host.log().contains("OG0602"),
            !own_namespace,
            "{own_namespace}: {}",
            host.log()
        );
        host.assert_untouched().unwrap();
    }
}

/// A container with CAP_SYS_ADMIN in its user namespace may take the read-only flag off a mount;
/// the host's file is still not its to write.
#[test]
fn a_remounted_file_stays_the_hosts() {
    let host = GpuHost::new("debian-8").unwrap();
    let runtime = Runtime::runc(CgroupMode::V1).unwrap();
    let mut bundle = host
        .bundle(Kind::Bookworm, &["NVIDIA_VISIBLE_DEVICES=1"])
        .unwrap();
    std::fs::copy("/bin/busybox", bundle.rootfs.on_host("/busybox")).unwrap();
    bundle.rootfs.give_to(FIRST_ID).unwrap();
    bundle.user_namespace = Some(FIRST_ID);
    bundle
        .capabilities
        .extend(["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]);
    let library = "/usr/lib/x86_64-linux-gnu/libcuda.so.550.163.01";
    let script = format!(
        "/busybox mount -o remount,bind,rw none {library}; echo remount $?; \
         echo changed > {library}; echo write $?; /busybox umount {library}; echo umount $?"
    );
    bundle.args = ["/busybox", "sh", "-c", &script].map(str::to_owned).into();
    let output = host
        .try_run(&runtime, &mut bundle, Stage::CreateRuntime)
        .unwrap();
    assert!(output.success(), "{output}");
    assert!(output.stdout.contains("write 1"), "{output}");
    println!("{}", output.stdout);
    host.assert_untouched().unwrap();
}
