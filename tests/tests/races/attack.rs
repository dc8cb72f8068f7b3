//! What attackers do while the hook works. They are on the host, as it were a container that
//! shares the root or the volume: there they can rename even what is a mount point of this one.

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, RenameFlags, openat, renameat, renameat2};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};

/// Strikes without pause; see crates/inject/src/races.
const BURST: u64 = 63;

/// What is exchanged, moved or removed: a strike, and the strike that takes it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attack {
    /// The directory of the libraries, with a link out.
    Libraries,
    /// A library's mount point in it, with a link out.
    Library,
    /// A library's mount point is removed and made again.
    Recreated,
    /// The directory of the libraries is moved out of the root and back.
    MovedOut,
    /// /etc, with a link out; ld.so.cache is truncated and its temporary name is taken.
    Etc,
    /// /dev, with a link to the volume.
    Dev,
    /// The libraries lie on the volume, by a link of the image; there a sibling exchanges the
    /// directory with a link out.
    Volume,
    /// Renames elsewhere without pause, and an image whose link climbs and climbs.
    Flood,
}

impl Attack {
    pub(crate) const ALL: [Attack; 8] = [
        Attack::Libraries,
        Attack::Library,
        Attack::Recreated,
        Attack::MovedOut,
        Attack::Etc,
        Attack::Dev,
        Attack::Volume,
        Attack::Flood,
    ];

    /// Makes the arena in `dir` one for this attack; `libraries` are the names that the hook makes
    /// in a library directory, and what links among them hold.
    pub(crate) fn prepare(self, dir: &Path, libraries: &[(String, Option<String>)]) {
        let at = |path: &str| dir.join(path);
        let (link, leads_to) = match self {
            Attack::Library | Attack::Recreated => ("root/usr/link", at("canary/file")),
            Attack::Etc => ("root/link", at("canary/etc")),
            Attack::Dev => ("root/link", "volume".into()),
            Attack::Volume => ("volume/link", at("canary/lib64")),
            _ => ("root/usr/link", at("canary/lib64")),
        };
        symlink(leads_to, at(link)).unwrap();
        let there = match self {
            Attack::Volume => "volume/lib",
            _ => "root/usr/lib64",
        };
        for (name, holds) in libraries {
            match holds {
                Some(to) => symlink(to, at(there).join(name)).unwrap(),
                None => fs::write(at(there).join(name), "").unwrap(),
            }
        }
        if self == Attack::Recreated {
            let library = at(there).join(library(libraries));
            fs::hard_link(library, at("elsewhere/spare")).unwrap();
        }
        let image_link = match self {
            Attack::Volume => "/volume/lib",
            Attack::Flood => "../etc/../usr/../etc/../usr/libraries",
            _ => return,
        };
        let lib64 = at("root/usr/lib64");
        fs::create_dir(at("root/usr/libraries")).unwrap();
        fs::remove_dir(&lib64).unwrap();
        symlink(image_link, lib64).unwrap();
    }

    /// Whether the libraries' places must be there before the hook comes.
    pub(crate) fn needs_libraries(self) -> bool {
        matches!(self, Attack::Library | Attack::Recreated | Attack::Volume)
    }
}

/// The library whose place is attacked.
pub(crate) fn library(libraries: &[(String, Option<String>)]) -> &str {
    let files = libraries.iter().filter(|(_, holds)| holds.is_none());
    files
        .map(|(name, _)| name.as_str())
        .next()
        .unwrap_or_default()
}

/// The attackers' descriptors, opened when all was in its place.
struct Ground {
    root: File,
    usr: File,
    libraries: File,
    etc: File,
    volume: File,
    limbo: File,
    elsewhere: File,
    /// A library's name.
    library: String,
}

/// The attackers, and what they have done.
pub(crate) struct Attackers {
    attack: Attack,
    ground: Ground,
    phase: Mutex<Phase>,
    changed: Condvar,
    at_it: AtomicBool,
    strikes: AtomicU64,
}

#[derive(Default)]
struct Phase {
    over: bool,
    at_work: usize,
}

impl Attackers {
    pub(crate) fn new(
        attack: Attack,
        dir: &Path,
        libraries: &[(String, Option<String>)],
    ) -> Attackers {
        let open = |path: &str| File::open(dir.join(path)).unwrap();
        Attackers {
            attack,
            ground: Ground {
                root: open("root"),
                usr: open("root/usr"),
                libraries: match attack {
                    Attack::Volume | Attack::Flood => open("volume/lib"),
                    _ => open("root/usr/lib64"),
                },
                etc: open("root/etc"),
                volume: open("volume"),
                limbo: open("limbo"),
                elsewhere: open("elsewhere"),
                library: library(libraries).to_owned(),
            },
            phase: Mutex::default(),
            changed: Condvar::new(),
            at_it: AtomicBool::new(false),
            strikes: AtomicU64::new(0),
        }
    }

    /// One attacker's life.
    pub(crate) fn live(&self, worker: usize) {
        loop {
            let idle = |phase: &mut Phase| !phase.over && !self.at_it.load(Ordering::Relaxed);
            let phase = self.phase.lock().unwrap();
            let mut phase = self.changed.wait_while(phase, idle).unwrap();
            if phase.over {
                return;
            }
            phase.at_work += 1;
            drop(phase);
            self.strike(worker);
            self.phase.lock().unwrap().at_work -= 1;
            self.changed.notify_all();
        }
    }

    fn strike(&self, worker: usize) {
        let (mut turn, mut done) = (0, 0);
        while turn % 2 == 1 || self.at_it.load(Ordering::Relaxed) {
            let change = self.ground.strike(self.attack, worker, turn);
            done += u64::from(change.is_ok());
            turn += 1;
            if turn % BURST == 0 {
                thread::yield_now();
            }
        }
        self.strikes.fetch_add(done, Ordering::Relaxed);
    }

    pub(crate) fn begin(&self) {
        let _phase = self.phase.lock().unwrap();
        self.at_it.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// When this returns, everything is where it was, but for what the hook is in the way of.
    pub(crate) fn rest(&self) {
        self.at_it.store(false, Ordering::Relaxed);
        let phase = self.phase.lock().unwrap();
        let busy = |phase: &mut Phase| phase.at_work > 0;
        drop(self.changed.wait_while(phase, busy).unwrap());
        self.settle();
    }

    /// Puts back what the hook was in the way of.
    pub(crate) fn settle(&self) {
        let ground = &self.ground;
        let _ = match self.attack {
            Attack::MovedOut => renameat(&ground.limbo, "lib64", &ground.usr, "lib64"),
            Attack::Recreated => ground.library_again(),
            _ => Ok(()),
        };
    }

    pub(crate) fn strikes(&self) -> u64 {
        self.strikes.load(Ordering::Relaxed)
    }
}

/// Ends the attackers when it is dropped, even by a panic.
pub(crate) struct Ended<'a>(pub(crate) &'a Attackers);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.at_it.store(false, Ordering::Relaxed);
        if let Ok(mut phase) = self.0.phase.lock() {
            phase.over = true;
        }
        self.0.changed.notify_all();
    }
}

impl Ground {
    fn strike(&self, attack: Attack, worker: usize, turn: u64) -> Result<(), Errno> {
        let is_back = turn % 2 == 1;
        match attack {
            Attack::Libraries => exchange(self.usr.as_fd(), "lib64"),
            Attack::Library => {
                let (name, flags) = (self.library.as_str(), RenameFlags::RENAME_EXCHANGE);
                renameat2(&self.libraries, name, &self.usr, "link", flags)
            }
            Attack::Recreated if is_back => self.library_again(),
            Attack::Recreated => unlink(self.libraries.as_fd(), &self.library),
            Attack::MovedOut if is_back => renameat(&self.limbo, "lib64", &self.usr, "lib64"),
            Attack::MovedOut => renameat(&self.usr, "lib64", &self.limbo, "lib64"),
            Attack::Etc => {
                let flags = OFlag::O_WRONLY | OFlag::O_TRUNC | OFlag::O_CLOEXEC;
                let _ = openat(&self.etc, "ld.so.cache", flags, Mode::empty());
                if symlinkat("ld.so.cache", &self.etc, ".oci-gpu.tmp").is_ok() {
                    let _ = unlink(self.etc.as_fd(), ".oci-gpu.tmp");
                }
                exchange(self.root.as_fd(), "etc")
            }
            Attack::Dev => exchange(self.root.as_fd(), "dev"),
            Attack::Volume => exchange(self.volume.as_fd(), "lib"),
            Attack::Flood => {
                let mut names = [format!("a{worker}"), format!("b{worker}")];
                if is_back {
                    names.reverse();
                }
                let [from, to] = &names;
                let _ = symlinkat("nothing", &self.elsewhere, from.as_str());
                renameat(&self.elsewhere, from.as_str(), &self.elsewhere, to.as_str())
            }
        }
    }

    fn library_again(&self) -> Result<(), Errno> {
        let (from, to, name) = (&self.elsewhere, &self.libraries, self.library.as_str());
        linkat(from, "spare", to, name, AtFlags::empty())
    }
}

fn exchange(at: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    renameat2(at, name, at, "link", RenameFlags::RENAME_EXCHANGE)
}

fn unlink(at: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    unlinkat(at, name, UnlinkatFlags::NoRemoveDir)
}
