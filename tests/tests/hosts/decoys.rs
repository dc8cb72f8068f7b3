//! Other drivers' libraries that lie about: none of them is taken, and the reason is told.

use std::fs;
use std::path::Path;

use oci_gpu::discover;
use oci_gpu::discover::DIRECTORIES;
use oci_gpu::elf::{Class, Machine};
use oci_gpu::ldcache::{self, Cache, Entry};
use oci_gpu_sim::HostSpec;
use oci_gpu_tests::sim::SimHost;

pub(crate) const KERNEL: &str = "550.163.01";
const OLDER: &str = "535.261.03";

/// A host with the driver's libraries in `directory`, and what `more` says in TOML.
pub(crate) fn host_with_libraries_in(directory: &str, more: &str) -> SimHost {
    let text = format!(
        "[driver]\nversion = \"{KERNEL}\"\npackages = [\"compute\"]\nfirmware = false\n\
         [gpus]\ncount = 1\n[paths]\nlib = \"{directory}\"\n{more}"
    );
    SimHost::of(HostSpec::from_toml(&text).unwrap()).unwrap()
}

/// The kernel's version is taken from `directory`, and nothing of another; what was refused is
/// returned, as lines "EVIDENCE PATH: WHY".
pub(crate) fn assert_taken_from(host: &SimHost, directory: &str, what: &str) -> Vec<String> {
    let inventory = discover(&host.host()).unwrap_or_else(|e| panic!("{what}: {e}"));
    let real = host.host().files().resolve(Path::new(directory)).unwrap();
    for library in &inventory.libraries {
        let path = library.path.display().to_string();
        assert!(path.ends_with(KERNEL), "{what}: {path}");
        assert_eq!(library.path.parent(), Some(real.as_path()), "{what}");
    }
    let stems: Vec<&str> = inventory
        .libraries
        .iter()
        .map(|l| l.stem.as_str())
        .collect();
    assert_eq!(stems.len(), 12, "{what}: {stems:?}");
    let (accepted, refused): (Vec<_>, Vec<_>) =
        inventory.driver.candidates.iter().partition(|c| c.accepted);
    assert!(!accepted.is_empty(), "{what}");
    for c in accepted {
        assert!(c.path.starts_with(&real), "{what}: {c:?}");
        assert!(!c.why.contains(OLDER), "{what}: {c:?}");
    }
    refused
        .iter()
        .map(|c| format!("{} {}: {}", c.evidence, c.path.display(), c.why))
        .collect()
}

fn assert_refused(refused: &[String], evidence: &str, file: &str, what: &str) {
    let why = format!("its version is {OLDER}, the kernel's is {KERNEL}");
    let line = format!("{evidence} {file}: {why}");
    assert!(refused.contains(&line), "{what}: '{line}' in {refused:#?}");
}

/// An older driver in the same directory, to which the links lead.
#[test]
fn an_older_driver_beside_the_kernels_is_refused() {
    let decoy = format!("[[decoy]]\nversion = \"{OLDER}\"\npreferred = true\n");
    for (directory, platform) in DIRECTORIES {
        let host = host_with_libraries_in(directory, &decoy);
        let what = format!("{directory} ({platform}), with a cache");
        let refused = assert_taken_from(&host, directory, &what);
        let real = host.host().files().resolve(Path::new(directory)).unwrap();
        for marker in ["libcuda", "libnvidia-ml"] {
            let file = format!("{}/{marker}.so.{OLDER}", real.display());
            assert_refused(&refused, "ld.so.cache", &file, &what);
        }

        let what = format!("{directory} ({platform}), without a cache");
        fs::remove_file(host.on_disk("/etc/ld.so.cache")).unwrap();
        let refused = assert_taken_from(&host, directory, &what);
        assert_eq!(
            refused,
            ["ld.so.cache /etc/ld.so.cache: it does not exist"],
            "{what}"
        );
    }
}

/// An older driver in a directory that is tried before, with a cache that leads to both, with one
/// that leads to the older one alone, and without a cache.
#[test]
fn an_older_driver_in_a_place_of_higher_rank_is_refused() {
    let directories = DIRECTORIES.iter().zip(&DIRECTORIES[1..]);
    for ((before, _), (directory, platform)) in directories {
        let decoy = format!(
            "[[decoy]]\nversion = \"{OLDER}\"\ndirectory = \"{before}\"\npreferred = true\n"
        );
        let file = |marker: &str| format!("{before}/{marker}.so.{OLDER}");
        let host = host_with_libraries_in(directory, &decoy);
        let what = format!("{before} before {directory} ({platform}), both in the cache");
        let refused = assert_taken_from(&host, directory, &what);
        assert_refused(&refused, "ld.so.cache", &file("libcuda"), &what);
        assert_refused(&refused, "ld.so.cache", &file("libnvidia-ml"), &what);

        let what = format!("{before} before {directory} ({platform}), alone in the cache");
        let soname = format!("{before}/libcuda.so.1");
        let flags = ldcache::flags_for(Class::Elf64, Machine::X86_64).unwrap();
        let cache = Cache {
            entries: vec![Entry::plain(flags, b"libcuda.so.1", soname.as_bytes())],
            ..Cache::default()
        };
        fs::write(host.on_disk("/etc/ld.so.cache"), cache.write()).unwrap();
        let refused = assert_taken_from(&host, directory, &what);
        assert_refused(&refused, "ld.so.cache", &file("libcuda"), &what);

        let what = format!("{before} before {directory} ({platform}), without a cache");
        fs::remove_file(host.on_disk("/etc/ld.so.cache")).unwrap();
        let refused = assert_taken_from(&host, directory, &what);
        assert_refused(&refused, "well-known directory", &file("libcuda"), &what);
    }
}

/// Debian's drivers lie side by side, and the alternatives lead to another than the kernel's.
#[test]
fn debians_older_driver_is_found_where_the_kernel_runs_it() {
    let text = format!(
        "layout = \"debian\"\n[driver]\nversion = \"{OLDER}\"\nuserland = \"{KERNEL}\"\n\
         packages = [\"compute\"]\n[[decoy]]\nversion = \"{OLDER}\"\n"
    );
    let host = SimHost::of(HostSpec::from_toml(&text).unwrap()).unwrap();
    let inventory = discover(&host.host()).unwrap();
    let library = |stem: &str| {
        let found = inventory.libraries.iter().find(|l| l.stem == stem);
        found.map(|l| l.path.display().to_string())
    };
    let lib = "/usr/lib/x86_64-linux-gnu";
    assert_eq!(
        library("libcuda"),
        Some(format!("{lib}/nvidia/tesla-535/libcuda.so.{OLDER}"))
    );
    assert_eq!(
        library("libnvidia-pkcs11-openssl3"),
        Some(format!("{lib}/libnvidia-pkcs11-openssl3.so.{OLDER}"))
    );
    let refused: Vec<_> = inventory
        .driver
        .candidates
        .iter()
        .filter(|c| !c.accepted)
        .collect();
    let current = format!("{lib}/nvidia/current/libcuda.so.{KERNEL}");
    let current = refused
        .iter()
        .find(|c| c.path == Path::new(&current))
        .unwrap();
    assert_eq!(
        current.why,
        format!("its version is {KERNEL}, the kernel's is {OLDER}")
    );
}
