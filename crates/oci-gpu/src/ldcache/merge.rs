//! Entries of ours into a cache of an image's.

use std::cmp::Ordering;

use super::{Cache, CacheError, ENTRY_LIMIT, Entry, NAMES_LIMIT, PATH_MAX, order};
use crate::finding::quote;

/// Longest run of digits in a soname. Ten digits may pass C's `int`, in which glibc compares them.
const DIGITS_LIMIT: usize = 9;

impl Cache {
    /// Puts `ours` in, each replacing every entry (glibc-hwcaps ones too) of its soname and flags.
    ///
    /// Nothing of an image can then come before a library of ours: the loader would take a file of
    /// `glibc-hwcaps/x86-64-v3` ahead of a plain one, and an entry for `libcuda.so.01` in place of
    /// one for `libcuda.so.1`. Where `ours` names a soname twice for the same flags, the loader
    /// takes the first.
    ///
    /// # Errors
    /// An entry that the format cannot carry portably, or a cache that would be over the limits of
    /// this module. The cache is then as it was.
    pub fn merge(&mut self, ours: &[Entry]) -> Result<(), CacheError> {
        for entry in ours {
            check(entry).map_err(|why| {
                let soname = quote(&String::from_utf8_lossy(&entry.soname));
                CacheError(format!("cannot put {soname} into the cache: {why}"))
            })?;
        }

        let mut keys: Vec<&Entry> = ours.iter().collect();
        keys.sort_by(|a, b| compare_keys(a, b));
        let theirs = |entry: &&Entry| {
            keys.binary_search_by(|key| compare_keys(key, entry))
                .is_err()
        };
        let (mut count, mut names) = (0_usize, 0_usize);
        for entry in self.entries.iter().filter(theirs).chain(ours) {
            count = count.saturating_add(1);
            names = names
                .saturating_add(entry.soname.len())
                .saturating_add(entry.path.len());
            names = names.saturating_add(2);
        }
        if count > ENTRY_LIMIT || names > NAMES_LIMIT {
            return Err(CacheError(format!(
                "the merged cache would have {count} entries and {names} bytes of names, over \
                 the limit of {ENTRY_LIMIT} or {NAMES_LIMIT}"
            )));
        }

        self.entries.retain(|entry| theirs(&entry));
        self.entries.extend_from_slice(ours);
        Ok(())
    }
}

/// What the loader tells entries apart by before it looks at hwcaps.
fn compare_keys(a: &Entry, b: &Entry) -> Ordering {
    // How high bytes compare is of no matter here: sonames of ours have none.
    a.flags
        .cmp(&b.flags)
        .then_with(|| order::compare_names(&a.soname, &b.soname, order::Bytes::Unsigned))
}

fn check(entry: &Entry) -> Result<(), String> {
    check_soname(&entry.soname)?;
    if !entry.path.starts_with(b"/") {
        return Err("its path is not absolute".to_owned());
    }
    if entry.path.len() >= PATH_MAX {
        return Err(format!(
            "its path has {} bytes; {PATH_MAX} is too many",
            entry.path.len()
        ));
    }
    if entry.path.iter().any(u8::is_ascii_control) {
        return Err("its path has a NUL, newline or other control character".to_owned());
    }
    if entry.hwcap != 0 {
        return Err("it is for certain hardware only".to_owned());
    }
    Ok(())
}

/// One path component that ldconfig would look at, of bytes that sort alike on every machine.
fn check_soname(soname: &[u8]) -> Result<(), String> {
    let library = soname
        .strip_prefix(b"lib")
        .is_some_and(|rest| rest.windows(3).any(|window| window == b".so"));
    if !library && !soname.starts_with(b"ld-") {
        return Err("it is not named as a library (\"lib*.so*\" or \"ld-*\")".to_owned());
    }
    if soname.len() >= PATH_MAX {
        return Err(format!(
            "it has {} bytes; {PATH_MAX} is too many",
            soname.len()
        ));
    }
    if soname.contains(&b'/') {
        return Err("it has a '/'".to_owned());
    }
    if !soname
        .iter()
        .all(|byte| byte.is_ascii() && !byte.is_ascii_control())
    {
        return Err("it has a control character or a byte past ASCII".to_owned());
    }
    if soname
        .chunk_by(|a, b| a.is_ascii_digit() && b.is_ascii_digit())
        .any(|run| run.len() > DIGITS_LIMIT)
    {
        return Err(format!(
            "it has a number of more than {DIGITS_LIMIT} digits"
        ));
    }
    Ok(())
}
