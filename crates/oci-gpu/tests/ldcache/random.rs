//! Properties of parsing, merging and writing.

use oci_gpu::ldcache::{self, Cache, Entry};
use proptest::collection::vec;
use proptest::prelude::*;

fn soname() -> impl Strategy<Value = Vec<u8>> {
    "lib[ab0-2_.-]{0,5}\\.so(\\.[0-9]{1,2})?".prop_map(String::into_bytes)
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    "(/[a-c]{1,2}){1,3}".prop_map(String::into_bytes)
}

fn plain() -> impl Strategy<Value = Entry> {
    (prop::sample::select(vec![0x303, 0x003]), soname(), path())
        .prop_map(|(flags, soname, path)| Entry::plain(flags, &soname, &path))
}

/// Entries of glibc-hwcaps, of old hardware directories, and plain ones; odd names as well.
fn foreign() -> impl Strategy<Value = Entry> {
    let odd = vec(1_u8..=255, 0..6);
    let hwcap = prop::sample::select(vec![0, 0, 1 << 62, (2 << 32) | (1 << 62) | 1, 1 << 63, 12]);
    (
        plain(),
        prop_oneof![4 => Just(None), 1 => odd.prop_map(Some)],
        hwcap,
        0..2_u32,
    )
        .prop_map(|(entry, odd, hwcap, osversion)| {
            let soname = odd.unwrap_or_else(|| entry.soname.clone());
            Entry {
                soname,
                hwcap,
                osversion,
                ..entry
            }
        })
}

fn cache() -> impl Strategy<Value = Cache> {
    (
        vec(foreign(), 0..30),
        proptest::option::of(vec(any::<u8>(), 0..9)),
    )
        .prop_map(|(entries, generator)| Cache {
            entries,
            hwcaps: vec![b"x86-64-v2".to_vec(), b"x86-64-v3".to_vec()],
            generator,
        })
}

/// The loader's search (elf/dl-cache.c, search_cache) on the entries of a written file: halve,
/// then go back to the first that is equal.
fn loader_finds<'a>(cache: &'a Cache, soname: &[u8], flags: u32) -> Option<&'a Entry> {
    let (mut left, mut right) = (0, cache.entries.len());
    while left < right {
        let middle = usize::midpoint(left, right);
        // Their order is descending.
        match libcmp(soname, &cache.entries[middle].soname) {
            0 => {
                let equal = |entry: &&Entry| libcmp(soname, &entry.soname) == 0;
                let before = cache.entries[..middle]
                    .iter()
                    .rev()
                    .take_while(equal)
                    .count();
                let run = cache.entries[middle - before..].iter().take_while(equal);
                return run
                    .filter(|entry| entry.flags == flags)
                    .find(|entry| entry.hwcap == 0);
            }
            less if less < 0 => left = middle + 1,
            _ => right = middle,
        }
    }
    None
}

/// `_dl_cache_libcmp` word for word, for names of ASCII with short numbers.
fn libcmp(one: &[u8], two: &[u8]) -> i32 {
    let at = |bytes: &[u8], index: usize| bytes.get(index).copied().unwrap_or(0);
    let (mut i, mut j) = (0, 0);
    while at(one, i) != 0 {
        let (a, b) = (at(one, i), at(two, j));
        if a.is_ascii_digit() && b.is_ascii_digit() {
            let number = |bytes: &[u8], index: &mut usize| {
                let mut value = 0;
                while at(bytes, *index).is_ascii_digit() {
                    value = value * 10 + i32::from(at(bytes, *index) - b'0');
                    *index += 1;
                }
                value
            };
            let (a, b) = (number(one, &mut i), number(two, &mut j));
            if a != b {
                return a - b;
            }
        } else if a.is_ascii_digit() {
            return 1;
        } else if b.is_ascii_digit() {
            return -1;
        } else if a != b {
            return i32::from(a) - i32::from(b);
        } else {
            (i, j) = (i + 1, j + 1);
        }
    }
    i32::from(at(one, i)) - i32::from(at(two, j))
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_parsed(cache in cache()) {
        let bytes = cache.write();
        let parsed = ldcache::parse(&bytes).unwrap();
        // The same entries, sorted; and sorted they stay.
        let mut sorted = cache.entries.clone();
        let mut again = parsed.entries.clone();
        for entries in [&mut sorted, &mut again] {
            entries.sort_by(|a, b| format!("{a:?}").cmp(&format!("{b:?}")));
        }
        prop_assert_eq!(sorted, again);
        prop_assert_eq!(&parsed.hwcaps, &cache.hwcaps);
        prop_assert_eq!(&parsed.generator, &cache.generator);
        prop_assert_eq!(parsed.write(), bytes);
    }

    #[test]
    fn the_loader_finds_each_of_ours(theirs in vec(plain(), 0..40), ours in vec(plain(), 1..10)) {
        let mut cache = Cache { entries: theirs, ..Cache::default() };
        cache.merge(&ours).unwrap();
        let written = ldcache::parse(&cache.write()).unwrap();
        for entry in &ours {
            let same = |other: &&Entry| other.flags == entry.flags && libcmp(&other.soname, &entry.soname) == 0;
            let first = ours.iter().find(same).unwrap();
            prop_assert_eq!(loader_finds(&written, &entry.soname, entry.flags), Some(first));
            prop_assert_eq!(written.lookup(&entry.soname, entry.flags), Some(first));
        }
        for entry in &cache.entries {
            prop_assert!(loader_finds(&written, &entry.soname, entry.flags).is_some());
        }
    }

    #[test]
    fn none_of_theirs_is_left_of_a_soname_of_ours(cache in cache(), ours in vec(plain(), 0..10)) {
        let mut merged = cache.clone();
        merged.merge(&ours).unwrap();
        for entry in &ours {
            let left: Vec<_> = merged.lookup_all(&entry.soname, entry.flags).collect();
            prop_assert!(!left.is_empty());
            prop_assert!(left.into_iter().all(|entry| ours.contains(entry)));
        }
        let kept = cache.entries.iter().filter(|theirs| {
            !ours.iter().any(|entry| {
                cache.lookup_all(&entry.soname, entry.flags).any(|other| std::ptr::eq(other, *theirs))
            })
        });
        prop_assert_eq!(merged.entries.len(), kept.count() + ours.len());
    }

    #[test]
    fn overwritten_and_truncated_caches_do_not_panic(
        cache in cache(),
        patches in vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        length in any::<prop::sample::Index>(),
    ) {
        let mut bytes = cache.write();
        for (index, byte) in patches {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let cut = length.index(bytes.len() + 1);
        for bytes in [&bytes[..], &bytes[..cut]] {
            if let Ok(cache) = ldcache::parse(bytes) {
                // What was taken can be written, and read again.
                prop_assert!(ldcache::parse(&cache.write()).is_ok());
            }
        }
    }

    #[test]
    fn random_bytes_do_not_panic(bytes in vec(any::<u8>(), 0..400)) {
        let _ = ldcache::parse(&bytes);
        let _ = ldcache::parse(&[b"glibc-ld.so.cache1.1".as_slice(), &bytes].concat());
        let _ = ldcache::parse(&[b"ld.so-1.7.0\0\x01\0\0\0".as_slice(), &bytes].concat());
    }
}
