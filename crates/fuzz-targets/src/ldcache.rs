//! An image's ld.so.cache: parsed and written again.

use oci_gpu::ldcache::{Cache, ENTRY_LIMIT, Entry, HWCAPS_LIMIT, NAMES_LIMIT, SIZE_LIMIT, parse};

use crate::loader;

/// What is parsed is within the limits, and comes back the same when it is written and parsed;
/// written, it can be searched as the loader does.
pub fn check(data: &[u8]) {
    let cache = match parse(data) {
        Ok(cache) => cache,
        Err(why) => {
            let line = why.to_string();
            return assert!(!line.is_empty() && line.len() < 500, "{line}");
        }
    };
    within_limits(&cache, data.len());
    let written = cache.write();
    let again = parse(&written).unwrap();
    assert_eq!(again.hwcaps, cache.hwcaps);
    assert_eq!(again.generator, cache.generator);
    assert_eq!(sorted(&again), sorted(&cache));
    assert_eq!(
        again.write(),
        written,
        "writing what was written changes it"
    );
    searchable(&again);
}

fn within_limits(cache: &Cache, size: usize) {
    assert!(size as u64 <= SIZE_LIMIT);
    assert!(cache.entries.len() <= ENTRY_LIMIT.min(size / 24));
    assert!(cache.hwcaps.len() <= HWCAPS_LIMIT);
    assert!(cache.hwcaps.windows(2).all(|w| w[0] < w[1]));
    let names = cache.entries.iter().map(|e| e.soname.len() + e.path.len());
    assert!(names.sum::<usize>() <= NAMES_LIMIT);
    for entry in &cache.entries {
        assert!(!entry.soname.contains(&0) && entry.soname.len() < 4096);
        assert!(!entry.path.contains(&0) && entry.path.len() < 4096);
        let index = entry.hwcaps_index();
        assert!(index.is_none_or(|index| index < cache.hwcaps.len()));
    }
}

/// The entries in an order that depends on their content only.
fn sorted(cache: &Cache) -> Vec<&Entry> {
    let mut entries: Vec<&Entry> = cache.entries.iter().collect();
    let key = |e: &Entry| (e.flags, e.hwcap, e.osversion);
    entries.sort_by(|a, b| {
        let names = |e: &'_ Entry| (e.soname.clone(), e.path.clone());
        key(a).cmp(&key(b)).then_with(|| names(a).cmp(&names(b)))
    });
    entries
}

/// Names by the dozen are looked up, each by the library's own search and by the loader's.
fn searchable(written: &Cache) {
    if !loader::comparable(written) || !loader::is_x86(written) {
        return;
    }
    let step = (written.entries.len() / 12).max(1);
    for entry in written.entries.iter().step_by(step) {
        let by_loader = loader::finds(written, &entry.soname, entry.flags);
        assert_eq!(written.lookup(&entry.soname, entry.flags), by_loader);
        assert!(by_loader.is_some() || entry.hwcap != 0);
    }
}
