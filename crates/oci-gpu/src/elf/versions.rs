//! Symbol versions that a file needs of others (`.gnu.version_r`), and those that it defines
//! (`.gnu.version_d`).

use goblin::elf::dynamic::{DT_VERDEF, DT_VERDEFNUM, DT_VERNEED, DT_VERNEEDNUM};
use scroll::Pread;
use serde::Serialize;

use super::image::Image;
use super::{ElfError, NEEDED_LIMIT, ReadAt};

/// Most libraries and versions that a file may need together. The C library has some 60 versions.
const VERSION_LIMIT: usize = 1024;

/// Size of `Elf32_Verneed`, `Elf64_Verneed` and of the `Vernaux` ones, which are all alike.
const RECORD: usize = 16;

/// Size of `Elf32_Verdef` and `Elf64_Verdef`, which are alike, and of their `Verdaux`.
const DEFINITION: usize = 20;
const NAMED: usize = 8;

/// Versions of one library that a file needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VersionNeed {
    /// Soname of the library.
    pub file: String,
    /// Names of the versions, in file order ("GLIBC_2.2.5").
    pub versions: Vec<String>,
}

/// Reads what versions `file` needs, in file order: the glibc floor of a program or library.
///
/// Apart from [`read`](super::read), which most callers do with.
///
/// # Errors
/// As those of [`read`](super::read), and more than 256 libraries, or 1024 libraries and versions.
pub fn version_needs(file: &impl ReadAt) -> Result<Vec<VersionNeed>, ElfError> {
    let mut image = Image::open(file)?;
    let Some(address) = image.value(DT_VERNEED) else {
        return Ok(Vec::new());
    };
    let count = image.value(DT_VERNEEDNUM).unwrap_or(0);
    let limit = NEEDED_LIMIT as u64;
    if count > limit {
        return Err(ElfError::Malformed(format!(
            "versions of {count} libraries are over the limit of {limit}"
        )));
    }

    // All offsets first, then all names: the records are in one place, the names in another.
    let mut offset = image.file_offset(address)?;
    let mut names = Vec::new();
    let mut version_counts = Vec::new();
    for _ in 0..count {
        let library = Record::read(&mut image, offset)?;
        names.push(library.file);
        let before = names.len();
        read_versions(
            &mut image,
            step(offset, library.first)?,
            library.versions,
            &mut names,
        )?;
        version_counts.push(names.len() - before);
        if library.next == 0 {
            break;
        }
        offset = step(offset, library.next)?;
    }

    let mut names = image.names(&names)?.into_iter();
    let needs = version_counts.into_iter().filter_map(|count| {
        let file = names.next()?;
        Some(VersionNeed {
            file,
            versions: names.by_ref().take(count).collect(),
        })
    });
    Ok(needs.collect())
}

/// Reads the names of the versions that `file` defines, in file order; the first is the file's own
/// name, or its soname. What a C library offers to those that need versions of it.
///
/// # Errors
/// As those of [`read`](super::read), and more than 1024 versions.
pub fn version_definitions(file: &impl ReadAt) -> Result<Vec<String>, ElfError> {
    let mut image = Image::open(file)?;
    let Some(address) = image.value(DT_VERDEF) else {
        return Ok(Vec::new());
    };
    let count = image.value(DT_VERDEFNUM).unwrap_or(0);
    if count > VERSION_LIMIT as u64 {
        return Err(ElfError::Malformed(format!(
            "{count} versions are over the limit of {VERSION_LIMIT}"
        )));
    }
    let order = image.byte_order;
    let mut offset = image.file_offset(address)?;
    let mut names = Vec::new();
    for _ in 0..count {
        // `Verdef` has 20 bytes: its first `Verdaux`, which holds the name, is at vd_aux from it.
        let bytes = image.window.bytes(offset, DEFINITION)?;
        let first: u32 = bytes.pread_with(12, order).map_err(malformed)?;
        let next: u32 = bytes.pread_with(16, order).map_err(malformed)?;
        let bytes = image.window.bytes(step(offset, first)?, NAMED)?;
        let name: u32 = bytes.pread_with(0, order).map_err(malformed)?;
        names.push(u64::from(name));
        if next == 0 {
            break;
        }
        offset = step(offset, next)?;
    }
    image.names(&names)
}

/// `Verneed`: a library, of which versions are needed.
struct Record {
    versions: u16,
    /// Offset of the library's soname in the string table.
    file: u64,
    /// Bytes from this record to its first version.
    first: u32,
    /// Bytes from this record to the next library's; zero for none.
    next: u32,
}

impl Record {
    fn read(image: &mut Image<'_>, offset: u64) -> Result<Record, ElfError> {
        let order = image.byte_order;
        let bytes = image.window.bytes(offset, RECORD)?;
        Ok(Record {
            versions: bytes.pread_with(2, order).map_err(malformed)?,
            file: u64::from(bytes.pread_with::<u32>(4, order).map_err(malformed)?),
            first: bytes.pread_with(8, order).map_err(malformed)?,
            next: bytes.pread_with(12, order).map_err(malformed)?,
        })
    }
}

/// Adds the string-table offsets of up to `count` versions (`Vernaux`) to `names`.
fn read_versions(
    image: &mut Image<'_>,
    mut offset: u64,
    count: u16,
    names: &mut Vec<u64>,
) -> Result<(), ElfError> {
    let order = image.byte_order;
    for _ in 0..count {
        if names.len() >= VERSION_LIMIT {
            return Err(ElfError::Malformed(format!(
                "needed libraries and versions are over the limit of {VERSION_LIMIT}"
            )));
        }
        let bytes = image.window.bytes(offset, RECORD)?;
        let name: u32 = bytes.pread_with(8, order).map_err(malformed)?;
        let next: u32 = bytes.pread_with(12, order).map_err(malformed)?;
        names.push(u64::from(name));
        if next == 0 {
            break;
        }
        offset = step(offset, next)?;
    }
    Ok(())
}

fn step(offset: u64, step: u32) -> Result<u64, ElfError> {
    offset
        .checked_add(u64::from(step))
        .ok_or_else(|| ElfError::Malformed(format!("version record past {offset}")))
}

fn malformed(error: scroll::Error) -> ElfError {
    ElfError::Malformed(error.to_string())
}
