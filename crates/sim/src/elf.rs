//! ELF files without a compiler: shared objects that a real loader takes, and static programs.
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

use crate::spec::Arch;

/// The data symbol that every simulated library exports: a NUL-terminated text that tells which
/// file a loader really took, "libcuda 550.163.01".
pub const VERSION_SYMBOL: &str = "oci_gpu_sim_version";

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_GNU_STACK: u32 = 0x6474_e551;
const READ: u32 = 4;
const READ_WRITE: u32 = 6;
const READ_EXECUTE: u32 = 5;

const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;

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

/// The processor that a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// x86-64, 64-bit.
    X86_64,
    /// i386, 32-bit.
    I386,
    /// AArch64, 64-bit, little-endian.
    Aarch64,
}

impl Target {
    fn is_64(self) -> bool {
        self != Target::I386
    }

    fn machine(self) -> u16 {
        match self {
            Target::X86_64 => 62,
            Target::I386 => 3,
            Target::Aarch64 => 183,
        }
    }

    /// The largest page that a kernel of the architecture may use: segments are aligned to it.
    fn page(self) -> usize {
        match self {
            Target::X86_64 | Target::I386 => 0x1000,
            Target::Aarch64 => 0x1_0000,
        }
    }

    /// The oldest symbol version of that architecture's libc.so.6, without "GLIBC_".
    pub fn oldest_glibc(self) -> &'static str {
        match self {
            Target::X86_64 => "2.2.5",
            Target::I386 => "2.0",
            Target::Aarch64 => "2.17",
        }
    }

    fn word(self) -> usize {
        if self.is_64() { 8 } else { 4 }
    }

    fn header(self) -> usize {
        if self.is_64() { 64 } else { 52 }
    }

    fn program_header(self) -> usize {
        if self.is_64() { 56 } else { 32 }
    }

    fn section_header(self) -> usize {
        if self.is_64() { 64 } else { 40 }
    }

    fn symbol(self) -> usize {
        if self.is_64() { 24 } else { 16 }
    }
}

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
        let page = target.page();
        out.program(PT_LOAD, READ, 0, 0, read_only_end, page);
        let (at, address) = (dynamic.offset, dynamic.address());
        out.program(PT_LOAD, READ_WRITE, at, address, dynamic.size, page);
        let word = target.word();
        out.program(PT_DYNAMIC, READ_WRITE, at, address, dynamic.size, word);
        // Without it glibc would ask for an executable stack, which hardened kernels refuse.
        out.program(PT_GNU_STACK, READ_WRITE, 0, 0, 0, 16);
        out.bytes
    }
}

/// A static program that prints `line` and a line feed to its standard output, and exits 0.
///
/// It needs no loader and no library, so it runs in any container of its architecture.
pub fn program(arch: Arch, line: &str) -> Vec<u8> {
    const BASE: usize = 0x40_0000;
    let target = arch.target();
    let text = format!("{line}\n");
    let mut out = Writer::new(target);
    out.skip(target.header() + 2 * target.program_header());
    let entry = BASE + out.bytes.len();
    match arch {
        Arch::X86_64 => out.bytes(&write_and_exit_x86_64(text.len())),
        Arch::Aarch64 => out.bytes(&write_and_exit_aarch64(text.len())),
    }
    out.bytes(text.as_bytes());
    let size = out.bytes.len();
    out.header(&Header {
        kind: ET_EXEC,
        entry,
        program_headers: 2,
        sections_at: 0,
        sections: 0,
    });
    out.program(PT_LOAD, READ_EXECUTE, 0, BASE, size, target.page());
    out.program(PT_GNU_STACK, READ_WRITE, 0, 0, 0, 16);
    out.bytes
}

/// `write(1, text, length); exit(0)` for text that follows the code (Linux x86-64 calls 1 and 60).
fn write_and_exit_x86_64(length: usize) -> Vec<u8> {
    let mut code = vec![0xb8, 1, 0, 0, 0]; // mov eax, 1
    code.extend([0xbf, 1, 0, 0, 0]); // mov edi, 1
    code.extend([0x48, 0x8d, 0x35, 16, 0, 0, 0]); // lea rsi, [rip + 16]: the 16 bytes below
    code.push(0xba); // mov edx, length
    code.extend((length as u32).to_le_bytes());
    code.extend([0x0f, 0x05]); // syscall
    code.extend([0xb8, 60, 0, 0, 0]); // mov eax, 60
    code.extend([0x31, 0xff]); // xor edi, edi
    code.extend([0x0f, 0x05]); // syscall
    code
}

/// The same for AArch64 (calls 64 and 93).
fn write_and_exit_aarch64(length: usize) -> Vec<u8> {
    let code: [u32; 8] = [
        0xd280_0020,                                   // mov x0, #1
        0x1000_00e1,                                   // adr x1, .+28: behind this code
        0xd280_0002 | ((length as u32) & 0xffff) << 5, // mov x2, #length
        0xd280_0808,                                   // mov x8, #64
        0xd400_0001,                                   // svc #0
        0xd280_0000,                                   // mov x0, #0
        0xd280_0ba8,                                   // mov x8, #93
        0xd400_0001,                                   // svc #0
    ];
    code.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The SysV hash of a symbol or version name (System V ABI, chapter 5).
fn sysv_hash(name: &str) -> u32 {
    name.bytes().fold(0, |hash: u32, byte| {
        let hash = (hash << 4).wrapping_add(u32::from(byte));
        let high = hash & 0xf000_0000;
        (hash ^ (high >> 24)) & !high
    })
}

/// A string table under construction; it begins with the empty string.
struct Strings {
    bytes: Vec<u8>,
}

impl Strings {
    fn new() -> Strings {
        Strings { bytes: vec![0] }
    }

    fn add(&mut self, text: &str) -> u32 {
        let at = self.bytes.len() as u32;
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
        at
    }
}

/// Section numbers that other sections refer to: the order in [`SharedObject::to_bytes`].
const RODATA_INDEX: u16 = 1;
const DYNSYM_INDEX: u32 = 3;
const DYNSTR_INDEX: u32 = 4;

#[derive(Clone, Copy, PartialEq)]
enum SectionKind {
    Hash,
    Symbols,
    Strings,
    Versions,
    VersionNeeds,
    Data,
    Dynamic,
    NameTable,
}

/// Type, flags, linked section, info and entry size of a section header.
struct SectionFacts {
    kind: u32,
    flags: usize,
    link: u32,
    info: u32,
    entry: usize,
}

impl SectionKind {
    fn facts(self, target: Target) -> SectionFacts {
        const ALLOC: usize = 2;
        const WRITE: usize = 1;
        let facts = |kind, flags, link, info, entry| SectionFacts {
            kind,
            flags,
            link,
            info,
            entry,
        };
        match self {
            SectionKind::Hash => facts(5, ALLOC, DYNSYM_INDEX, 0, 4),
            // Info: one past the last local symbol.
            SectionKind::Symbols => facts(11, ALLOC, DYNSTR_INDEX, 1, target.symbol()),
            SectionKind::Strings => facts(3, ALLOC, 0, 0, 0),
            SectionKind::Versions => facts(0x6fff_ffff, ALLOC, DYNSYM_INDEX, 0, 2),
            // Info: the number of files whose versions are needed.
            SectionKind::VersionNeeds => facts(0x6fff_fffe, ALLOC, DYNSTR_INDEX, 1, 0),
            SectionKind::Data => facts(1, ALLOC, 0, 0, 0),
            SectionKind::Dynamic => facts(6, ALLOC | WRITE, DYNSTR_INDEX, 0, 2 * target.word()),
            SectionKind::NameTable => facts(3, 0, 0, 0, 0),
        }
    }
}

#[derive(Clone, Copy)]
struct Section {
    name: u32,
    kind: SectionKind,
    align: usize,
    offset: usize,
    size: usize,
    shift: usize,
}

impl Section {
    fn address(&self) -> usize {
        self.offset + self.shift
    }
}

struct Header {
    kind: u16,
    entry: usize,
    program_headers: u16,
    sections_at: usize,
    sections: u16,
}

/// The file so far. Offsets are positions in `bytes`; an address is an offset plus `shift`.
struct Writer {
    target: Target,
    bytes: Vec<u8>,
    shift: usize,
    section_names: Strings,
    sections: Vec<Section>,
    // Where the next program header goes, behind the file header.
    next_program: usize,
}

impl Writer {
    fn new(target: Target) -> Writer {
        Writer {
            target,
            bytes: Vec::with_capacity(2048),
            shift: 0,
            section_names: Strings::new(),
            sections: Vec::new(),
            next_program: target.header(),
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn skip(&mut self, count: usize) {
        self.bytes.resize(self.bytes.len() + count, 0);
    }

    fn align(&mut self, to: usize) -> usize {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
        self.bytes.len()
    }

    fn half(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    fn words32(&mut self, values: &[u32]) {
        for value in values {
            self.bytes(&value.to_le_bytes());
        }
    }

    /// An address-sized number.
    fn word(&mut self, value: u64) {
        let bytes = value.to_le_bytes();
        self.bytes(bytes.get(..self.target.word()).unwrap_or(&bytes));
    }

    fn size(&mut self, value: usize) {
        self.word(value as u64);
    }

    /// An entry of .dynamic.
    fn pair(&mut self, tag: u64, value: usize) {
        self.word(tag);
        self.size(value);
    }

    /// A global data symbol of the dynamic symbol table.
    fn symbol(&mut self, name: u32, section: u16, value: usize, size: usize) {
        const GLOBAL_OBJECT: u8 = 1 << 4 | 1;
        self.words32(&[name]);
        if self.target.is_64() {
            self.bytes(&[GLOBAL_OBJECT, 0]);
            self.half(section);
        }
        self.size(value);
        self.size(size);
        if !self.target.is_64() {
            self.bytes(&[GLOBAL_OBJECT, 0]);
            self.half(section);
        }
    }

    fn section(
        &mut self,
        name: &str,
        kind: SectionKind,
        align: usize,
        fill: impl FnOnce(&mut Writer),
    ) -> Section {
        let offset = self.align(align);
        fill(self);
        let section = Section {
            name: self.section_names.add(name),
            kind,
            align,
            offset,
            size: self.bytes.len() - offset,
            shift: self.shift,
        };
        self.sections.push(section);
        section
    }

    /// Writes .shstrtab and the section headers; returns where the headers are and their number.
    fn section_headers(&mut self) -> (usize, u16) {
        self.shift = 0;
        // Its own name goes in before its content is taken.
        let mut names = self.section_names.bytes.clone();
        names.extend_from_slice(b".shstrtab\0");
        self.section(".shstrtab", SectionKind::NameTable, 1, |out| {
            out.bytes(&names)
        });
        let at = self.align(8);
        self.skip(self.target.section_header());
        for section in self.sections.clone() {
            let facts = section.kind.facts(self.target);
            self.words32(&[section.name, facts.kind]);
            self.size(facts.flags);
            self.size(if facts.flags == 0 {
                0
            } else {
                section.address()
            });
            self.size(section.offset);
            self.size(section.size);
            self.words32(&[facts.link, facts.info]);
            self.size(section.align);
            self.size(facts.entry);
        }
        (at, self.sections.len() as u16 + 1)
    }

    /// Overwrites the start of the file with `bytes`, which was skipped before.
    fn patch(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    fn header(&mut self, header: &Header) {
        let target = self.target;
        let mut out = Writer::new(target);
        let class = if target.is_64() { 2 } else { 1 };
        out.bytes(&[0x7f, b'E', b'L', b'F', class, 1, 1, 0]);
        out.skip(8);
        out.half(header.kind);
        out.half(target.machine());
        out.words32(&[1]);
        out.size(header.entry);
        out.size(target.header());
        out.size(header.sections_at);
        out.words32(&[0]);
        out.half(target.header() as u16);
        out.half(target.program_header() as u16);
        out.half(header.program_headers);
        out.half(target.section_header() as u16);
        out.half(header.sections);
        // The names' section is the last one.
        out.half(header.sections.saturating_sub(1));
        self.patch(0, &out.bytes);
    }

    fn program(
        &mut self,
        kind: u32,
        flags: u32,
        offset: usize,
        address: usize,
        size: usize,
        align: usize,
    ) {
        let mut out = Writer::new(self.target);
        out.words32(&[kind]);
        if self.target.is_64() {
            out.words32(&[flags]);
        }
        for value in [offset, address, address, size, size] {
            out.size(value);
        }
        if !self.target.is_64() {
            out.words32(&[flags]);
        }
        out.size(align);
        let at = self.next_program;
        self.next_program += out.bytes.len();
        self.patch(at, &out.bytes);
    }
}
