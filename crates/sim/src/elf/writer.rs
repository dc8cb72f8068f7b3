//! The bytes of an ELF file under construction, of either word size, little-endian.

use super::Target;

pub(super) const PT_LOAD: u32 = 1;
pub(super) const PT_DYNAMIC: u32 = 2;
const PT_GNU_STACK: u32 = 0x6474_e551;
pub(super) const READ: u32 = 4;
pub(super) const READ_WRITE: u32 = 6;
pub(super) const READ_EXECUTE: u32 = 5;

pub(super) const ET_EXEC: u16 = 2;
pub(super) const ET_DYN: u16 = 3;

/// A string table under construction; it begins with the empty string.
pub(super) struct Strings {
    pub(super) bytes: Vec<u8>,
}

impl Strings {
    pub(super) fn new() -> Strings {
        Strings { bytes: vec![0] }
    }

    pub(super) fn add(&mut self, text: &str) -> u32 {
        let at = self.bytes.len() as u32;
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
        at
    }
}

/// Section numbers that other sections refer to: the order in [`SharedObject::to_bytes`].
pub(super) const RODATA_INDEX: u16 = 1;
const DYNSYM_INDEX: u32 = 3;
const DYNSTR_INDEX: u32 = 4;

#[derive(Clone, Copy, PartialEq)]
pub(super) enum SectionKind {
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
pub(super) struct Section {
    name: u32,
    kind: SectionKind,
    align: usize,
    pub(super) offset: usize,
    pub(super) size: usize,
    shift: usize,
}

impl Section {
    pub(super) fn address(&self) -> usize {
        self.offset + self.shift
    }
}

pub(super) struct Header {
    pub(super) kind: u16,
    pub(super) entry: usize,
    pub(super) program_headers: u16,
    pub(super) sections_at: usize,
    pub(super) sections: u16,
}

/// A program header.
pub(super) struct Segment {
    pub(super) kind: u32,
    pub(super) flags: u32,
    pub(super) offset: usize,
    pub(super) address: usize,
    pub(super) size: usize,
    pub(super) align: usize,
}

impl Segment {
    /// The request for a stack without execute permission. Without it glibc would ask for an
    /// executable one, which hardened kernels refuse.
    pub(super) const STACK: Segment = Segment {
        kind: PT_GNU_STACK,
        flags: READ_WRITE,
        offset: 0,
        address: 0,
        size: 0,
        align: 16,
    };
}

/// The file so far. Offsets are positions in `bytes`; an address is an offset plus `shift`.
pub(super) struct Writer {
    target: Target,
    pub(super) bytes: Vec<u8>,
    pub(super) shift: usize,
    section_names: Strings,
    sections: Vec<Section>,
    // Where the next program header goes, behind the file header.
    next_program: usize,
}

impl Writer {
    pub(super) fn new(target: Target) -> Writer {
        Writer {
            target,
            bytes: Vec::with_capacity(2048),
            shift: 0,
            section_names: Strings::new(),
            sections: Vec::new(),
            next_program: target.header(),
        }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn skip(&mut self, count: usize) {
        self.bytes.resize(self.bytes.len() + count, 0);
    }

    pub(super) fn align(&mut self, to: usize) -> usize {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
        self.bytes.len()
    }

    pub(super) fn half(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    pub(super) fn words32(&mut self, values: &[u32]) {
        for value in values {
            self.bytes(&value.to_le_bytes());
        }
    }

    /// An address-sized number.
    fn word(&mut self, value: u64) {
        let bytes = value.to_le_bytes();
        self.bytes(bytes.get(..self.target.word()).unwrap_or(&bytes));
    }

    pub(super) fn size(&mut self, value: usize) {
        self.word(value as u64);
    }

    /// An entry of .dynamic.
    pub(super) fn pair(&mut self, tag: u64, value: usize) {
        self.word(tag);
        self.size(value);
    }

    /// A global data symbol of the dynamic symbol table.
    pub(super) fn symbol(&mut self, name: u32, section: u16, value: usize, size: usize) {
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

    pub(super) fn section(
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
    pub(super) fn section_headers(&mut self) -> (usize, u16) {
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

    pub(super) fn header(&mut self, header: &Header) {
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

    /// Writes the next program header, where space for it was skipped.
    pub(super) fn segment(&mut self, segment: &Segment) {
        let mut out = Writer::new(self.target);
        let is_64 = self.target.is_64();
        out.words32(&[segment.kind]);
        if is_64 {
            out.words32(&[segment.flags]);
        }
        let Segment {
            offset,
            address,
            size,
            ..
        } = *segment;
        for value in [offset, address, address, size, size] {
            out.size(value);
        }
        if !is_64 {
            out.words32(&[segment.flags]);
        }
        out.size(segment.align);
        let at = self.next_program;
        self.next_program += out.bytes.len();
        self.patch(at, &out.bytes);
    }
}
