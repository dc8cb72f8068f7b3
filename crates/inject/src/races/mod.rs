//! Races: one thread resolves, creates and mounts in a root while others exchange, move, remove and
//! replace what its paths lead to.
//!
//! Everything happens in a mount namespace of the test's own, on a tmpfs of its own. What the
//! attackers do they do from outside the victim's namespace, as a container does that shares the
//! root or a volume: there even mount points can be renamed. An escape is told by identity: what
//! was opened is none of the files that were inside when the race began, something in the
//! canary beside the root is not what it was, or a mount lies elsewhere than below the root. The
//! same harness lets a naive resolver and a naive mounter run, and sees them escape.
//!
//! Each combination of attack, number of attackers and setting runs for `OCI_GPU_RACE_SECONDS`
//! (0.1 where it is not set). Needs root.

mod arena;
mod attack;
mod mounting;
mod naive;
mod resolving;
mod tally;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;
use oci_gpu_sys::seccomp::{Verdict, filter};

use arena::Arena;
use attack::{Attack, Ground};
use tally::{Outcome, Tally};

const ATTACKERS: [usize; 3] = [1, 4, 16];

/// Strikes without pause: many attackers share few processors, and the victim must have its turn.
/// An odd number, so that it comes when things are in their places and when they are not.
const BURST: u64 = 63;

/// A naive victim runs until it was seen to escape, at most for this long.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the victim finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setting {
    /// Every system call.
    New,
    /// The same, and a root that is mounted read-only.
    ReadOnly,
    /// No openat2: paths are resolved step by step.
    StepByStep,
    /// No system call that came after mount(2) and openat(2).
    Classic,
}

impl Setting {
    const ALL: [Setting; 4] = [
        Setting::New,
        Setting::ReadOnly,
        Setting::StepByStep,
        Setting::Classic,
    ];

    /// Takes the calls away from the calling thread, for good.
    fn impose(self) {
        let newer = [
            libc::SYS_openat2,
            libc::SYS_open_tree,
            libc::SYS_move_mount,
            libc::SYS_mount_setattr,
            libc::SYS_fsopen,
        ];
        let missing = match self {
            Setting::New | Setting::ReadOnly => &newer[..0],
            Setting::StepByStep => &newer[..1],
            Setting::Classic => &newer[..],
        };
        let verdict = Verdict::Fail(libc::ENOSYS as u16);
        let calls: Vec<_> = missing.iter().map(|call| (*call, verdict)).collect();
        filter(&calls, Verdict::Allow).unwrap();
    }
}

fn time_box() -> Duration {
    let seconds = std::env::var("OCI_GPU_RACE_SECONDS").map_or(0.1, |s| s.parse().unwrap());
    Duration::from_secs_f64(seconds)
}

fn is_root() -> bool {
    let root = geteuid().is_root();
    if !root {
        println!("SKIP races: mount namespaces need root");
    }
    root
}

/// Runs `work` in a thread that has a mount namespace of its own.
fn in_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let work = || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        work()
    };
    thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The victim's side of a race: how long it goes on, and what came of it.
struct Rounds<'a> {
    begin: Option<Instant>,
    wanted: fn(&Tally, Duration) -> bool,
    attackers: &'a Attackers,
    tally: Tally,
}

impl Rounds<'_> {
    /// Whether there is another round. The attacks begin with the first question.
    fn go_on(&mut self) -> bool {
        self.attackers.begun.store(true, Ordering::Release);
        let begin = *self.begin.get_or_insert_with(Instant::now);
        (self.wanted)(&self.tally, begin.elapsed())
    }

    fn note(&mut self, outcome: Outcome) {
        self.tally.note(outcome);
    }

    /// Ends the attacks; when this returns, everything is where it was.
    fn rest(&mut self) {
        self.attackers.over.store(true, Ordering::Relaxed);
        while self.attackers.at_work.load(Ordering::Acquire) > 0 {
            thread::yield_now();
        }
        self.attackers.attack.settle(&self.attackers.ground);
    }
}

impl Drop for Rounds<'_> {
    fn drop(&mut self) {
        self.attackers.over.store(true, Ordering::Relaxed);
    }
}

/// Those that change the root.
struct Attackers {
    attack: Attack,
    ground: Ground,
    begun: AtomicBool,
    over: AtomicBool,
    at_work: AtomicUsize,
    strikes: AtomicU64,
}

impl Attackers {
    fn work(&self, worker: usize) {
        let is_over = || self.over.load(Ordering::Relaxed);
        while !self.begun.load(Ordering::Acquire) && !is_over() {
            thread::yield_now();
        }
        let (mut turn, mut done) = (0, 0);
        while turn % 2 == 1 || !is_over() {
            done += u64::from(self.attack.strike(&self.ground, worker, turn));
            turn += 1;
            if turn % BURST == 0 {
                thread::yield_now();
            }
        }
        self.strikes.fetch_add(done, Ordering::Relaxed);
        self.at_work.fetch_sub(1, Ordering::Release);
    }
}

/// Until the time is over.
fn boxed(_: &Tally, elapsed: Duration) -> bool {
    elapsed < time_box()
}

/// Until an escape was seen.
fn until_escape(tally: &Tally, elapsed: Duration) -> bool {
    elapsed < time_box() || (tally.escapes == 0 && elapsed < PATIENCE)
}

/// Lets `victim`, in a mount namespace of its own, race with `number` attackers. Returns what came
/// of it, and what the victim returns.
fn race<T: Send>(
    arena: &Arena,
    attack: Attack,
    number: usize,
    wanted: fn(&Tally, Duration) -> bool,
    victim: impl FnOnce(&mut Rounds<'_>) -> T + Send,
) -> (Tally, T) {
    let attackers = Attackers {
        attack,
        ground: Ground::open(arena.dir(), attack),
        begun: AtomicBool::new(false),
        over: AtomicBool::new(false),
        at_work: AtomicUsize::new(number),
        strikes: AtomicU64::new(0),
    };
    let (mut tally, returned) = thread::scope(|scope| {
        let attackers = &attackers;
        for worker in 0..number {
            scope.spawn(move || attackers.work(worker));
        }
        let mut rounds = Rounds {
            begin: None,
            wanted,
            attackers,
            tally: Tally::default(),
        };
        in_namespace(move || {
            let returned = victim(&mut rounds);
            (std::mem::take(&mut rounds.tally), returned)
        })
    });
    tally.strikes = attackers.strikes.into_inner();
    (tally, returned)
}
