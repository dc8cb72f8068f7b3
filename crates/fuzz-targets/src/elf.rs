//! A library or program of a host or of an image.

use std::cell::Cell;
use std::io;

use oci_gpu::elf::{self, ElfError, ReadAt};

/// Most bytes that one read may ask for: the limit on a dynamic table.
const READ_LIMIT: usize = 64 << 10;

/// Most reads for the facts: header, program headers, dynamic table, soname, run path and 256 needed
/// libraries, each with one more where the file ends within it.
const FACTS_READS: usize = 2 * (3 + 2 + 256);

/// Most reads for version needs: the first three, and 1024 libraries and versions beyond the last
/// library's first, each with its name.
const VERSIONS_READS: usize = 2 * (3 + 2 * (1024 + 256));

/// Most reads for a note: the first three, the section headers, and 256 sections with their names.
const NOTE_READS: usize = 2 * (3 + 1 + 2 * 256);

/// The facts take a bounded number of bounded reads, and a source that gives less than it is asked
/// for changes nothing.
pub fn check(data: &[u8]) {
    let whole = Source::new(data, usize::MAX);
    let facts = elf::read(&whole);
    assert!(whole.reads.get() <= FACTS_READS, "{:?} reads", whole.reads);
    if let Ok(facts) = &facts {
        assert!(facts.needed.len() <= 256);
        let names = facts.needed.iter().chain(&facts.soname);
        for name in names.chain(&facts.runpath) {
            assert!(name.len() < 4096 && !name.contains('\0'));
        }
        // A name is in the file as it stands.
        for name in facts.soname.iter().chain(facts.needed.first()) {
            let stored = [name.as_bytes(), b"\0"].concat();
            assert!(data.windows(stored.len()).any(|window| window == stored));
        }
    }
    let whole = Source::new(data, usize::MAX);
    let needs = elf::version_needs(&whole);
    assert!(
        whole.reads.get() <= VERSIONS_READS,
        "{:?} reads",
        whole.reads
    );
    if let Ok(needs) = &needs {
        let versions: usize = needs.iter().map(|n| n.versions.len()).sum();
        assert!(needs.len() + versions <= 1024 + 256);
    }

    let whole = Source::new(data, usize::MAX);
    let definitions = elf::version_definitions(&whole);
    assert!(
        whole.reads.get() <= VERSIONS_READS,
        "{:?} reads",
        whole.reads
    );
    if let Ok(definitions) = &definitions {
        assert!(definitions.len() <= 1024);
    }
    let whole = Source::new(data, usize::MAX);
    let note = |source: &Source<'_>| elf::note(source, ".note.ABI-tag", "GNU");
    let found = note(&whole);
    assert!(whole.reads.get() <= NOTE_READS, "{:?} reads", whole.reads);
    if let Ok(Some(found)) = &found {
        assert!(data.windows(found.len().max(1)).any(|w| w == found) || found.is_empty());
    }

    let parts = Source::new(data, 100);
    assert_eq!(told(&note(&parts)), told(&found));
    assert_eq!(told(&elf::version_definitions(&parts)), told(&definitions));
    assert_eq!(told(&elf::read(&parts)), told(&facts));
    assert_eq!(told(&elf::version_needs(&parts)), told(&needs));
}

/// A result as text; an error is one line of bounded length.
fn told<T: std::fmt::Debug>(result: &Result<T, ElfError>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => {
            let line = error.to_string();
            assert!(!line.is_empty() && line.len() < 500, "{line}");
            line
        }
    }
}

/// A file in memory that counts its reads, and gives up to `most` bytes a time.
struct Source<'a> {
    data: &'a [u8],
    most: usize,
    reads: Cell<usize>,
}

impl<'a> Source<'a> {
    fn new(data: &'a [u8], most: usize) -> Source<'a> {
        let reads = Cell::new(0);
        Source { data, most, reads }
    }
}

impl ReadAt for Source<'_> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        assert!(buf.len() <= READ_LIMIT, "a read of {} bytes", buf.len());
        self.reads.set(self.reads.get() + 1);
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.data.get(offset..).unwrap_or_default();
        let count = rest.len().min(buf.len()).min(self.most);
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}
