//! The hook, while others change what its paths lead to: it does its work or fails with a code,
//! and in no case is anything outside the container's root changed or anything left behind.
//!
//! Each combination of attack, number of attackers and system calls runs for
//! `OCI_GPU_RACE_SECONDS` (0.1 where it is not set). What races inside one hook is tested by
//! itself in crates/inject/src/races.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod arena;
mod attack;
mod death;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use oci_gpu_tests::binaries;
use oci_gpu_tests::gpu::GpuHost;
use oci_gpu_tests::leftovers::Mounts;
use oci_gpu_tests::standin::StandIn;

use arena::{Arena, mounts};
use attack::{Attack, Attackers, Ended};

const ATTACKERS: [usize; 3] = [1, 4, 16];

/// System calls that the hook does not have.
const MISSING: [&str; 3] = [
    "",
    "openat2=ENOSYS",
    "openat2=ENOSYS,open_tree=ENOSYS,move_mount=ENOSYS,mount_setattr=ENOSYS,fsopen=ENOSYS",
];

/// A place in the container that was changed; a mount that the kernel refused, for its target was
/// gone; the loader's cache.
const REFUSALS: [&str; 3] = ["OG0602", "OG0603", "OG0605"];

/// A naive hook has this long to escape.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn time_box() -> Duration {
    let seconds = std::env::var("OCI_GPU_RACE_SECONDS").map_or(0.1, |s| s.parse().unwrap());
    Duration::from_secs_f64(seconds)
}

/// The hook for createRuntime, without the system calls `missing`.
pub(crate) fn hook(host: &GpuHost, missing: &str) -> Command {
    let mut command = match missing {
        "" => Command::new(&host.hook),
        calls => {
            let mut deny = Command::new(binaries::deny().unwrap());
            deny.arg(calls).arg(&host.hook);
            deny
        }
    };
    command
        .arg("--host-root")
        .arg(&host.root)
        .arg("createRuntime");
    command
}

/// Starts `command` with `state` on its standard input.
pub(crate) fn start(mut command: Command, state: &str) -> std::process::Child {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Who fails at once does not read it.
    let _ = child.stdin.take().unwrap().write_all(state.as_bytes());
    child
}

/// The code of the failure that `output` tells of in one line; `None` for success.
pub(crate) fn code(output: &Output) -> Option<String> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return None;
    }
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    let line = stderr
        .strip_prefix("oci-gpu-hook: ")
        .unwrap_or_else(|| panic!("{stderr}"));
    Some(line.split(':').next().unwrap_or_default().to_owned())
}

/// The names that the hook makes in the directory of the libraries, and what links hold.
fn libraries(host: &GpuHost) -> Vec<(String, Option<String>)> {
    let arena = Arena::new(|_| {});
    let container = arena.container();
    let hook = start(hook(host, ""), &container.state());
    let output = hook.wait_with_output().unwrap();
    assert_eq!(code(&output), None, "{output:?}");
    let entries = fs::read_dir(arena.root().join("usr/lib64"))
        .unwrap()
        .map(Result::unwrap);
    let text = |path: std::ffi::OsString| path.into_string().unwrap();
    entries
        .map(|e| {
            let holds = fs::read_link(e.path()).ok();
            (
                text(e.file_name()),
                holds.map(|to| text(to.into_os_string())),
            )
        })
        .collect()
}

/// What came of some runs.
#[derive(Default)]
struct Tally {
    done: u64,
    mounts: usize,
    refused: BTreeMap<String, u64>,
    strikes: u64,
}

impl Tally {
    fn runs(&self) -> u64 {
        self.done + self.refused.values().sum::<u64>()
    }

    fn add(&mut self, other: &Tally) {
        self.done += other.done;
        self.mounts += other.mounts;
        self.strikes += other.strikes;
        for (code, count) in &other.refused {
            *self.refused.entry(code.clone()).or_default() += count;
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (runs, strikes, done, mounts) = (self.runs(), self.strikes, self.done, self.mounts);
        write!(
            f,
            "{runs} hooks, {strikes} changes; {done} done with {mounts} mounts"
        )?;
        let mut refused = self.refused.iter();
        refused.try_for_each(|(code, count)| write!(f, ", {count} {code}"))
    }
}

#[test]
fn no_hook_is_led_out() {
    let host = GpuHost::new("debian-8").unwrap();
    let libraries = libraries(&host);
    // Built now, not during the first race.
    binaries::deny().unwrap();
    let mut all = Tally::default();
    for missing in MISSING {
        for attack in Attack::ALL {
            let mut seen = Tally::default();
            for attackers in ATTACKERS {
                let tally = hooks(&host, &libraries, missing, attack, attackers);
                let missing = missing.split(',').filter(|call| !call.is_empty()).count();
                println!(
                    "hook without {missing} calls, {attack:?}, {attackers} attackers: {tally}"
                );
                seen.add(&tally);
            }
            assert!(seen.strikes > 0, "{attack:?}");
            all.add(&seen);
        }
    }
    println!("hooks, in all: {all}");
    assert!(all.done > 0 && !all.refused.is_empty(), "{all}");
    host.assert_untouched().unwrap();
}

/// Runs hooks one after the other until the time is over.
fn hooks(
    host: &GpuHost,
    libraries: &[(String, Option<String>)],
    missing: &str,
    attack: Attack,
    number: usize,
) -> Tally {
    let needed = match attack.needs_libraries() {
        true => libraries,
        false => &[],
    };
    let arena = Arena::new(|dir| attack.prepare(dir, needed));
    let attackers = Attackers::new(attack, arena.dir(), needed);
    let host_mounts = Mounts::now().unwrap();
    let mut tally = Tally::default();
    thread::scope(|scope| {
        let (attackers, _ended) = (&attackers, Ended(&attackers));
        for worker in 0..number {
            scope.spawn(move || attackers.live(worker));
        }
        let mut container = arena.container();
        let mut before = mounts(container.pid);
        let begin = Instant::now();
        while begin.elapsed() < time_box() {
            attackers.begin();
            let state = container.state();
            let output = start(hook(host, missing), &state)
                .wait_with_output()
                .unwrap();
            attackers.rest();

            let code = code(&output);
            let what = format!("{missing} {attack:?} {number}: {code:?}");
            let mut new = mounts(container.pid);
            new.retain(|number, _| !before.contains_key(number));
            let root = arena.mount_point();
            assert!(
                new.values().all(|place| place.starts_with(&root)),
                "{what}: {new:?}"
            );
            assert_eq!(arena.changes_around(), [""; 0], "{what}");
            assert_eq!(
                host_mounts.changes_to(&Mounts::now().unwrap()),
                [""; 0],
                "{what}"
            );
            match code {
                Some(code) => {
                    assert!(REFUSALS.contains(&code.as_str()), "{what}: {output:?}");
                    assert!(new.is_empty(), "{what}: left {new:?}");
                    assert!(arena.added().is_empty(), "{what}: left {:?}", arena.added());
                    *tally.refused.entry(code).or_default() += 1;
                }
                None => {
                    assert!(!new.is_empty(), "{what}");
                    tally.done += 1;
                    tally.mounts += new.len();
                    container = another(container, &arena);
                    before = mounts(container.pid);
                }
            }
            arena.remove_added();
            attackers.settle();
            arena.put_back();
        }
    });
    tally.strikes = attackers.strikes();
    tally
}

/// A container like `old`, which ends.
fn another(old: StandIn, arena: &Arena) -> StandIn {
    drop(old);
    arena.remove_added();
    arena.container()
}

/// A hook that looks whether the directory is a link, and then mounts by path.
#[test]
fn a_naive_hook_is_seen_to_be_led_out() {
    let arena = Arena::new(|dir| Attack::Libraries.prepare(dir, &[]));
    let attackers = Attackers::new(Attack::Libraries, arena.dir(), &[]);
    let mut runs = 0;
    let escape = thread::scope(|scope| {
        let (attackers, _ended) = (&attackers, Ended(&attackers));
        for worker in 0..4 {
            scope.spawn(move || attackers.live(worker));
        }
        let begin = Instant::now();
        loop {
            let container = arena.container();
            let before = mounts(container.pid);
            let script =
                r#"[ -h "$1" ] || { : > "$1/library" && mount --bind "$2" "$1/library"; }"#;
            let (directory, source) = (
                arena.mount_point().join("usr/lib64"),
                arena.dir().join("canary/file"),
            );
            let pid = container.pid.to_string();
            let mut naive = Command::new("nsenter");
            naive.args(["--mount", "--target", &pid, "sh", "-c", script, "naive"]);
            naive.arg(directory).arg(source);
            attackers.begin();
            start(naive, "").wait_with_output().unwrap();
            attackers.rest();
            runs += 1;
            let mut new = mounts(container.pid);
            new.retain(|number, _| !before.contains_key(number));
            let is_out = new
                .values()
                .any(|place| !place.starts_with(arena.mount_point()));
            if is_out || !arena.changes_around().is_empty() {
                break true;
            }
            if begin.elapsed() > PATIENCE {
                break false;
            }
            drop(container);
            arena.remove_added();
        }
    });
    println!(
        "naive hook: escaped after {runs} runs, {} changes",
        attackers.strikes()
    );
    assert!(escape, "the naive hook was not led out in {runs} runs");
}
