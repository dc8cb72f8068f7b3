//! Entries of ours merged into an image's ld.so.cache.

use oci_gpu::ldcache::{Cache, Entry, parse};

use crate::loader;

/// What a cache begins with, of either layout.
const MAGICS: [&[u8]; 2] = [b"glibc-ld.so.cache1.1", b"ld.so-1.7.0"];

/// Most entries of ours that are merged; a driver has some 60 libraries.
const OURS_LIMIT: usize = 100;

/// Lines `SONAME PATH` of ours, for 64-bit programs of x86 and after a `-` for 32-bit ones; from the
/// first magic number on, the image's cache. What is merged is refused and leaves the cache as it
/// was, or every entry of ours is what a loader finds, and none of the image's is left beside it.
pub fn check(data: &[u8]) {
    let starts = MAGICS.iter().filter_map(|magic| {
        let mut windows = data.windows(magic.len());
        windows.position(|window| window == *magic)
    });
    let (lines, image) = data.split_at(starts.min().unwrap_or(data.len()));
    let before = parse(image).unwrap_or_default();
    let ours = lines.split(|b| *b == b'\n').filter_map(entry);
    let ours: Vec<Entry> = ours.take(OURS_LIMIT).collect();

    let mut merged = before.clone();
    if let Err(why) = merged.merge(&ours) {
        let line = why.to_string();
        assert!(!line.is_empty() && line.len() < 500, "{line}");
        return assert_eq!(merged, before);
    }
    let written = parse(&merged.write()).unwrap();
    let comparable = loader::comparable(&written) && loader::is_x86(&written);
    for entry in &ours {
        let found = written.lookup(&entry.soname, entry.flags).unwrap();
        assert!(ours.contains(found), "{found:?} came before ours");
        let mut all = written.lookup_all(&entry.soname, entry.flags);
        assert!(all.all(|e| ours.contains(e)));
        if comparable {
            let by_loader = loader::finds(&written, &entry.soname, entry.flags);
            assert_eq!(by_loader, Some(found));
        }
    }
    let kept = before.entries.iter().filter(|e| !is_shadowed(e, &ours));
    let kept = kept.count();
    assert_eq!(written.entries.len(), kept + ours.len());
    // Once more changes nothing.
    let mut twice = written.clone();
    twice.merge(&ours).unwrap();
    assert_eq!(twice.write(), written.write());
}

fn entry(line: &[u8]) -> Option<Entry> {
    let (flags, line) = match line.strip_prefix(b"-") {
        Some(rest) => (0x003, rest),
        None => (0x303, line),
    };
    let space = line.iter().position(|b| *b == b' ')?;
    Some(Entry::plain(flags, &line[..space], &line[space + 1..]))
}

/// Whether a loader holds an entry of the image's for the same library as one of ours.
fn is_shadowed(theirs: &Entry, ours: &[Entry]) -> bool {
    let alone = Cache {
        entries: vec![theirs.clone()],
        ..Cache::default()
    };
    let same = |e: &Entry| alone.lookup_all(&e.soname, e.flags).count() == 1;
    ours.iter().any(same)
}
