//! Hostile cases 56 and 97: an error, a signal or death at every step of the hook's work. See
//! docs/hostile-cases.md.
//!
//! Errors and signals come from strace(1), so nothing in the hook knows of them. By default a part
//! of the steps is tried; with OCI_GPU_TEST_FULL set in the environment, all.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::process::Output;

use oci_gpu_tests::hostile::TEMPORARY;
use oci_gpu_tests::rootfs::Kind;
use oci_gpu_tests::scene::{Scene, is_refusal};
use oci_gpu_tests::standin::{Snapshot, StandIn};
use oci_gpu_tests::strace::{Call, Trace, traced};

/// A scene, the calls of an undisturbed run in it, and what that run changes.
struct Faults {
    scene: Scene,
    trace: Trace,
    complete: BTreeSet<String>,
    container: Option<(StandIn, Snapshot)>,
}

impl Faults {
    fn new() -> Faults {
        let scene = Scene::new(Kind::Bookworm).unwrap();
        let env = [
            "NVIDIA_VISIBLE_DEVICES=0",
            "NVIDIA_DRIVER_CAPABILITIES=utility",
        ];
        scene.ground.write(&scene.ground.config(&env)).unwrap();
        // A link of another driver and a leftover, so that something is replaced and removed.
        let mut faults = Faults {
            scene,
            trace: Trace::default(),
            complete: BTreeSet::new(),
            container: None,
        };
        let (output, changes) = faults.run(&[]);
        assert!(output.status.success(), "{output:?}");
        assert!(changes.len() > 15, "{changes:?}");
        faults.complete = changes;
        faults.trace = faults.last_trace();
        faults
    }

    /// The hook under strace with `options`, in a container that is as new: what changed.
    fn run(&mut self, options: &[&str]) -> (Output, BTreeSet<String>) {
        let (container, first) = self.container.take().unwrap_or_else(|| {
            let library = "$root/usr/lib/x86_64-linux-gnu";
            let commands = format!("ln -s libnvidia-ml.so.1.old {library}/libnvidia-ml.so.1");
            let container = StandIn::prepared(&self.scene.ground, &commands).unwrap();
            let first = container.snapshot().unwrap();
            (container, first)
        });
        let output = self.hook_in(&container, options);
        let changes = changes(&first, &container);
        // One in which nothing was changed is as good as new.
        self.container = changes.is_empty().then_some((container, first));
        (output, changes)
    }

    fn hook_in(&self, container: &StandIn, options: &[&str]) -> Output {
        let file = self.scene.host.setting.dir.path().join("trace");
        let state = container.state();
        let run = traced(
            &self.scene.host,
            &file,
            options,
            &["createRuntime"],
            state.as_bytes(),
        );
        run.unwrap().0
    }

    fn last_trace(&self) -> Trace {
        Trace::read(&self.scene.host.setting.dir.path().join("trace")).unwrap()
    }

    /// Every call inside the container, and of those before it and of closing files one in
    /// `sample`.
    fn steps(&self, sample: usize) -> Vec<Call> {
        let all = std::env::var_os("OCI_GPU_TEST_FULL").is_some();
        let inside = self.trace.inside().len();
        let calls = self.trace.of_hook();
        let steps = calls.iter().enumerate().filter(|(i, call)| {
            let matters = *i + inside >= calls.len() && call.name != "close";
            call.name != "exit_group" && (all || matters || i % sample == 0)
        });
        steps.map(|(_, call)| call.clone()).collect()
    }

    /// The run ended in one of two ways: nothing done, and a line that says why; or done, what was
    /// optional and left out being in the log.
    fn judge(&self, what: &str, output: &Output, changes: &BTreeSet<String>) -> Ended {
        let log = self.scene.host.log();
        self.scene.host.assert_untouched().unwrap();
        if output.status.success() {
            // It is a good one, which is not replaced because it could not be read once.
            assert!(
                !log.contains("the image's own /etc/ld.so.cache"),
                "{what}: {log}"
            );
            let told = log.contains(" left out ");
            // Without a library the cache is another one.
            let counts = |line: &&String| !(told && line.starts_with("ld.so.cache holds"));
            let extra: Vec<_> = changes.difference(&self.complete).filter(counts).collect();
            assert!(extra.is_empty(), "{what}: {extra:?} were not to be done");
            let missing: Vec<_> = self.complete.difference(changes).filter(counts).collect();
            // An optional file that discovery does not see cannot be told from one that is not there.
            let silent = |line: &&&String| line.contains(".so") || line.contains("/dev/nvidia");
            let lost: Vec<_> = missing.iter().filter(silent).collect();
            // It is a good one, which is not replaced because it could not be read once.
            assert!(
                !log.contains("the image's own /etc/ld.so.cache"),
                "{what}: {log}"
            );
            let told = log.contains(" left out ");
            assert!(
                lost.is_empty() || told,
                "{what}: {lost:?} not done, and no word of it"
            );
            // Links are optional: the loader's cache names the files themselves.
            let needed = [
                "/dev/nvidia",
                "libnvidia-ml.so.550",
                "ld.so.cache",
                "rules",
                "/proc/driver",
            ];
            let required = |line: &&&String| {
                !line.starts_with("~usr/") && needed.iter().any(|n| line.contains(n))
            };
            let lost: Vec<_> = missing.iter().filter(required).collect();
            assert!(lost.is_empty(), "{what}: {lost:?} not done");
            return Ended::Done;
        }
        assert!(
            changes.is_empty(),
            "{what}: {changes:?} not undone; {output:?}"
        );
        match output.status.signal() {
            Some(signal) => Ended::Killed(signal),
            None => {
                is_refusal(output, &["OG0"]).unwrap_or_else(|e| panic!("{what}: {e}"));
                Ended::Undone
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Done,
    Undone,
    Killed(i32),
}

/// What differs, and what the loader's cache holds.
fn changes(first: &Snapshot, container: &StandIn) -> BTreeSet<String> {
    let mut lines = first.changes_to(&container.snapshot().unwrap());
    if lines.iter().any(|line| line.contains("ld.so.cache")) {
        let cache = std::fs::read(container.path("/etc/ld.so.cache")).unwrap();
        lines.push(format!(
            "ld.so.cache holds {:x}",
            oci_gpu_tests::hash(&cache)
        ));
    }
    lines.into_iter().collect()
}

/// Calls that have no such error: to who called brk(2) its number would be an address (limits of
/// memory are in hostile_ambience.rs), and closing what was only read from writes nothing.
const CANNOT_FAIL: [&str; 5] = ["alarm", "brk", "close", "getrandom", "umask"];

/// Each call fails once with EIO.
#[test]
fn an_error_at_every_step() {
    let mut faults = Faults::new();
    let (mut done, mut undone) = (0, 0);
    let steps = faults.steps(6).into_iter();
    let steps = steps.filter(|c| !CANNOT_FAIL.contains(&c.name.as_str()));
    for call in steps {
        let option = format!("inject={}:error=EIO:when={}", call.name, call.nth);
        let (output, changes) = faults.run(&["-e", &option]);
        match faults.judge(&format!("{option} in {}", call.line), &output, &changes) {
            Ended::Done => done += 1,
            Ended::Undone => undone += 1,
            Ended::Killed(signal) => panic!("{option} in {}: signal {signal}", call.line),
        }
    }
    assert!(done > 10 && undone > 50, "{done} done, {undone} undone");
}

/// SIGTERM comes during each call.
#[test]
fn a_signal_at_every_step() {
    let mut faults = Faults::new();
    let blocked = |call: &Call| call.name == "rt_sigprocmask" && call.line.contains("TERM");
    let calls = faults.trace.of_hook().to_vec();
    let unblocked: Vec<Call> = calls.iter().take_while(|c| !blocked(c)).cloned().collect();
    assert!(unblocked.len() < 20, "{unblocked:?}");
    let (mut done, mut undone) = (0, 0);
    for call in faults.steps(12).iter().step_by(2).chain(&unblocked) {
        let option = format!("inject={}:signal=SIGTERM:when={}", call.name, call.nth);
        let (output, changes) = faults.run(&["-e", &option]);
        let what = format!("{option} in {}", call.line);
        match faults.judge(&what, &output, &changes) {
            Ended::Done => done += 1,
            Ended::Undone => {
                assert!(String::from_utf8_lossy(&output.stderr).contains("stopped by SIGTERM"));
                undone += 1;
            }
            // Before anything was read, let alone done.
            Ended::Killed(signal) => {
                assert!(signal == 15 && unblocked.contains(call), "{what}: {signal}");
            }
        }
    }
    assert!(done > 5 && undone > 30, "{done} done, {undone} undone");
}

/// SIGKILL comes during each call, and nothing can be undone: the next run completes, and leaves
/// nothing more than an undisturbed one.
#[test]
fn death_at_every_step_and_a_second_run() {
    let faults = Faults::new();
    let mut half_done = 0;
    for call in faults.steps(24).iter().step_by(3) {
        let option = format!("inject={}:signal=SIGKILL:when={}", call.name, call.nth);
        let what = format!("{option} in {}", call.line);
        let library = "$root/usr/lib/x86_64-linux-gnu";
        let commands = format!("ln -s libnvidia-ml.so.1.old {library}/libnvidia-ml.so.1");
        let container = StandIn::prepared(&faults.scene.ground, &commands).unwrap();
        let first = container.snapshot().unwrap();
        let killed = faults.hook_in(&container, &["-e", &option]);
        assert_eq!(killed.status.signal(), Some(9), "{what}: {killed:?}");
        let half = changes(&first, &container);
        half_done += usize::from(!half.is_empty());
        let second = faults.hook_in(&container, &[]);
        assert!(second.status.success(), "{what}: {second:?}");
        assert_eq!(changes(&first, &container), faults.complete, "{what}");
        let then = container.snapshot().unwrap();
        assert!(then.layer.names_with(TEMPORARY).is_empty(), "{what}");
    }
    assert!(half_done > 20, "{half_done}");
    faults.scene.host.assert_untouched().unwrap();
}
