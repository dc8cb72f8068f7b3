//! Which file systems are mounted below a root, from /proc/PID/mountinfo: what config.json tells a
//! hook, and nobody tells this tool.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use oci_gpu::container::Mount;
use oci_gpu::host::Host;

/// Largest mountinfo that is read, in bytes: some hundred thousand mounts.
const LIMIT: u64 = 32 << 20;

/// The mounts below `rootfs` in the mount namespace of process `pid`, or in the caller's own.
///
/// One that nobody but the container has counts as fresh: the root of a file system in memory, or
/// of a procfs, that is mounted nowhere outside of `rootfs`. The host's tree is in the container's
/// namespace or in the caller's when this tool runs, so a volume's file system is seen there, too.
/// What cannot be read gives no mounts: then nothing but the root itself is the container's own.
pub(super) fn below(rootfs: &Path, pid: Option<i32>) -> Vec<Mount> {
    let process = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    let directory = Path::new("/proc").join(process);
    // mountinfo has paths without links.
    let root = Host::at(directory.join("root"));
    let place = root.files().resolve(rootfs);
    let place = place.unwrap_or_else(|_| rootfs.to_owned());
    let Some(text) = read(&directory.join("mountinfo")) else {
        return Vec::new();
    };
    let own = match pid {
        Some(_) => read(Path::new("/proc/self/mountinfo")).unwrap_or_default(),
        None => Vec::new(),
    };
    of(&lines(&text), &lines(&own), &place)
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let file = File::open(path).ok()?;
    file.take(LIMIT).read_to_end(&mut text).ok()?;
    Some(text)
}

/// A line of mountinfo (proc_pid_mountinfo(5)).
#[derive(Debug)]
struct Line {
    id: Vec<u8>,
    parent: Vec<u8>,
    device: Vec<u8>,
    /// What of the file system is mounted.
    root: Vec<u8>,
    place: PathBuf,
    kind: Vec<u8>,
}

fn lines(text: &[u8]) -> Vec<Line> {
    text.split(|b| *b == b'\n').filter_map(line).collect()
}

fn line(text: &[u8]) -> Option<Line> {
    let mut fields = text.split(|b| *b == b' ').map(<[u8]>::to_vec);
    let (id, parent, device) = (fields.next()?, fields.next()?, fields.next()?);
    let root = fields.next()?;
    let place = PathBuf::from(OsString::from_vec(unescape(&fields.next()?)));
    // Mount options and any number of optional fields come before the hyphen.
    let kind = fields.skip_while(|field| field != b"-").nth(1)?;
    Some(Line {
        id,
        parent,
        device,
        root,
        place,
        kind,
    })
}

/// Space, tab, newline and backslash are written as a backslash and three octal digits.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let octal = after.get(..3).and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        rest = match (first, octal) {
            (b'\\', Some(byte)) => {
                plain.push(byte);
                after.get(3..).unwrap_or_default()
            }
            _ => {
                plain.push(*first);
                after
            }
        };
    }
    plain
}

/// The mounts of `namespace` below `rootfs`; `own` are those of the caller's namespace.
fn of(namespace: &[Line], own: &[Line], rootfs: &Path) -> Vec<Mount> {
    let is_inside = |line: &Line| line.place.starts_with(rootfs);
    let others = namespace.iter().chain(own).filter(|o| !is_inside(o));
    let others: HashSet<&[u8]> = others.map(|other| &other.device[..]).collect();
    let elsewhere = |line: &Line| others.contains(&line.device[..]);
    let in_memory = |line: &Line| [&b"tmpfs"[..], b"proc"].contains(&&line.kind[..]);
    let is_fresh = |line: &Line| in_memory(line) && line.root == b"/" && !elsewhere(line);
    let inside: Vec<&Line> = namespace.iter().filter(|line| is_inside(line)).collect();
    let inside = reachable(&inside, rootfs);
    let foreign = inside.iter().filter(|line| !is_fresh(line));
    let foreign: HashSet<&Path> = foreign.map(|line| line.place.as_path()).collect();
    let mounts = inside.iter().map(|line| {
        let inner = line.place.strip_prefix(rootfs).unwrap_or(&line.place);
        Mount {
            destination: Path::new("/").join(inner),
            source: PathBuf::new(),
            // Of several at one place, each hides the one before.
            fresh: !foreign.contains(line.place.as_path()),
        }
    });
    mounts.collect()
}

/// Those of `inside` that are mounted, directly or not, on the topmost mount at `rootfs`: what was
/// mounted below before another mount came there is hidden.
fn reachable<'a>(inside: &[&'a Line], rootfs: &Path) -> Vec<&'a Line> {
    let at_root = || inside.iter().filter(|line| line.place == rootfs);
    let is_covered = |id: &[u8]| at_root().any(|above| above.parent == id);
    let below = || inside.iter().filter(|line| line.place != rootfs).copied();
    let Some(top) = at_root().find(|line| !is_covered(&line.id)) else {
        return below().collect();
    };
    // A mount that was moved may come before the one that it is on.
    let mut on: HashMap<&[u8], Vec<&[u8]>> = HashMap::new();
    for line in below() {
        on.entry(&line.parent).or_default().push(&line.id);
    }
    let mut ids = HashSet::from([&top.id[..]]);
    let mut next = vec![&top.id[..]];
    while let Some(id) = next.pop() {
        let more = on.get(id).into_iter().flatten();
        next.extend(more.filter(|id| ids.insert(id)));
    }
    below().filter(|line| ids.contains(&line.id[..])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:5 / /dev rw shared:2 - devtmpfs udev rw
24 22 0:20 / /run rw shared:3 - tmpfs tmpfs rw
";

    /// As runc leaves it before it enters the root: the host's tree, and the container's below it.
    const CONTAINER: &str = "\
522 521 8:1 / / rw,relatime master:1 - ext4 /dev/sda1 rw
524 522 0:20 / /run rw master:3 - tmpfs tmpfs rw
600 522 0:60 / /b/root\\040fs rw,relatime - overlay overlay rw
601 600 0:61 / /b/root\\040fs/proc rw,nosuid - proc proc rw
602 600 0:62 / /b/root\\040fs/dev rw,nosuid - tmpfs tmpfs rw
603 600 0:20 / /b/root\\040fs/run rw,nosuid master:3 - tmpfs tmpfs rw
604 600 0:20 /user /b/root\\040fs/mnt rw - tmpfs tmpfs rw
605 600 0:63 / /b/root\\040fs/tmp rw - tmpfs tmpfs rw
606 605 0:5 / /b/root\\040fs/tmp rw - devtmpfs udev rw
607 600 0:64 / /b/root\\040fs/data rw - ext4 /dev/sdb rw
608 601 0:61 /bus /b/root\\040fs/proc/bus ro - proc proc rw
";

    #[test]
    fn what_is_also_mounted_elsewhere_is_a_volume() {
        let (host, container) = (lines(HOST.as_bytes()), lines(CONTAINER.as_bytes()));
        let mounts = of(&container, &host, Path::new("/b/root fs"));
        let found: Vec<_> = mounts
            .iter()
            .map(|m| (m.destination.to_str().unwrap(), m.fresh))
            .collect();
        assert_eq!(
            found,
            [
                ("/proc", true),
                ("/dev", true),
                ("/run", false),
                ("/mnt", false),
                ("/tmp", false),
                ("/tmp", false),
                ("/data", false),
                ("/proc/bus", false),
            ]
        );
    }

    #[test]
    fn a_file_system_of_the_callers_is_none_of_the_containers() {
        // Below the root the caller may see the same as the container (gVisor).
        for (place, fresh) in [("/shared", false), ("/b/root\\040fs/dev", true)] {
            let host = format!("9 8 0:62 / {place} rw - tmpfs tmpfs rw\n");
            let host = lines(host.as_bytes());
            let mounts = of(&lines(CONTAINER.as_bytes()), &host, Path::new("/b/root fs"));
            assert_eq!(mounts[1].destination, Path::new("/dev"), "{place}");
            assert_eq!(mounts[1].fresh, fresh, "{place}");
        }
    }

    #[test]
    fn what_another_root_hides_is_left_out() {
        let more = "\
700 600 8:1 /other /b/root\\040fs rw - ext4 /dev/sda1 rw
702 701 0:70 / /b/root\\040fs/dev/shm rw - tmpfs tmpfs rw
701 700 0:71 / /b/root\\040fs/dev rw - tmpfs tmpfs rw
";
        let text = format!("{CONTAINER}{more}");
        let mounts = of(&lines(text.as_bytes()), &[], Path::new("/b/root fs"));
        let found: Vec<_> = mounts.iter().map(|m| m.destination.as_path()).collect();
        assert_eq!(found, [Path::new("/dev/shm"), Path::new("/dev")]);
        assert!(mounts.iter().all(|m| m.fresh));
    }

    #[test]
    fn odd_lines_are_left_out() {
        for text in ["", "1 2 3", "1 2 0:1 / /x rw", "1 2 0:1 / /x rw shared:1 -"] {
            assert!(lines(text.as_bytes()).is_empty(), "{text}");
        }
        assert_eq!(unescape(b"a\\134b\\9\\"), b"a\\b\\9\\");
    }

    /// This process' own: its root, and whatever is below.
    #[test]
    fn the_own_namespace_is_read() {
        let mounts = below(Path::new("/"), None);
        assert!(mounts.iter().any(|m| m.destination == Path::new("/proc")));
        assert!(below(Path::new("/"), Some(i32::MAX)).is_empty());
    }
}
