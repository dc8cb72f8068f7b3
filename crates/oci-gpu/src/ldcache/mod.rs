//! glibc's ld.so.cache: parse, look up, merge, write.
//!
//! The cache tells the loader which file holds a soname. Running the container's `ldconfig` to
//! renew it would run code of the image and scan all its libraries; editing the file does neither.
//! The layout is glibc's `sysdeps/generic/dl-cache.h`; the rules are those of `elf/dl-cache.c` (the
//! loader) and `elf/cache.c` (ldconfig), of which [`Cache::write`] is a faithful copy: what
//! ldconfig of glibc 2.33 or later wrote comes back as the same bytes.
//!
//! Only little-endian caches are handled, those of every processor that a GPU driver exists for
//! today. The input may come from a hostile image: every count and offset is checked, nothing
//! panics, and memory is bounded by [`SIZE_LIMIT`], [`ENTRY_LIMIT`] and [`NAMES_LIMIT`].

mod merge;
mod order;
mod parse;
mod strings;
mod write;

pub use parse::parse;

use std::cmp::Ordering;

use crate::elf::{Class, Machine};

/// Largest cache that is read, in bytes.
pub const SIZE_LIMIT: u64 = 8 << 20;

/// Most entries that a cache may have; large desktop systems have some 5,000.
pub const ENTRY_LIMIT: usize = 100_000;

/// Most bytes that the sonames and paths of all entries may have together, NULs included.
///
/// Entries may share one stored string, so that a file within [`SIZE_LIMIT`] can stand for
/// hundreds of megabytes.
pub const NAMES_LIMIT: usize = 16 << 20;

/// Most glibc-hwcaps subdirectories that a cache may name; x86-64 has three, POWER two.
pub const HWCAPS_LIMIT: usize = 256;

/// Longest soname or path, in bytes with its NUL (Linux's `PATH_MAX`).
const PATH_MAX: usize = 4096;

/// One entry: a soname and the file that the loader opens for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Cache flags: 0x303 for x86-64, 0x003 for i386, 0xa03 for AArch64 (sysdeps/generic/ldconfig.h).
    pub flags: u32,
    /// The soname.
    pub soname: Vec<u8>,
    /// The file's absolute path.
    pub path: Vec<u8>,
    /// Entry's osversion word: zero, or what ldconfig before glibc 2.37 read in the ABI note.
    pub osversion: u32,
    /// Entry's hwcap word, as stored; for glibc-hwcaps entries the index is into [`Cache::hwcaps`].
    pub hwcap: u64,
}

impl Entry {
    /// An entry for every processor and kernel: osversion and hwcap zero.
    pub fn plain(flags: u32, soname: &[u8], path: &[u8]) -> Entry {
        Entry {
            flags,
            soname: soname.to_owned(),
            path: path.to_owned(),
            osversion: 0,
            hwcap: 0,
        }
    }

    /// Index into [`Cache::hwcaps`] of the glibc-hwcaps subdirectory that the file lies in.
    ///
    /// `None` for an entry of a plain directory, and for one of the hardware directories that
    /// glibc 2.37 abolished ("tls", "haswell"), whose hwcap word is a mask.
    pub fn hwcaps_index(&self) -> Option<usize> {
        // elf/dl-cache.c, dl_cache_hwcap_extension: bit 62 alone, beside ten bits of ISA level.
        const EXTENSION: u64 = 1 << 30;
        const ISA_LEVEL: u64 = (1 << 10) - 1;
        if (self.hwcap >> 32) & !ISA_LEVEL != EXTENSION {
            return None;
        }
        usize::try_from(self.hwcap & u64::from(u32::MAX)).ok()
    }
}

/// A parsed cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cache {
    /// Entries in file order.
    pub entries: Vec<Entry>,
    /// Names of the glibc-hwcaps subdirectories, in the order of the file's table: ascending by
    /// byte, without duplicates. The loader joins this list with its own and relies on the order.
    pub hwcaps: Vec<Vec<u8>>,
    /// The generator string of the extension section ("ldconfig (Debian GLIBC ...) ...").
    pub generator: Option<Vec<u8>>,
}

/// Why a cache was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CacheError(pub String);

/// The flags that the loader of that kind of program demands; `None` for an unknown machine.
///
/// Values of `sysdeps/generic/ldconfig.h`; ARM's is that of the hard-float ABI.
pub fn flags_for(class: Class, machine: Machine) -> Option<u32> {
    match (class, machine) {
        (Class::Elf64, Machine::X86_64) => Some(0x303),
        (Class::Elf32, Machine::X86) => Some(0x003),
        (Class::Elf64, Machine::Aarch64) => Some(0xa03),
        (Class::Elf32, Machine::Arm) => Some(0x903),
        _ => None,
    }
}

impl Cache {
    /// Every entry of `soname` for programs that demand `flags`, in file order.
    ///
    /// Sonames are equal where the loader holds them equal: `libx.so.01` is `libx.so.1`.
    pub fn lookup_all(&self, soname: &[u8], flags: u32) -> impl Iterator<Item = &Entry> {
        // Equality does not depend on whether bytes compare as signed.
        let same = |entry: &&Entry| {
            order::compare_names(&entry.soname, soname, order::Bytes::Unsigned) == Ordering::Equal
        };
        self.entries
            .iter()
            .filter(move |entry| entry.flags == flags)
            .filter(same)
    }

    /// The entry that a loader takes for `soname` on a processor to which no glibc-hwcaps
    /// subdirectory applies: the first one of a plain directory.
    pub fn lookup(&self, soname: &[u8], flags: u32) -> Option<&Entry> {
        self.lookup_all(soname, flags)
            .find(|entry| entry.hwcap == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hwcaps_index_is_told_from_old_hardware_masks() {
        let index = |hwcap| {
            Entry {
                hwcap,
                ..Entry::plain(0x303, b"liba.so", b"/liba.so")
            }
            .hwcaps_index()
        };
        assert_eq!(index(0), None);
        assert_eq!(index(0x4000_0000_0000_0000), Some(0));
        // ISA level 3, second name.
        assert_eq!(index(0x4000_0003_0000_0001), Some(1));
        // "tls" (bit 63), and a mask that happens to hold bit 62.
        assert_eq!(index(0x8000_0000_0000_0000), None);
        assert_eq!(index(0x4001_0000_0000_0000), None);
        assert_eq!(index(0xc000_0000_0000_0000), None);
    }

    #[test]
    fn lookup_passes_over_hwcaps_entries_and_other_abis() {
        let cache = Cache {
            entries: vec![
                Entry {
                    hwcap: 1 << 62,
                    ..Entry::plain(0x303, b"liba.so.1", b"/glibc-hwcaps/v3/liba.so.1")
                },
                Entry::plain(0x303, b"liba.so.1", b"/first/liba.so.1"),
                Entry::plain(0x303, b"liba.so.1", b"/second/liba.so.1"),
                Entry::plain(0x003, b"liba.so.1", b"/lib32/liba.so.1"),
            ],
            hwcaps: vec![b"v3".to_vec()],
            generator: None,
        };
        let path = |soname: &[u8], flags| cache.lookup(soname, flags).map(|e| e.path.as_slice());
        assert_eq!(path(b"liba.so.1", 0x303), Some(&b"/first/liba.so.1"[..]));
        assert_eq!(path(b"liba.so.01", 0x003), Some(&b"/lib32/liba.so.1"[..]));
        assert_eq!(path(b"liba.so.2", 0x303), None);
        assert_eq!(path(b"liba.so.1", 0xa03), None);
        assert_eq!(cache.lookup_all(b"liba.so.1", 0x303).count(), 3);
    }
}
