//! The order of a cache's entries, on which the loader's binary search relies.

use std::cmp::Ordering;

use super::{Cache, Entry};

/// Whether C's `char` is signed on the machine that the cache is for. It decides where bytes from
/// 0x80 up are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bytes {
    /// x86.
    Signed,
    /// ARM, POWER, RISC-V, s390x.
    Unsigned,
}

impl Bytes {
    /// Tells the machine by the flags of its cache's entries.
    pub(super) fn of(entries: &[Entry]) -> Bytes {
        // x86-64, x32, i386.
        if entries
            .iter()
            .any(|entry| matches!(entry.flags, 0x303 | 0x803 | 0x003))
        {
            Bytes::Signed
        } else {
            Bytes::Unsigned
        }
    }

    fn compare(self, a: u8, b: u8) -> Ordering {
        match self {
            Bytes::Signed => a.cast_signed().cmp(&b.cast_signed()),
            Bytes::Unsigned => a.cmp(&b),
        }
    }
}

/// `_dl_cache_libcmp` (elf/dl-cache.c): runs of digits compare as numbers, and a digit is greater
/// than anything else. So `libx.so.10` is greater than `libx.so.9`, and `libx.so.01` equals
/// `libx.so.1`.
///
/// glibc gathers a number in an `int`. Past its range the C standard leaves the result open; what
/// is done here is what compiled glibc does, as far as that is an order at all.
pub(super) fn compare_names(mut a: &[u8], mut b: &[u8], bytes: Bytes) -> Ordering {
    loop {
        // The end of a name is C's NUL.
        let x = a.first().copied().unwrap_or(0);
        let y = b.first().copied().unwrap_or(0);
        match (x.is_ascii_digit(), y.is_ascii_digit()) {
            (true, true) => match take_number(&mut a).cmp(&take_number(&mut b)) {
                Ordering::Equal => {}
                unequal => return unequal,
            },
            (true, false) => return Ordering::Greater,
            (false, true) => return Ordering::Less,
            (false, false) if x != y => return bytes.compare(x, y),
            (false, false) if x == 0 => return Ordering::Equal,
            (false, false) => {
                a = a.get(1..).unwrap_or_default();
                b = b.get(1..).unwrap_or_default();
            }
        }
    }
}

/// Takes the digits that `name` begins with, as the `int` that glibc makes of them.
fn take_number(name: &mut &[u8]) -> i32 {
    let mut number = 0_i32;
    while let Some((digit, rest)) = name.split_first().filter(|(byte, _)| byte.is_ascii_digit()) {
        number = number
            .wrapping_mul(10)
            .wrapping_add(i32::from(digit - b'0'));
        *name = rest;
    }
    number
}

/// `compare` of elf/cache.c: what ldconfig sorts by. Equal entries stay in the order in which
/// ldconfig met them, that of the directories.
///
/// glibc 2.37 and later leave out all after the glibc-hwcaps names, and write zeros there.
pub(super) fn compare_entries(cache: &Cache, bytes: Bytes, a: &Entry, b: &Entry) -> Ordering {
    compare_names(&b.soname, &a.soname, bytes)
        .then_with(|| b.flags.cmp(&a.flags))
        .then_with(|| match (hwcaps_name(cache, a), hwcaps_name(cache, b)) {
            // The loader stops at the first plain entry, so those of glibc-hwcaps go first.
            (Some(a), Some(b)) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => {
                let mask = |entry: &Entry| (entry.hwcap.count_ones(), entry.hwcap);
                mask(b).cmp(&mask(a))
            }
        })
        .then_with(|| b.osversion.cmp(&a.osversion))
}

fn hwcaps_name<'a>(cache: &'a Cache, entry: &Entry) -> Option<&'a [u8]> {
    let index = entry.hwcaps_index()?;
    Some(cache.hwcaps.get(index).map_or(&[], Vec::as_slice))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signed(a: &str, b: &str) -> Ordering {
        compare_names(a.as_bytes(), b.as_bytes(), Bytes::Signed)
    }

    #[test]
    fn numbers_compare_as_numbers() {
        assert_eq!(signed("libx.so.10", "libx.so.9"), Ordering::Greater);
        assert_eq!(signed("libx.so.01", "libx.so.1"), Ordering::Equal);
        assert_eq!(signed("libx.so.1", "libx.so"), Ordering::Greater);
        assert_eq!(signed("libx1.so", "libxa.so"), Ordering::Greater);
        assert_eq!(signed("libx.so", "libx1.so"), Ordering::Less);
        assert_eq!(signed("lib", "lib1"), Ordering::Less);
        assert_eq!(signed("", ""), Ordering::Equal);
    }

    #[test]
    fn a_number_past_int_wraps_as_compiled_glibc_does() {
        // 4294967297 = 2^32 + 1.
        assert_eq!(signed("libx.so.4294967297", "libx.so.1"), Ordering::Equal);
        assert_eq!(signed("libx.so.2147483648", "libx.so.1"), Ordering::Less);
    }

    #[test]
    fn high_bytes_follow_the_machines_char() {
        let (latin, plain) = (b"lib\xe9.so".as_slice(), b"libz.so".as_slice());
        assert_eq!(compare_names(latin, plain, Bytes::Signed), Ordering::Less);
        assert_eq!(
            compare_names(latin, plain, Bytes::Unsigned),
            Ordering::Greater
        );
        let of = |flags| Bytes::of(&[Entry::plain(flags, b"liba.so", b"/liba.so")]);
        assert_eq!([of(0x303), of(0x003), of(0x803)], [Bytes::Signed; 3]);
        assert_eq!([of(0xa03), of(0x503)], [Bytes::Unsigned; 2]);
    }

    /// Names that meet often: few letters, digits, a dot, a high byte.
    fn name() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop::sample::select(b"ab.0129\xe9".to_vec()), 0..8)
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let flags = prop::sample::select(vec![0x303, 0x003]);
        let hwcap = prop::sample::select(vec![
            0,
            1,
            2,
            3,
            1 << 63,
            1 << 62,
            (1 << 62) | 1,
            (1 << 62) | 9,
        ]);
        (flags, name(), 0..2_u32, hwcap).prop_map(|(flags, soname, osversion, hwcap)| Entry {
            osversion,
            hwcap,
            ..Entry::plain(flags, &soname, b"/x")
        })
    }

    proptest! {
        #[test]
        fn names_are_in_a_total_order(
            a in name(), b in name(), c in name(),
            bytes in prop::sample::select(vec![Bytes::Signed, Bytes::Unsigned]),
        ) {
            let compare = |x: &[u8], y: &[u8]| compare_names(x, y, bytes);
            prop_assert_eq!(compare(&a, &a), Ordering::Equal);
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
                prop_assert!(compare(&a, &c).is_le());
            }
        }

        #[test]
        fn entries_are_in_a_total_order(a in entry(), b in entry(), c in entry()) {
            let cache = Cache { hwcaps: vec![b"v2".to_vec(), b"v3".to_vec()], ..Cache::default() };
            let compare = |x: &Entry, y: &Entry| compare_entries(&cache, Bytes::Signed, x, y);
            prop_assert_eq!(compare(&a, &a), Ordering::Equal);
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
                prop_assert!(compare(&a, &c).is_le());
            }
        }
    }
}
