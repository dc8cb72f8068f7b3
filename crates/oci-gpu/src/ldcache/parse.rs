//! Bytes -> [`Cache`].

use super::{
    Cache, CacheError, ENTRY_LIMIT, Entry, HWCAPS_LIMIT, NAMES_LIMIT, PATH_MAX, SIZE_LIMIT,
};

/// What the old layout (libc 5, glibc before 2.2) begins with, in a header of 16 bytes.
const OLD_MAGIC: &[u8] = b"ld.so-1.7.0";
const OLD_HEADER: usize = 16;
const OLD_ENTRY: usize = 12;

/// Magic and version of the new layout.
pub(super) const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
pub(super) const HEADER: usize = 48;
pub(super) const ENTRY: usize = 24;

/// The header's byte-order mark (`cache_file_new_flags_endian_little`).
pub(super) const LITTLE_ENDIAN: u8 = 2;
const BYTE_ORDER_MASK: u8 = 3;

pub(super) const EXTENSION_MAGIC: u32 = 0xeaa4_2174;
pub(super) const EXTENSION_HEADER: usize = 8;
pub(super) const SECTION_HEADER: usize = 16;
pub(super) const TAG_GENERATOR: u32 = 0;
pub(super) const TAG_HWCAPS: u32 = 1;

/// Most extension sections; glibc knows two. Others are passed over, as the loader does.
const SECTION_LIMIT: usize = 64;
/// Longest generator string, in bytes; glibc's has some 60.
const GENERATOR_LIMIT: usize = 4096;

/// Parses a cache of either layout (new, or old table with the new one behind it), strictly.
///
/// What sonames and paths say is not judged: ldconfig records whatever a library calls itself, and
/// one odd library must not cost an image its cache.
///
/// # Errors
/// A file that breaks the format or a limit of this module, is big-endian, or holds nothing but
/// the old layout (which no glibc since 2.2 writes unasked).
pub fn parse(bytes: &[u8]) -> Result<Cache, CacheError> {
    if bytes.len() as u64 > SIZE_LIMIT {
        return refuse(format!(
            "{} bytes are over the limit of {SIZE_LIMIT}",
            bytes.len()
        ));
    }
    let table = Table::find(bytes)?;
    let (generator, hwcaps) = match table.extension_offset {
        0 => (None, Vec::new()),
        offset => parse_extensions(bytes, offset, &table)?,
    };

    let mut entries = Vec::with_capacity(table.count);
    let mut names = 0_usize;
    for (number, stored) in table.entries.chunks_exact(ENTRY).enumerate() {
        let entry = parse_entry(stored, &table, hwcaps.len())
            .map_err(|error| CacheError(format!("entry {number}: {error}")))?;
        names = names
            .saturating_add(entry.soname.len())
            .saturating_add(entry.path.len());
        names = names.saturating_add(2);
        if names > NAMES_LIMIT {
            return refuse(format!(
                "sonames and paths are over {NAMES_LIMIT} bytes together"
            ));
        }
        entries.push(entry);
    }
    Ok(Cache {
        entries,
        hwcaps,
        generator,
    })
}

/// The parts of the new layout, wherever in the file it begins.
struct Table<'a> {
    count: usize,
    entries: &'a [u8],
    strings: &'a [u8],
    /// Where `strings` begins, in the offsets that the file uses: from the new header.
    strings_offset: usize,
    /// From the beginning of the *file*; zero for none.
    extension_offset: usize,
}

impl<'a> Table<'a> {
    fn find(file: &'a [u8]) -> Result<Table<'a>, CacheError> {
        let new = if file.starts_with(OLD_MAGIC) {
            behind_old_table(file)?
        } else {
            file
        };
        let Some(header) = new.get(..HEADER).filter(|header| header.starts_with(MAGIC)) else {
            return refuse("no header of the new layout (\"glibc-ld.so.cache1.1\")");
        };
        match header.get(28).map(|flags| flags & BYTE_ORDER_MASK) {
            // Before glibc 2.33 the byte was not written.
            Some(0 | LITTLE_ENDIAN) => {}
            _ => return refuse("not marked as little-endian"),
        }
        let count = size_at(header, 20)?;
        if count > ENTRY_LIMIT {
            return refuse(format!(
                "{count} entries are over the limit of {ENTRY_LIMIT}"
            ));
        }
        // Within the limit on `count`, nothing of this overflows 32 bits.
        let strings_offset = HEADER + count * ENTRY;
        let Some(entries) = new.get(HEADER..strings_offset) else {
            return refuse(format!("cut off within the table of {count} entries"));
        };
        let strings = strings_offset
            .checked_add(size_at(header, 24)?)
            .and_then(|end| new.get(strings_offset..end));
        let Some(strings) = strings else {
            return refuse("cut off within the string table");
        };
        let extension_offset = size_at(header, 32)?;
        Ok(Table {
            count,
            entries,
            strings,
            strings_offset,
            extension_offset,
        })
    }

    /// The NUL-terminated string at an offset from the new header.
    fn string(&self, offset: usize) -> Result<&'a [u8], CacheError> {
        let Some(rest) = offset
            .checked_sub(self.strings_offset)
            .and_then(|start| self.strings.get(start..))
        else {
            return refuse(format!("offset {offset} is outside the string table"));
        };
        match rest.iter().take(PATH_MAX).position(|byte| *byte == 0) {
            Some(length) => Ok(rest.get(..length).unwrap_or_default()),
            None => refuse(format!(
                "string at {offset} has no end within {PATH_MAX} bytes"
            )),
        }
    }
}

/// The new layout behind the old one, where old loaders take it for a part of their strings.
fn behind_old_table(file: &[u8]) -> Result<&[u8], CacheError> {
    let offset = size_at(file, 12)?
        .checked_mul(OLD_ENTRY)
        .and_then(|table| table.checked_add(OLD_HEADER))
        .and_then(|end| end.checked_next_multiple_of(8));
    match offset.and_then(|offset| file.get(offset..)) {
        Some(new) => Ok(new),
        None => refuse("cut off within the table of the old layout"),
    }
}

fn parse_entry(stored: &[u8], table: &Table<'_>, hwcaps: usize) -> Result<Entry, CacheError> {
    let entry = Entry {
        flags: u32_at(stored, 0)?,
        soname: table.string(size_at(stored, 4)?)?.to_owned(),
        path: table.string(size_at(stored, 8)?)?.to_owned(),
        osversion: u32_at(stored, 12)?,
        hwcap: u64::from(u32_at(stored, 16)?) | (u64::from(u32_at(stored, 20)?) << 32),
    };
    match entry.hwcaps_index() {
        Some(index) if index >= hwcaps => refuse(format!(
            "glibc-hwcaps name {index} where the file has {hwcaps}"
        )),
        _ => Ok(entry),
    }
}

type Extensions = (Option<Vec<u8>>, Vec<Vec<u8>>);

/// The generator and the glibc-hwcaps names of the extension directory at `offset` of the file.
fn parse_extensions(
    file: &[u8],
    offset: usize,
    table: &Table<'_>,
) -> Result<Extensions, CacheError> {
    if !offset.is_multiple_of(4) {
        return refuse(format!("extension directory at {offset} is not aligned"));
    }
    let Some(directory) = file.get(offset..) else {
        return refuse(format!(
            "extension directory at {offset} is outside the file"
        ));
    };
    if u32_at(directory, 0)? != EXTENSION_MAGIC {
        return refuse("extension directory has a wrong magic number");
    }
    let count = size_at(directory, 4)?;
    if count > SECTION_LIMIT {
        return refuse(format!(
            "{count} extension sections are over the limit of {SECTION_LIMIT}"
        ));
    }
    let end = EXTENSION_HEADER + count * SECTION_HEADER;
    let Some(headers) = directory.get(EXTENSION_HEADER..end) else {
        return refuse("cut off within the extension directory");
    };

    let (mut generator, mut hwcaps) = (None, None);
    for header in headers.chunks_exact(SECTION_HEADER) {
        let (start, size) = (size_at(header, 8)?, size_at(header, 12)?);
        let Some(data) = start.checked_add(size).and_then(|end| file.get(start..end)) else {
            return refuse("an extension section is outside the file");
        };
        let twice = match u32_at(header, 0)? {
            TAG_GENERATOR => generator.replace(parse_generator(data)?).is_some(),
            TAG_HWCAPS => hwcaps.replace(parse_hwcaps(data, table)?).is_some(),
            _ => false,
        };
        if twice {
            return refuse("an extension section is there twice");
        }
    }
    Ok((generator, hwcaps.unwrap_or_default()))
}

fn parse_generator(data: &[u8]) -> Result<Vec<u8>, CacheError> {
    if data.len() > GENERATOR_LIMIT {
        return refuse(format!(
            "generator of {} bytes is over {GENERATOR_LIMIT}",
            data.len()
        ));
    }
    Ok(data.to_owned())
}

fn parse_hwcaps(data: &[u8], table: &Table<'_>) -> Result<Vec<Vec<u8>>, CacheError> {
    let count = data.len() / 4;
    if !data.len().is_multiple_of(4) || count > HWCAPS_LIMIT {
        return refuse(format!(
            "glibc-hwcaps section of {} bytes; up to {HWCAPS_LIMIT} words are allowed",
            data.len()
        ));
    }
    let mut names: Vec<Vec<u8>> = Vec::with_capacity(count);
    for word in data.chunks_exact(4) {
        let name = table.string(size_at(word, 0)?)?;
        if names.last().is_some_and(|last| last.as_slice() >= name) {
            return refuse("glibc-hwcaps names are not in ascending order");
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

fn u32_at(bytes: &[u8], offset: usize) -> Result<u32, CacheError> {
    match bytes.get(offset..).and_then(|rest| rest.first_chunk()) {
        Some(word) => Ok(u32::from_le_bytes(*word)),
        None => refuse("cut off within a header"),
    }
}

fn size_at(bytes: &[u8], offset: usize) -> Result<usize, CacheError> {
    let value = u32_at(bytes, offset)?;
    usize::try_from(value).map_err(|_| CacheError(format!("{value} is past this machine's range")))
}

fn refuse<T>(why: impl Into<String>) -> Result<T, CacheError> {
    Err(CacheError(why.into()))
}
