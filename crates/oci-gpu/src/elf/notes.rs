//! Note sections of an ELF file, by name.

use goblin::container::Ctx;
use goblin::elf::section_header::{SHT_NOTE, SectionHeader};
use scroll::Pread;

use super::image::Image;
use super::{Class, ElfError, ReadAt};

/// Most section headers that are looked at; linkers write some forty.
const SECTION_LIMIT: usize = 256;

/// Largest note section that is read, in bytes.
const NOTE_LIMIT: u64 = 16 << 10;

/// Reads the description of the first note of `owner` in the note section `name`; `None` where the
/// file has none.
///
/// Sections are what a linker leaves for other tools: a stripped file may lack them.
///
/// # Errors
/// As those of [`read`](super::read), and more than 256 sections, or 16 KiB of notes.
pub fn note(file: &impl ReadAt, name: &str, owner: &str) -> Result<Option<Vec<u8>>, ElfError> {
    let mut image = Image::open(file)?;
    let container = match image.class {
        Class::Elf32 => goblin::container::Container::Little,
        Class::Elf64 => goblin::container::Container::Big,
    };
    let context = Ctx::new(container, image.byte_order);
    let size = SectionHeader::size(context);
    let count = usize::from(image.sections.count);
    if count == 0 {
        return Ok(None);
    }
    if count > SECTION_LIMIT || usize::from(image.sections.size) != size {
        return Err(ElfError::Malformed(format!(
            "{count} section headers of {} bytes are not what is read: at most {SECTION_LIMIT} of {size}",
            image.sections.size
        )));
    }
    let bytes = image.window.bytes(image.sections.offset, count * size)?;
    // goblin's own loop takes offset 0 for "none".
    let decode = |header: &[u8]| header.pread_with::<SectionHeader>(0, context);
    let sections: Vec<SectionHeader> = bytes
        .chunks_exact(size)
        .map(decode)
        .collect::<Result<_, _>>()
        .map_err(|e| ElfError::Malformed(e.to_string()))?;
    let Some(names) = sections.get(usize::from(image.sections.names)) else {
        return Ok(None);
    };
    for section in sections.iter().filter(|s| s.sh_type == SHT_NOTE) {
        let offset = names.sh_offset.checked_add(section.sh_name as u64);
        let limit = names.sh_size.checked_sub(section.sh_name as u64);
        let (Some(offset), Some(limit)) = (offset, limit) else {
            continue;
        };
        if image.window.name(offset, limit)? != name {
            continue;
        }
        if section.sh_size > NOTE_LIMIT {
            return Err(ElfError::Malformed(format!(
                "note section of {} bytes is over the limit of {NOTE_LIMIT}",
                section.sh_size
            )));
        }
        let bytes = image
            .window
            .bytes(section.sh_offset, section.sh_size as usize)?
            .to_vec();
        if let Some(found) = described(&bytes, owner, image.byte_order) {
            return Ok(Some(found.to_vec()));
        }
    }
    Ok(None)
}

/// The description of the first note of `owner`: sizes of name and description, type, name,
/// description, each padded to four bytes (System V ABI, "Note Section").
fn described<'a>(mut notes: &'a [u8], owner: &str, order: scroll::Endian) -> Option<&'a [u8]> {
    loop {
        let word = |at: usize| notes.pread_with::<u32>(at, order).ok();
        let (name, description) = (word(0)? as usize, word(4)? as usize);
        let start = 12usize.checked_add(name.checked_next_multiple_of(4)?)?;
        let end = start.checked_add(description)?;
        let found = notes.get(start..end)?;
        let name = notes.get(12..12usize.checked_add(name)?)?;
        let name = name.strip_suffix(b"\0").unwrap_or(name);
        if name == owner.as_bytes() {
            return Some(found);
        }
        notes = notes.get(end.checked_next_multiple_of(4)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(owner: &str, description: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        for size in [owner.len() + 1, description.len(), 1] {
            note.extend(u32::try_from(size).unwrap().to_le_bytes());
        }
        for part in [owner.as_bytes(), description] {
            note.extend(part);
            if part == owner.as_bytes() {
                note.push(0);
            }
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    #[test]
    fn the_note_of_the_owner_is_found_behind_others() {
        let order = scroll::LE;
        let mut notes = one("GNU", b"abcde");
        notes.extend(one("NVIDIA Corporation", b"{}"));
        assert_eq!(
            described(&notes, "NVIDIA Corporation", order),
            Some(&b"{}"[..])
        );
        assert_eq!(described(&notes, "GNU", order), Some(&b"abcde"[..]));
        assert_eq!(described(&notes, "NVIDIA", order), None);
        assert_eq!(described(&notes[..30], "NVIDIA Corporation", order), None);
        assert_eq!(described(&[0xff; 64], "GNU", order), None);
    }
}
