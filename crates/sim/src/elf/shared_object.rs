//! Shared objects: a driver's library as far as a loader looks at it.
//!
//! Layout of a shared object, all sections in file order, so that a reader of the first pages has
//! everything:
//!
//! ```text
//! header, program headers, .rodata, .hash, .dynsym, .dynstr, .gnu.version, .gnu.version_r   PT_LOAD r
//! .dynamic                                                                                  PT_LOAD rw
//! .shstrtab, section headers
//! ```
//!
//! `.dynamic` is writable because glibc relocates it in place on these machines.

use super::Target;
use super::writer::{
    ET_DYN, Header, PT_DYNAMIC, PT_LOAD, READ, READ_WRITE, RODATA_INDEX, SectionKind, Segment,
    Strings, Writer,
};

/// The data symbol that every simulated library exports: a NUL-terminated text that tells which
/// file a loader really took, "libcuda 550.163.01".
pub const VERSION_SYMBOL: &str = "oci_gpu_sim_version";

const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_STRSZ: u64 = 10;
const DT_SYMENT: u64 = 11;
const DT_SONAME: u64 = 14;
const DT_VERSYM: u64 = 0x6fff_fff0;
const DT_VERNEED: u64 = 0x6fff_fffe;
const DT_VERNEEDNUM: u64 = 0x6fff_ffff;

/// A shared object with one data symbol, [`VERSION_SYMBOL`].
#[derive(Clone, Debug)]
pub struct SharedObject<'a> {
    /// The processor.
    pub target: Target,
    /// DT_SONAME; three files of the driver have none.
    pub soname: Option<&'a str>,
    /// DT_NEEDED in order, libc.so.6 not among them: it is always the last.
    pub needed: &'a [String],
    /// The version of libc.so.6 that the file demands, without "GLIBC_": "2.2.5".
    pub glibc: &'a str,
    /// What [`VERSION_SYMBOL`] holds.
    pub text: &'a str,
}

impl SharedObject<'_> {
    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let target = self.target;
        let mut strings = Strings::new();
        let symbol_name = strings.add(VERSION_SYMBOL);
        let soname = self.soname.map(|name| strings.add(name));
        let mut needed: Vec<u32> = self.needed.iter().map(|name| strings.add(name)).collect();
        let libc = strings.add("libc.so.6");
        needed.push(libc);
        let version = format!("GLIBC_{}", self.glibc);
        let version_name = strings.add(&version);

        let mut out = Writer::new(target);
        out.skip(target.header() + 4 * target.program_header());

        let rodata = out.section(".rodata", SectionKind::Data, 1, |out| {
            out.bytes(self.text.as_bytes());
            out.bytes(&[0]);
        });
        let hash = out.section(".hash", SectionKind::Hash, 8, |out| {
            // One bucket that holds symbol 1; the chain ends there.
            out.words32(&[1, 2, 1, 0, 0]);
        });
        let symbols = out.section(".dynsym", SectionKind::Symbols, 8, |out| {
            out.skip(target.symbol());
            out.symbol(symbol_name, RODATA_INDEX, rodata.address(), rodata.size);
        });
        let names = out.section(".dynstr", SectionKind::Strings, 1, |out| {
            out.bytes(&strings.bytes);
        });
        let versions = out.section(".gnu.version", SectionKind::Versions, 2, |out| {
            out.half(0);
            out.half(1);
        });
        let needs = out.section(".gnu.version_r", SectionKind::VersionNeeds, 8, |out| {
            out.half(1);
            out.half(1);
            out.words32(&[libc, 16, 0, sysv_hash(&version)]);
            out.half(0);
            out.half(2);
            out.words32(&[version_name, 0]);
        });
        let read_only_end = out.bytes.len();
        out.align(16);
        out.shift = target.page();
        let dynamic = out.section(".dynamic", SectionKind::Dynamic, 16, |out| {
            if let Some(soname) = soname {
                out.pair(DT_SONAME, soname as usize);
            }
            for name in &needed {
                out.pair(DT_NEEDED, *name as usize);
            }
            out.pair(DT_HASH, hash.address());
            out.pair(DT_STRTAB, names.address());
            out.pair(DT_SYMTAB, symbols.address());
            out.pair(DT_STRSZ, names.size);
            out.pair(DT_SYMENT, target.symbol());
            out.pair(DT_VERSYM, versions.address());
            out.pair(DT_VERNEED, needs.address());
            out.pair(DT_VERNEEDNUM, 1);
            out.pair(DT_NULL, 0);
        });
        let (sections_at, count) = out.section_headers();

        out.header(&Header {
            kind: ET_DYN,
            entry: 0,
            program_headers: 4,
            sections_at,
            sections: count,
        });
        let data = Segment {
            kind: PT_LOAD,
            flags: READ_WRITE,
            offset: dynamic.offset,
            address: dynamic.address(),
            size: dynamic.size,
            align: target.page(),
        };
        out.segment(&Segment {
            flags: READ,
            offset: 0,
            address: 0,
            size: read_only_end,
            ..data
        });
        out.segment(&data);
        out.segment(&Segment {
            kind: PT_DYNAMIC,
            align: target.word(),
            ..data
        });
        out.segment(&Segment::STACK);
        out.bytes
    }
}

/// The SysV hash of a symbol or version name (System V ABI, chapter 5).
fn sysv_hash(name: &str) -> u32 {
    name.bytes().fold(0, |hash: u32, byte| {
        let hash = (hash << 4).wrapping_add(u32::from(byte));
        let high = hash & 0xf000_0000;
        (hash ^ (high >> 24)) & !high
    })
}
