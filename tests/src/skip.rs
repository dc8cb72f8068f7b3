//! Tests that cannot run on this machine, each with its reason, so that none goes unnoticed.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use crate::cache;
use crate::error::{Context, Result};

/// Ends a test (a function that returns nothing) that cannot run here:
/// `skip!("name", "reason")`. See [`record`].
#[macro_export]
macro_rules! skip {
    ($name:expr, $reason:expr $(,)?) => {{
        $crate::skip::record($name, $reason).expect("a skip must be seen");
        return;
    }};
}

/// The file that lists the skips: `NAME: REASON` on each line. Whoever runs all tests removes it
/// first and counts its lines, sorted and without repetition, afterwards.
///
/// # Errors
/// Those of [`cache::directory`].
pub fn file() -> Result<PathBuf> {
    Ok(cache::directory()?.join("skips"))
}

/// Says that `name` is not tested here for `reason`, and lists it in [`file()`]. A reason names what
/// is missing and, where that can be changed, the remedy.
///
/// # Errors
/// Where the file cannot be written: a skip that nobody sees is a failure.
pub fn record(name: &str, reason: &str) -> Result<()> {
    println!("SKIP {name}: {reason}");
    let path = file()?;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).during(format_args!("create {}", parent.display()))?;
    }
    // One write of one line, so that test programs that run side by side do not mix theirs.
    let line = format!("{name}: {}\n", reason.replace('\n', " "));
    fs::File::options()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .during(format_args!("write {}", path.display()))
}

/// The skips recorded so far, sorted, each once.
///
/// # Errors
/// Those of [`cache::directory`].
pub fn recorded() -> Result<Vec<String>> {
    let text = fs::read_to_string(file()?).unwrap_or_default();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines.dedup();
    Ok(lines)
}
