//! Hostile cases 1 to 28: root file systems whose shape leads astray. See docs/hostile-cases.md.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use oci_gpu_tests::error::{Context, Result, run};
use oci_gpu_tests::hostile::Expect::{By, Fails, Refused, RuntimeDecides, Works};
use oci_gpu_tests::hostile::{Arena, Case, MULTIARCH, Site, case, libcuda};

/// Where the driver's main library goes in an image of Debian's kind.
fn library() -> String {
    format!("{MULTIARCH}/{}", libcuda())
}

/// [`MULTIARCH`] is a link.
fn multiarch_leads_to(site: &Site<'_>, target: impl AsRef<Path>) -> Result<()> {
    site.debian()?;
    site.link(MULTIARCH, target)
}

/// Something that `make` makes is in the place of the library.
fn in_place_of_library(site: &Site<'_>, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    site.debian()?;
    site.directory(MULTIARCH)?;
    make(&site.path(&library()))
}

fn node(path: &Path, kind: SFlag, major: u64, minor: u64) -> Result<()> {
    let mode = Mode::from_bits_truncate(0o666);
    mknod(path, kind, mode, makedev(major, minor)).during("make a node")
}

const LINKS: &[Case] = &[
    case(
        "1",
        "the library directory is an absolute link to /",
        |site| multiarch_leads_to(site, "/"),
        Works(|seen| seen.library_at(&format!("/{}", libcuda()))),
    )
    .in_every_stage(),
    case(
        "2",
        "the library directory climbs above the root",
        |site| multiarch_leads_to(site, "../../../../../../../.."),
        Works(|seen| seen.library_at(&format!("/{}", libcuda()))),
    ),
    case(
        "2",
        "the library directory climbs above the root, to a directory that is beside it",
        |site| multiarch_leads_to(site, "../../../../../../outside"),
        Refused(&["OG0602", MULTIARCH]),
    ),
    case(
        "3",
        "the library directory leads through /proc/self/root",
        |site| multiarch_leads_to(site, "/proc/self/root"),
        // In the container's procfs, whose process namespace the hook is not in before stage
        // createContainer, there is no "self".
        Refused(&["OG0602", MULTIARCH]),
    )
    .in_every_stage(),
    case(
        "4",
        "the library directory leads through /proc/1/root",
        |site| multiarch_leads_to(site, "/proc/1/root/tmp"),
        Refused(&["OG0602", "link to a process's own files"]),
    )
    .in_every_stage(),
    case(
        "4",
        "the library directory leads through /proc/self/cwd",
        |site| multiarch_leads_to(site, "/proc/self/cwd"),
        Refused(&["OG0602", MULTIARCH]),
    )
    .in_every_stage(),
    case(
        "4",
        "the library directory leads through /proc/self/fd",
        |site| multiarch_leads_to(site, "/proc/self/fd/3"),
        Refused(&["OG0602", MULTIARCH]),
    )
    .in_every_stage(),
    case(
        "4",
        "/etc leads through /proc/self/root",
        |site| {
            fs::remove_dir_all(site.path("/etc")).during("remove /etc")?;
            site.link("/etc", "/proc/1/root/etc")
        },
        Refused(&[
            "OG0602",
            "open /etc in the container (a link to a process's own files",
        ]),
    )
    .in_every_stage(),
    case(
        "5",
        "links lead to each other",
        |site| {
            site.link("/usr/lib/a", "b")?;
            site.link("/usr/lib/b", "a")?;
            multiarch_leads_to(site, "a")
        },
        Refused(&["OG0602", "too many links"]),
    ),
    case(
        "6",
        "forty links after each other",
        |site| chain(site, 40),
        Works(|seen| seen.library_at(&format!("/real/{}", libcuda()))),
    ),
    case(
        "6",
        "forty-one links after each other",
        |site| chain(site, 41),
        Refused(&["OG0602", "too many links"]),
    ),
];

/// [`MULTIARCH`] leads to /real by `count` links.
fn chain(site: &Site<'_>, count: u32) -> Result<()> {
    site.directory("/real")?;
    site.link("/usr/lib/l1", "/real")?;
    for i in 2..count {
        site.link(&format!("/usr/lib/l{i}"), format!("l{}", i - 1))?;
    }
    multiarch_leads_to(site, format!("l{}", count - 1))
}

#[test]
fn links_resolve_inside() {
    Arena::new().unwrap().check(LINKS).unwrap();
}

const TARGETS: &[Case] = &[
    case(
        "7",
        "a library's place is a link to a file",
        |site| {
            site.file("/etc/passwd", "root:x:0:0::/:\n")?;
            in_place_of_library(site, |_| site.link(&library(), "/etc/passwd"))
        },
        Refused(&["OG0602", "is a symbolic link"]),
    ),
    case(
        "7",
        "a library's place is a link out of the root",
        |site| {
            let out = site.outside.join("file");
            in_place_of_library(site, |_| site.link(&library(), out))
        },
        Refused(&["OG0602", "is a symbolic link"]),
    ),
    case(
        "7",
        "a soname link, which the plan owns, leads to a file",
        |site| {
            site.file("/etc/passwd", "root:x:0:0::/:\n")?;
            let name = format!("{MULTIARCH}/libcuda.so.1");
            site.ask(&["--stat", &name, "--read", "/etc/passwd"]);
            in_place_of_library(site, |_| site.link(&name, "/etc/passwd"))
        },
        Works(|seen| {
            let link = seen.report.stat(&format!("{MULTIARCH}/libcuda.so.1"));
            seen.is(&link.unwrap().target, &Some(libcuda()))?;
            seen.is(&seen.report.read("/etc/passwd"), &Some("root:x:0:0::/:\n"))
        }),
    ),
    case(
        "7",
        "a soname link's place is a file",
        |site| {
            let name = format!("{MULTIARCH}/libcuda.so.1");
            site.ask(&["--read", &name]);
            in_place_of_library(site, |_| site.file(&name, "the image's own"))
        },
        Works(|seen| {
            let file = seen.report.read(&format!("{MULTIARCH}/libcuda.so.1"));
            seen.is(&file, &Some("the image's own"))?;
            let told = seen.log.contains("libcuda.so.1") && seen.log.contains("is no link");
            seen.is(&told, &true)
        }),
    ),
    case(
        "8",
        "a library's place is a dangling link",
        |site| in_place_of_library(site, |_| site.link(&library(), "/nowhere/at/all")),
        Refused(&["OG0602", "is a symbolic link"]),
    ),
    case(
        "8",
        "a library's place is a link that dangles in the container and not on the host",
        |site| {
            let new = site.outside.join("new");
            in_place_of_library(site, |_| site.link(&library(), new))
        },
        Refused(&["OG0602", "is a symbolic link"]),
    ),
    case(
        "9",
        "a library's place is a directory",
        |site| in_place_of_library(site, |path| fs::create_dir(path).during("create")),
        Refused(&["OG0602", "is a directory"]),
    ),
    case(
        "10",
        "a library's place is a FIFO",
        |site| in_place_of_library(site, |path| node(path, SFlag::S_IFIFO, 0, 0)),
        Refused(&["OG0602", "is a FIFO"]),
    )
    .in_every_stage(),
    case(
        "11",
        "a library's place is a socket",
        |site| {
            in_place_of_library(site, |path| {
                // A path of a socket is at most 107 bytes long: bound elsewhere, then moved.
                let short = tempfile::tempdir_in("/tmp").during("make a directory")?;
                let at = short.path().join("s");
                UnixListener::bind(&at).during("bind a socket")?;
                fs::rename(&at, path).during("move the socket")
            })
        },
        Refused(&["OG0602", "is a socket"]),
    ),
    case(
        "11",
        "a library's place is a character device",
        |site| in_place_of_library(site, |path| node(path, SFlag::S_IFCHR, 1, 3)),
        Refused(&["OG0602", "is another device"]),
    ),
    case(
        "11",
        "a library's place is a block device",
        |site| in_place_of_library(site, |path| node(path, SFlag::S_IFBLK, 7, 0)),
        Refused(&["OG0602", "is a block device"]),
    ),
    case(
        "12",
        "a parent of the library is a file",
        |site| {
            site.debian()?;
            site.file(MULTIARCH, "a file")
        },
        Refused(&["OG0602", MULTIARCH, "Not a directory"]),
    ),
    case(
        "12",
        "/usr is a file",
        |site| {
            fs::remove_dir(site.path("/usr")).during("remove /usr")?;
            site.file("/usr", "a file")
        },
        Refused(&["OG0602", "Not a directory"]),
    ),
    case(
        "23",
        "a library's place is a hard link to another file",
        |site| {
            site.file("/etc/passwd", "root:x:0:0::/:\n")?;
            site.ask(&["--read", "/etc/passwd"]);
            let passwd = site.path("/etc/passwd");
            in_place_of_library(site, |path| fs::hard_link(passwd, path).during("link"))
        },
        Works(|seen| {
            seen.library_at(&library())?;
            seen.is(&seen.report.read("/etc/passwd"), &Some("root:x:0:0::/:\n"))
        }),
    ),
];

#[test]
fn targets_are_what_they_must_be_or_refused() {
    Arena::new().unwrap().check(TARGETS).unwrap();
}

const DIRECTORIES: &[Case] = &[
    case(
        "13",
        "/etc, /usr and /dev are missing",
        |site| {
            for name in ["/etc", "/usr", "/dev"] {
                fs::remove_dir_all(site.path(name)).during("remove a directory")?;
            }
            site.ask(&["--stat", "/usr", "--stat", "/usr/lib64", "--stat", "/etc"]);
            Ok(())
        },
        Works(|seen| {
            for made in ["/usr", "/usr/lib64", "/etc"] {
                let made = seen.report.stat(made).unwrap();
                let facts = (made.kind.as_str(), made.mode & 0o7777, made.owner);
                seen.is(&facts, &("dir", 0o755, (0, 0)))?;
            }
            seen.library_at(&format!("/usr/lib64/{}", libcuda()))
        }),
    ),
    case(
        "14",
        "the image is empty",
        |site| {
            site.ask(&["--stat", "/etc/ld.so.cache"]);
            fs::remove_dir_all(&site.bundle.rootfs.path).during("remove the root")?;
            fs::create_dir(&site.bundle.rootfs.path).during("make the root")?;
            site.host.setting.probe.install(&site.bundle.rootfs)
        },
        Works(|seen| {
            let cache = seen.report.stat("/etc/ld.so.cache").unwrap();
            seen.is(
                &(cache.kind.as_str(), cache.mode & 0o7777),
                &("file", 0o644),
            )
        }),
    )
    .in_every_stage(),
    case(
        "15",
        "/etc leads into a volume",
        |site| {
            etc_leads_to(site, "/vol")?;
            let outside = site.outside.clone();
            site.volume(&outside, "/vol", &[])
        },
        Refused(&["OG0605", "/etc/ld.so.cache", "lies on a volume"]),
    )
    .in_every_stage(),
    case(
        "15",
        "/etc/ld.so.cache leads into a volume",
        |site| {
            site.link("/etc/ld.so.cache", "/vol/file")?;
            let outside = site.outside.clone();
            site.volume(&outside, "/vol", &[])?;
            site.ask(&["--stat", "/etc/ld.so.cache"]);
            Ok(())
        },
        // The link is replaced, not what it leads to.
        Works(|seen| {
            let cache = seen.report.stat("/etc/ld.so.cache").unwrap();
            seen.is(&cache.kind.as_str(), &"file")
        }),
    ),
    case(
        "16",
        "/etc/ld.so.conf.d leads into a volume",
        |site| {
            site.link("/etc/ld.so.conf.d", "/vol/dir")?;
            let outside = site.outside.clone();
            site.volume(&outside, "/vol", &[])
        },
        Works(|_| Ok(())),
    ),
    case(
        "17",
        "/dev is a link to a directory of the image",
        |site| {
            site.directory("/etc/dev")?;
            site.link("/dev", "etc/dev")
        },
        Fails,
    )
    .runtime_writes(),
    case(
        "17",
        "/dev is a link out of the root",
        |site| {
            let outside = site.outside.clone();
            site.link("/dev", outside)
        },
        Fails,
    )
    .in_every_stage()
    .runtime_writes(),
    case(
        "17",
        "/dev is a link, and a volume lies where it leads",
        |site| {
            site.link("/dev", "vol")?;
            let outside = site.outside.clone();
            site.volume(&outside, "/vol", &[])
        },
        Refused(&["OG0602", "/dev/nvidiactl", "lies on a volume"]),
    )
    .in_every_stage()
    .runtime_writes(),
    case(
        "18",
        "/proc is a link",
        |site| {
            site.directory("/etc/proc")?;
            site.link("/proc", "/etc/proc")
        },
        RuntimeDecides,
    )
    .in_every_stage(),
    case(
        "18",
        "/proc of the image has files, and procfs is mounted over them",
        |site| {
            site.file("/proc/driver/nvidia/params", "the image's own")?;
            site.file("/proc/self/fd/3", "the image's own")?;
            site.ask(&["--list", "/proc/driver/nvidia/gpus"]);
            Ok(())
        },
        Works(|seen| {
            let gpus = seen.report.list("/proc/driver/nvidia/gpus").unwrap();
            seen.is(&gpus, &vec!["0000:1a:00.0"])?;
            let own = fs::read_to_string(seen.root.join("proc/driver/nvidia/params"));
            seen.is(&own.unwrap().as_str(), &"the image's own")
        }),
    )
    .in_every_stage(),
    case(
        "19",
        "/proc/driver/nvidia is the image's own directory, and no procfs is mounted",
        |site| {
            site.file("/proc/driver/nvidia/params", "the image's own")?;
            site.edit = Some(Box::new(without_procfs));
            Ok(())
        },
        Refused(&["OG0602", "/proc/driver/nvidia", "is not in procfs"]),
    )
    .in_every_stage(),
    case(
        "19",
        "/proc/driver/nvidia is the image's own file, and no procfs is mounted",
        |site| {
            site.file("/proc/driver/nvidia", "the image's own")?;
            site.edit = Some(Box::new(without_procfs));
            Ok(())
        },
        Refused(&["OG0602", "/proc/driver/nvidia", "Not a directory"]),
    ),
    case(
        "19",
        "/proc/driver/nvidia is the image's own link, and no procfs is mounted",
        |site| {
            site.link("/proc/driver/nvidia", "/etc")?;
            site.edit = Some(Box::new(without_procfs));
            Ok(())
        },
        Refused(&["OG0602", "/proc/driver/nvidia", "Not a directory"]),
    ),
];

fn etc_leads_to(site: &Site<'_>, target: &str) -> Result<()> {
    fs::remove_dir_all(site.path("/etc")).during("remove /etc")?;
    site.link("/etc", target)
}

fn without_procfs(config: &mut serde_json::Value) {
    let mounts = config["mounts"].as_array_mut().unwrap();
    mounts.retain(|m| m["destination"] != "/proc");
    // The runtime would look for these in procfs.
    config["linux"]["maskedPaths"] = serde_json::json!([]);
    config["linux"]["readonlyPaths"] = serde_json::json!([]);
}

#[test]
fn directories_that_are_missing_or_elsewhere() {
    Arena::new().unwrap().check(DIRECTORIES).unwrap();
}

const NAMES: &[Case] = &[
    case(
        "20",
        "the root is a tmpfs",
        |site| {
            let root = site.bundle.rootfs.path.display().to_string();
            site.runtime.prepare.push(format!(
                "cp -a '{root}' '{root}.image'; mount -t tmpfs tmpfs '{root}'; cp -a '{root}.image/.' '{root}'"
            ));
            Ok(())
        },
        Works(|_| Ok(())),
    ),
    case(
        "20",
        "the root is an overlay",
        |site| overlay(site, "true"),
        Works(|_| Ok(())),
    ),
    case(
        "20",
        "a directory on the way is a file system whose server is gone",
        |site| {
            let way = site.directory("/usr/lib64")?;
            // Nobody answers: the descriptor closes with the shell that mounts.
            site.runtime.prepare.push(format!(
                "sh -c 'mount -i -t fuse -o fd=9,rootmode=40000,user_id=0,group_id=0 none \"{}\" 9<>/dev/fuse'",
                way.display()
            ));
            Ok(())
        },
        Refused(&["OG0602", "/usr/lib64", "not connected"]),
    ),
    case(
        "21",
        "the library directory leads to a name of 255 bytes",
        |site| {
            let name = format!("/{}", "n".repeat(255));
            site.directory(&name)?;
            multiarch_leads_to(site, name)
        },
        Works(|seen| seen.library_at(&format!("/{}/{}", "n".repeat(255), libcuda()))),
    ),
    case(
        "21",
        "the library directory leads to a name of 256 bytes",
        |site| multiarch_leads_to(site, format!("/{}", "n".repeat(256))),
        Refused(&["OG0602", MULTIARCH, "File name too long"]),
    ),
    case(
        "21",
        "the library directory leads along 4,095 bytes",
        |site| {
            site.directory("/d")?;
            multiarch_leads_to(site, format!("/d{}", "/.".repeat(2046)))
        },
        Works(|seen| seen.library_at(&format!("/d/{}", libcuda()))),
    ),
    case(
        "22",
        "the library directory has bytes that are no UTF-8, a newline and an escape in its name",
        |site| {
            let name = std::ffi::OsStr::from_bytes(b"/a\xff\n\x1b[31mb");
            let inside = Path::new(name).strip_prefix("/").during("cut")?;
            fs::create_dir(site.bundle.rootfs.path.join(inside)).during("create")?;
            multiarch_leads_to(site, name)
        },
        // mountinfo has the newline as an octal number.
        Works(|seen| seen.is(&seen.places(&libcuda()).len(), &1)),
    ),
    case(
        "24",
        "the library lies in a directory that all may write to, and is nobody's",
        |site| {
            site.debian()?;
            let directory = site.directory(MULTIARCH)?;
            fs::set_permissions(&directory, Permissions::from_mode(0o1777)).during("chmod")?;
            site.file(&library(), "nobody's")?;
            std::os::unix::fs::chown(site.path(&library()), Some(65534), Some(65534))
                .during("chown")
        },
        Works(|seen| seen.library_at(&library())),
    ),
    case(
        "24",
        "a link on the way is nobody's, in a directory that all may write to",
        |site| {
            site.directory("/real")?;
            multiarch_leads_to(site, "/real")?;
            let parent = site.path("/usr/lib");
            fs::set_permissions(&parent, Permissions::from_mode(0o1777)).during("chmod")?;
            std::os::unix::fs::lchown(site.path(MULTIARCH), Some(65534), Some(65534))
                .during("chown")
        },
        By(
            |_, _| match fs::read_to_string("/proc/sys/fs/protected_symlinks") {
                Ok(on) if on.trim() == "1" => Refused(&["OG0602", MULTIARCH, "Permission denied"]),
                _ => Works(|seen| seen.library_at(&format!("/real/{}", libcuda()))),
            },
        ),
    ),
    case(
        "25",
        "the library directory is immutable",
        |site| attribute(site, "/usr/lib64", "+i"),
        Refused(&[
            "OG0602",
            "/usr/lib64",
            "Operation not permitted",
            "attributes",
        ]),
    ),
    case(
        "25",
        "/etc is immutable",
        |site| attribute(site, "/etc", "+i"),
        Refused(&["OG0605", "/etc/ld.so.cache", "Operation not permitted"]),
    ),
    case(
        "25",
        "the library directory is append-only",
        |site| attribute(site, "/usr/lib64", "+a"),
        Works(|seen| seen.library_at(&format!("/usr/lib64/{}", libcuda()))),
    ),
    case(
        "28",
        "the library and its directory were removed by a layer: whiteout and opaque directory",
        |site| {
            site.file(&format!("/usr/lib64/{}", libcuda()), "of a lower layer")?;
            site.file("/usr/bin/nvidia-smi", "of a lower layer")?;
            let root = "\"$root\"";
            overlay(
                site,
                &format!(
                    "rm {root}/usr/lib64/{}; rm -r {root}/usr/bin; mkdir {root}/usr/bin",
                    libcuda()
                ),
            )
        },
        Works(|seen| seen.library_at(&format!("/usr/lib64/{}", libcuda()))),
    ),
    case(
        "28",
        "a whiteout of a layer that nobody merged lies in the library's place",
        |site| in_place_of_library(site, |path| node(path, SFlag::S_IFCHR, 0, 0)),
        Refused(&["OG0602", "is another device"]),
    ),
];

/// The root becomes an overlay of the image, of a layer that is what `commands` leave in an overlay
/// at `$root`, and of an empty layer.
fn overlay(site: &mut Site<'_>, commands: &str) -> Result<()> {
    let root = site.bundle.rootfs.path.clone();
    let beside = |name: &str| root.with_file_name(name).display().to_string();
    for name in ["layer", "upper", "work", "work2"] {
        fs::create_dir(beside(name)).during("create a layer")?;
    }
    let (layer, upper, work) = (beside("layer"), beside("upper"), beside("work"));
    site.runtime.prepare.push(format!(
        "root='{0}'
         mount --bind \"$root\" \"$root\"
         mount -t overlay -o lowerdir=\"$root\",upperdir='{layer}',workdir='{work}' overlay \"$root\"
         {commands}
         umount \"$root\"
         mount -t overlay -o lowerdir='{layer}':\"$root\",upperdir='{upper}',workdir='{work}2' overlay \"$root\"",
        root.display(),
    ));
    Ok(())
}

/// Sets an attribute of a directory, and takes it back afterwards.
fn attribute(site: &mut Site<'_>, path: &str, attribute: &str) -> Result<()> {
    let directory = site.directory(path)?;
    run(Command::new("chattr").arg(attribute).arg(directory))?;
    site.after = Some(|root| {
        let directories = ["usr/lib64", "etc"].map(|d| root.join(d));
        let there = directories.iter().filter(|d| d.is_dir());
        run(Command::new("chattr").arg("-ia").args(there)).map(drop)
    });
    Ok(())
}

#[test]
fn file_systems_names_and_attributes() {
    Arena::new().unwrap().check(NAMES).unwrap();
}
