//! Whole plans carried out, and undone, while the root changes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread;

use nix::sched::{CloneFlags, unshare};
use oci_gpu::container::Mount;
use oci_gpu::finding::{Code, Finding};
use oci_gpu::host::Host;
use oci_gpu::plan::{Action, BindKind, CacheEntry, FileEntry, Operation, Plan};

use super::arena::Arena;
use super::attack::Attack;
use super::tally::{Outcome, Tally};
use super::{ATTACKERS, Setting, boxed, is_root, naive, race, until_escape};
use crate::Receipt;
use crate::rootfs::Rootfs;
use crate::sources::Sources;
use crate::steps::apply;

const ATTACKS: [Attack; 10] = [
    Attack::AbsoluteLink,
    Attack::RelativeLink,
    Attack::ProcLink,
    Attack::FinalLink,
    Attack::MovedOut,
    Attack::Recreated,
    Attack::Flood,
    Attack::Etc,
    Attack::Proc,
    Attack::Dev,
];

/// A place in the container that was changed; a mount that the kernel refused, for its target was
/// gone; the loader's cache.
const REFUSALS: [&str; 3] = ["OG0602", "OG0603", "OG0605"];

/// Every kind of action, where the attack is.
fn plan(attack: Attack) -> Plan {
    let at = |name: &str| {
        let way = match attack {
            Attack::Flood => "/way/lib",
            _ => "/ground/lib",
        };
        Path::new(way).join(name)
    };
    let bind = |kind, source: &str, target| Operation::Bind {
        kind,
        source: source.into(),
        target,
    };
    let link = |target| Operation::Symlink {
        target,
        points_to: "libgpu.so.1".into(),
    };
    let cache = |soname: &str| CacheEntry {
        soname: soname.to_owned(),
        path: at(soname),
        flags: 0x303,
    };
    let mut actions = vec![
        bind(BindKind::Library, "/libgpu.so.1", at("libgpu.so.1")),
        bind(BindKind::Config, "/other", at("file")),
        bind(BindKind::Directory, "/run/dir", at("sub/made/dir")),
        link(at("libgpu.so")),
        link(at("old.so")),
    ];
    if attack == Attack::Etc {
        actions.push(bind(BindKind::Config, "/other", "/etc/gpu.conf".into()));
        actions.push(Operation::LdCache {
            entries: vec![cache("libgpu.so.1")],
            directories: Vec::new(),
        });
    }
    if attack == Attack::Proc {
        let entry = |path: &str, content| FileEntry {
            path: path.into(),
            content,
            mode: 0o555,
        };
        actions.push(Operation::Files {
            target: "/proc/driver".into(),
            entries: vec![
                entry("gpus", None),
                entry("gpus/information", Some(b"granted".to_vec())),
            ],
        });
    }
    if attack == Attack::Dev {
        actions.push(bind(BindKind::Config, "/other", "/dev/gpu".into()));
    }
    // Nothing to do, but a step: before it the work is complete.
    actions.push(Operation::Group { gid: 0 });
    let mut plan = Plan::default();
    plan.actions = actions.into_iter().map(required).collect();
    plan
}

fn required(what: Operation) -> Action {
    Action {
        what,
        why: String::new(),
        required: true,
    }
}

/// The victim: a root as a runtime mounts it, and a plan.
struct Victim<'a> {
    arena: &'a Arena,
    plan: Plan,
    mounts: BTreeMap<String, PathBuf>,
}

impl Victim<'_> {
    fn new(arena: &Arena, setting: Setting, attack: Attack) -> Victim<'_> {
        arena.mount_root(setting == Setting::ReadOnly);
        arena.mount_proc();
        arena.mount_dev_and_volume();
        setting.impose();
        Victim {
            arena,
            plan: plan(attack),
            mounts: mounts(),
        }
    }

    /// Carries the plan out, looks around when all is done, and has it undone.
    fn attempt(&self) -> Outcome {
        let mut receipt = Receipt::default();
        let host = Host::at(self.arena.dir().join("host"));
        let sources = Sources::open(&self.plan, &host, &mut receipt).unwrap();
        let top = File::open("/").unwrap();
        // What a runtime mounts for a container alone.
        let fresh = |place: &str| Mount {
            destination: PathBuf::from(place),
            source: PathBuf::from("none"),
            fresh: true,
        };
        let mounts = [fresh("/proc"), fresh("/dev")];
        let root = Rootfs::open(top.as_fd(), &self.arena.root(), &mounts).unwrap();
        let mut steps = 0;
        let mut is_held = true;
        let done = apply(&self.plan, &sources, &root, &mut receipt, &mut || {
            steps += 1;
            if steps < self.plan.actions.len() {
                return None;
            }
            is_held = self.is_held(&self.mounts);
            Some(Finding::new(Code::Deadline, "all was done", ""))
        });
        let finding = done.unwrap_err();
        match is_held && self.is_held(&self.mounts) {
            false => Outcome::Escaped,
            true if finding.code == Code::Deadline => Outcome::Inside,
            true => Outcome::Refused(finding.code.to_string()),
        }
    }

    /// Whether every mount since `before` is below the root, and nothing beside it was changed.
    fn is_held(&self, before: &BTreeMap<String, PathBuf>) -> bool {
        let root = self.arena.root();
        let is_below = |place: &PathBuf| place.starts_with(&root);
        new_since(before).values().all(is_below) && self.arena.is_untouched()
    }
}

/// The mounts of this thread's mount namespace: number and place. Those that nobody can reach any
/// more, such as one in a directory that was moved out of its mount, are not among them.
fn mounts() -> BTreeMap<String, PathBuf> {
    let text = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let mounts = text.lines().map(|line| {
        let words: Vec<_> = line.split(' ').collect();
        (words[0].to_owned(), words[4].into())
    });
    mounts.collect()
}

/// By their numbers, for a mount moves with its mount point when somebody renames that.
fn new_since(before: &BTreeMap<String, PathBuf>) -> BTreeMap<String, PathBuf> {
    let mut now = mounts();
    now.retain(|number, _| !before.contains_key(number));
    now
}

#[test]
fn no_plan_leads_out_and_each_is_undone() {
    if !is_root() {
        return;
    }
    let mut all = Tally::default();
    for setting in Setting::ALL {
        for attack in ATTACKS {
            let mut seen = Tally::default();
            for attackers in ATTACKERS {
                let what = format!("plan, {setting:?}, {attack:?}, {attackers} attackers");
                let tally = Arena::with(attack, |arena| plans(arena, setting, attack, attackers));
                tally.assert_held(&REFUSALS, &what);
                seen.add(&tally);
            }
            assert!(
                seen.inside > 0 && seen.strikes > 0,
                "{attack:?}, {setting:?}: {seen}"
            );
            all.add(&seen);
        }
    }
    println!("plans, in all: {all}");
}

fn plans(arena: &Arena, setting: Setting, attack: Attack, attackers: usize) -> Tally {
    let content = || match attack {
        // Whoever takes the temporary name decides what the link holds in the end.
        Attack::FinalLink | Attack::Etc => arena.names(),
        _ => arena.content(),
    };
    let before = content();
    let (tally, left) = race(arena, attack, attackers, boxed, |rounds| {
        let victim = Victim::new(arena, setting, attack);
        while rounds.go_on() {
            rounds.note(victim.attempt());
        }
        rounds.rest();
        new_since(&victim.mounts)
    });
    assert!(left.is_empty(), "{setting:?}, {attack:?}: {left:?}");
    assert_eq!(before, content(), "{setting:?}, {attack:?}");
    tally
}

#[test]
fn naive_mounts_are_seen_to_lead_out() {
    if !is_root() {
        return;
    }
    for attack in [
        Attack::AbsoluteLink,
        Attack::RelativeLink,
        Attack::ProcLink,
        Attack::FinalLink,
    ] {
        let (tally, ()) = Arena::with(attack, |arena| {
            race(arena, attack, 4, until_escape, |rounds| {
                let victim = Victim::new(arena, Setting::New, attack);
                let source = arena.dir().join("host/other");
                while rounds.go_on() {
                    // What it mounts goes with its namespace: there is no safe way to take it away.
                    let attempt = || {
                        unshare(CloneFlags::CLONE_NEWNS).unwrap();
                        let before = mounts();
                        let path = Path::new("ground/lib/file");
                        let mounted = naive::checked_mount(&source, &arena.root(), path);
                        match victim.is_held(&before) {
                            true => Outcome::from(mounted),
                            false => Outcome::Escaped,
                        }
                    };
                    rounds.note(thread::scope(|s| s.spawn(attempt).join().unwrap()));
                }
            })
        });
        println!("naive mount, {attack:?}, 4 attackers: {tally}");
        assert!(tally.escapes > 0, "{attack:?}: {tally}");
    }
}
