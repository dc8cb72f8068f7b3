//! A file seen through two small buffers, so that a handful of reads gives all that is asked for.

use super::{ElfError, NAME_LIMIT, ReadAt};

/// Bytes that one read fetches: a page, in which the header and the program headers lie together,
/// and mostly the names that a library refers to.
const PAGE: usize = 4096;

/// The first page of a file, and the page that was last read besides.
pub(super) struct Window<'a> {
    file: &'a dyn ReadAt,
    head: Vec<u8>,
    page: Vec<u8>,
    page_offset: u64,
}

impl<'a> Window<'a> {
    /// Reads the first page.
    pub(super) fn open(file: &'a dyn ReadAt) -> Result<Window<'a>, ElfError> {
        // Enough for a program header or two; a shorter file is found out when it is decoded.
        let head = fetch(file, 0, 128, PAGE)?;
        Ok(Window {
            file,
            head,
            page: Vec::new(),
            page_offset: 0,
        })
    }

    /// The first page, or the whole of a shorter file.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// The `length` bytes at `offset`, of which the caller has limited the number.
    pub(super) fn bytes(&mut self, offset: u64, length: usize) -> Result<&[u8], ElfError> {
        if self.buffered(offset).len() < length {
            self.fetch(offset, length)?;
        }
        self.buffered(offset).get(..length).ok_or_else(|| {
            ElfError::Malformed(format!("file ends within the {length} bytes at {offset}"))
        })
    }

    /// The NUL-terminated name at `offset`, whose NUL is within `limit` bytes.
    pub(super) fn name(&mut self, offset: u64, limit: u64) -> Result<String, ElfError> {
        let limit = usize::try_from(limit).map_or(NAME_LIMIT, |limit| limit.min(NAME_LIMIT));
        let end = |bytes: &[u8]| bytes.iter().take(limit).position(|byte| *byte == 0);
        if end(self.buffered(offset)).is_none() {
            self.fetch(offset, limit)?;
        }
        let bytes = self.buffered(offset);
        let name = end(bytes).and_then(|end| bytes.get(..end)).ok_or_else(|| {
            ElfError::Malformed(format!("name at {offset} has no end within {limit} bytes"))
        })?;
        String::from_utf8(name.to_owned())
            .map_err(|_| ElfError::Malformed(format!("name at {offset} is not UTF-8")))
    }

    /// What the buffers hold from `offset` on.
    fn buffered(&self, offset: u64) -> &[u8] {
        let in_buffer = |start: u64, buffer: &'_ [u8]| {
            let skip = usize::try_from(offset.checked_sub(start)?).ok()?;
            (skip < buffer.len()).then_some(skip)
        };
        if let Some(skip) = in_buffer(self.page_offset, &self.page) {
            return self.page.get(skip..).unwrap_or_default();
        }
        in_buffer(0, &self.head)
            .and_then(|skip| self.head.get(skip..))
            .unwrap_or_default()
    }

    fn fetch(&mut self, offset: u64, wanted: usize) -> Result<(), ElfError> {
        self.page = fetch(self.file, offset, wanted, wanted.max(PAGE))?;
        self.page_offset = offset;
        Ok(())
    }
}

/// Reads up to `most` bytes, going on after a short read only where `wanted` asks for it.
fn fetch(file: &dyn ReadAt, offset: u64, wanted: usize, most: usize) -> Result<Vec<u8>, ElfError> {
    // The kernel's offsets are signed.
    if offset.saturating_add(most as u64) > i64::MAX.cast_unsigned() {
        return Err(ElfError::Malformed(format!(
            "offset {offset} is past any file's end"
        )));
    }
    let mut buffer = vec![0; most];
    let mut filled = 0;
    while filled < wanted {
        let Some(rest) = buffer.get_mut(filled..) else {
            break;
        };
        match file.read_at(rest, offset + filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}
