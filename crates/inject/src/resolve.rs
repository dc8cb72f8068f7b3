//! Paths of the container, resolved below a directory: by openat2(2), or step by step where the
//! kernel has no such call or a seccomp profile around the runtime forbids it.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::statfs::{FsType, fstatfs};

/// The kernel gives up a resolution that raced with a rename (EAGAIN, openat2(2)). An attacker who
/// renames without pause makes us fail, in bounded time.
const RETRIES: u32 = 128;

/// As many symbolic links as the kernel follows in one path (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Where a resolution may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The directory is `/`: absolute links and `..` stay below it.
    InRoot,
    /// One name in the directory; no link is followed.
    Entry,
}

/// Opens `path` below `from`. Links of procfs to a process's files are never followed.
pub(crate) fn resolve(
    from: BorrowedFd<'_>,
    path: &Path,
    flags: OFlag,
    mode: Mode,
    scope: Scope,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlag::O_CLOEXEC;
    match has_openat2() {
        true => in_kernel(from, path, flags, mode, scope),
        false => step_by_step(from, path, flags, mode, scope),
    }
}

/// Asked once a thread, for filters belong to threads: ENOSYS before Linux 5.6, EPERM behind old
/// seccomp profiles.
fn has_openat2() -> bool {
    thread_local!(static ANSWER: OnceCell<bool> = const { OnceCell::new() });
    ANSWER.with(|answer| {
        *answer.get_or_init(|| {
            let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC);
            openat2(AT_FDCWD, "/", how).is_ok()
        })
    })
}

fn in_kernel(
    from: BorrowedFd<'_>,
    path: &Path,
    flags: OFlag,
    mode: Mode,
    scope: Scope,
) -> Result<OwnedFd, Errno> {
    let (flags, resolve) = match scope {
        Scope::InRoot => (flags, ResolveFlag::RESOLVE_IN_ROOT),
        Scope::Entry => (flags | OFlag::O_NOFOLLOW, ResolveFlag::RESOLVE_BENEATH),
    };
    let how = OpenHow::new()
        .flags(flags)
        .mode(mode)
        .resolve(resolve | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    for _ in 0..RETRIES {
        match openat2(from, path, how) {
            Err(Errno::EAGAIN | Errno::EINTR) => continue,
            other => return other,
        }
    }
    Err(Errno::EAGAIN)
}

/// The same without openat2: each component is opened by itself without following it, links are
/// expanded by us, and `..` goes back to the directory that we came from. So no rename can lead
/// out: whatever is opened was, at that moment, an entry of a directory that we hold.
fn step_by_step(
    from: BorrowedFd<'_>,
    path: &Path,
    flags: OFlag,
    mode: Mode,
    scope: Scope,
) -> Result<OwnedFd, Errno> {
    if scope == Scope::Entry {
        return open_entry(from, path.as_os_str(), flags, mode);
    }
    let mut way: Vec<OwnedFd> = Vec::new();
    let mut left: VecDeque<OsString> = names(path).collect();
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            way.pop();
            continue;
        }
        let here = way.last().map_or(from, AsFd::as_fd);
        let last = left.is_empty();
        if last && flags.contains(OFlag::O_CREAT) {
            return open_entry(here, &name, flags, mode);
        }
        let found = open_entry(here, &name, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
        let kind = fstat(&found)?.st_mode & SFlag::S_IFMT.bits();
        if kind == SFlag::S_IFLNK.bits() && !(last && flags.contains(OFlag::O_NOFOLLOW)) {
            links += 1;
            if links > MAX_LINKS || is_procfs(&found) {
                return Err(Errno::ELOOP);
            }
            let target = readlinkat(&found, "")?;
            let target = Path::new(&target);
            if target.is_absolute() {
                way.clear();
            }
            let mut expanded: VecDeque<OsString> = names(target).collect();
            expanded.append(&mut left);
            left = expanded;
            continue;
        }
        if last && !flags.contains(OFlag::O_PATH) {
            return reopen(here, &name, flags, &found);
        }
        if (!last || flags.contains(OFlag::O_DIRECTORY)) && kind != SFlag::S_IFDIR.bits() {
            return Err(Errno::ENOTDIR);
        }
        way.push(found);
    }
    match way.pop() {
        Some(found) if flags.contains(OFlag::O_PATH) => Ok(found),
        Some(found) => open_entry(found.as_fd(), OsStr::new("."), flags, mode),
        None => open_entry(from, OsStr::new("."), flags, mode),
    }
}

fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|c| match c {
        Component::Normal(name) => Some(name.to_os_string()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    })
}

/// An entry of `directory` itself; nothing that is not a plain name, and no link.
fn open_entry(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    flags: OFlag,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    if name.as_bytes().contains(&b'/') || name == ".." || name.is_empty() {
        return Err(Errno::EXDEV);
    }
    openat(
        directory,
        name,
        flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
        mode,
    )
}

/// Opens for reading or writing what `found` is, which the name may no longer be.
fn reopen(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    flags: OFlag,
    found: &OwnedFd,
) -> Result<OwnedFd, Errno> {
    let opened = open_entry(directory, name, flags, Mode::empty())?;
    let (a, b) = (fstat(&opened)?, fstat(found)?);
    match (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino) {
        true => Ok(opened),
        false => Err(Errno::EAGAIN),
    }
}

fn is_procfs(file: &OwnedFd) -> bool {
    const PROC: FsType = FsType(libc::PROC_SUPER_MAGIC);
    fstatfs(file).map_or(true, |s| s.filesystem_type() == PROC)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "trees of the tests' own")]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        fs::write(root.join("a/b/file"), "content").unwrap();
        for (link, target) in [
            ("abs", "/a/b"),
            ("a/rel", "../a/b"),
            ("out", "../../../../../../.."),
            ("abs-out", "/../../etc"),
            ("loop", "loop"),
            ("dangling", "/nowhere/at/all"),
            ("to-file", "/a/b/file"),
            ("proc-root", "proc/self/root"),
            ("dot", "."),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        // Forty links follow each other, and one more.
        symlink("a", root.join("l0")).unwrap();
        for i in 1..=40 {
            symlink(format!("l{}", i - 1), root.join(format!("l{i}"))).unwrap();
        }
        dir
    }

    type Way = fn(BorrowedFd<'_>, &Path, OFlag, Mode, Scope) -> Result<OwnedFd, Errno>;

    fn identity(found: Result<OwnedFd, Errno>) -> Result<(u64, u64, u32), Errno> {
        let stat = fstat(found?)?;
        Ok((stat.st_dev, stat.st_ino, stat.st_mode))
    }

    /// Both ways agree on every path, flag and scope, the kernel's being the model.
    #[test]
    fn the_two_ways_agree() {
        let dir = tree();
        let root = fs::File::open(dir.path()).unwrap();
        let flags = [
            OFlag::O_PATH,
            OFlag::O_PATH | OFlag::O_NOFOLLOW,
            OFlag::O_PATH | OFlag::O_DIRECTORY,
            OFlag::O_RDONLY | OFlag::O_NONBLOCK,
        ];
        let paths = [
            "a",
            "a/b",
            "a/b/file",
            "a/b/file/x",
            "a/../a/b",
            "..",
            "../../..",
            ".",
            "abs",
            "abs/c",
            "a/rel/file",
            "a/rel/../b",
            "out",
            "out/a",
            "abs-out",
            "loop",
            "loop/x",
            "dangling",
            "to-file",
            "to-file/..",
            "l39",
            "l40",
            "l39/b",
            "l40/b",
            "missing",
            "missing/x",
            "dot/dot/a",
            "a//b/",
            "a/b/c/../../..",
        ];
        for path in paths {
            for flags in flags {
                let (path, mode) = (Path::new(path), Mode::empty());
                let flags = flags | OFlag::O_CLOEXEC;
                let by = |way: Way| identity(way(root.as_fd(), path, flags, mode, Scope::InRoot));
                let ours = by(step_by_step);
                // Where renames elsewhere (the races beside this test) make the kernel start over,
                // it counts the links that it had followed once more, and refuses the fortieth.
                let model = (0..1000)
                    .map(|_| by(in_kernel))
                    .find(|model| *model == ours)
                    .unwrap_or_else(|| by(in_kernel));
                assert_eq!(ours, model, "{} {flags:?}", path.display());
            }
        }
        for name in ["a", "abs", "loop", "missing", "to-file"] {
            let name = Path::new(name);
            let model = in_kernel(
                root.as_fd(),
                name,
                OFlag::O_PATH,
                Mode::empty(),
                Scope::Entry,
            );
            let ours = step_by_step(
                root.as_fd(),
                name,
                OFlag::O_PATH,
                Mode::empty(),
                Scope::Entry,
            );
            assert_eq!(identity(ours), identity(model), "{}", name.display());
        }
        for out in ["..", "a/b", "/"] {
            let out = Path::new(out);
            assert!(
                step_by_step(
                    root.as_fd(),
                    out,
                    OFlag::O_PATH,
                    Mode::empty(),
                    Scope::Entry
                )
                .is_err()
            );
        }
    }

    /// A link of procfs leads out of every root: both refuse it.
    #[test]
    fn links_of_procfs_are_refused() {
        let root = fs::File::open("/").unwrap();
        for path in ["proc/self/root", "proc/self/cwd/x", "proc/self/fd/0"] {
            for way in [in_kernel, step_by_step] {
                let found = way(
                    root.as_fd(),
                    Path::new(path),
                    OFlag::O_PATH,
                    Mode::empty(),
                    Scope::InRoot,
                );
                assert_eq!(found.unwrap_err(), Errno::ELOOP, "{path}");
            }
        }
    }

    #[test]
    fn creation_follows_nothing_at_the_end() {
        let dir = tree();
        let root = fs::File::open(dir.path()).unwrap();
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o644);
        for way in [in_kernel, step_by_step] {
            for taken in ["dangling", "abs", "a"] {
                let made = way(root.as_fd(), Path::new(taken), flags, mode, Scope::Entry);
                assert_eq!(made.unwrap_err(), Errno::EEXIST, "{taken}");
            }
            way(root.as_fd(), Path::new("new"), flags, mode, Scope::Entry).unwrap();
            fs::remove_file(dir.path().join("new")).unwrap();
        }
    }
}
