//! Hostile cases 82 to 90, as far as they act on a container's files: its loader's cache, its own
//! libraries of our names, its configuration of the loader. See docs/hostile-cases.md; the parsers
//! themselves are fuzzed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use oci_gpu_tests::error::{Context, Result, run};
use oci_gpu_tests::hostile::Expect::{Refused, Works};
use oci_gpu_tests::hostile::{Arena, Case, MULTIARCH, Seen, Site, case, libcuda};
use oci_gpu_tests::rootfs::Kind;

const CACHE: &str = "/etc/ld.so.cache";

/// glibc's header: magic, version, number of libraries, length of the strings, flags
/// (sysdeps/generic/dl-cache.h).
const LIBRARIES: usize = 20;
const FLAGS: usize = 28;
const HEADER: usize = 48;

/// Changes the bytes of the image's own cache.
fn changed(site: &mut Site<'_>, change: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
    let mut bytes = fs::read(site.path(CACHE)).during("read the cache")?;
    change(&mut bytes);
    replaced(site, |path| {
        fs::write(path, bytes).during("write the cache")
    })
}

/// Puts something in the place of the image's cache.
fn replaced(site: &mut Site<'_>, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    site.ask(&[
        "--dlopen",
        "libcuda.so.1",
        "--dlopen",
        "libnvidia-ml.so.1",
        "--stat",
        CACHE,
    ]);
    let path = site.path(CACHE);
    fs::remove_file(&path).during("remove the cache")?;
    make(&path)
}

fn node(path: &Path, kind: SFlag, major: u64, minor: u64) -> Result<()> {
    let mode = Mode::from_bits_truncate(0o666);
    mknod(path, kind, mode, makedev(major, minor)).during("make a node")
}

/// The loader finds the driver's libraries, by a cache that is ours, and the log says what became
/// of the image's.
fn replaced_with_a_word(seen: &Seen<'_>) -> Result<()> {
    seen.loads("libcuda.so.1")?;
    seen.loads("libnvidia-ml.so.1")?;
    let cache = seen.report.stat(CACHE).unwrap();
    seen.is(&cache.kind.as_str(), &"file")?;
    let told = seen
        .log
        .contains("left out the image's own /etc/ld.so.cache: ");
    seen.is(&told, &true)
}

fn found(seen: &Seen<'_>) -> Result<()> {
    seen.loads("libcuda.so.1")?;
    seen.loads("libnvidia-ml.so.1")
}

const fn cache(
    number: &'static str,
    what: &'static str,
    make: fn(&mut Site<'_>) -> Result<()>,
) -> Case {
    case(number, what, make, Works(replaced_with_a_word)).image(Kind::Bookworm)
}

const CACHES: &[Case] = &[
    cache("82", "the cache is empty", |s| changed(s, |b| b.clear())),
    cache("82", "the cache is one byte", |s| {
        changed(s, |b| b.truncate(1))
    }),
    cache("82", "the cache ends in its header", |s| {
        changed(s, |b| b.truncate(HEADER - 1))
    }),
    cache("82", "the cache is a header", |s| {
        changed(s, |b| b.truncate(HEADER))
    }),
    cache("82", "the cache has another magic", |s| {
        changed(s, |b| b[0] = b'G')
    }),
    cache("82", "the cache has another version", |s| {
        changed(s, |b| b[19] = b'9')
    }),
    cache("82", "the cache is big-endian", |s| {
        changed(s, |b| b[FLAGS] = 3)
    }),
    cache("82", "the cache has 4,294,967,295 libraries", |s| {
        changed(s, |b| b[LIBRARIES..LIBRARIES + 4].fill(0xff))
    }),
    cache("82", "a name lies behind the end", |s| {
        changed(s, |b| b[HEADER + 4..HEADER + 8].fill(0xff))
    }),
    cache("82", "a path lies in the header", |s| {
        changed(s, |b| b[HEADER + 8..HEADER + 12].fill(0))
    }),
    cache("82", "the last string does not end", |s| {
        changed(s, |b| {
            let end = b.len();
            let last = b.iter().rposition(|c| *c == b'/').unwrap_or(end);
            b.truncate(last + 3);
        })
    }),
    cache("82", "the cache is a text", |s| {
        changed(s, |b| *b = b"include /etc/ld.so.conf\n".into())
    }),
    cache("83", "the cache has 200 MB", |s| {
        changed(s, |_| {})?;
        let file = fs::File::options()
            .write(true)
            .open(s.path(CACHE))
            .during("open")?;
        file.set_len(200_000_000).during("grow")
    }),
    cache("84", "the cache is a sparse file of 8 TiB", |s| {
        replaced(s, |path| {
            let file = fs::File::create(path).during("create")?;
            file.set_len(8 << 40).during("grow")
        })
    }),
    cache("84", "the cache is a FIFO", |s| {
        replaced(s, |p| node(p, SFlag::S_IFIFO, 0, 0))
    }),
    cache("84", "the cache is a device without end", |s| {
        replaced(s, |p| node(p, SFlag::S_IFCHR, 1, 5))
    }),
    cache("84", "the cache is a block device", |s| {
        replaced(s, |p| node(p, SFlag::S_IFBLK, 7, 0))
    }),
    cache("84", "the cache is a socket", |s| {
        replaced(s, |path| {
            let short = tempfile::tempdir_in("/tmp").during("make a directory")?;
            let at = short.path().join("s");
            UnixListener::bind(&at).during("bind a socket")?;
            fs::rename(&at, path).during("move the socket")
        })
    }),
    cache("84", "the cache is a link to a device without end", |s| {
        replaced(s, |_| Ok(()))?;
        s.link(CACHE, "/dev/zero")
    }),
    cache("84", "the cache is a link to itself", |s| {
        replaced(s, |_| Ok(()))?;
        s.link(CACHE, "ld.so.cache")
    }),
    case(
        "84",
        "the cache is a directory",
        |s| replaced(s, |path| fs::create_dir(path).during("create")),
        Refused(&["OG0605", CACHE, "it is a directory"]),
    )
    .image(Kind::Bookworm),
    case(
        "84",
        "the cache is a volume's file",
        |s| {
            changed(s, |_| {})?;
            let file = s.outside.join("file");
            s.volume(&file, CACHE, &[])
        },
        Refused(&["OG0605", CACHE, "something is mounted on it"]),
    )
    .image(Kind::Bookworm),
    case(
        "84",
        "the cache is a link to a cache elsewhere in the image",
        |s| {
            let bytes = fs::read(s.path(CACHE)).during("read the cache")?;
            replaced(s, |_| Ok(()))?;
            s.file("/opt/cache", bytes)?;
            s.link(CACHE, "/opt/cache")
        },
        Works(found),
    )
    .image(Kind::Bookworm),
    case(
        "89",
        "the loader's configuration includes itself, a FIFO, a device, and a line of 200 KB",
        |s| {
            s.ask(&["--dlopen", "libcuda.so.1", "--dlopen", "libnvidia-ml.so.1"]);
            s.directory("/etc/ld.so.conf.d")?;
            node(&s.path("/etc/ld.so.conf.d/fifo.conf"), SFlag::S_IFIFO, 0, 0)?;
            s.link("/etc/ld.so.conf.d/zero.conf", "/dev/zero")?;
            s.file("/etc/ld.so.conf.d/long.conf", "/x".repeat(100_000))?;
            s.file(
                "/etc/ld.so.conf",
                "include ld.so.conf\ninclude ld.so.conf.d/*\ninclude /*/*/*/*/*\n",
            )
        },
        Works(found),
    )
    .image(Kind::Bookworm),
];

#[test]
fn caches_of_every_kind() {
    let (first, second) = CACHES.split_at(CACHES.len() / 2);
    std::thread::scope(|scope| {
        let half = scope.spawn(|| Arena::new().unwrap().check(first).unwrap());
        Arena::new().unwrap().check(second).unwrap();
        half.join().unwrap();
    });
}

/// A library of the image's with that soname, at `path`.
fn impostor(site: &Site<'_>, path: &str, soname: &str) -> Result<()> {
    let source = site.bundle.dir.join("impostor.c");
    let text = "const char oci_gpu_sim_version[] = \"impostor 0\";\n";
    fs::write(&source, text).during("write a source")?;
    let target = site.path(path);
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).during("create a directory")?;
    }
    run(Command::new("cc")
        .args([
            "-shared",
            "-nostdlib",
            "-fPIC",
            &format!("-Wl,-soname,{soname}"),
            "-o",
        ])
        .arg(target)
        .arg(source))
    .map(drop)
}

/// Impostors at `paths`, in the image's cache, and asked for.
fn impostors(site: &mut Site<'_>, paths: &[&str], configuration: &str) -> Result<()> {
    for path in paths {
        impostor(site, path, "libcuda.so.1")?;
    }
    site.file("/etc/ld.so.conf.d/000-first.conf", configuration)?;
    site.bundle.rootfs.ldconfig()?;
    site.ask(&["--dlopen", "libcuda.so.1", "--dlopen", "libcuda.so"]);
    Ok(())
}

const IMPOSTORS: &[Case] = &[
    case(
        "85",
        "libraries of our name for better processors shadow ours",
        |s| {
            let below = |level| format!("{MULTIARCH}/glibc-hwcaps/{level}/libcuda.so.1");
            let paths = ["x86-64-v2", "x86-64-v3", "x86-64-v4"].map(below);
            impostors(s, &[&paths[0], &paths[1], &paths[2]], "")
        },
        Works(|seen| seen.loads("libcuda.so.1")),
    )
    .image(Kind::Bookworm),
    case(
        "86",
        "CUDA's compatibility libraries come first in the image's cache",
        |s| {
            let compat = "/usr/local/cuda/compat";
            impostors(s, &[&format!("{compat}/libcuda.so.1")], compat)
        },
        Works(|seen| seen.loads("libcuda.so.1")),
    )
    .image(Kind::Bookworm),
    case(
        "86",
        "a stub has the place of the soname link",
        |s| {
            let path = format!("{MULTIARCH}/libcuda.so.1");
            impostors(s, &[&path], "")
        },
        Works(|seen| seen.loads("libcuda.so.1")),
    )
    .image(Kind::Bookworm),
    case(
        "86",
        "a stub has the library's own place",
        |s| {
            let path = format!("{MULTIARCH}/{}", libcuda());
            impostors(s, &[&path], "")
        },
        Works(|seen| {
            seen.library_at(&format!("{MULTIARCH}/{}", libcuda()))?;
            seen.loads("libcuda.so.1")
        }),
    )
    .image(Kind::Bookworm),
];

#[test]
fn libraries_of_our_names_do_not_win() {
    Arena::new().unwrap().check(IMPOSTORS).unwrap();
}

const PATHS: &str = "/etc/ld-musl-x86_64.path";
const DEFAULTS: &str = "/lib\n/usr/local/lib\n/usr/lib";

fn musl(site: &mut Site<'_>, make: impl FnOnce(&mut Site<'_>) -> Result<()>) -> Result<()> {
    site.ask(&[
        "--read",
        PATHS,
        "--stat",
        PATHS,
        "--stat",
        "/usr/lib/libcuda.so.1",
    ]);
    let _ = fs::remove_file(site.path(PATHS));
    make(site)
}

fn holds(seen: &Seen<'_>, text: &str) -> Result<()> {
    seen.library_at(&format!("/usr/lib/{}", libcuda()))?;
    seen.is(&seen.report.read(PATHS), &Some(text))
}

const MUSL: &[Case] = &[
    case(
        "90",
        "musl's path file is absent",
        |s| musl(s, |_| Ok(())),
        Works(|seen| seen.is(&seen.report.stat(PATHS), &Err("ENOENT".to_owned()))),
    )
    .image(Kind::Musl),
    case(
        "90",
        "musl's path file is empty",
        |s| musl(s, |s| s.file(PATHS, "")),
        Works(|seen| holds(seen, "/usr/lib\n")),
    )
    .image(Kind::Musl),
    case(
        "90",
        "musl's path file does not end in a newline",
        |s| musl(s, |s| s.file(PATHS, "/opt/lib")),
        Works(|seen| holds(seen, "/opt/lib\n/usr/lib\n")),
    )
    .image(Kind::Musl),
    case(
        "90",
        "musl's path file has bytes that are no text",
        |s| musl(s, |s| s.file(PATHS, b"/opt/\x01lib\n\n\n:")),
        Works(|seen| holds(seen, "/opt/\u{1}lib\n\n\n:\n/usr/lib\n")),
    )
    .image(Kind::Musl),
    case(
        "90",
        "musl's path file is a FIFO",
        |s| musl(s, |s| node(&s.path(PATHS), SFlag::S_IFIFO, 0, 0)),
        Works(|seen| {
            holds(seen, DEFAULTS)?;
            seen.is(
                &seen
                    .log
                    .contains(&format!("left out the image's own {PATHS}")),
                &true,
            )
        }),
    )
    .image(Kind::Musl),
    case(
        "90",
        "musl's path file is a link to a device without end",
        |s| musl(s, |s| s.link(PATHS, "/dev/zero")),
        Works(|seen| holds(seen, DEFAULTS)),
    )
    .image(Kind::Musl),
    case(
        "90",
        "musl's path file is far too large",
        |s| musl(s, |s| s.file(PATHS, "/x\n".repeat(1 << 20))),
        Works(|seen| {
            holds(seen, DEFAULTS)?;
            seen.is(&seen.log.contains("65536 bytes"), &true)
        }),
    )
    .image(Kind::Musl),
    case(
        "90",
        "musl's path file is a directory",
        |s| musl(s, |s| s.directory(PATHS).map(drop)),
        Refused(&["OG0605", PATHS, "it is a directory"]),
    )
    .image(Kind::Musl),
    case(
        "90",
        "musl's path file leads into a volume",
        |s| {
            musl(s, |s| {
                s.link(PATHS, "/vol/file")?;
                let outside = s.outside.clone();
                s.volume(&outside, "/vol", &[])
            })
        },
        Works(|seen| holds(seen, "outside\n/usr/lib\n")),
    )
    .image(Kind::Musl),
];

#[test]
fn path_files_of_musl() {
    Arena::new().unwrap().check(MUSL).unwrap();
}
