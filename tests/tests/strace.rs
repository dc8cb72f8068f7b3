//! Hostile case 100, and 27, 34, 51, 52: what the hook asks of the kernel, as strace(1) sees it. See
//! docs/hostile-cases.md.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::Duration;

use oci_gpu_tests::binaries;
use oci_gpu_tests::bundle::{Hook, Stage};
use oci_gpu_tests::gpu::STAGES;
use oci_gpu_tests::hostile::Arena;
use oci_gpu_tests::probe::Report;
use oci_gpu_tests::rootfs::Kind;
use oci_gpu_tests::scene::Scene;
use oci_gpu_tests::standin::StandIn;
use oci_gpu_tests::strace::{Call, Trace, traced};

/// What no hook of ours ever calls: programs, processes, networks.
const NEVER: &[&str] = &[
    "execve",
    "execveat",
    "fork",
    "vfork",
    "clone",
    "clone3",
    "socket",
    "connect",
    "bind",
    "sendto",
    "sendmsg",
    "ptrace",
    "process_vm_writev",
    "kill",
    "init_module",
    "finit_module",
    "kexec_load",
    "io_uring_setup",
    "userfaultfd",
    "perf_event_open",
    "memfd_create",
    "mknod",
    "mknodat",
];

/// Calls that may name a file, and how many of their strings are no paths but what a link holds or
/// an option is.
const WITH_PATHS: &[(&str, usize)] = &[
    ("openat2", 0),
    ("openat", 0),
    ("newfstatat", 0),
    ("statx", 0),
    ("readlinkat", 0),
    ("mkdirat", 0),
    ("symlinkat", 1),
    ("renameat", 0),
    ("renameat2", 0),
    ("unlinkat", 0),
    ("open_tree", 0),
    ("move_mount", 0),
    ("mount_setattr", 0),
    ("mount", 0),
    ("umount2", 0),
    ("faccessat", 0),
    ("faccessat2", 0),
    ("fchmodat", 0),
    ("fchownat", 0),
    ("linkat", 0),
    ("utimensat", 0),
];

/// Calls that take a path and no directory: none of them has a place once inside.
const BY_PATH_ALONE: &[&str] = &[
    "open",
    "creat",
    "stat",
    "lstat",
    "access",
    "readlink",
    "unlink",
    "rename",
    "mkdir",
    "rmdir",
    "symlink",
    "link",
    "chmod",
    "chown",
    "lchown",
    "truncate",
    "chdir",
    "chroot",
    "pivot_root",
    "statfs",
    "getxattr",
    "setxattr",
    "inotify_add_watch",
    "name_to_handle_at",
    "uselib",
];

/// The quoted strings of a line.
fn strings(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some((_, after)) = rest.split_once('"') {
        let mut end = None;
        let mut escaped = false;
        for (at, c) in after.char_indices() {
            match c {
                '\\' if !escaped => escaped = true,
                '"' if !escaped => {
                    end = Some(at);
                    break;
                }
                _ => escaped = false,
            }
        }
        let Some(end) = end else { break };
        found.push(&after[..end]);
        rest = &after[end + 1..];
    }
    found
}

/// Why a call has no place once the container was entered.
fn forbidden(call: &Call) -> Option<&'static str> {
    let name = call.name.as_str();
    if NEVER.contains(&name) || name == "setns" || name == "unshare" {
        return Some("no such call has a place inside");
    }
    if BY_PATH_ALONE.contains(&name) {
        return Some("it names a file without a directory");
    }
    let (_, skip) = WITH_PATHS.iter().find(|(n, _)| *n == name)?;
    let mut paths = strings(&call.line);
    if name == "readlinkat" {
        // The second one is what a link holds.
        paths.truncate(1);
    }
    for path in paths.into_iter().skip(*skip) {
        // Our own process in the host's procfs.
        let own = path.starts_with("/proc/self/fd/") || path == "/proc/self/uid_map";
        if path.starts_with('/') && !own {
            return Some("it names a file by an absolute path");
        }
        if !path.starts_with('/') && call.line.contains("AT_FDCWD") {
            return Some("it names a file below the working directory");
        }
        let climbs = path.split('/').any(|part| part == "..");
        if climbs && name != "openat2" {
            return Some("it climbs");
        }
    }
    let resolves = call.line.contains("RESOLVE_NO_MAGICLINKS")
        && (call.line.contains("RESOLVE_IN_ROOT") || call.line.contains("RESOLVE_BENEATH"));
    (name == "openat2" && !resolves).then_some("it may leave the directory")
}

fn assert_allowed(what: &str, calls: &[Call]) {
    assert!(calls.len() > 30, "{what}: {} calls", calls.len());
    for call in calls {
        if let Some(why) = forbidden(call) {
            panic!("{what}: {why}: {}", call.line);
        }
    }
}

/// The whole run: nothing is executed, and nobody is spoken to.
fn assert_alone(what: &str, trace: &Trace, started: usize) {
    let executed = trace.calls.iter().filter(|c| c.name == "execve").count();
    assert_eq!(executed, started, "{what}");
    for call in trace.of_hook() {
        let never = NEVER.contains(&call.name.as_str());
        assert!(!never, "{what}: {}", call.line);
        assert!(!call.line.contains("exec.fifo"), "{what}: {}", call.line);
    }
}

/// By hand: all kinds of work, with openat2(2) and without.
#[test]
fn inside_everything_is_named_below_a_descriptor() {
    let scene = Scene::new(Kind::Bookworm).unwrap();
    let env = ["NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_DRIVER_CAPABILITIES=all"];
    scene.ground.write(&scene.ground.config(&env)).unwrap();
    let deny = binaries::deny().unwrap().display().to_string();
    let file = scene.host.setting.dir.path().join("trace");
    let old_link = "ln -s old $root/usr/lib/x86_64-linux-gnu/libcuda.so.1";
    let spoiled = "rm $root/etc/ld.so.cache; mkdir $root/etc/ld.so.cache";
    for (what, commands, before, ok) in [
        ("done", old_link, &[][..], true),
        ("undone", spoiled, &[], false),
        (
            "without openat2",
            old_link,
            &[deny.as_str(), "openat2=ENOSYS"],
            true,
        ),
        (
            "undone without openat2",
            spoiled,
            &[deny.as_str(), "openat2=ENOSYS"],
            false,
        ),
    ] {
        let container = StandIn::prepared(&scene.ground, commands).unwrap();
        let state = container.state();
        let (output, trace) = traced(
            &scene.host,
            &file,
            before,
            &["createRuntime"],
            state.as_bytes(),
        )
        .unwrap();
        assert_eq!(output.status.success(), ok, "{what}: {output:?}");
        assert_allowed(what, trace.inside());
        assert_alone(what, &trace, 1 + usize::from(!before.is_empty()));
        // A second run, which finds everything there.
        if ok {
            let state = container.state();
            let run = traced(
                &scene.host,
                &file,
                before,
                &["createRuntime"],
                state.as_bytes(),
            );
            let (output, trace) = run.unwrap();
            assert!(output.status.success(), "{what}, again: {output:?}");
            assert_allowed(&format!("{what}, again"), trace.inside());
        }
        scene.host.assert_untouched().unwrap();
    }
}

/// Under real runtimes. In stage createContainer the hook is inside from the beginning, and finds
/// the host where it was: there the rules hold from the filter of system calls on, and what lies
/// below the container's root is never named but from a descriptor.
#[test]
fn inside_under_every_runtime_in_every_stage() {
    let arena = Arena::new().unwrap();
    for (runtime, stage) in arena.runtimes.iter().flat_map(|r| STAGES.map(|s| (r, s))) {
        let what = format!("{runtime}, {}", stage.name());
        let mut bundle = arena
            .host
            .bundle(Kind::Bookworm, &["NVIDIA_VISIBLE_DEVICES=0"])
            .unwrap();
        let file = bundle.dir.join("trace");
        let (_, direct) = arena.host.hook(stage);
        let hook = direct.path.display().to_string();
        let mut args: Vec<String> = [
            "strace",
            "-f",
            "-s",
            "256",
            "-o",
            &file.display().to_string(),
            &hook,
        ]
        .map(str::to_owned)
        .into();
        args.extend(direct.args.into_iter().skip(1));
        bundle.hooks.push((
            stage,
            Hook {
                path: "/usr/bin/strace".into(),
                args,
                env: None,
                timeout: None,
            },
        ));
        arena.host.setting.probe.install(&bundle.rootfs).unwrap();
        bundle.probe(&["--open", "/dev/nvidia0", "--list", "/proc/self/fd"]);
        bundle.write().unwrap();
        let report =
            Report::of(&runtime.run(&bundle).unwrap()).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(report.open("/dev/nvidia0"), "ENXIO", "{what}");
        // 52: standard input, output, error, and the directory that is being listed.
        assert_eq!(
            report.list("/proc/self/fd").unwrap().len(),
            4,
            "{what}: {report:?}"
        );

        let trace = Trace::read(&file).unwrap();
        assert_alone(&what, &trace, 1);
        let filtered = trace.from(|c| c.line.contains("PR_SET_SECCOMP"));
        assert_allowed(&what, &filtered[1..]);
        if stage != Stage::CreateContainer {
            assert_allowed(&what, trace.inside());
        }
        let root = bundle
            .rootfs
            .path
            .strip_prefix("/")
            .unwrap()
            .display()
            .to_string();
        for call in trace.of_hook().iter().filter(|c| c.line.contains(&root)) {
            let by_descriptor = call.name == "openat2" && call.line.contains("RESOLVE_IN_ROOT");
            // config.json has the path in its text.
            assert!(
                by_descriptor || call.name == "read",
                "{what}: {}",
                call.line
            );
        }
        arena.host.assert_untouched().unwrap();
    }
}

/// Held in its last step, the hook has next to no power left.
#[test]
fn inside_the_hook_has_given_up_its_power() {
    let scene = Scene::new(Kind::Bookworm).unwrap();
    let file = scene
        .host
        .setting
        .dir
        .path()
        .join("trace")
        .display()
        .to_string();
    let container = StandIn::new(&scene.ground).unwrap();
    let delay = "inject=renameat:delay_enter=2000000";
    let mut strace = scene
        .host
        .command(&["strace", "-o", &file, "-e", delay], &["createRuntime"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(
        &mut strace.stdin.take().unwrap(),
        container.state().as_bytes(),
    )
    .unwrap();
    let status = status_of_held(&mut strace);
    let field = |name: &str| {
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().trim().to_owned()
    };
    assert_eq!(field("Seccomp"), "2");
    assert_eq!(field("NoNewPrivs"), "1");
    assert_eq!(field("Threads"), "1");
    // DAC_OVERRIDE, DAC_READ_SEARCH, NET_ADMIN, SYS_ADMIN, BPF.
    let most: u64 = [1, 2, 12, 21, 39].iter().fold(0, |all, bit| all | 1 << bit);
    for set in ["CapPrm", "CapEff"] {
        let held = u64::from_str_radix(&field(set), 16).unwrap();
        assert_eq!(held & !most, 0, "{set} {held:x}");
        assert_ne!(held & 1 << 21, 0, "{set} {held:x}");
    }
    for set in ["CapInh", "CapBnd", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&field(set), 16), Ok(0), "{set}");
    }
    assert!(strace.wait().unwrap().success());
    let trace = Trace::read(Path::new(&file)).unwrap();
    let undumpable = |c: &Call| c.line.contains("PR_SET_DUMPABLE, SUID_DUMP_DISABLE");
    assert!(trace.calls.iter().any(undumpable));
    scene.host.assert_untouched().unwrap();
}

/// /proc/PID/status of strace's child, once that has a filter.
fn status_of_held(strace: &mut Child) -> String {
    let task = format!("/proc/{0}/task/{0}/children", strace.id());
    for _ in 0..2000 {
        let children = fs::read_to_string(&task).unwrap_or_default();
        for child in children.split_whitespace() {
            let status = fs::read_to_string(format!("/proc/{child}/status")).unwrap_or_default();
            if status.contains("\nSeccomp:\t2\n") {
                return status;
            }
        }
        assert!(
            strace.try_wait().unwrap().is_none(),
            "the hook was never seen with its filter"
        );
        sleep(Duration::from_millis(2));
    }
    panic!("the hook did not come to its last step");
}

/// 27 and 34: how much is in a directory, and how many mounts there are, makes no difference to
/// what is asked.
#[test]
fn crowds_cost_no_calls() {
    let scene = Scene::new(Kind::Bookworm).unwrap();
    let file = scene.host.setting.dir.path().join("trace");
    let calls = |commands: &str| -> Vec<String> {
        let container = StandIn::prepared(&scene.ground, commands).unwrap();
        let state = container.state();
        let (output, trace) = traced(
            &scene.host,
            &file,
            &[],
            &["createRuntime"],
            state.as_bytes(),
        )
        .unwrap();
        assert!(output.status.success(), "{output:?}");
        trace.of_hook().iter().map(|c| c.name.clone()).collect()
    };
    let library = "$root/usr/lib/x86_64-linux-gnu";
    let alone = calls(&format!("touch {library}/f0"));
    let crowd = format!("cd {library}; seq 100000 | sed s/^/f/ | xargs -n 10000 touch; cd /");
    assert_eq!(calls(&crowd), alone);
    let mounts = "mkdir -p $bundle/many; mount -t tmpfs tmpfs $bundle/many; cd $bundle/many
        for i in $(seq 14); do mkdir d$i; mount --rbind . d$i; done; cd /";
    assert_eq!(calls(&format!("touch {library}/f0; {mounts}")), alone);
    scene.host.assert_untouched().unwrap();
}

#[test]
fn the_oracle_knows_what_is_forbidden() {
    let call = |line: &str| {
        let name = line.split('(').next().unwrap().to_owned();
        Call {
            name,
            line: line.to_owned(),
            nth: 1,
        }
    };
    for line in [
        "openat(AT_FDCWD, \"/etc/passwd\", O_RDONLY) = 3",
        "openat(AT_FDCWD, \"etc/passwd\", O_RDONLY) = 3",
        "openat(5, \"../etc\", O_RDONLY) = 3",
        "openat2(5, \"etc\", {flags=O_PATH, resolve=RESOLVE_IN_ROOT}, 24) = 3",
        "openat2(5, \"/etc\", {flags=O_PATH, resolve=RESOLVE_NO_MAGICLINKS|RESOLVE_IN_ROOT}, 24) = 3",
        "stat(\"/etc\", {}) = 0",
        "symlinkat(\"a\", 5, \"/b\") = 0",
        "mount(\"/x\", \"/proc/self/fd/3\", NULL, MS_BIND, NULL) = 0",
        "execve(\"/sbin/ldconfig\", [], NULL) = 0",
        "connect(3, {sa_family=AF_UNIX, sun_path=\"/run/x\"}, 20) = 0",
    ] {
        assert!(forbidden(&call(line)).is_some(), "{line}");
    }
    for line in [
        "openat(AT_FDCWD, \"/proc/self/fd/32\", O_RDONLY) = 35",
        "symlinkat(\"/a \\\" b\", 5, \"b\") = 0",
        "openat2(5, \"a/../b\", {flags=O_PATH, resolve=RESOLVE_NO_MAGICLINKS|RESOLVE_IN_ROOT}, 24) = 3",
        "write(2, \"/etc\", 4) = 4",
        "move_mount(8, \"\", 5, \"\", MOVE_MOUNT_F_EMPTY_PATH) = 0",
    ] {
        assert_eq!(forbidden(&call(line)), None, "{line}");
    }
}
