//! What the real ldconfig writes comes back byte for byte.

use oci_gpu::ldcache::{self, Cache};

use crate::elf_image::{ElfImage, X86, X86_64};
use crate::tree::Tree;

/// Two directories with much that orders a cache: numbers, sonames in both, glibc-hwcaps, another
/// ABI, names that are ends of others.
fn various() -> (Tree, [&'static str; 3]) {
    let tree = Tree::new();
    for name in [
        "libcuda.so.1",
        "libx.so.9",
        "libx.so.10",
        "libx.so.01",
        "libx.so",
        "libx1.so",
        "libx-1.so",
        "libx_.so",
        "libxa.so",
        "libX.so",
        "libnvidia-ml.so.1",
        "libml.so.1",
        "ld-test.so.2",
        "libstdc++.so.6",
        "libz-ng.so.2.1.8",
    ] {
        tree.library(&format!("/usr/lib/first/{name}"));
    }
    for name in ["libcuda.so.1", "libx.so.9", "libsecond.so.1"] {
        tree.library(&format!("/opt/second/{name}"));
    }
    for inside in [
        "/usr/lib/first/glibc-hwcaps/x86-64-v3/libcuda.so.1",
        "/usr/lib/first/glibc-hwcaps/x86-64-v2/libcuda.so.1",
        "/opt/second/glibc-hwcaps/x86-64-v3/libsecond.so.1",
        "/opt/second/glibc-hwcaps/x86-64-v3/libcuda.so.1",
        "/opt/second/glibc-hwcaps/future/libonly.so.1",
    ] {
        tree.library(inside);
    }
    for name in ["libcuda.so.1", "libx.so.9"] {
        let needed = vec!["libc.so.6".to_owned()];
        let library = ElfImage {
            needed,
            ..ElfImage::library(X86, name)
        };
        tree.write(&format!("/usr/lib32/{name}"), &library.build());
    }
    // A 32-bit library that does not need the C library is "ELF" to ldconfig, without "libc6".
    tree.write(
        "/usr/lib32/libbare.so",
        &ElfImage::library(X86, "libbare.so").build(),
    );
    // A soname that has nothing to do with its file's name.
    let odd = ElfImage::library(X86_64, "libreal-name.so.3").build();
    tree.write("/usr/lib/first/libother.so.3.1", &odd);
    (tree, ["/usr/lib/first", "/opt/second", "/usr/lib32"])
}

fn modern(cache: &Cache) -> bool {
    // Since glibc 2.33 ldconfig signs its work, and lays it out as we do.
    cache
        .generator
        .as_ref()
        .is_some_and(|generator| generator.starts_with(b"ldconfig "))
}

#[test]
fn a_cache_of_the_new_layout_comes_back_as_the_same_bytes() {
    let (tree, directories) = various();
    let Some(bytes) = tree.ldconfig("new", &directories) else {
        return;
    };
    let cache = ldcache::parse(&bytes).unwrap();
    assert!(modern(&cache), "ldconfig before glibc 2.33");
    assert_eq!(
        cache.hwcaps,
        [
            b"future".to_vec(),
            b"x86-64-v2".to_vec(),
            b"x86-64-v3".to_vec()
        ]
    );
    assert_eq!(
        cache
            .entries
            .iter()
            .filter(|entry| entry.flags == 3)
            .count(),
        2
    );
    let cuda = cache.lookup_all(b"libcuda.so.1", 0x303);
    assert_eq!(
        cuda.map(|entry| entry.hwcaps_index()).collect::<Vec<_>>(),
        [Some(1), Some(2), Some(2), None, None]
    );
    assert_eq!(
        cache.lookup(b"libcuda.so.1", 0x303).unwrap().path,
        b"/usr/lib/first/libcuda.so.1"
    );
    assert_eq!(
        cache.lookup(b"libreal-name.so.3", 0x303).unwrap().path,
        b"/usr/lib/first/libreal-name.so.3"
    );
    assert_eq!(cache.lookup(b"libonly.so.1", 0x303), None);
    assert!(cache.write() == bytes, "the cache changed");
}

#[test]
fn an_old_table_in_front_is_passed_over() {
    let (tree, directories) = various();
    let Some(new) = tree.ldconfig("new", &directories) else {
        return;
    };
    let compat = tree.ldconfig("compat", &directories).unwrap();
    assert!(compat.starts_with(b"ld.so-1.7.0"));
    let cache = ldcache::parse(&compat).unwrap();
    assert_eq!(cache, ldcache::parse(&new).unwrap());
    assert!(cache.write() == new, "the new layout was not made of it");

    let old = tree.ldconfig("old", &directories).unwrap();
    let error = ldcache::parse(&old).unwrap_err().to_string();
    assert!(error.contains("no header of the new layout"), "{error}");
}

#[test]
fn any_order_of_insertion_makes_the_same_file() {
    let (tree, directories) = various();
    let Some(bytes) = tree.ldconfig("new", &directories) else {
        return;
    };
    let mut cache = ldcache::parse(&bytes).unwrap();
    // Equal entries keep their order, so those are what must not be turned round.
    let rank =
        |cache: &Cache, path: &[u8]| cache.entries.iter().position(|entry| entry.path == path);
    cache.entries.reverse();
    let again = ldcache::parse(&cache.write()).unwrap();
    let (first, second) = (b"/usr/lib/first/libcuda.so.1", b"/opt/second/libcuda.so.1");
    assert!(rank(&again, second) < rank(&again, first));
    cache.entries.reverse();
    assert!(cache.write() == bytes);
}

/// Numbers past C's `int` too, but no two whose difference is: for those glibc has no order.
#[test]
fn bytes_past_ascii_and_long_numbers_are_sorted_as_ldconfig_does() {
    let tree = Tree::new();
    for name in [
        "libé.so",
        "liba.so",
        "libz.so",
        "lib1.so",
        "lib2147483647.so",
        "lib4294967297.so",
        "lib99999999999999999999.so",
        "lib0.so",
        "lib00.so",
        "libZ.so",
        "lib~.so",
    ] {
        tree.library(&format!("/lib/a/{name}"));
    }
    let Some(bytes) = tree.ldconfig("new", &["/lib/a"]) else {
        return;
    };
    assert!(
        ldcache::parse(&bytes).unwrap().write() == bytes,
        "sorted otherwise"
    );
}

#[test]
fn caches_without_libraries_or_with_one_come_back() {
    let tree = Tree::new();
    let Some(bytes) = tree.ldconfig("new", &["/lib/a"]) else {
        return;
    };
    assert!(ldcache::parse(&bytes).unwrap().write() == bytes);
    tree.library("/lib/a/libone.so");
    let bytes = tree.ldconfig("new", &["/lib/a"]).unwrap();
    assert!(ldcache::parse(&bytes).unwrap().write() == bytes);
}

#[test]
fn names_of_empty_hwcaps_directories_are_all_that_is_lost() {
    let tree = Tree::new();
    tree.library("/lib/a/libone.so");
    let Some(bytes) = tree.ldconfig("new", &["/lib/a"]) else {
        return;
    };
    std::fs::create_dir_all(tree.path("/lib/a/glibc-hwcaps/x86-64-v4")).unwrap();
    let with_empty = tree.ldconfig("new", &["/lib/a"]).unwrap();
    assert!(with_empty.windows(9).any(|window| window == b"x86-64-v4"));
    assert!(ldcache::parse(&with_empty).unwrap().write() == bytes);
}

#[test]
fn this_machines_cache_comes_back() {
    let Ok(bytes) = std::fs::read("/etc/ld.so.cache") else {
        eprintln!("skipped: this machine has no cache");
        return;
    };
    let cache = ldcache::parse(&bytes).unwrap();
    assert!(!cache.entries.is_empty());
    let written = cache.write();
    assert_eq!(ldcache::parse(&written).unwrap(), cache);
    if modern(&cache) && bytes.starts_with(b"glibc-ld") {
        assert!(written == bytes, "the cache changed");
    }
}
