//! Files that break the format: an error, little work, never a panic.

use oci_gpu::elf;
use proptest::prelude::*;

use crate::counted::{Counted, Memory};
use crate::elf_image::{BASE, ElfImage, X86, X86_64};

fn library() -> ElfImage {
    ElfImage {
        needed: vec!["libc.so.6".to_owned()],
        versions: vec![("libc.so.6".to_owned(), vec!["GLIBC_2.4".to_owned()])],
        ..ElfImage::library(X86_64, "libcuda.so.1")
    }
}

/// The library with some bytes overwritten.
fn patched(patches: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = library().build();
    for (offset, patch) in patches {
        bytes[*offset..offset + patch.len()].copy_from_slice(patch);
    }
    bytes
}

/// Where in the file the value of a dynamic tag is.
fn value_at(bytes: &[u8], tag: u64) -> usize {
    let header = library().dynamic_header();
    let mut at = value_of(bytes, header + 8);
    while bytes[at..at + 8] != tag.to_le_bytes() {
        at += 16;
    }
    at + 8
}

fn value_of(bytes: &[u8], at: usize) -> usize {
    usize::try_from(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap()
}

/// The error's text, when the work for it was small.
fn refusal(bytes: Vec<u8>) -> String {
    let file = Counted::new(Memory(bytes));
    let error = elf::read(&file).expect_err("a hostile file was taken");
    assert!(file.reads.get() <= 8, "{} reads", file.reads.get());
    error.to_string()
}

#[test]
fn broken_headers_are_refused() {
    let dynamic = library().dynamic_header();
    let cases: [(Vec<u8>, &str); 12] = [
        (Vec::new(), "not an ELF file"),
        (b"\x7fEL".to_vec(), "not an ELF file"),
        (b"#!/bin/sh\n".to_vec(), "not an ELF file"),
        (b"\x7fELF".to_vec(), "Too small"),
        (patched(&[(4, &[3])]), "class"),
        (patched(&[(5, &[0])]), "endianness"),
        // ET_REL, ET_CORE.
        (patched(&[(16, &[1])]), "e_type 1)"),
        (patched(&[(16, &[4])]), "e_type 4)"),
        // PN_XNUM program headers; headers of a wrong size; headers past any file's end.
        (patched(&[(56, &[0xff, 0xff])]), "over the limit of 128"),
        (patched(&[(54, &[55])]), "of 55 bytes instead of 56"),
        (patched(&[(32, &[0xff; 8])]), "past any file's end"),
        // Two dynamic tables.
        (
            patched(&[(64, &[2]), (dynamic, &[2])]),
            "more than one dynamic table",
        ),
    ];
    for (bytes, expected) in cases {
        let error = refusal(bytes);
        assert!(
            error.contains(expected),
            "{error:?} does not say {expected:?}"
        );
    }
}

#[test]
fn broken_dynamic_tables_are_refused() {
    let dynamic = library().dynamic_header();
    let bytes = library().build();
    let [strtab, strsz, soname] = [5, 10, 14].map(|tag| value_at(&bytes, tag));
    let huge = (1_u64 << 63).to_le_bytes();
    let cases: [(Vec<u8>, &str); 9] = [
        (patched(&[(dynamic + 32, &huge)]), "over the limit of 65536"),
        (patched(&[(dynamic + 8, &huge)]), "past any file's end"),
        (
            patched(&[(dynamic + 8, &[0xff, 0xff, 0xff])]),
            "file ends within",
        ),
        // Without its last entry, DT_NULL.
        (patched(&[(dynamic + 32, &[16])]), "no end (DT_NULL)"),
        (patched(&[(strtab, &[0xff; 8])]), "in no loaded part"),
        (patched(&[(strtab - 8, &[0xfe])]), "no string table"),
        (patched(&[(strsz, &[5])]), "no end within 5 bytes"),
        (
            patched(&[(soname, &huge)]),
            "name at 9223372036854775808 of a string table of",
        ),
        (patched(&[(64 + 2 * 56, &[0xff])]), "not UTF-8"),
    ];
    for (bytes, expected) in cases {
        let error = refusal(bytes);
        assert!(
            error.contains(expected),
            "{error:?} does not say {expected:?}"
        );
    }
}

#[test]
fn needed_libraries_and_names_are_limited() {
    let needed = vec!["libc.so.6".to_owned(); 257];
    let error = refusal(
        ElfImage {
            needed,
            ..library()
        }
        .build(),
    );
    assert!(
        error.contains("257 needed libraries are over the limit of 256"),
        "{error}"
    );
    let error = refusal(
        ElfImage {
            runpath: Some("x".repeat(4096)),
            ..library()
        }
        .build(),
    );
    assert!(error.contains("no end within 4096 bytes"), "{error}");
    let runpath = Some("x".repeat(4095));
    let longest = elf::read(&Memory(
        ElfImage {
            runpath: runpath.clone(),
            ..library()
        }
        .build(),
    ));
    assert_eq!(longest.unwrap().runpath, runpath);
}

#[test]
fn version_records_are_limited() {
    let versions = |bytes: Vec<u8>| elf::version_needs(&Memory(bytes)).unwrap_err().to_string();
    let bytes = library().build();
    let [address, count] = [0x6fff_fffe, 0x6fff_ffff].map(|tag| value_at(&bytes, tag));
    let error = versions(patched(&[(count, &[0xff; 8])]));
    assert!(error.contains("over the limit of 256"), "{error}");
    let error = versions(patched(&[(address, &[0xff; 8])]));
    assert!(error.contains("in no loaded part"), "{error}");

    // As in glibc, a chain ends where the next record is at distance zero, whatever counts say.
    let records = value_of(&bytes, address) - usize::try_from(BASE).unwrap();
    let endless = patched(&[(count, &[200]), (records + 2, &[0xff, 0xff])]);
    let needs = elf::version_needs(&Memory(endless)).unwrap();
    assert_eq!(needs, elf::version_needs(&Memory(bytes)).unwrap());

    let file = vec![("libc.so.6".to_owned(), vec!["GLIBC_2.4".to_owned(); 1025])];
    let error = versions(
        ElfImage {
            versions: file,
            ..library()
        }
        .build(),
    );
    assert!(error.contains("over the limit of 1024"), "{error}");
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    let whole = library().build();
    for length in 0..whole.len() {
        refusal(whole[..length].to_vec());
    }
    assert!(elf::read(&Memory(whole)).is_ok());
}

proptest! {
    /// Whatever a file says, no panic, and no more work than its limits allow.
    #[test]
    fn overwritten_bytes_do_no_harm(
        is_64: bool,
        big_endian: bool,
        patches in proptest::collection::vec((0..700_usize, any::<u8>()), 1..6),
        length in 0..1000_usize,
    ) {
        let machine = if is_64 { X86_64 } else { X86 };
        let mut bytes = ElfImage { is_64, big_endian, machine, ..library() }.build();
        for (offset, byte) in patches {
            let offset = offset % bytes.len();
            bytes[offset] = byte;
        }
        bytes.truncate(length);
        let file = Counted::new(Memory(bytes));
        let _ = elf::read(&file);
        prop_assert!(file.reads.get() <= 16);
        let _ = elf::version_needs(&file);
        prop_assert!(file.reads.get() <= 2400 && file.bytes.get() <= 4 << 20);
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let with_magic = [b"\x7fELF\x02\x01\x01".as_slice(), &bytes].concat();
        for bytes in [bytes, with_magic] {
            let file = Counted::new(Memory(bytes));
            let _ = elf::read(&file);
            let _ = elf::version_needs(&file);
            prop_assert!(file.reads.get() <= 2400);
        }
    }
}
