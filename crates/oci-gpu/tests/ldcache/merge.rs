//! Entries of ours in an image's cache.

use oci_gpu::ldcache::{self, Cache, Entry};

use crate::tree::{Tree, listed};

const X86_64: u32 = 0x303;
const I386: u32 = 0x003;

fn paths(cache: &Cache, soname: &[u8], flags: u32) -> Vec<String> {
    let entries = cache.lookup_all(soname, flags);
    entries
        .map(|entry| String::from_utf8(entry.path.clone()).unwrap())
        .collect()
}

/// libcuda.so.1 plain, twice in glibc-hwcaps, in an old hardware directory, under another name
/// that the loader holds for the same, and of another ABI.
fn image() -> Cache {
    let entry = |hwcap, soname: &[u8], path: &[u8]| Entry {
        hwcap,
        ..Entry::plain(X86_64, soname, path)
    };
    Cache {
        entries: vec![
            entry(
                1 << 62,
                b"libcuda.so.1",
                b"/lib/glibc-hwcaps/x86-64-v2/libcuda.so.1",
            ),
            entry(
                (1 << 62) | 1,
                b"libcuda.so.1",
                b"/lib/glibc-hwcaps/x86-64-v3/libcuda.so.1",
            ),
            entry(1 << 63, b"libcuda.so.1", b"/lib/tls/libcuda.so.1"),
            entry(0, b"libcuda.so.1", b"/lib/libcuda.so.1"),
            entry(0, b"libcuda.so.01", b"/lib/libcuda.so.01"),
            entry(0, b"libcuda.so.10", b"/lib/libcuda.so.10"),
            entry(
                (1 << 62) | 1,
                b"libz.so.1",
                b"/lib/glibc-hwcaps/x86-64-v3/libz.so.1",
            ),
            Entry::plain(I386, b"libcuda.so.1", b"/lib32/libcuda.so.1"),
        ],
        hwcaps: vec![b"x86-64-v2".to_vec(), b"x86-64-v3".to_vec()],
        generator: Some(b"ldconfig (test)".to_vec()),
    }
}

#[test]
fn ours_replaces_all_of_its_soname_and_flags() {
    let mut cache = image();
    cache
        .merge(&[
            Entry::plain(X86_64, b"libcuda.so.1", b"/usr/lib/libcuda.so.1"),
            Entry::plain(X86_64, b"libnvidia-ml.so.1", b"/usr/lib/libnvidia-ml.so.1"),
        ])
        .unwrap();
    let cache = ldcache::parse(&cache.write()).unwrap();
    assert_eq!(
        paths(&cache, b"libcuda.so.1", X86_64),
        ["/usr/lib/libcuda.so.1"]
    );
    assert_eq!(
        paths(&cache, b"libnvidia-ml.so.1", X86_64),
        ["/usr/lib/libnvidia-ml.so.1"]
    );
    assert_eq!(
        paths(&cache, b"libcuda.so.10", X86_64),
        ["/lib/libcuda.so.10"]
    );
    assert_eq!(
        paths(&cache, b"libcuda.so.1", I386),
        ["/lib32/libcuda.so.1"]
    );
    assert_eq!(cache.entries.len(), 5);
    // What is left of the image still names its subdirectory by the same index.
    let z = cache.lookup_all(b"libz.so.1", X86_64).next().unwrap();
    assert_eq!(cache.hwcaps[z.hwcaps_index().unwrap()], b"x86-64-v3");
    assert_eq!(cache.generator.as_deref(), Some(&b"ldconfig (test)"[..]));
}

#[test]
fn merging_again_changes_nothing() {
    let ours = [
        Entry::plain(X86_64, b"libcuda.so.1", b"/usr/lib/libcuda.so.1"),
        Entry::plain(X86_64, b"libcuda.so.1", b"/compat/libcuda.so.1"),
    ];
    let mut cache = image();
    cache.merge(&ours).unwrap();
    let once = cache.write();
    let mut cache = ldcache::parse(&once).unwrap();
    cache.merge(&ours).unwrap();
    assert!(cache.write() == once);
    // The first of two is what the loader takes.
    assert_eq!(
        paths(&cache, b"libcuda.so.1", X86_64),
        ["/usr/lib/libcuda.so.1", "/compat/libcuda.so.1"]
    );
}

#[test]
fn a_cache_of_ours_alone_is_one() {
    let mut cache = Cache::default();
    cache
        .merge(&[Entry::plain(
            X86_64,
            b"libcuda.so.1",
            b"/usr/lib/libcuda.so.1",
        )])
        .unwrap();
    let bytes = cache.write();
    assert_eq!(ldcache::parse(&bytes).unwrap(), cache);
    if let Some(lines) = listed(&bytes) {
        assert_eq!(
            lines,
            ["libcuda.so.1 (libc6,x86-64) => /usr/lib/libcuda.so.1"]
        );
    }
    assert_eq!(Cache::default().write().len(), 48);
    assert_eq!(
        ldcache::parse(&Cache::default().write()).unwrap(),
        Cache::default()
    );
}

#[test]
fn ldconfig_lists_a_merged_cache() {
    let tree = Tree::new();
    for name in [
        "libcuda.so.1",
        "libz.so.1",
        "glibc-hwcaps/x86-64-v3/libcuda.so.1",
    ] {
        tree.library(&format!("/lib/a/{name}"));
    }
    let Some(bytes) = tree.ldconfig("new", &["/lib/a"]) else {
        return;
    };
    let mut cache = ldcache::parse(&bytes).unwrap();
    cache
        .merge(&[
            Entry::plain(X86_64, b"libcuda.so.1", b"/gpu/libcuda.so.1"),
            Entry::plain(I386, b"libcuda.so.1", b"/gpu32/libcuda.so.1"),
        ])
        .unwrap();
    assert_eq!(
        listed(&cache.write()).unwrap(),
        [
            "libz.so.1 (libc6,x86-64) => /lib/a/libz.so.1",
            "libcuda.so.1 (libc6,x86-64) => /gpu/libcuda.so.1",
            "libcuda.so.1 (libc6) => /gpu32/libcuda.so.1",
        ]
    );
}

#[test]
fn what_the_format_cannot_carry_is_refused() {
    let long = [b"/".as_slice(), &[b'x'; 4095]].concat();
    let long_name = [b"lib".as_slice(), &[b'x'; 4090], b".so"].concat();
    let soname = b"libcuda.so.1".as_slice();
    let cases: [(&[u8], &[u8], &str); 16] = [
        (b"", b"/x", "not named as a library"),
        (b"..", b"/x", "not named as a library"),
        (b"libcuda", b"/x", "not named as a library"),
        (b"xlibcuda.so", b"/x", "not named as a library"),
        (b"lib/../cuda.so", b"/x", "has a '/'"),
        (b"libcuda.so.1\n", b"/x", "control character"),
        (b"libcuda.so.1\0", b"/x", "control character"),
        (b"libcud\xc3\xa4.so", b"/x", "past ASCII"),
        (b"libcuda.so.1234567890", b"/x", "more than 9 digits"),
        (&long_name, b"/x", "4096 is too many"),
        (soname, b"", "not absolute"),
        (soname, b"usr/lib/libcuda.so.1", "not absolute"),
        (soname, b"/usr\0", "its path has a NUL"),
        (soname, b"/usr\n/lib", "its path has a NUL, newline"),
        (soname, &long, "its path has 4096 bytes"),
        (b"ld/", b"/x", "not named as a library"),
    ];
    for (soname, path, expected) in cases {
        let mut cache = image();
        let ours = [
            Entry::plain(X86_64, b"libcuda.so.1", b"/usr/lib/libcuda.so.1"),
            Entry::plain(X86_64, soname, path),
        ];
        let error = cache.merge(&ours).unwrap_err().to_string();
        assert!(
            error.contains(expected),
            "{error:?} does not say {expected:?}"
        );
        assert_eq!(cache, image(), "changed in spite of the error");
    }
    let hardware = Entry {
        hwcap: 1 << 62,
        ..Entry::plain(X86_64, soname, b"/x")
    };
    assert!(image().merge(&[hardware]).is_err());
}

#[test]
fn what_the_format_carries_is_taken() {
    let path = [b"/".as_slice(), &[b'x'; 4094]].concat();
    for (soname, path) in [
        (b"libcuda.so.1".as_slice(), path.as_slice()),
        (
            b"libnvidia-ptxjitcompiler.so.1",
            b"/opt/gpu \xc3\xa4/lib.so",
        ),
        (b"libcuda.so.123456789", b"/x"),
        (b"lib1234567.12345678.so", b"/x"),
        (b"ld-linux-x86-64.so.2", b"/x"),
        (b"libvdpau_nvidia.so", b"/x"),
    ] {
        let mut cache = image();
        cache.merge(&[Entry::plain(X86_64, soname, path)]).unwrap();
        let cache = ldcache::parse(&cache.write()).unwrap();
        assert_eq!(cache.lookup(soname, X86_64).unwrap().path, path);
    }
}

#[test]
fn the_merged_cache_keeps_to_the_limits() {
    let filler = |number: usize| Entry::plain(X86_64, format!("libf{number}.so").as_bytes(), b"/f");
    let mut cache = Cache {
        entries: (0..100_000).map(filler).collect(),
        ..Cache::default()
    };
    let ours = Entry::plain(X86_64, b"libcuda.so.1", b"/usr/lib/libcuda.so.1");
    let error = cache
        .merge(std::slice::from_ref(&ours))
        .unwrap_err()
        .to_string();
    assert!(error.contains("100001 entries"), "{error}");
    assert_eq!(cache.entries.len(), 100_000);
    // One that replaces another makes no more of them.
    cache.merge(&[filler(7)]).unwrap();
    cache.entries.pop();
    cache.merge(&[ours]).unwrap();
    assert_eq!(cache.entries.len(), 100_000);
}
