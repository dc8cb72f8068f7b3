//! The real loader takes a merged cache. It knows the cache at /etc alone, so it runs in a root
//! file system of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use oci_gpu::elf::{self, Class, Machine};
use oci_gpu::ldcache::{self, Cache, Entry};

use crate::elf_image::{AARCH64, ElfImage, X86_64};
use crate::tree::Tree;

/// The machine's loader, with the processor number and cache flags of what it loads.
fn loader() -> Option<(&'static Path, u16, u32)> {
    let (path, machine, number) = if cfg!(target_arch = "x86_64") {
        ("/lib64/ld-linux-x86-64.so.2", Machine::X86_64, X86_64)
    } else {
        ("/lib/ld-linux-aarch64.so.1", Machine::Aarch64, AARCH64)
    };
    let flags = ldcache::flags_for(Class::Elf64, machine).unwrap();
    Path::new(path)
        .exists()
        .then_some((Path::new(path), number, flags))
}

/// A tree with the loader in it; `None`, said aloud, where the machine has none that we know.
fn tree_with_loader() -> Option<(Tree, u16, u32)> {
    let Some((path, number, flags)) = loader() else {
        eprintln!("skipped: no glibc loader of this processor");
        return None;
    };
    let tree = Tree::new();
    tree.write("/ld.so", &fs::read(path).unwrap());
    fs::set_permissions(tree.path("/ld.so"), fs::Permissions::from_mode(0o755)).unwrap();
    Some((tree, number, flags))
}

/// What `ld.so --list FILE` says in the tree: `soname => path (address)`. `None`, said aloud,
/// where the machine lets us neither make a user namespace nor change the root.
fn list(tree: &Tree, file: &str) -> Option<String> {
    let root = tree.root().to_str().unwrap();
    for command in [&["unshare", "-r", "chroot"][..], &["chroot"]] {
        let mut probe = Command::new(command[0]);
        probe
            .args(&command[1..])
            .args([root, "/ld.so", "--version"]);
        if !probe.output().is_ok_and(|output| output.status.success()) {
            continue;
        }
        let mut run = Command::new(command[0]);
        run.args(&command[1..])
            .args([root, "/ld.so", "--list", file]);
        let output = run.env_remove("LD_LIBRARY_PATH").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        return Some(text);
    }
    eprintln!("skipped: neither unshare nor chroot is allowed");
    None
}

/// Each line's soname and path.
fn resolved(listing: &str) -> Vec<(&str, &str)> {
    let lines = listing
        .lines()
        .filter_map(|line| line.trim().split_once(" => "));
    lines
        .map(|(soname, rest)| (soname, rest.split_once(" (").map_or(rest, |(path, _)| path)))
        .collect()
}

#[test]
fn the_loader_finds_every_library_of_a_merged_cache() {
    let Some((tree, machine, flags)) = tree_with_loader() else {
        return;
    };
    let sonames: Vec<String> = (0..60)
        .map(|number| match number % 4 {
            0 => format!("libgpu.so.{number}"),
            1 => format!("libgpu-{number}x.so"),
            2 => format!(
                "libgpu{}.so.1",
                "abc".repeat(number / 10 + 1) + &number.to_string()
            ),
            _ => format!("libGpu_{number}.so.0{number}"),
        })
        .collect();
    let library = |soname: &str| ElfImage::library(machine, soname).build();
    let program = ElfImage {
        needed: sonames.clone(),
        ..ElfImage::library(machine, "libprogram.so")
    };
    tree.write("/program", &program.build());

    // The image's own are those of every third soname, ours of every second: some in both.
    let (mut image, mut ours) = (Vec::new(), Vec::new());
    for (number, soname) in sonames.iter().enumerate() {
        for (entries, step, directory) in [(&mut image, 3, "image"), (&mut ours, 2, "gpu")] {
            if number % step == 0 || (directory == "gpu" && number % 3 != 0) {
                let path = format!("/{directory}/{soname}");
                tree.write(&path, &library(soname));
                entries.push(Entry::plain(flags, soname.as_bytes(), path.as_bytes()));
            }
        }
    }
    let mut cache = Cache {
        entries: image,
        ..Cache::default()
    };
    cache.merge(&ours).unwrap();
    tree.write("/etc/ld.so.cache", &cache.write());

    let Some(listing) = list(&tree, "/program") else {
        return;
    };
    let resolved = resolved(&listing);
    assert_eq!(resolved.len(), sonames.len(), "{listing}");
    for (soname, path) in resolved {
        let entry = cache.lookup(soname.as_bytes(), flags).unwrap();
        assert_eq!(path.as_bytes(), entry.path, "{soname}");
    }
}

#[test]
fn ours_comes_before_a_hwcaps_library_of_the_image() {
    let Some((tree, machine, flags)) = tree_with_loader() else {
        return;
    };
    let soname = "libcuda.so.1";
    let needed = vec![soname.to_owned()];
    tree.write(
        "/program",
        &ElfImage {
            needed,
            ..ElfImage::library(machine, "libprogram.so")
        }
        .build(),
    );
    let library = ElfImage::library(machine, soname).build();
    tree.write(&format!("/image/{soname}"), &library);
    // The lowest level that has a directory: x86-64 processors since 2009.
    tree.write(&format!("/image/glibc-hwcaps/x86-64-v2/{soname}"), &library);
    tree.write(&format!("/gpu/{soname}"), &library);
    assert_eq!(
        elf::read(&fs::File::open(tree.path("/gpu/libcuda.so.1")).unwrap())
            .unwrap()
            .soname
            .as_deref(),
        Some(soname)
    );

    let Some(bytes) = tree.ldconfig("new", &["/image"]) else {
        return;
    };
    let Some(before) = list(&tree, "/program") else {
        return;
    };
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("sse4.2") {
        assert_eq!(
            resolved(&before),
            [(soname, "/image/glibc-hwcaps/x86-64-v2/libcuda.so.1")]
        );
    }
    assert!(before.contains("/image/"), "{before}");

    let mut cache = ldcache::parse(&bytes).unwrap();
    cache
        .merge(&[Entry::plain(flags, soname.as_bytes(), b"/gpu/libcuda.so.1")])
        .unwrap();
    tree.write("/etc/ld.so.cache", &cache.write());
    let after = list(&tree, "/program").unwrap();
    assert_eq!(resolved(&after), [(soname, "/gpu/libcuda.so.1")]);
}
