//! Paths resolved, and files made by them, while they change.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::arena::{Arena, directory};
use super::attack::Attack;
use super::tally::{Outcome, Tally};
use super::{ATTACKERS, Setting, boxed, is_root, naive, race, until_escape};
use crate::resolve::{Scope, resolve};
use crate::target::{create_entry, entry};

/// What errors a lookup may end in, with openat2 and step by step. A name that is gone is ENOENT,
/// and so is a link out, which leads to nothing inside.
const RACES: &[(Attack, &[&str], &[&str])] = &[
    (Attack::AbsoluteLink, &["ENOENT"], &["ENOENT"]),
    (Attack::RelativeLink, &["ENOENT", "EAGAIN"], &["ENOENT"]),
    (Attack::ProcLink, &["ELOOP"], &["ELOOP"]),
    // The kernel notices a file that has left the directory by the end of the walk. Step by step,
    // what is opened for reading is compared with what was found before.
    (
        Attack::FinalLink,
        &["ENOENT", "EXDEV"],
        &["ENOENT", "ELOOP"],
    ),
    (Attack::MovedOut, &["ENOENT", "EAGAIN"], &["ENOENT"]),
    (Attack::Recreated, &["ENOENT"], &["ENOENT"]),
    (Attack::Flood, &["EAGAIN"], &[]),
];

/// What is looked up under each attack.
fn path(attack: Attack) -> &'static Path {
    Path::new(match attack {
        Attack::MovedOut => "ground/lib/sub/../../near/file",
        Attack::Flood => "way/lib/../lib/../lib/../lib/file",
        _ => "ground/lib/file",
    })
}

#[test]
fn no_lookup_leads_out() {
    if !is_root() {
        return;
    }
    let mut all = Tally::default();
    for setting in [Setting::New, Setting::StepByStep] {
        for (attack, with_openat2, by_steps) in RACES {
            let mut seen = Tally::default();
            for attackers in ATTACKERS {
                let tally = Arena::with(*attack, |arena| {
                    let (tally, ()) = race(arena, *attack, attackers, boxed, |rounds| {
                        arena.mount_proc();
                        setting.impose();
                        let root = directory(&arena.root());
                        let mut turn = 0;
                        while rounds.go_on() {
                            rounds.note(look(arena, &root, path(*attack), turn));
                            turn += 1;
                        }
                    });
                    assert_eq!(arena.damage(), None, "{attack:?}, {setting:?}");
                    tally
                });
                let expected = match setting {
                    Setting::New => with_openat2,
                    _ => by_steps,
                };
                let what = format!("resolve, {setting:?}, {attack:?}, {attackers} attackers");
                tally.assert_held(expected, &what);
                seen.add(&tally);
            }
            // Both states were met, or nothing was raced with.
            assert!(
                seen.inside > 0 && seen.strikes > 0,
                "{attack:?}, {setting:?}: {seen}"
            );
            let is_met = *attack == Attack::Flood || !seen.refused.is_empty();
            assert!(is_met, "{attack:?}, {setting:?}: {seen}");
            all.add(&seen);
        }
    }
    println!("resolve, in all: {all}");
}

/// One lookup, in one of the ways in which this crate looks things up.
fn look(arena: &Arena, root: &OwnedFd, path: &Path, turn: u64) -> Outcome {
    let open = |path: &Path, flags: OFlag| {
        resolve(root.as_fd(), path, flags, Mode::empty(), Scope::InRoot)
    };
    let parent = path.parent().unwrap_or(path);
    let in_directory = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let name = path.file_name().unwrap_or_default();
    let found = match turn % 5 {
        0 => open(path, OFlag::O_PATH),
        1 => open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK),
        2 => open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW),
        3 => open(parent, in_directory).and_then(|at| entry(at.as_fd(), name, OFlag::O_PATH)),
        // What is made is where its directory is, which is judged.
        _ => open(parent, in_directory).and_then(|at| {
            let name = OsStr::new("made");
            create_entry(at.as_fd(), name, 0o644)?;
            unlinkat(at.as_fd(), name, UnlinkatFlags::NoRemoveDir)?;
            Ok(at)
        }),
    };
    match found {
        Ok(found) => arena.judge(&found),
        Err(e) => Outcome::from(Err::<(), _>(e)),
    }
}

#[test]
fn naive_lookups_are_seen_to_lead_out() {
    if !is_root() {
        return;
    }
    type Lookup = fn(&Path, &Path) -> Result<OwnedFd, Errno>;
    let lookups: [(Attack, Lookup); 5] = [
        (Attack::AbsoluteLink, naive::checked_open),
        (Attack::RelativeLink, naive::checked_open),
        (Attack::ProcLink, naive::checked_open),
        (Attack::FinalLink, naive::checked_open),
        (Attack::MovedOut, naive::walk),
    ];
    let mut escapes = BTreeMap::new();
    for (attack, lookup) in lookups {
        let (tally, ()) = Arena::with(attack, |arena| {
            race(arena, attack, 4, until_escape, |rounds| {
                arena.mount_proc();
                let root = arena.root();
                while rounds.go_on() {
                    rounds.note(match lookup(&root, path(attack)) {
                        Ok(found) => arena.judge(&found),
                        Err(e) => Outcome::from(Err::<(), _>(e)),
                    });
                }
            })
        });
        println!("naive lookup, {attack:?}, 4 attackers: {tally}");
        escapes.insert(attack, tally.escapes);
    }
    assert!(escapes.values().all(|count| *count > 0), "{escapes:?}");
}
