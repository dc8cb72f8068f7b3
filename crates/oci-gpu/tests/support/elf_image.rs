//! Minimal dynamic ELF files of either class and byte order, made by hand.

/// What the file is to say; the byte order and class decide how.
#[derive(Clone, Default)]
pub struct ElfImage {
    pub is_64: bool,
    pub big_endian: bool,
    pub machine: u16,
    /// Lies at offset 0 of the string table, as some linkers place it.
    pub soname: Option<String>,
    pub needed: Vec<String>,
    pub runpath: Option<String>,
    pub rpath: Option<String>,
    /// Versions needed, by library.
    pub versions: Vec<(String, Vec<String>)>,
}

/// Addresses are file offsets plus this, a whole number of pages.
pub const BASE: u64 = 0x1_0000;

pub const X86: u16 = 3;
pub const X86_64: u16 = 62;
pub const AARCH64: u16 = 183;

const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;
const DT_SONAME: u64 = 14;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
const DT_VERNEED: u64 = 0x6fff_fffe;
const DT_VERNEEDNUM: u64 = 0x6fff_ffff;

impl ElfImage {
    /// A library of that processor, little-endian.
    pub fn library(machine: u16, soname: &str) -> ElfImage {
        let soname = Some(soname.to_owned());
        ElfImage {
            is_64: machine != X86,
            machine,
            soname,
            ..ElfImage::default()
        }
    }

    /// File offset of the program header of PT_DYNAMIC.
    pub fn dynamic_header(&self) -> usize {
        if self.is_64 { 64 + 56 } else { 52 + 32 }
    }

    pub fn build(&self) -> Vec<u8> {
        let header: u64 = if self.is_64 { 64 + 2 * 56 } else { 52 + 2 * 32 };
        let mut strings = Vec::new();
        let mut intern = |string: &String| {
            let offset = strings.len() as u64;
            strings.extend_from_slice(string.as_bytes());
            strings.push(0);
            offset
        };
        let mut dynamic = Vec::new();
        for (tag, names) in [
            (DT_SONAME, self.soname.iter().collect::<Vec<_>>()),
            (DT_NEEDED, self.needed.iter().collect()),
            (DT_RUNPATH, self.runpath.iter().collect()),
            (DT_RPATH, self.rpath.iter().collect()),
        ] {
            dynamic.extend(names.into_iter().map(|name| (tag, intern(name))));
        }
        // As linkers do it: DT_NEEDED first.
        dynamic.sort_by_key(|(tag, _)| *tag);
        let versions = self.version_records(&mut intern);

        let versions_at = (header + strings.len() as u64).next_multiple_of(8);
        let dynamic_at = versions_at + versions.len() as u64;
        dynamic.push((DT_STRTAB, BASE + header));
        dynamic.push((DT_STRSZ, strings.len() as u64));
        if !versions.is_empty() {
            dynamic.push((DT_VERNEED, BASE + versions_at));
            dynamic.push((DT_VERNEEDNUM, self.versions.len() as u64));
        }
        dynamic.push((DT_NULL, 0));
        let dynamic_size = dynamic.len() as u64 * if self.is_64 { 16 } else { 8 };

        let mut out = self.header();
        self.segment(&mut out, 1, 0, dynamic_at + dynamic_size);
        self.segment(&mut out, 2, dynamic_at, dynamic_size);
        out.extend(strings);
        out.resize(versions_at as usize, 0);
        out.extend(versions);
        for (tag, value) in dynamic {
            self.address(&mut out, tag);
            self.address(&mut out, value);
        }
        out
    }

    fn header(&self) -> Vec<u8> {
        let mut out = b"\x7fELF".to_vec();
        out.extend([1 + u8::from(self.is_64), 1 + u8::from(self.big_endian), 1]);
        out.resize(16, 0);
        let et_dyn = 3;
        self.half(&mut out, et_dyn);
        self.half(&mut out, self.machine);
        self.word(&mut out, 1);
        self.address(&mut out, 0);
        self.address(&mut out, if self.is_64 { 64 } else { 52 });
        self.address(&mut out, 0);
        self.word(&mut out, 0);
        let sizes = if self.is_64 {
            [64, 56, 2, 64, 0, 0]
        } else {
            [52, 32, 2, 40, 0, 0]
        };
        sizes.into_iter().for_each(|size| self.half(&mut out, size));
        out
    }

    fn segment(&self, out: &mut Vec<u8>, kind: u32, offset: u64, size: u64) {
        let read_write = 6;
        self.word(out, kind);
        if self.is_64 {
            self.word(out, read_write);
        }
        for value in [offset, BASE + offset, BASE + offset, size, size] {
            self.address(out, value);
        }
        if !self.is_64 {
            self.word(out, read_write);
        }
        self.address(out, if kind == 1 { 0x1000 } else { 8 });
    }

    fn version_records(&self, intern: &mut impl FnMut(&String) -> u64) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, (file, versions)) in self.versions.iter().enumerate() {
            let last = number + 1 == self.versions.len();
            self.half(&mut out, 1);
            self.half(&mut out, versions.len() as u16);
            self.word(&mut out, intern(file) as u32);
            self.word(&mut out, 16);
            self.word(
                &mut out,
                if last {
                    0
                } else {
                    16 + 16 * versions.len() as u32
                },
            );
            for (number, version) in versions.iter().enumerate() {
                self.word(&mut out, 0);
                self.word(&mut out, 2);
                self.word(&mut out, intern(version) as u32);
                self.word(&mut out, if number + 1 == versions.len() { 0 } else { 16 });
            }
        }
        out
    }

    fn half(&self, out: &mut Vec<u8>, value: u16) {
        out.extend(if self.big_endian {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        });
    }

    fn word(&self, out: &mut Vec<u8>, value: u32) {
        out.extend(if self.big_endian {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        });
    }

    fn address(&self, out: &mut Vec<u8>, value: u64) {
        if !self.is_64 {
            return self.word(out, value as u32);
        }
        out.extend(if self.big_endian {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        });
    }
}
