//! Facts about an ELF file by bounded reads: class, machine, soname, what it needs.
//!
//! A driver library may have 150 MB, and a file of an image may be anything. So no file is mapped
//! or read as a whole: three reads of a page tell the facts of an ordinary library, and limits hold
//! on each count and size. The structures are decoded by goblin, all else is done here: goblin's
//! whole-file parser reads everything, and drops a soname at offset 0 (goblin #290).

mod image;
mod notes;
mod versions;
mod window;

pub use notes::note;
pub use versions::{VersionNeed, version_definitions, version_needs};

use std::fmt;
use std::io;

use goblin::elf::dynamic::{DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_SONAME};
use serde::Serialize;

use image::Image;

/// Most program headers that a file may have; linkers write about ten.
const SEGMENT_LIMIT: usize = 128;

/// Largest dynamic table (PT_DYNAMIC) that is read, in bytes; linkers write under 1 KiB.
const DYNAMIC_LIMIT: usize = 64 << 10;

/// Longest name (soname, run path) that is read, in bytes with its NUL.
const NAME_LIMIT: usize = 4096;

/// Most libraries that a file may need.
const NEEDED_LIMIT: usize = 256;

/// Word size of an ELF file (`EI_CLASS`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Class {
    /// 32-bit.
    Elf32,
    /// 64-bit.
    Elf64,
}

/// Processor of an ELF file (`e_machine`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Machine {
    /// i386.
    X86,
    /// x86-64.
    X86_64,
    /// ARM, 32-bit.
    Arm,
    /// AArch64.
    Aarch64,
    /// Another one, by its number.
    Other(u16),
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Machine::X86 => f.write_str("i386"),
            Machine::X86_64 => f.write_str("x86-64"),
            Machine::Arm => f.write_str("ARM"),
            Machine::Aarch64 => f.write_str("AArch64"),
            Machine::Other(number) => write!(f, "ELF machine {number}"),
        }
    }
}

impl Serialize for Machine {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// What a dynamic ELF file says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ElfFacts {
    /// 32-bit or 64-bit.
    pub class: Class,
    /// Processor.
    pub machine: Machine,
    /// DT_SONAME.
    pub soname: Option<String>,
    /// DT_NEEDED, in file order.
    pub needed: Vec<String>,
    /// DT_RUNPATH, or DT_RPATH where there is none.
    pub runpath: Option<String>,
}

/// Why a file's ELF facts cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ElfError {
    /// The file cannot be read.
    #[error("read failed: {0}")]
    Read(#[from] io::Error),
    /// The file is not ELF, or breaks the format.
    #[error("{0}")]
    Malformed(String),
}

/// A source of bytes that is read at offsets, never as a whole.
pub trait ReadAt {
    /// Fills `buf` from `offset`, returning how many bytes there were: none at the file's end only.
    ///
    /// # Errors
    /// The file cannot be read.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for std::fs::File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buf, offset)
    }
}

/// Reads the facts of `file`, a library or a program; a static program needs nothing.
///
/// # Errors
/// A failed read; a file that is not ELF, is an object or a core file, breaks the format, or is
/// over a limit: 128 program headers, 64 KiB of dynamic table, 256 needed libraries, 4 KiB a name.
pub fn read(file: &impl ReadAt) -> Result<ElfFacts, ElfError> {
    let mut image = Image::open(file)?;
    let soname = image.value(DT_SONAME);
    let runpath = image.value(DT_RUNPATH).or_else(|| image.value(DT_RPATH));
    let needed = image
        .dynamic
        .iter()
        .filter(|entry| entry.d_tag == DT_NEEDED);
    let needed: Vec<u64> = needed.map(|entry| entry.d_val).collect();
    if needed.len() > NEEDED_LIMIT {
        return Err(ElfError::Malformed(format!(
            "{} needed libraries are over the limit of {NEEDED_LIMIT}",
            needed.len()
        )));
    }

    let offsets: Vec<u64> = soname.into_iter().chain(runpath).chain(needed).collect();
    let mut names = image.names(&offsets)?.into_iter();
    Ok(ElfFacts {
        class: image.class,
        machine: image.machine,
        soname: soname.and_then(|_| names.next()),
        runpath: runpath.and_then(|_| names.next()),
        needed: names.collect(),
    })
}
