//! [`Cache`] -> bytes.

use super::parse::{
    ENTRY, EXTENSION_HEADER, EXTENSION_MAGIC, HEADER, LITTLE_ENDIAN, MAGIC, SECTION_HEADER,
    TAG_GENERATOR, TAG_HWCAPS,
};
use super::strings::Strings;
use super::{Cache, Entry, order};

impl Cache {
    /// The cache's bytes in the new layout, sorted as the loader's binary search demands.
    ///
    /// Every loader since glibc 2.2 takes the new layout alone. What ldconfig of glibc 2.33 or
    /// later wrote comes back byte for byte, but for strings that nothing in the file refers to:
    /// ldconfig leaves there the names of empty glibc-hwcaps subdirectories.
    ///
    /// Meant for a cache that [`parse`](super::parse()) or [`Cache::merge`] made: within their
    /// limits, all offsets fit the file's 32-bit words.
    pub fn write(&self) -> Vec<u8> {
        let bytes = order::Bytes::of(&self.entries);
        let mut entries: Vec<&Entry> = self.entries.iter().collect();
        entries.sort_by(|a, b| order::compare_entries(self, bytes, a, b));

        let names = entries
            .iter()
            .flat_map(|entry| [entry.soname.as_slice(), &entry.path]);
        let strings = Strings::new(names.chain(self.hwcaps.iter().map(Vec::as_slice)));
        let table = strings.bytes();
        let strings_offset = HEADER + entries.len() * ENTRY;
        let strings_end = strings_offset + table.len();
        let has_extensions = self.generator.is_some() || !self.hwcaps.is_empty();
        let extension_offset = if has_extensions {
            strings_end.next_multiple_of(4)
        } else {
            0
        };

        let mut out = Writer(Vec::with_capacity(strings_end));
        out.bytes(MAGIC);
        out.word(entries.len());
        out.word(table.len());
        out.bytes(&[LITTLE_ENDIAN, 0, 0, 0]);
        out.word(extension_offset);
        out.pad_to(HEADER);
        for entry in entries {
            out.bytes(&entry.flags.to_le_bytes());
            out.word(strings_offset + strings.offset(&entry.soname));
            out.word(strings_offset + strings.offset(&entry.path));
            out.bytes(&entry.osversion.to_le_bytes());
            out.bytes(&entry.hwcap.to_le_bytes());
        }
        out.bytes(&table);
        if has_extensions {
            out.pad_to(extension_offset);
            let hwcaps = self
                .hwcaps
                .iter()
                .map(|name| strings_offset + strings.offset(name))
                .collect();
            self.write_extensions(&mut out, extension_offset, hwcaps);
        }
        out.0
    }

    /// `write_extensions` of elf/cache.c: the directory, generator first, then the glibc-hwcaps
    /// names' offsets, then the generator.
    fn write_extensions(&self, out: &mut Writer, offset: usize, hwcaps: Vec<usize>) {
        let sections = usize::from(self.generator.is_some()) + usize::from(!hwcaps.is_empty());
        let hwcaps_offset = offset + EXTENSION_HEADER + sections * SECTION_HEADER;
        let hwcaps_size = hwcaps.len() * 4;

        out.bytes(&EXTENSION_MAGIC.to_le_bytes());
        out.word(sections);
        if let Some(generator) = &self.generator {
            out.section(TAG_GENERATOR, hwcaps_offset + hwcaps_size, generator.len());
        }
        if !hwcaps.is_empty() {
            out.section(TAG_HWCAPS, hwcaps_offset, hwcaps_size);
        }
        for name in hwcaps {
            out.word(name);
        }
        out.bytes(self.generator.as_deref().unwrap_or_default());
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// A count, size or offset, of which the format's words hold 32 bits.
    fn word(&mut self, value: usize) {
        let value = u32::try_from(value).unwrap_or(u32::MAX);
        self.bytes(&value.to_le_bytes());
    }

    fn pad_to(&mut self, offset: usize) {
        self.0.resize(offset, 0);
    }

    fn section(&mut self, tag: u32, offset: usize, size: usize) {
        let flags = 0;
        self.bytes(&tag.to_le_bytes());
        self.word(flags);
        self.word(offset);
        self.word(size);
    }
}
