//! Simulated libraries, judged by the real loader and by readelf.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests are tests

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{SimHost, has_tool, output};
use oci_gpu_sim::{Arch, LIBRARIES, Package, SharedObject, Target, static_program};

/// A program that loads its argument and prints the library's own word for what it is.
const PROBE: &str = r#"
#include <dlfcn.h>
#include <stdio.h>
int main(int argc, char **argv) {
    void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : 0;
    if (!library) { puts(dlerror()); return 1; }
    const char *text = dlsym(library, "oci_gpu_sim_version");
    if (!text) { puts(dlerror()); return 2; }
    puts(text);
    return 0;
}
"#;

/// Builds the probe; None where there is no C compiler.
fn probe(directory: &Path) -> Option<PathBuf> {
    if !has_tool("cc") {
        return None;
    }
    let source = directory.join("probe.c");
    let program = directory.join("probe");
    std::fs::write(&source, PROBE).unwrap();
    let mut cc = Command::new("cc");
    output(cc.arg("-o").arg(&program).arg(&source).arg("-ldl"));
    Some(program)
}

/// What the probe prints, and whether it could load the file.
fn load(probe: &Path, file: &Path, search: &Path) -> (bool, String) {
    let result = Command::new(probe)
        .arg(file)
        .env("LD_LIBRARY_PATH", search)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&result.stdout).trim().to_owned();
    (result.status.success(), text)
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_real_loader_takes_every_library_and_tells_which_it_took() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(probe) = probe(scratch.path()) else {
        return;
    };
    let host = SimHost::named("run-8");
    let version = host.spec.userland_version().unwrap();
    let search = host.at("/usr/lib/x86_64-linux-gnu");
    let mut seen = 0;
    for library in LIBRARIES.iter().filter(|library| library.in_branch(550)) {
        let directory = match library.stem {
            "libvdpau_nvidia" => search.join("vdpau"),
            "nvidia_drv" => host.at("/usr/lib/xorg/modules/drivers"),
            "libglxserver_nvidia" => host.at("/usr/lib/xorg/modules/extensions"),
            _ => search.clone(),
        };
        let file = directory.join(library.file_name(version));
        let expected = (true, format!("{} {version}", library.stem));
        assert_eq!(load(&probe, &file, &search), expected, "{}", file.display());
        seen += 1;
    }
    assert!(seen > 35, "{seen} libraries");
    // By soname, through links, as programs do it.
    let by_soname = load(&probe, Path::new("libcuda.so.1"), &search);
    assert_eq!(by_soname, (true, format!("libcuda {version}")));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_real_loader_refuses_what_is_meant_to_be_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(probe) = probe(scratch.path()) else {
        return;
    };
    let host = SimHost::of_toml(
        r#"
        [driver]
        version = "550.163.01"
        glibc = "9.99"
        packages = ["compute"]
        [faults]
        truncated = ["libnvidia-ml"]
        dangling = ["libnvidia-cfg"]
        "#,
    );
    let search = host.at("/usr/lib/x86_64-linux-gnu");
    for (name, why) in [
        ("libcuda.so.1", "`GLIBC_9.99' not found"),
        ("libnvidia-ml.so.1", "cannot read file data"),
        ("libnvidia-cfg.so.1", "cannot open shared object file"),
    ] {
        let (loaded, text) = load(&probe, &search.join(name), &search);
        assert!(!loaded && text.contains(why), "{name}: {text}");
    }
}

#[test]
fn readelf_finds_nothing_odd_for_any_processor() {
    if !has_tool("readelf") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("libx.so.1.2");
    for (target, class, machine, glibc) in [
        (Target::X86_64, "ELF64", "X86-64", "GLIBC_2.2.5"),
        (Target::I386, "ELF32", "Intel 80386", "GLIBC_2.0"),
        (Target::Aarch64, "ELF64", "AArch64", "GLIBC_2.17"),
    ] {
        for soname in [None, Some("libx.so.1")] {
            let bytes = SharedObject {
                target,
                soname,
                needed: &["liby.so.1".to_owned()],
                glibc: target.oldest_glibc(),
                text: "libx 1.2",
            }
            .to_bytes();
            std::fs::write(&file, bytes).unwrap();
            let result = Command::new("readelf")
                .arg("-aW")
                .arg(&file)
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&result.stdout);
            let complaints = String::from_utf8_lossy(&result.stderr);
            assert_eq!(complaints, "", "{target:?}");
            for expected in [
                class,
                machine,
                "Shared library: [liby.so.1]",
                "Shared library: [libc.so.6]",
                glibc,
                "oci_gpu_sim_version",
            ] {
                assert!(text.contains(expected), "{target:?}: no {expected}\n{text}");
            }
            assert_eq!(
                text.contains("Library soname: [libx.so.1]"),
                soname.is_some(),
                "{target:?}"
            );
        }
    }
}

#[test]
fn strict_needed_names_what_the_real_libraries_need() {
    if !has_tool("readelf") {
        return;
    }
    let needed = |strict: bool| {
        let host = SimHost::of_toml(&format!(
            "[driver]\nversion = \"550.163.01\"\nstrict-needed = {strict}"
        ));
        let file = host.at("/usr/lib/x86_64-linux-gnu/libGLX_nvidia.so.0");
        let text = output(Command::new("readelf").arg("-dW").arg(file));
        text.lines()
            .filter_map(|line| line.split("Shared library: [").nth(1))
            .map(|name| name.trim_end_matches(']').to_owned())
            .collect::<Vec<_>>()
    };
    let own = [
        "libnvidia-glsi.so.550.163.01",
        "libnvidia-tls.so.550.163.01",
        "libnvidia-glcore.so.550.163.01",
    ];
    let mut lenient = own.to_vec();
    lenient.push("libc.so.6");
    assert_eq!(needed(false), lenient);
    let mut strict = own.to_vec();
    strict.extend(["libX11.so.6", "libXext.so.6", "libc.so.6"]);
    assert_eq!(needed(true), strict);
}

#[test]
fn programs_say_who_they_are_and_exit_zero() {
    let host = SimHost::of_toml(
        r#"
        layout = "microvm"
        [driver]
        version = "550.163.01"
        packages = ["compute"]
        "#,
    );
    assert_eq!(
        host.spec.driver.as_ref().unwrap().packages,
        [Package::Compute]
    );
    let smi = host.at("/usr/local/nvidia/bin/nvidia-smi");
    if cfg!(target_arch = "x86_64") {
        assert_eq!(
            output(&mut Command::new(smi)),
            "nvidia-smi 550.163.01 (simulated by oci-gpu-sim)\n"
        );
    }
}

#[test]
fn the_aarch64_program_writes_its_text_and_exits() {
    let bytes = static_program(Arch::Aarch64, "hello");
    let code = &bytes[64 + 2 * 56..];
    let words: Vec<u32> = code[..32]
        .chunks(4)
        .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
        .collect();
    // adr x1 leads from its own place, the second instruction, to the text behind the code.
    assert_eq!(words[1], 0x1000_0001 | (((32 - 4) / 4) << 5));
    // movz x2, #6: the length with the line feed.
    assert_eq!(words[2], 0xd280_0002 | (6 << 5));
    assert_eq!(&code[32..], b"hello\n");
    if has_tool("qemu-aarch64-static") {
        let scratch = tempfile::tempdir().unwrap();
        let program = scratch.path().join("hello");
        std::fs::write(&program, bytes).unwrap();
        let mut run = Command::new("qemu-aarch64-static");
        assert_eq!(output(run.arg(program)), "hello\n");
    }
}
