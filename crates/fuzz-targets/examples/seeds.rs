//! `cargo run -p oci-gpu-fuzz-targets --example seeds`: makes the generated part of `fuzz/corpus`
//! again. Its files begin with "made-" or "sim-"; the others are written by hand.
#![allow(clippy::unwrap_used, reason = "a tool for who works on the corpus")]

use std::fs;
use std::path::{Path, PathBuf};

use oci_gpu::ldcache::{Cache, Entry};
use oci_gpu_sim::{Arch, HostSpec, Nodes, SharedObject, Target, static_program};

#[path = "../../oci-gpu/tests/support/elf_image.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "shared with tests that need more of it"
)]
mod elf_image;

use elf_image::{AARCH64, ElfImage, X86, X86_64};

fn main() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let mut files = elfs();
    files.extend(caches());
    let scratch = tempfile::tempdir().unwrap();
    for host in ["run-8-mig", "debian-1", "wrong-major"] {
        let directory = scratch.path().join(host);
        let mut spec = HostSpec::named(host).unwrap();
        spec.nodes = Nodes::Skip;
        spec.create(&directory).unwrap();
        files.extend(of_host(host, &directory));
    }
    for (name, content) in files {
        let path = corpus.join(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &content).unwrap();
        println!("{name}: {} bytes", content.len());
    }
}

/// A file of the corpus, by its name below it.
type File = (String, Vec<u8>);

fn elfs() -> Vec<File> {
    let library = |machine, big_endian| {
        ElfImage {
            big_endian,
            needed: ["libc.so.6", "libdl.so.2", "libnvidia-ptxjitcompiler.so.1"]
                .map(str::to_owned)
                .to_vec(),
            runpath: Some("$ORIGIN".to_owned()),
            rpath: Some("/opt/lib".to_owned()),
            versions: vec![
                (
                    "libc.so.6".to_owned(),
                    vec!["GLIBC_2.2.5".to_owned(), "GLIBC_2.34".to_owned()],
                ),
                ("libdl.so.2".to_owned(), vec!["GLIBC_2.2.5".to_owned()]),
            ],
            ..ElfImage::library(machine, "libcuda.so.1")
        }
        .build()
    };
    let needed = ["libpthread.so.0".to_owned(), "libm.so.6".to_owned()];
    let simulated = |target, soname| {
        let object = SharedObject {
            target,
            soname,
            needed: &needed,
            glibc: "2.2.5",
            text: "libcuda 550.163.01",
        };
        object.to_bytes()
    };
    let many = ElfImage {
        needed: (0..257).map(|n| format!("lib{n}.so")).collect(),
        ..ElfImage::library(X86_64, "libmany.so")
    };
    [
        ("made-x86_64", library(X86_64, false)),
        ("made-i386", library(X86, false)),
        ("made-aarch64-big-endian", library(AARCH64, true)),
        ("made-i386-big-endian", library(X86, true)),
        ("made-too-many-needed", many.build()),
        (
            "sim-x86_64",
            simulated(Target::X86_64, Some("libcuda.so.1")),
        ),
        ("sim-i386", simulated(Target::I386, Some("libcuda.so.1"))),
        ("sim-no-soname", simulated(Target::X86_64, None)),
        ("sim-static", static_program(Arch::X86_64, "nvidia-smi")),
    ]
    .map(|(name, bytes)| (format!("elf/{name}"), bytes))
    .to_vec()
}

fn caches() -> Vec<File> {
    let plain = |flags, soname: &str| {
        let directory = if flags == 0x003 {
            "/lib/i386-linux-gnu"
        } else {
            "/usr/lib64"
        };
        Entry::plain(
            flags,
            soname.as_bytes(),
            format!("{directory}/{soname}").as_bytes(),
        )
    };
    let small = Cache {
        entries: vec![
            plain(0x303, "libcuda.so.1"),
            plain(0x303, "libc.so.6"),
            plain(0x303, "libx.so.10"),
            plain(0x303, "libx.so.9"),
            plain(0x303, "lib\u{e9}.so.1"),
            plain(0x003, "libcuda.so.1"),
            Entry {
                osversion: 0x0002_0620,
                ..plain(0x303, "libold.so.1")
            },
        ],
        ..Cache::default()
    };
    let mut extended = small.clone();
    extended.generator =
        Some(b"ldconfig (Debian GLIBC 2.36-9) stable release version 2.36".to_vec());
    extended.hwcaps = vec![b"x86-64-v2".to_vec(), b"x86-64-v3".to_vec()];
    for (level, index) in [(2, 0), (3, 1)] {
        extended.entries.push(Entry {
            hwcap: 1 << 62 | level << 32 | index,
            ..plain(0x303, "libcuda.so.1")
        });
    }
    extended.entries.push(Entry {
        hwcap: 1 << 63,
        ..plain(0x303, "libtls.so.1")
    });
    let arm = Cache {
        entries: vec![plain(0xa03, "libcuda.so.1"), plain(0xa03, "lib\u{e9}.so.1")],
        ..Cache::default()
    };
    let ours = b"libcuda.so.1 /usr/lib64/libcuda.so.550.163.01\n\
        libnvidia-ml.so.1 /usr/lib64/libnvidia-ml.so.550.163.01\n\
        -libcuda.so.1 /usr/lib32/libcuda.so.550.163.01\n";
    let merged = |cache: Vec<u8>| [ours.as_slice(), &cache].concat();
    let broken = b"libcuda.so.1 relative\nlibcuda.so.1234567890 /x\nlib/x.so /x\n".to_vec();
    [
        ("ldcache/made-empty", Cache::default().write()),
        ("ldcache/made-small", small.write()),
        ("ldcache/made-extended", extended.write()),
        ("ldcache/made-aarch64", arm.write()),
        ("ldcache/made-behind-old", behind_old(&extended.write())),
        ("ldcache_merge/made-small", merged(small.write())),
        ("ldcache_merge/made-extended", merged(extended.write())),
        (
            "ldcache_merge/made-behind-old",
            merged(behind_old(&small.write())),
        ),
        ("ldcache_merge/made-no-cache", merged(Vec::new())),
        ("ldcache_merge/made-refused", broken),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .to_vec()
}

/// The layout of `ldconfig -c compat`: an old table of one entry, then the new file. Offsets of the
/// extension directory are the file's own, so that it has to move along.
fn behind_old(new: &[u8]) -> Vec<u8> {
    let mut file = b"ld.so-1.7.0\0".to_vec();
    file.extend(1_u32.to_le_bytes());
    file.extend([3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    file.resize(file.len().next_multiple_of(8), 0);
    let begin = file.len();
    file.extend(new);
    let extension = begin + 32;
    let offset = u32::from_le_bytes(file[extension..extension + 4].try_into().unwrap());
    if offset != 0 {
        let moved = offset + begin as u32;
        file[extension..extension + 4].copy_from_slice(&moved.to_le_bytes());
        for section in 0..2 {
            let at = moved as usize + 8 + section * 16 + 8;
            let start = u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
            file[at..at + 4].copy_from_slice(&(start + begin as u32).to_le_bytes());
        }
    }
    file
}

/// The kernel's texts of a simulated host, and its cache.
fn of_host(host: &str, directory: &Path) -> Vec<File> {
    let proc = directory.join("proc");
    let nvidia = proc.join("driver/nvidia");
    let first = |parent: PathBuf| -> Option<PathBuf> {
        let mut paths: Vec<_> = fs::read_dir(parent)
            .ok()?
            .map(|e| e.unwrap().path())
            .collect();
        paths.sort();
        paths.into_iter().next()
    };
    let mut found = vec![
        ("proc_driver", "devices", Some(proc.join("devices"))),
        ("proc_driver", "version", Some(nvidia.join("version"))),
        ("proc_driver", "params", Some(nvidia.join("params"))),
        ("ldcache", "cache", Some(directory.join("etc/ld.so.cache"))),
    ];
    let gpu = first(nvidia.join("gpus")).map(|gpu| gpu.join("information"));
    found.push(("proc_driver", "information", gpu));
    let access = nvidia.join("capabilities/mig/config");
    found.push(("proc_driver", "access", Some(access)));
    let read = |(target, name, path): (&str, &str, Option<PathBuf>)| {
        let content = fs::read(path?).ok()?;
        Some((format!("{target}/sim-{host}-{name}"), content))
    };
    found.into_iter().filter_map(read).collect()
}
