//! Hostile cases 49 to 60, and 98: what surrounds the hook when it is started. See
//! docs/hostile-cases.md.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use oci_gpu_tests::bundle::{Hook, Stage};
use oci_gpu_tests::canary::Canary;
use oci_gpu_tests::error::{Context, Result};
use oci_gpu_tests::hostile::Expect::Works;
use oci_gpu_tests::hostile::{Arena, Case, Site, case, libcuda};
use oci_gpu_tests::rootfs::Kind;
use oci_gpu_tests::runtime::{CgroupMode, Engine, Runtime};
use oci_gpu_tests::scene::{Scene, is_refusal, is_unchanged};
use oci_gpu_tests::standin::StandIn;

/// Every runtime once; how it shows control groups does not matter here.
fn every_program(arena: &Arena) -> Vec<Runtime> {
    let mut all = Runtime::all(&arena.host.setting.debs).unwrap();
    all.retain(|r| r.cgroups != CgroupMode::Disabled);
    all.dedup_by(|a, b| a.program == b.program);
    all
}

/// Puts the canary into the image and beside it, and names it in an environment like that of the
/// image of CVE-2025-23266: a hook that inherits it and is linked dynamically loads it.
fn hostile_environment(site: &mut Site<'_>) -> Result<()> {
    let canary = Canary::build()?;
    for place in [site.path("/canary.so"), site.bundle.dir.join("canary.so")] {
        fs::copy(&canary.library, &place).during("copy the canary")?;
    }
    let outside = site.outside.display().to_string();
    let inside = site.path("/canary.so").display().to_string();
    let library = format!("/proc/self/cwd/canary.so:{inside}");
    site.bundle.env.extend([
        format!("CANARY={outside}/mark"),
        format!("LD_PRELOAD={library}"),
        format!("LD_AUDIT={library}"),
        format!("LD_LIBRARY_PATH={}", site.bundle.rootfs.path.display()),
        format!("GCONV_PATH={outside}"),
        format!("LOCPATH={outside}"),
        "GLIBC_TUNABLES=glibc.malloc.mmap_threshold=1:glibc.malloc.arena_max=1:glibc.rtld.nns=1"
            .to_owned(),
    ]);
    Ok(())
}

/// Variables that programs like the hook obey.
fn commanding_environment(site: &mut Site<'_>) -> Result<()> {
    let outside = site.outside.display().to_string();
    let names = [
        "OCI_GPU_CONFIG",
        "OCI_GPU_LOG",
        "OCI_GPU_HOST_ROOT",
        "CONFIG",
        "XDG_CONFIG_HOME",
        "HOME",
        "TMPDIR",
        "NVC_DEBUG_FILE",
        "NVIDIA_CONTAINER_RUNTIME_DEBUG",
        "NVIDIA_CONTAINER_CLI",
        "NVIDIA_DRIVER_ROOT",
        "NVIDIA_CTK_DEBUG",
        "ROOT",
        "RUST_LOG_FILE",
    ];
    site.bundle
        .env
        .extend(names.map(|n| format!("{n}={outside}/mark")));
    site.bundle.env.extend(
        [
            "RUST_LOG=trace",
            "RUST_BACKTRACE=full",
            "RUST_MIN_STACK=1",
            "NVIDIA_CTK_LOG=trace",
        ]
        .map(str::to_owned),
    );
    Ok(())
}

/// Programs that the reference runs, found first by every search, in the image and beside it.
fn fake_programs(site: &mut Site<'_>) -> Result<()> {
    let mark = site.outside.join("mark").display().to_string();
    let script = format!("#!/bin/sh\necho run > '{mark}'\n");
    let beside = site.bundle.dir.join("bin");
    fs::create_dir(&beside).during("create a directory")?;
    for name in [
        "ldconfig",
        "ldconfig.real",
        "modprobe",
        "nvidia-smi",
        "nvidia-modprobe",
        "nvidia-container-cli",
        "nvidia-ctk",
        "sh",
        "mount",
    ] {
        for directory in [
            beside.clone(),
            site.directory("/sbin")?,
            site.directory("/usr/local/bin")?,
        ] {
            let path = directory.join(name);
            fs::write(&path, &script).during("write a script")?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).during("chmod")?;
        }
    }
    let path = format!("PATH={}:/usr/local/bin:/sbin", beside.display());
    site.bundle.env.retain(|e| !e.starts_with("PATH="));
    site.bundle.env.push(path);
    Ok(())
}

const ENVIRONMENT: &[Case] = &[
    case(
        "49",
        "the image's environment preloads a library",
        hostile_environment,
        Works(|seen| seen.library_at(&format!("/usr/lib64/{}", libcuda()))),
    )
    .in_every_stage(),
    case(
        "98",
        "the image of CVE-2025-23266: LD_PRELOAD=/proc/self/cwd/poc.so, with a working directory",
        |site| {
            hostile_environment(site)?;
            site.bundle.env.retain(|e| !e.starts_with("LD_PRELOAD="));
            let poc = "/proc/self/cwd/canary.so";
            site.bundle.env.push(format!("LD_PRELOAD={poc}"));
            Ok(())
        },
        Works(|_| Ok(())),
    )
    .in_every_stage(),
    case(
        "50",
        "the image's environment names configuration, logs and roots",
        commanding_environment,
        Works(|seen| seen.library_at(&format!("/usr/lib64/{}", libcuda()))),
    )
    .in_every_stage(),
    case(
        "51",
        "the search path finds other programs first",
        fake_programs,
        Works(|_| Ok(())),
    )
    .in_every_stage(),
    case(
        "81",
        "the container's seccomp profile forbids what the hook calls",
        |site| {
            site.edit = Some(Box::new(|config| {
                config["linux"]["seccomp"] = serde_json::json!({
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "architectures": ["SCMP_ARCH_X86_64"],
                    "syscalls": [{"action": "SCMP_ACT_ERRNO", "names": ["openat2", "open_tree",
                        "move_mount", "mount", "mount_setattr", "setns", "symlinkat", "mkdirat"]}]
                });
            }));
            Ok(())
        },
        Works(|_| Ok(())),
    )
    .in_every_stage(),
];

#[test]
fn the_environment_of_the_image_has_no_effect() {
    let mut arena = Arena::new().unwrap();
    arena.runtimes = every_program(&arena);
    arena.check(ENVIRONMENT).unwrap();
}

/// That the canary sings: a dynamically linked hook in the same container of a runtime that passes
/// the container's environment on (runc before 1.3) loads it.
#[test]
fn a_hook_that_is_linked_dynamically_would_load_the_library() {
    let arena = Arena::new().unwrap();
    let mut sang = Vec::new();
    for runtime in every_program(&arena) {
        let mut bundle = arena.host.bundle(Kind::Scratch, &[]).unwrap();
        let outside = bundle.dir.join("outside");
        fs::create_dir(&outside).unwrap();
        let mut copy = runtime.clone();
        let mut site = Site::new(&mut bundle, &mut copy, &arena.host, outside.clone());
        hostile_environment(&mut site).unwrap();
        let hook = Hook {
            env: None,
            ..Hook::shell("true")
        };
        bundle.hooks.push((Stage::CreateContainer, hook));
        arena.host.setting.probe.install(&bundle.rootfs).unwrap();
        bundle.write().unwrap();
        let output = runtime.run(&bundle).unwrap();
        assert!(output.success(), "{runtime}: {output}");
        if outside.join("mark").exists() {
            sang.push(runtime);
        }
    }
    let old = |r: &Runtime| r.engine == Engine::Runc && r.version.starts_with("1.1.");
    assert!(sang.iter().any(old), "{sang:?}");
}

/// Calls the hook by a line of shell, in which `"$@"` is the hook.
fn by_shell(line: &str) -> [&str; 4] {
    ["sh", "-c", line, "sh"]
}

/// What starts the hook in an odd way, and its work is done all the same.
#[test]
fn odd_beginnings_change_nothing() {
    let scene = Scene::new(Kind::Bookworm).unwrap();
    let gone = scene.host.setting.dir.path().join("gone");
    let nobody = "exec 3</etc/passwd 4</dev/zero 5</ 9</etc/passwd; exec \"$@\"";
    let in_gone = format!("mkdir {0}; cd {0}; rmdir {0}; exec \"$@\"", gone.display());
    for (what, line) in [
        ("52 many descriptors are open", nobody),
        ("53 the working directory is gone", &in_gone),
        ("55 stdout is closed", "exec \"$@\" >&-"),
        ("55 stderr is closed", "exec \"$@\" 2>&-"),
        ("55 stdout and stderr are closed", "exec \"$@\" >&- 2>&-"),
        ("55 stdout is full", "exec \"$@\" >/dev/full 2>&1"),
        (
            "56 signals are ignored and the umask is odd",
            "trap '' HUP INT TERM PIPE CHLD; umask 0777; exec \"$@\"",
        ),
    ] {
        let ran = scene.works(what, "true", &by_shell(line)).unwrap();
        assert!(!is_same(&ran.first, &ran.then), "{what}");
    }
    let nameless = Canary::build().unwrap().nameless;
    let usage = |output: Output| {
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.starts_with("oci-gpu-hook: OG0100: ") && said.lines().count() == 1,
            "{said}"
        );
    };
    // 60: without a single argument there is no stage.
    usage(
        scene
            .host
            .call_by(&[nameless.to_str().unwrap()], &[], b"")
            .unwrap(),
    );
    let empty_name = "a=$1; shift; exec -a '' \"$a\" \"$@\"";
    let ran = scene
        .works(
            "60 the name is empty",
            "true",
            &["bash", "-c", empty_name, "bash"],
        )
        .unwrap();
    assert!(!is_same(&ran.first, &ran.then));
}

fn is_same(a: &oci_gpu_tests::standin::Snapshot, b: &oci_gpu_tests::standin::Snapshot) -> bool {
    is_unchanged(a, b).is_ok()
}

/// A failure that cannot be told to anybody is undone like any other.
#[test]
fn a_failure_that_nobody_hears_is_undone() {
    let scene = Scene::new(Kind::Bookworm).unwrap();
    let spoiled = "rm $root/etc/ld.so.cache; mkdir $root/etc/ld.so.cache";
    for (what, line) in [
        ("stderr is closed", "exec \"$@\" 2>&-"),
        ("stderr is full", "exec \"$@\" 2>/dev/full"),
    ] {
        let ran = scene.run(spoiled, &by_shell(line)).unwrap();
        assert_eq!(
            ran.output.status.code(),
            Some(1),
            "{what}: {:?}",
            ran.output
        );
        is_unchanged(&ran.first, &ran.then).unwrap();
        assert!(scene.host.log().contains("OG0605"), "{what}");
        scene.host.assert_untouched().unwrap();
    }
    let container = StandIn::prepared(&scene.ground, spoiled).unwrap();
    let first = container.snapshot().unwrap();
    let mut hook = scene
        .host
        .command(&[], &["createRuntime"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // From now on, writing to stderr is SIGPIPE to who does not ignore it.
    drop(hook.stderr.take());
    feed(&mut hook, container.state().as_bytes());
    assert_eq!(hook.wait().unwrap().code(), Some(1));
    is_unchanged(&first, &container.snapshot().unwrap()).unwrap();
    assert!(scene.host.log().contains("OG0605"));
}

/// The hook while it waits for the state: it holds nothing of its caller, nobody may look into it,
/// and nothing that it might execute gains anything.
#[test]
fn the_waiting_hook_holds_nothing() {
    let scene = Scene::new(Kind::Scratch).unwrap();
    let container = StandIn::new(&scene.ground).unwrap();
    let line = "exec 3</etc/passwd 4</dev/zero 5</ 9</etc/passwd; exec \"$@\"";
    let mut command = scene.host.command(&by_shell(line), &["createRuntime"]);
    let mut hook = command
        .env("SECRET", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let process = Path::new("/proc").join(hook.id().to_string());
    wait_until_it_waits(&process);
    let mut files: Vec<(u32, String)> = fs::read_dir(process.join("fd"))
        .unwrap()
        .map(|e| e.unwrap())
        .map(|e| {
            let number = e.file_name().to_str().unwrap().parse().unwrap();
            (
                number,
                fs::read_link(e.path()).unwrap().display().to_string(),
            )
        })
        .collect();
    files.sort();
    assert!(files[0].1.starts_with("pipe:"), "{files:?}");
    let rest: Vec<&str> = files[1..].iter().map(|(_, to)| to.as_str()).collect();
    assert_eq!(rest, ["/dev/null", "/dev/null", "anon_inode:[signalfd]"]);
    assert_eq!(fs::read_link(process.join("cwd")).unwrap(), Path::new("/"));
    let status = fs::read_to_string(process.join("status")).unwrap();
    assert!(
        status.contains("\nNoNewPrivs:\t1\n") && status.contains("\nThreads:\t1\n"),
        "{status}"
    );
    // The files of a process that is not dumpable are root's; core dumps are off as well.
    let limits = fs::read_to_string(process.join("limits")).unwrap();
    let core = limits
        .lines()
        .find(|l| l.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    let as_nobody = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "cat"])
        .arg(process.join("environ"))
        .output()
        .unwrap();
    assert!(!as_nobody.status.success());
    feed(&mut hook, container.state().as_bytes());
    assert!(hook.wait().unwrap().success());
    drop(container);
    scene.host.assert_untouched().unwrap();
}

/// Until the process sleeps in poll(2).
fn wait_until_it_waits(process: &Path) {
    for _ in 0..2000 {
        let call = fs::read_to_string(process.join("syscall")).unwrap_or_default();
        if call.starts_with("7 ") || call.starts_with("73 ") {
            return;
        }
        sleep(Duration::from_millis(5));
    }
    panic!("the hook does not wait for its state");
}

fn feed(child: &mut Child, bytes: &[u8]) {
    child.stdin.take().unwrap().write_all(bytes).unwrap();
}

/// A signal while it waits ends it at once, with a word.
#[test]
fn a_signal_ends_the_wait() {
    let scene = Scene::new(Kind::Scratch).unwrap();
    for signal in [
        nix::sys::signal::SIGTERM,
        nix::sys::signal::SIGINT,
        nix::sys::signal::SIGHUP,
    ] {
        let mut hook = scene
            .host
            .command(&[], &["createRuntime"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Held open, so that nothing but the signal ends the wait.
        let stdin = hook.stdin.take();
        wait_until_it_waits(&Path::new("/proc").join(hook.id().to_string()));
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(hook.id() as i32), signal).unwrap();
        let output = hook.wait_with_output().unwrap();
        is_refusal(&output, &["OG0104", "stopped by", signal.as_str()]).unwrap();
        drop(stdin);
    }
}

/// Standard inputs that are no state. None takes long, however long it is.
#[test]
fn inputs_that_are_no_state() {
    let scene = Scene::new(Kind::Scratch).unwrap();
    for (what, line, word) in [
        ("closed", "exec \"$@\" <&-", "is empty"),
        ("/dev/null", "exec \"$@\" </dev/null", "is empty"),
        ("a directory", "exec \"$@\" </", "cannot be read"),
        ("/dev/zero", "exec \"$@\" </dev/zero", "is larger than"),
        (
            "without end",
            "yes { | { \"$@\"; exit $?; }",
            "is larger than",
        ),
        (
            "1 GiB",
            "head -c 1G /dev/zero | tr '\\0' '{' | { \"$@\"; exit $?; }",
            "is larger than",
        ),
    ] {
        // Programs in these pipelines die of SIGPIPE without a word.
        let output = scene
            .host
            .call_by(&by_shell(line), &["prestart"], b"")
            .unwrap();
        is_refusal(&output, &["OG0101", word]).unwrap_or_else(|e| panic!("54 {what}: {e}"));
    }
    scene.host.assert_untouched().unwrap();
}

/// The slow tests, side by side: a state that comes drop by drop or not at all ends at the
/// deadline; a file system that hangs in a system call ends when the kernel sends the alarm.
#[test]
fn what_never_ends_is_ended() {
    let scene = Scene::new(Kind::Bookworm).unwrap();
    let start = |before: &[&str], stdin: Stdio| {
        let mut command = scene.host.command(before, &["createRuntime"]);
        command
            .stdin(stdin)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let drip = "while :; do printf ' '; sleep 0.2; done 2>/dev/null | { \"$@\"; exit $?; }";
    let drip = start(&by_shell(drip), Stdio::null());
    let mut silent = start(&[], Stdio::piped());
    let silent_input = silent.stdin.take();
    let hang = "exec 9<>/dev/fuse; mkdir -p $root/hang; rm -rf $root/usr/lib/x86_64-linux-gnu;
                ln -s /hang $root/usr/lib/x86_64-linux-gnu;
                mount -i -t fuse -o fd=9,rootmode=40000,user_id=0,group_id=0 none $root/hang";
    let container = StandIn::prepared(&scene.ground, hang).unwrap();
    let mut hung = start(&[], Stdio::piped());
    feed(&mut hung, container.state().as_bytes());

    for hook in [drip, silent] {
        let output = hook.wait_with_output().unwrap();
        is_refusal(&output, &["OG0104", "not done after 5 s"]).unwrap();
    }
    drop(silent_input);
    let status = hung.wait().unwrap();
    let alarm = nix::sys::signal::SIGALRM as i32;
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(alarm),
        "{status}"
    );
    drop(container);
    scene.host.assert_untouched().unwrap();
}

/// Limits of the process, and powers that it lacks: refused in a line, or done.
#[test]
fn limits_and_missing_powers() {
    let scene = Scene::new(Kind::Bookworm).unwrap();
    for files in ["3", "4", "8", "9", "12", "20", "28"] {
        let limit = format!("--nofile={files}:{files}");
        scene
            .refused(
                &format!("57 {files} open files"),
                "true",
                &["prlimit", &limit],
                &["OG0", "(os error 24)"],
            )
            .unwrap();
    }
    let (mut refused, mut done) = (0, 0);
    for mebibytes in [6_u64, 8, 12, 16, 20, 24, 32, 64] {
        let limit = format!("--as={0}:{0}", mebibytes << 20);
        let ran = scene.run("true", &["prlimit", &limit]).unwrap();
        match ran.output.status.code() {
            Some(0) => done += 1,
            _ => {
                is_refusal(&ran.output, &["OG0106", "RLIMIT_AS"])
                    .unwrap_or_else(|e| panic!("57 {mebibytes} MiB: {e}"));
                is_unchanged(&ran.first, &ran.then).unwrap();
                refused += 1;
            }
        }
    }
    assert!(refused > 1 && done > 1, "{refused} {done}");
    for (what, before, words) in [
        (
            "59 nobody",
            &[
                "setpriv",
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
            ][..],
            &["OG0"][..],
        ),
        (
            "59 root without any capability",
            &["setpriv", "--inh-caps=-all", "--bounding-set=-all"],
            &["OG0"],
        ),
        (
            "59 root without CAP_SYS_ADMIN",
            &[
                "setpriv",
                "--inh-caps=-sys_admin",
                "--bounding-set=-sys_admin",
            ],
            &["OG0", "CAP_SYS_ADMIN"],
        ),
    ] {
        scene.refused(what, "true", before, words).unwrap();
    }
}
