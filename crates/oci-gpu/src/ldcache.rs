//! glibc's ld.so.cache: parse, look up, merge, write.

use crate::elf::{Class, Machine};

/// Largest cache that is read, in bytes.
pub const SIZE_LIMIT: u64 = 8 << 20;

/// One entry: a soname and the file that the loader opens for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Cache flags: 0x303 for x86-64, 0x003 for i386, 0xa03 for AArch64 (sysdeps/generic/ldconfig.h).
    pub flags: u32,
    /// The soname.
    pub soname: Vec<u8>,
    /// The file's absolute path.
    pub path: Vec<u8>,
    /// Entry's osversion word.
    pub osversion: u32,
    /// Entry's hwcap word, as stored; for glibc-hwcaps entries the index is into [`Cache::hwcaps`].
    pub hwcap: u64,
}

/// A parsed cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cache {
    /// Entries in file order.
    pub entries: Vec<Entry>,
    /// Names of the glibc-hwcaps subdirectories, in the order of the file's table.
    pub hwcaps: Vec<Vec<u8>>,
    /// The generator string of the extension section ("ldconfig (Debian GLIBC ...) ...").
    pub generator: Option<Vec<u8>>,
}

/// Why a cache was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CacheError(pub String);

/// Parses a cache of either layout (new, or old table with the new one behind it), strictly.
pub fn parse(_bytes: &[u8]) -> Result<Cache, CacheError> {
    Err(CacheError("not parsed yet".to_owned()))
}

/// The flags that the loader of that kind of program demands; `None` for an unknown machine.
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
    /// Puts `ours` in, each replacing every entry (glibc-hwcaps ones too) of its soname and flags.
    ///
    /// # Errors
    /// An entry whose soname or path the format cannot carry portably.
    pub fn merge(&mut self, _ours: &[Entry]) -> Result<(), CacheError> {
        Err(CacheError("not merged yet".to_owned()))
    }

    /// The cache's bytes in the new layout, sorted as the loader's binary search demands.
    pub fn write(&self) -> Vec<u8> {
        Vec::new()
    }
}
