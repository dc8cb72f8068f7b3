//! Files and links that take a name when they are complete, in one step.
//!
//! Several hooks may work on one root at the same time, and one may have been killed half way. So a
//! temporary file is locked by who writes it: one that nobody holds is a leftover and goes, one that
//! is held is left alone. A link's temporary name is its target's, so whoever made it, it is right.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, readlinkat, renameat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};
use oci_gpu_sys::file::try_lock;

use crate::attach::own;
use crate::sources::Identity;
use crate::target::{create_entry, entry};

/// What temporary names begin with.
pub(crate) const PREFIX: &str = ".oci-gpu.tmp";

/// Names that are tried before giving up.
const ATTEMPTS: u32 = 8;

/// Makes `name` in `directory` a file that holds `content`, mode 0644, in the place of whatever file
/// or link has that name.
pub(crate) fn replace_file(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    content: &[u8],
) -> Result<(), Errno> {
    let (mut file, temporary) = create(directory)?;
    let errno = |e: std::io::Error| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO));
    let made = fchmod(&file, Mode::from_bits_truncate(0o644))
        .and_then(|()| file.write_all(content).map_err(errno))
        .and_then(|()| renameat(directory, temporary.as_os_str(), directory, name));
    if made.is_err() {
        remove(directory, &temporary);
    }
    made
}

/// Makes `name` in `directory` a link that holds `points_to`, in the place of whatever file or link
/// has that name.
pub(crate) fn replace_link(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    points_to: &Path,
) -> Result<(), Errno> {
    let mut temporary = OsString::from(format!("{PREFIX}."));
    temporary.push(name);
    let mut made = Err(Errno::EEXIST);
    // A leftover goes; another hook that makes the same link may come between, as often as it runs.
    for _ in 0..ATTEMPTS {
        made = symlinkat(points_to, directory, temporary.as_os_str());
        match made {
            Err(Errno::EEXIST) if holds(directory, &temporary, points_to) => made = Ok(()),
            Err(Errno::EEXIST) if holds(directory, name, points_to) => return Ok(()),
            Err(Errno::EEXIST) => {
                remove(directory, &temporary);
                continue;
            }
            _ => {}
        }
        break;
    }
    made?;
    let renamed = renameat(directory, temporary.as_os_str(), directory, name);
    match renamed {
        // Somebody who wanted the same was faster.
        Err(Errno::ENOENT) if holds(directory, name, points_to) => Ok(()),
        Err(e) => {
            remove(directory, &temporary);
            Err(e)
        }
        Ok(()) => Ok(()),
    }
}

/// A new file under a temporary name, locked where its file system has locks; where it has none,
/// nobody can take the file for a leftover either.
fn create(directory: BorrowedFd<'_>) -> Result<(File, OsString), Errno> {
    let mut name = OsString::from(PREFIX);
    for attempt in 0..ATTEMPTS {
        match create_entry(directory, &name, 0o600).map(File::from) {
            // Until it was locked, another hook may have taken it for a leftover.
            Ok(file) if !is_taken(&file) => match is_named(directory, &name, &file) {
                Ok(true) => return Ok((file, name)),
                Ok(false) => {}
                Err(e) => {
                    remove(directory, &name);
                    return Err(e);
                }
            },
            Ok(_) => {}
            Err(Errno::EEXIST) if attempt == 0 => {
                remove_leftover(directory, &name);
                continue;
            }
            Err(Errno::EEXIST) => {}
            Err(e) => return Err(e),
        }
        let random = RandomState::new().build_hasher().finish();
        name = OsString::from(format!("{PREFIX}.{random:016x}"));
    }
    Err(Errno::EEXIST)
}

/// Removes what a hook left that was killed; not what another one holds, and no directory.
#[allow(
    clippy::disallowed_methods,
    reason = "our own path in /proc/self/fd, of a file that was resolved and checked"
)]
fn remove_leftover(directory: BorrowedFd<'_>, name: &OsStr) {
    let Ok(found) = entry(directory, name, OFlag::O_PATH) else {
        return;
    };
    match fstat(&found).map(|s| s.st_mode & SFlag::S_IFMT.bits()) {
        Ok(kind) if kind == SFlag::S_IFREG.bits() => {
            // Held until the name is gone, so that nobody else decides the same.
            if let Ok(file) = File::open(own(found.as_fd()))
                && try_lock(file.as_fd()).is_ok()
                && is_named(directory, name, &file) == Ok(true)
            {
                remove(directory, name);
            }
        }
        Ok(_) => remove(directory, name),
        Err(_) => {}
    }
}

/// Locks `file`. Returns whether somebody else has.
fn is_taken(file: &File) -> bool {
    try_lock(file.as_fd()).is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock)
}

fn remove(directory: BorrowedFd<'_>, name: &OsStr) {
    let _ = unlinkat(directory, name, UnlinkatFlags::NoRemoveDir);
}

fn is_named(directory: BorrowedFd<'_>, name: &OsStr, file: impl AsFd) -> Result<bool, Errno> {
    let identity = |fd: BorrowedFd<'_>| fstat(fd).map(|s| Identity::of(&s));
    match entry(directory, name, OFlag::O_PATH) {
        Ok(named) => Ok(identity(named.as_fd())? == identity(file.as_fd())?),
        Err(Errno::ENOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

fn holds(directory: BorrowedFd<'_>, name: &OsStr, points_to: &Path) -> bool {
    let link: Result<OwnedFd, Errno> = entry(directory, name, OFlag::O_PATH);
    link.and_then(|link| readlinkat(&link, ""))
        .is_ok_and(|held| Path::new(&held) == points_to)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "trees of the tests' own")]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// What is there, and how it gets there.
    type Fill = (&'static str, fn(&Path));

    fn opened(directory: &Path) -> File {
        File::open(directory).unwrap()
    }

    /// Whatever a killed hook or an image left under the temporary name: the file is replaced, and
    /// nothing but a directory stays.
    #[test]
    fn leftovers_are_in_nobodys_way() {
        let fill: [Fill; 5] = [
            ("nothing", |_| {}),
            ("a file", |path| fs::write(path, "half").unwrap()),
            ("a link", |path| symlink("/etc/passwd", path).unwrap()),
            ("a FIFO", |path| {
                nix::unistd::mkfifo(path, Mode::from_bits_truncate(0o666)).unwrap()
            }),
            ("a directory", |path| fs::create_dir(path).unwrap()),
        ];
        for (what, fill) in fill {
            let dir = tempfile::tempdir().unwrap();
            fill(&dir.path().join(PREFIX));
            let at = opened(dir.path());
            replace_file(at.as_fd(), OsStr::new("name"), b"content").unwrap();
            let content = fs::read(dir.path().join("name")).unwrap();
            assert_eq!(content, b"content", "{what}");
            let left = names(dir.path());
            match what {
                "a directory" => assert_eq!(left, [PREFIX, "name"]),
                _ => assert_eq!(left, ["name"], "{what}"),
            }
        }
    }

    #[test]
    fn a_file_that_another_hook_writes_is_left_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = opened(dir.path());
        let (mut other, name) = create(at.as_fd()).unwrap();
        replace_file(at.as_fd(), OsStr::new("name"), b"ours").unwrap();
        other.write_all(b"the other's").unwrap();
        assert_eq!(fs::read(dir.path().join("name")).unwrap(), b"ours");
        renameat(&at, name.as_os_str(), &at, "name").unwrap();
        assert_eq!(fs::read(dir.path().join("name")).unwrap(), b"the other's");
        assert_eq!(names(dir.path()), ["name"]);
    }

    /// Many at once: each sees a complete file at every moment, and nothing is left.
    #[test]
    fn many_write_one_name() {
        let dir = tempfile::tempdir().unwrap();
        let contents: Vec<Vec<u8>> = (0..8_u8).map(|i| vec![i; 50_000]).collect();
        std::thread::scope(|scope| {
            for content in &contents {
                scope.spawn(|| {
                    let at = opened(dir.path());
                    for _ in 0..50 {
                        replace_file(at.as_fd(), OsStr::new("name"), content).unwrap();
                        let seen = fs::read(dir.path().join("name")).unwrap();
                        assert!(contents.contains(&seen), "{} bytes", seen.len());
                    }
                });
            }
        });
        assert_eq!(names(dir.path()), ["name"]);
    }

    #[test]
    fn many_make_one_link() {
        let dir = tempfile::tempdir().unwrap();
        symlink("old", dir.path().join("name")).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let at = opened(dir.path());
                    for _ in 0..50 {
                        replace_link(at.as_fd(), OsStr::new("name"), Path::new("new")).unwrap();
                        assert!(holds(at.as_fd(), OsStr::new("name"), Path::new("new")));
                    }
                });
            }
        });
        assert_eq!(names(dir.path()), ["name"]);
    }

    #[test]
    fn a_link_takes_the_place_of_leftovers() {
        for left in ["new", "other"] {
            let dir = tempfile::tempdir().unwrap();
            symlink(left, dir.path().join(format!("{PREFIX}.name"))).unwrap();
            let at = opened(dir.path());
            replace_link(at.as_fd(), OsStr::new("name"), Path::new("new")).unwrap();
            assert!(holds(at.as_fd(), OsStr::new("name"), Path::new("new")));
            assert_eq!(names(dir.path()), ["name"]);
        }
    }
}
