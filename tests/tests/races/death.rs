//! The container's process dies while the hook works, and its number is another process's.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use oci_gpu_tests::gpu::GpuHost;
use oci_gpu_tests::leftovers::Mounts;
use oci_gpu_tests::standin::StandIn;

use super::arena::{Arena, mounts};
use super::{code, hook, start, time_box};

/// Entering failed; what had been opened of the container is gone; the cgroup's file is empty.
const REFUSALS: [&str; 4] = ["OG0601", "OG0602", "OG0603", "OG0606"];

/// Killed at a moment that moves through the hook's work.
#[test]
fn a_container_that_dies_is_refused_or_done() {
    let host = GpuHost::new("debian-8").unwrap();
    let arena = Arena::new(|_| {});
    let host_mounts = Mounts::now().unwrap();
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    let begin = Instant::now();
    let mut turn = 0;
    while turn < 20 || begin.elapsed() < time_box() {
        let container = arena.container();
        let state = container.state();
        let hook = start(hook(&host, ""), &state);
        sleep(Duration::from_micros(turn % 20 * 250));
        kill(container);
        let output = hook.wait_with_output().unwrap();
        let code = code(&output);
        let is_known = |code: &String| REFUSALS.contains(&code.as_str());
        assert!(code.as_ref().is_none_or(is_known), "{output:?}");
        assert_eq!(arena.changes_around(), [""; 0]);
        assert_eq!(host_mounts.changes_to(&Mounts::now().unwrap()), [""; 0]);
        *outcomes
            .entry(code.unwrap_or_else(|| "done".to_owned()))
            .or_default() += 1;
        arena.remove_added();
        arena.put_back();
        turn += 1;
    }
    println!("containers that died: {outcomes:?}");
    host.assert_untouched().unwrap();
}

/// The number is another process's when the hook comes, or becomes it while it works: one of the
/// host, one with a mount namespace of its own, another container.
#[test]
fn a_number_that_is_used_again_is_noticed() {
    let host = GpuHost::new("debian-8").unwrap();
    let (arena, other) = (Arena::new(|_| {}), Arena::new(|_| {}));
    let host_mounts = Mounts::now().unwrap();
    let (mut again, mut outcomes) = (0, BTreeMap::<String, u64>::new());
    let begin = Instant::now();
    let mut turn = 0;
    while turn < 40 || begin.elapsed() < time_box() {
        let container = arena.container();
        let pid = container.pid;
        let early = (turn % 2 == 0).then(|| start(hook(&host, ""), &arena.ground.state(pid)));
        sleep(Duration::from_micros(turn % 20 * 100));
        kill(container);
        let successor = Successor::new(turn, pid, &other);
        again += u64::from(successor.pid() == pid);
        let before = successor.places();
        // The late hook comes when the number is another's.
        let hook =
            early.unwrap_or_else(|| start(hook(&host, ""), &arena.ground.state(successor.pid())));
        let output = hook.wait_with_output().unwrap();
        let code = code(&output);
        assert!(
            turn % 2 == 0 || code.as_deref() == Some("OG0601"),
            "{output:?}"
        );
        let is_known = |code: &String| REFUSALS.contains(&code.as_str());
        assert!(code.as_ref().is_none_or(is_known), "{output:?}");
        assert_eq!(successor.places(), before, "{code:?}");
        assert!(other.added().is_empty(), "{code:?}: {:?}", other.added());
        assert_eq!(other.changes_around(), [""; 0], "{code:?}");
        assert_eq!(host_mounts.changes_to(&Mounts::now().unwrap()), [""; 0]);
        *outcomes
            .entry(code.unwrap_or_else(|| "done".to_owned()))
            .or_default() += 1;
        successor.end();
        arena.remove_added();
        arena.put_back();
        turn += 1;
    }
    println!("numbers used again: {again} of {turn}; {outcomes:?}");
    host.assert_untouched().unwrap();
}

/// Kills its process; when this returns, the number is free.
fn kill(container: StandIn) {
    let pid = i32::try_from(container.pid).unwrap();
    nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    drop(container);
}

/// The process that gets the number.
enum Successor {
    Process(Child),
    Container(StandIn),
}

impl Successor {
    /// A new process, which gets the number `pid` if the kernel lets us choose.
    fn new(turn: u64, pid: u32, other: &Arena) -> Successor {
        // What is forked next gets the number after this one. Not every machine lets a test write
        // it, and others fork too: the caller counts.
        let _ = fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string());
        let mut command = match turn / 2 % 3 {
            0 => Command::new("cat"),
            1 => {
                let mut unshare = Command::new("unshare");
                unshare.args(["--mount", "--propagation", "private", "cat"]);
                unshare
            }
            _ => return Successor::Container(other.container()),
        };
        command.stdin(Stdio::piped());
        Successor::Process(command.spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        match self {
            Successor::Process(child) => child.id(),
            Successor::Container(container) => container.pid,
        }
    }

    /// The places of its mounts: in a namespace of its own, a process has them under other numbers.
    fn places(&self) -> Vec<PathBuf> {
        let mut places: Vec<_> = mounts(self.pid()).into_values().collect();
        places.sort();
        places
    }

    fn end(self) {
        if let Successor::Process(mut child) = self {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}
