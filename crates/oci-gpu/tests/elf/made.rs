//! Files of either class and byte order.

use oci_gpu::elf::{self, Class, ElfFacts, Machine, VersionNeed};
use oci_gpu::ldcache;

use crate::counted::{Counted, Memory};
use crate::elf_image::{AARCH64, ElfImage, X86, X86_64};

fn example(is_64: bool, big_endian: bool, machine: u16) -> ElfImage {
    let strings = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    ElfImage {
        is_64,
        big_endian,
        machine,
        soname: Some("libcuda.so.1".to_owned()),
        needed: strings(&["libm.so.6", "libc.so.6", "libdl.so.2"]),
        runpath: Some("$ORIGIN/../lib".to_owned()),
        rpath: Some("/not/this".to_owned()),
        versions: vec![
            (
                "libc.so.6".to_owned(),
                strings(&["GLIBC_2.4", "GLIBC_2.34"]),
            ),
            ("libm.so.6".to_owned(), strings(&["GLIBC_2.29"])),
        ],
    }
}

#[test]
fn either_class_and_byte_order_says_the_same() {
    for (is_64, big_endian, number, machine) in [
        (true, false, X86_64, Machine::X86_64),
        (true, false, AARCH64, Machine::Aarch64),
        (false, false, X86, Machine::X86),
        (false, false, 40, Machine::Arm),
        (true, true, 22, Machine::Other(22)),
        (false, true, 20, Machine::Other(20)),
    ] {
        let file = Memory(example(is_64, big_endian, number).build());
        let facts = elf::read(&file).unwrap();
        let expected = ElfFacts {
            class: if is_64 { Class::Elf64 } else { Class::Elf32 },
            machine,
            soname: Some("libcuda.so.1".to_owned()),
            needed: vec![
                "libm.so.6".to_owned(),
                "libc.so.6".to_owned(),
                "libdl.so.2".to_owned(),
            ],
            runpath: Some("$ORIGIN/../lib".to_owned()),
        };
        assert_eq!(facts, expected);
        let needs = elf::version_needs(&file).unwrap();
        let need = |file: &str, versions: &[&str]| VersionNeed {
            file: file.to_owned(),
            versions: versions
                .iter()
                .map(|version| (*version).to_owned())
                .collect(),
        };
        let expected = [
            need("libc.so.6", &["GLIBC_2.4", "GLIBC_2.34"]),
            need("libm.so.6", &["GLIBC_2.29"]),
        ];
        assert_eq!(needs, expected);
    }
}

#[test]
fn rpath_counts_where_there_is_no_runpath() {
    let image = ElfImage {
        runpath: None,
        ..example(true, false, X86_64)
    };
    let facts = elf::read(&Memory(image.build())).unwrap();
    assert_eq!(facts.runpath.as_deref(), Some("/not/this"));
}

#[test]
fn a_static_program_needs_nothing() {
    let image = example(true, false, X86_64);
    let mut bytes = image.build();
    // PT_DYNAMIC becomes PT_NULL.
    bytes[image.dynamic_header()] = 0;
    let facts = elf::read(&Memory(bytes.clone())).unwrap();
    assert_eq!(
        (facts.soname, facts.needed, facts.runpath),
        (None, Vec::new(), None)
    );
    assert_eq!(elf::version_needs(&Memory(bytes)).unwrap(), []);
}

#[test]
fn names_past_the_first_pages_take_one_read_each_neighbourhood() {
    let mut image = example(true, false, X86_64);
    image.needed = (0..40)
        .map(|number| format!("lib{}{number}.so", "x".repeat(90)))
        .collect();
    // 3.8 KiB of names begin in the first page, the dynamic table is in the second.
    let file = Counted::new(Memory(image.build()));
    assert_eq!(elf::read(&file).unwrap().needed, image.needed);
    assert!(file.reads.get() <= 4, "{} reads", file.reads.get());
}

#[test]
fn flags_are_those_of_the_loader() {
    let flags = |class, machine| ldcache::flags_for(class, machine);
    assert_eq!(flags(Class::Elf64, Machine::X86_64), Some(0x303));
    assert_eq!(flags(Class::Elf32, Machine::X86), Some(0x003));
    assert_eq!(flags(Class::Elf64, Machine::Aarch64), Some(0xa03));
    // x32 has a loader of its own, which no driver has libraries for.
    assert_eq!(flags(Class::Elf32, Machine::X86_64), None);
}
