//! How glibc's loader finds a soname in a cache: an implementation of its own, written from
//! elf/dl-cache.c, so that the library's order of entries is held against something else than itself.

use oci_gpu::ldcache::{Cache, Entry};

/// `search_cache` for a processor that no glibc-hwcaps subdirectory applies to: halve, go back to
/// the first entry of an equal name, then take the first plain one of these flags.
pub(crate) fn finds<'a>(cache: &'a Cache, soname: &[u8], flags: u32) -> Option<&'a Entry> {
    let entries = &cache.entries;
    let (mut left, mut right) = (0, entries.len());
    while left < right {
        let middle = usize::midpoint(left, right);
        // Their order is descending.
        match compare(soname, &entries[middle].soname) {
            0 => {
                let equal = |e: &&Entry| compare(soname, &e.soname) == 0;
                let before = entries[..middle].iter().rev().take_while(equal).count();
                let mut run = entries[middle - before..].iter().take_while(equal);
                return run.find(|e| e.flags == flags && e.hwcap == 0);
            }
            less if less < 0 => left = middle + 1,
            _ => right = middle,
        }
    }
    None
}

/// `_dl_cache_libcmp` where `char` is signed. Numbers past nine digits overflow C's `int`, and no
/// order can be told of them: see [`comparable`].
fn compare(one: &[u8], two: &[u8]) -> i64 {
    let at = |bytes: &[u8], index: usize| bytes.get(index).copied().unwrap_or(0);
    let signed = |byte: u8| i64::from(byte.cast_signed());
    let (mut i, mut j) = (0, 0);
    while at(one, i) != 0 {
        let (a, b) = (at(one, i), at(two, j));
        match (a.is_ascii_digit(), b.is_ascii_digit()) {
            (true, true) => {
                let (a, b) = (number(one, &mut i), number(two, &mut j));
                if a != b {
                    return a - b;
                }
            }
            (true, false) => return 1,
            (false, true) => return -1,
            (false, false) if a != b => return signed(a) - signed(b),
            (false, false) => (i, j) = (i + 1, j + 1),
        }
    }
    // C compares a digit as a character here.
    signed(at(one, i)) - signed(at(two, j))
}

fn number(bytes: &[u8], index: &mut usize) -> i64 {
    let mut value = 0;
    while let Some(digit) = bytes.get(*index).filter(|b| b.is_ascii_digit()) {
        value = value * 10 + i64::from(digit - b'0');
        *index += 1;
    }
    value
}

/// Whether glibc can order a cache of these names at all: no number overflows its `int`.
pub(crate) fn comparable(cache: &Cache) -> bool {
    let short = |name: &[u8]| {
        let mut runs = name.split(|b| !b.is_ascii_digit());
        runs.all(|run| run.len() <= 9)
    };
    cache.entries.iter().all(|e| short(&e.soname))
}

/// Whether the cache's loader compares bytes as signed: that of x86 does.
pub(crate) fn is_x86(cache: &Cache) -> bool {
    let x86 = |e: &Entry| matches!(e.flags, 0x303 | 0x803 | 0x003);
    cache.entries.iter().any(x86)
}
