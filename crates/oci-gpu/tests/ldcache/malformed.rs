//! Small files that break the format, each refused with its cause.

use oci_gpu::ldcache::{self, ENTRY_LIMIT, SIZE_LIMIT};

/// Offsets in [`valid`]: the entries, the strings, the extension directory.
const ENTRY: usize = 48;
const STRINGS: usize = 96;
const EXTENSION: usize = 136;

/// Two entries, the first of glibc-hwcaps, as ldconfig would lay them out by hand.
fn valid() -> Vec<u8> {
    let words = |words: &[u32]| {
        words
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let file = [
        b"glibc-ld.so.cache1.1".to_vec(),
        words(&[2, 37, 2, EXTENSION as u32, 0, 0, 0]),
        words(&[0x303, 100, 96, 0, 0, 1 << 30]),
        words(&[0x303, 100, 109, 0, 0, 0]),
        // At 96, 109 and 123; the soname is the end of the first.
        b"/v3/liba.so\0\0/lib/liba.so\0\0x86-64-v3\0".to_vec(),
        vec![0; 3],
        words(&[0xeaa4_2174, 2]),
        words(&[0, 0, EXTENSION as u32 + 44, 4]),
        words(&[1, 0, EXTENSION as u32 + 40, 4]),
        words(&[123]),
        b"test".to_vec(),
    ]
    .concat();
    assert_eq!(file.len(), EXTENSION + 48);
    file
}

fn patched(offset: usize, patch: &[u8]) -> Vec<u8> {
    let mut bytes = valid();
    bytes[offset..offset + patch.len()].copy_from_slice(patch);
    bytes
}

fn word(offset: usize, value: u32) -> Vec<u8> {
    patched(offset, &value.to_le_bytes())
}

#[test]
fn the_file_that_the_others_are_made_from_is_valid() {
    let cache = ldcache::parse(&valid()).unwrap();
    assert_eq!(cache.generator.as_deref(), Some(&b"test"[..]));
    assert_eq!(cache.hwcaps, [b"x86-64-v3"]);
    let entries: Vec<_> = cache
        .entries
        .iter()
        .map(|entry| (&entry.soname[..], &entry.path[..]))
        .collect();
    assert_eq!(
        entries,
        [
            (&b"liba.so"[..], &b"/v3/liba.so"[..]),
            (b"liba.so", b"/lib/liba.so")
        ]
    );
    assert_eq!(cache.entries[0].hwcaps_index(), Some(0));
    // Not marked with a byte order, as before glibc 2.33; reserved bits of the mark.
    assert_eq!(ldcache::parse(&patched(28, &[0])).unwrap(), cache);
    assert_eq!(ldcache::parse(&patched(28, &[0xfe])).unwrap(), cache);
    // A section that is not known yet.
    assert_eq!(
        ldcache::parse(&word(EXTENSION + 8, 7)).unwrap().generator,
        None
    );
}

#[test]
fn each_broken_file_is_refused_with_its_cause() {
    const MAX: u32 = u32::MAX;
    let old = |count: u32, rest: &[u8]| {
        [b"ld.so-1.7.0\0".as_slice(), &count.to_le_bytes(), rest].concat()
    };
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), "no header of the new layout"),
        (vec![0], "no header of the new layout"),
        (valid()[..47].to_vec(), "no header of the new layout"),
        (vec![0; 200], "no header of the new layout"),
        (patched(17, b"2.0"), "no header of the new layout"),
        (patched(28, &[1]), "not marked as little-endian"),
        (patched(28, &[3]), "not marked as little-endian"),
        (word(20, MAX), "over the limit of 100000"),
        (
            word(20, ENTRY_LIMIT as u32),
            "cut off within the table of 100000 entries",
        ),
        (word(20, 6), "cut off within the table of 6 entries"),
        (word(24, MAX), "cut off within the string table"),
        (word(24, 100), "cut off within the string table"),
        (word(24, 5), "offset 123 is outside the string table"),
        // Sonames and paths: past the table, in the header, in the entries, without an end.
        (
            word(ENTRY + 4, MAX),
            "entry 0: offset 4294967295 is outside the string table",
        ),
        (
            word(ENTRY + 4, 0),
            "entry 0: offset 0 is outside the string table",
        ),
        (
            word(ENTRY + 24 + 8, STRINGS as u32 - 1),
            "entry 1: offset 95 is outside the string table",
        ),
        (
            word(ENTRY + 24 + 8, STRINGS as u32 + 38),
            "entry 1: offset 134 is outside the string table",
        ),
        (patched(STRINGS + 36, b"x"), "has no end within"),
        (
            word(ENTRY + 16, 1),
            "entry 0: glibc-hwcaps name 1 where the file has 1",
        ),
        (
            word(ENTRY + 16, MAX),
            "entry 0: glibc-hwcaps name 4294967295",
        ),
        // The extension directory.
        (
            word(32, 0),
            "entry 0: glibc-hwcaps name 0 where the file has 0",
        ),
        (word(32, EXTENSION as u32 + 2), "is not aligned"),
        (word(32, MAX - 3), "is outside the file"),
        (word(32, EXTENSION as u32 + 48), "cut off within a header"),
        (word(32, EXTENSION as u32 + 4), "wrong magic number"),
        (word(EXTENSION + 4, MAX), "over the limit of 64"),
        (
            word(EXTENSION + 4, 64),
            "cut off within the extension directory",
        ),
        (
            word(EXTENSION + 16, MAX),
            "an extension section is outside the file",
        ),
        (
            word(EXTENSION + 20, 5),
            "an extension section is outside the file",
        ),
        (word(EXTENSION + 24, 0), "there twice"),
        (word(EXTENSION + 36, 3), "glibc-hwcaps section of 3 bytes"),
        (
            word(EXTENSION + 40, 2),
            "offset 2 is outside the string table",
        ),
        // The old layout in front.
        (old(MAX, &[]), "cut off within the table of the old layout"),
        (
            old(1, &[0; 12]),
            "cut off within the table of the old layout",
        ),
        (old(2, &[0; 24]), "no header of the new layout"),
        (b"ld.so-1.7.0".to_vec(), "cut off within a header"),
    ];
    for (bytes, expected) in cases {
        let error = ldcache::parse(&bytes).expect_err(expected).to_string();
        assert!(
            error.contains(expected),
            "{error:?} does not say {expected:?}"
        );
    }
}

#[test]
fn hwcaps_names_out_of_order_are_refused() {
    // Two names, the second the same as the first: the loader's join would go wrong.
    let mut bytes = word(EXTENSION + 36, 8);
    bytes.splice(EXTENSION + 44.., 123_u32.to_le_bytes());
    let error = ldcache::parse(&patch_generator(bytes))
        .unwrap_err()
        .to_string();
    assert!(error.contains("not in ascending order"), "{error}");
}

/// The generator's section made empty, where its bytes have been taken for something else.
fn patch_generator(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[EXTENSION + 20..EXTENSION + 24].fill(0);
    bytes
}

#[test]
fn an_old_table_may_be_in_front() {
    // Offsets are from the new header, but for the extension directory's, which are from the
    // file's beginning.
    let front = [
        b"ld.so-1.7.0\0".as_slice(),
        &1_u32.to_le_bytes(),
        &[0; 12],
        &[0; 4],
    ]
    .concat();
    let shift = u32::try_from(front.len()).unwrap();
    let mut bytes = [front, valid()].concat();
    for offset in [32, EXTENSION + 16, EXTENSION + 32] {
        let at = offset + shift as usize;
        let value = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        bytes[at..at + 4].copy_from_slice(&(value + shift).to_le_bytes());
    }
    assert_eq!(
        ldcache::parse(&bytes).unwrap(),
        ldcache::parse(&valid()).unwrap()
    );
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    let whole = valid();
    for length in 0..whole.len() {
        assert!(
            ldcache::parse(&whole[..length]).is_err(),
            "{length} bytes were taken"
        );
    }
    // Bytes behind are of no matter, to the loader as well.
    assert!(ldcache::parse(&[whole, vec![0xff; 10]].concat()).is_ok());
}

#[test]
fn bombs_are_refused() {
    let size = usize::try_from(SIZE_LIMIT).unwrap();
    let mut large = valid();
    large.resize(size, 0);
    assert!(ldcache::parse(&large).is_ok());
    large.push(0);
    assert!(
        ldcache::parse(&large)
            .unwrap_err()
            .to_string()
            .contains("over the limit of 8388608")
    );

    // Many entries that share one long string.
    let words = |words: &[u32]| {
        words
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let count = 50_000;
    let strings = 48 + 24 * count;
    let bytes = [
        b"glibc-ld.so.cache1.1".to_vec(),
        words(&[count, 4000, 2, 0, 0, 0, 0]),
        words(&[0x303, strings, strings, 0, 0, 0]).repeat(count as usize),
        [b'x'; 3999].to_vec(),
        vec![0],
    ]
    .concat();
    assert!(bytes.len() < size);
    let error = ldcache::parse(&bytes).unwrap_err().to_string();
    assert!(error.contains("over 16777216 bytes together"), "{error}");
}
