//! Header, program headers and dynamic table of an ELF file.

use goblin::container::{Container, Ctx};
use goblin::elf::dynamic::{DT_NULL, DT_STRSZ, DT_STRTAB, Dyn};
use goblin::elf::header::{ELFMAG, EM_386, EM_AARCH64, EM_ARM, EM_X86_64, ET_DYN, ET_EXEC, Header};
use goblin::elf::program_header::{PT_DYNAMIC, PT_LOAD, ProgramHeader};
use scroll::Pread;

use super::window::Window;
use super::{Class, DYNAMIC_LIMIT, ElfError, Machine, ReadAt, SEGMENT_LIMIT};

/// An ELF file, decoded as far as its dynamic table.
pub(super) struct Image<'a> {
    pub(super) window: Window<'a>,
    pub(super) class: Class,
    pub(super) machine: Machine,
    pub(super) byte_order: scroll::Endian,
    /// The dynamic table up to its DT_NULL; empty for a static program.
    pub(super) dynamic: Vec<Dyn>,
    pub(super) sections: Sections,
    loads: Vec<ProgramHeader>,
}

/// Where the section headers are; they are read where they are asked for.
pub(super) struct Sections {
    pub(super) offset: u64,
    pub(super) count: u16,
    /// Bytes of one.
    pub(super) size: u16,
    /// Which of them holds the names.
    pub(super) names: u16,
}

impl<'a> Image<'a> {
    pub(super) fn open(file: &'a dyn ReadAt) -> Result<Image<'a>, ElfError> {
        let mut window = Window::open(file)?;
        let header = parse_header(window.head())?;
        let container = header.container().map_err(malformed)?;
        let byte_order = header.endianness().map_err(malformed)?;
        let context = Ctx::new(container, byte_order);
        let segments = read_segments(&mut window, &header, context)?;
        let dynamic = read_dynamic(&mut window, &segments, context)?;
        Ok(Image {
            window,
            class: match container {
                Container::Little => Class::Elf32,
                Container::Big => Class::Elf64,
            },
            machine: match header.e_machine {
                EM_386 => Machine::X86,
                EM_X86_64 => Machine::X86_64,
                EM_ARM => Machine::Arm,
                EM_AARCH64 => Machine::Aarch64,
                other => Machine::Other(other),
            },
            byte_order,
            dynamic,
            sections: Sections {
                offset: header.e_shoff,
                count: header.e_shnum,
                size: header.e_shentsize,
                names: header.e_shstrndx,
            },
            loads: segments
                .into_iter()
                .filter(|segment| segment.p_type == PT_LOAD)
                .collect(),
        })
    }

    /// The last value of a tag in the dynamic table, which is the one that the loader takes.
    pub(super) fn value(&self, tag: u64) -> Option<u64> {
        self.dynamic
            .iter()
            .rev()
            .find(|entry| entry.d_tag == tag)
            .map(|entry| entry.d_val)
    }

    /// Where in the file the byte lies that is loaded at `address`.
    pub(super) fn file_offset(&self, address: u64) -> Result<u64, ElfError> {
        let within = |segment: &ProgramHeader| {
            let skip = address.checked_sub(segment.p_vaddr)?;
            (skip < segment.p_filesz).then(|| segment.p_offset.checked_add(skip))?
        };
        self.loads.iter().find_map(within).ok_or_else(|| {
            ElfError::Malformed(format!(
                "address {address:#x} is in no loaded part of the file"
            ))
        })
    }

    /// The names at these offsets into the string table, in the same order.
    ///
    /// They are read by ascending offset, so that those of one neighbourhood take one read.
    pub(super) fn names(&mut self, offsets: &[u64]) -> Result<Vec<String>, ElfError> {
        if offsets.is_empty() {
            return Ok(Vec::new());
        }
        let (Some(table), Some(size)) = (self.value(DT_STRTAB), self.value(DT_STRSZ)) else {
            return Err(ElfError::Malformed(
                "names, but no string table for them".to_owned(),
            ));
        };
        let table = self.file_offset(table)?;

        let mut ascending: Vec<(u64, usize)> = offsets.iter().copied().zip(0..).collect();
        ascending.sort_unstable();
        let mut names = vec![String::new(); offsets.len()];
        for (offset, place) in ascending {
            let limit = size.checked_sub(offset).filter(|limit| *limit > 0);
            let (Some(limit), Some(offset)) = (limit, table.checked_add(offset)) else {
                return Err(ElfError::Malformed(format!(
                    "name at {offset} of a string table of {size} bytes"
                )));
            };
            if let Some(name) = names.get_mut(place) {
                *name = self.window.name(offset, limit)?;
            }
        }
        Ok(names)
    }
}

fn parse_header(head: &[u8]) -> Result<Header, ElfError> {
    if !head.starts_with(ELFMAG) {
        return Err(ElfError::Malformed("not an ELF file".to_owned()));
    }
    let header = goblin::elf::Elf::parse_header(head).map_err(malformed)?;
    match header.e_type {
        ET_EXEC | ET_DYN => Ok(header),
        other => Err(ElfError::Malformed(format!(
            "neither program nor library (e_type {other})"
        ))),
    }
}

fn read_segments(
    window: &mut Window<'_>,
    header: &Header,
    context: Ctx,
) -> Result<Vec<ProgramHeader>, ElfError> {
    let count = usize::from(header.e_phnum);
    let size = ProgramHeader::size(context);
    if count == 0 {
        return Ok(Vec::new());
    }
    // PN_XNUM, which moves the number into a section header, is over the limit as well.
    if count > SEGMENT_LIMIT {
        return Err(ElfError::Malformed(format!(
            "{count} program headers are over the limit of {SEGMENT_LIMIT}"
        )));
    }
    if usize::from(header.e_phentsize) != size {
        return Err(ElfError::Malformed(format!(
            "program headers of {} bytes instead of {size}",
            header.e_phentsize
        )));
    }
    let bytes = window.bytes(header.e_phoff, count * size)?;
    ProgramHeader::parse(bytes, 0, count, context).map_err(malformed)
}

fn read_dynamic(
    window: &mut Window<'_>,
    segments: &[ProgramHeader],
    context: Ctx,
) -> Result<Vec<Dyn>, ElfError> {
    let mut tables = segments
        .iter()
        .filter(|segment| segment.p_type == PT_DYNAMIC);
    let Some(table) = tables.next() else {
        return Ok(Vec::new());
    };
    if tables.next().is_some() {
        return Err(ElfError::Malformed(
            "more than one dynamic table".to_owned(),
        ));
    }
    let size = usize::try_from(table.p_filesz)
        .ok()
        .filter(|size| *size <= DYNAMIC_LIMIT);
    let Some(size) = size else {
        return Err(ElfError::Malformed(format!(
            "dynamic table of {} bytes is over the limit of {DYNAMIC_LIMIT}",
            table.p_filesz
        )));
    };

    let bytes = window.bytes(table.p_offset, size)?;
    let mut entries = Vec::new();
    for stored in bytes.chunks_exact(Dyn::size(context.container)) {
        let entry: Dyn = stored.pread_with(0, context).map_err(malformed)?;
        if entry.d_tag == DT_NULL {
            return Ok(entries);
        }
        entries.push(entry);
    }
    Err(ElfError::Malformed(
        "dynamic table has no end (DT_NULL)".to_owned(),
    ))
}

fn malformed(error: goblin::error::Error) -> ElfError {
    ElfError::Malformed(error.to_string())
}
