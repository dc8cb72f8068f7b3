//! The string table, laid out as ldconfig lays it out (elf/stringtable.c of glibc 2.33).

use std::collections::HashMap;

/// Strings, each stored once, or as the end of another.
pub(super) struct Strings<'a> {
    /// In table order, each with its offset; tail-merged ones have their bytes in the one before.
    placed: Vec<(&'a [u8], usize)>,
    offsets: HashMap<&'a [u8], usize>,
}

impl<'a> Strings<'a> {
    pub(super) fn new(strings: impl Iterator<Item = &'a [u8]>) -> Strings<'a> {
        let mut sorted: Vec<&[u8]> = strings.collect();
        // Read backwards, descending: a string comes right before those that are ends of it.
        sorted.sort_unstable_by(|a, b| b.iter().rev().cmp(a.iter().rev()));
        sorted.dedup();

        let mut placed: Vec<(&[u8], usize)> = Vec::with_capacity(sorted.len());
        for string in sorted {
            let offset = match placed.last() {
                None => 0,
                Some((last, offset)) if last.ends_with(string) => {
                    offset + (last.len() - string.len())
                }
                Some((last, offset)) => offset + last.len() + 1,
            };
            placed.push((string, offset));
        }
        let offsets = placed.iter().copied().collect();
        Strings { placed, offsets }
    }

    /// Offset of one of the strings in the table.
    pub(super) fn offset(&self, string: &[u8]) -> usize {
        self.offsets.get(string).copied().unwrap_or(0)
    }

    /// The table's bytes, each string with its NUL.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (string, offset) in &self.placed {
            // A tail-merged string ends where the table does already.
            if *offset == bytes.len() {
                bytes.extend_from_slice(string);
                bytes.push(0);
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_other_strings_are_not_stored_again() {
        let strings: [&[u8]; 5] = [
            b"liba.so.1",
            b"/usr/lib/liba.so.1",
            b"/lib/liba.so.1",
            b"liba.so.1",
            b"libb.so.1",
        ];
        let table = Strings::new(strings.into_iter());
        assert_eq!(table.bytes(), b"libb.so.1\0/usr/lib/liba.so.1\0");
        let offsets = strings.map(|string| table.offset(string));
        assert_eq!(offsets, [19, 10, 14, 19, 0]);
    }

    #[test]
    fn no_strings_make_no_table() {
        assert_eq!(Strings::new(std::iter::empty()).bytes(), b"");
        assert_eq!(Strings::new([&b""[..]].into_iter()).bytes(), b"\0");
    }
}
