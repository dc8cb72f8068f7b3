//! Libraries, the links that lead to them and what the loader is told: exactly those of the
//! capabilities.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use oci_gpu::elf::{Class, Machine};
use oci_gpu::finding::Code;
use oci_gpu::plan::{BindKind, Operation};
use oci_gpu::{Plan, discover, select};
use oci_gpu_sim::{HostSpec, SharedObject, Target};
use oci_gpu_tests::sim::SimHost;

use crate::scene::{Image, capable, changed, inventory, plan_in, planned, request, targets};

const VERSION: &str = "550.163.01";

/// Flags of ld.so.cache for x86-64 and i386 libraries of glibc (sysdeps/generic/ldconfig.h).
const X86_64: u32 = 0x0303;
const I386: u32 = 0x0003;

/// A library: the directory below the library directory, its stem, the names that lead to it.
type Row = (&'static str, &'static str, &'static [&'static str]);

/// What each capability has of run-8's driver, in which nothing is missing. A library without a
/// name goes by its file's.
const LIBRARIES: &[(&str, &[Row])] = &[
    (
        "utility",
        &[
            (
                "",
                "libnvidia-cfg",
                &["libnvidia-cfg.so.1", "libnvidia-cfg.so"],
            ),
            (
                "",
                "libnvidia-ml",
                &["libnvidia-ml.so.1", "libnvidia-ml.so"],
            ),
        ],
    ),
    (
        "compute",
        &[
            ("", "libcuda", &["libcuda.so.1", "libcuda.so"]),
            ("", "libcudadebugger", &["libcudadebugger.so.1"]),
            (
                "",
                "libnvidia-allocator",
                &["libnvidia-allocator.so.1", "libnvidia-allocator.so"],
            ),
            ("", "libnvidia-gpucomp", &[]),
            (
                "",
                "libnvidia-nvvm",
                &["libnvidia-nvvm.so.4", "libnvidia-nvvm.so"],
            ),
            ("", "libnvidia-opencl", &["libnvidia-opencl.so.1"]),
            ("", "libnvidia-pkcs11", &[]),
            ("", "libnvidia-pkcs11-openssl3", &[]),
            (
                "",
                "libnvidia-ptxjitcompiler",
                &[
                    "libnvidia-ptxjitcompiler.so.1",
                    "libnvidia-ptxjitcompiler.so",
                ],
            ),
        ],
    ),
    (
        "video",
        &[
            ("", "libnvcuvid", &["libnvcuvid.so.1", "libnvcuvid.so"]),
            (
                "",
                "libnvidia-encode",
                &["libnvidia-encode.so.1", "libnvidia-encode.so"],
            ),
            (
                "",
                "libnvidia-opticalflow",
                &["libnvidia-opticalflow.so.1", "libnvidia-opticalflow.so"],
            ),
            ("vdpau/", "libvdpau_nvidia", &["libvdpau_nvidia.so.1"]),
        ],
    ),
    (
        "graphics",
        &[
            ("", "libEGL_nvidia", &["libEGL_nvidia.so.0"]),
            ("", "libGLESv1_CM_nvidia", &["libGLESv1_CM_nvidia.so.1"]),
            ("", "libGLESv2_nvidia", &["libGLESv2_nvidia.so.2"]),
            (
                "",
                "libGLX_nvidia",
                &["libGLX_nvidia.so.0", "libGLX_indirect.so.0"],
            ),
            (
                "",
                "libnvidia-allocator",
                &["libnvidia-allocator.so.1", "libnvidia-allocator.so"],
            ),
            ("", "libnvidia-eglcore", &[]),
            (
                "",
                "libnvidia-fbc",
                &["libnvidia-fbc.so.1", "libnvidia-fbc.so"],
            ),
            ("", "libnvidia-glcore", &[]),
            ("", "libnvidia-glsi", &[]),
            ("", "libnvidia-glvkspirv", &[]),
            ("", "libnvidia-gpucomp", &[]),
            ("", "libnvidia-rtcore", &[]),
            ("", "libnvidia-tls", &[]),
            ("", "libnvidia-vksc-core", &["libnvidia-vksc-core.so.1"]),
            ("", "libnvoptix", &["libnvoptix.so.1"]),
        ],
    ),
    (
        "ngx",
        &[(
            "",
            "libnvidia-ngx",
            &["libnvidia-ngx.so.1", "libnvidia-ngx.so"],
        )],
    ),
    (
        "display",
        &[
            ("", "libnvidia-gtk3", &[]),
            ("", "libnvidia-wayland-client", &[]),
        ],
    ),
    ("compat32", &[]),
];

/// Links outside of /dev as "TARGET -> HOLDS", sorted.
fn links(plan: &Plan) -> BTreeSet<String> {
    let link = |a: &oci_gpu::Action| match &a.what {
        Operation::Symlink { target, points_to } if !target.starts_with("/dev") => {
            Some(format!("{} -> {}", target.display(), points_to.display()))
        }
        _ => None,
    };
    plan.actions.iter().filter_map(link).collect()
}

/// Entries of the loader's cache as "SONAME => FILE (FLAGS)", and the directories.
fn cache(plan: &Plan) -> (Vec<String>, Vec<String>) {
    let found = plan.actions.iter().find_map(|a| match &a.what {
        Operation::LdCache {
            entries,
            directories,
        } => Some((entries, directories)),
        _ => None,
    });
    let Some((entries, directories)) = found else {
        return Default::default();
    };
    let entry = |e: &oci_gpu::plan::CacheEntry| {
        format!("{} => {} ({:#x})", e.soname, e.path.display(), e.flags)
    };
    let mut entries: Vec<String> = entries.iter().map(entry).collect();
    entries.sort();
    let directories = directories.iter().map(|d| d.display().to_string());
    (entries, directories.collect())
}

/// In each image, for each capability: the files, the links that lead to them, and what the loader
/// is told.
#[test]
fn libraries_of_each_capability() {
    let host = inventory("run-8");
    for image in Image::ALL {
        let lib = image.lib_dir();
        for (capability, rows) in LIBRARIES {
            let what = format!("{capability}, {image:?}");
            let planned = planned(Arc::clone(&host), capability, image);
            let mut files = BTreeSet::new();
            let mut names_to = BTreeSet::new();
            let mut entries = Vec::new();
            // The video codecs run on CUDA.
            let cuda = LIBRARIES.iter().find(|(c, _)| *c == "compute").unwrap().1;
            let more = if *capability == "video" { cuda } else { &[] };
            for (below, stem, names) in rows.iter().chain(more) {
                let file = format!("{stem}.so.{VERSION}");
                let path = format!("{lib}/{below}{file}");
                let own = [file.as_str()];
                let named = if names.is_empty() { &own[..] } else { names };
                entries.extend(named.iter().map(|n| format!("{n} => {path} ({X86_64:#x})")));
                for name in *names {
                    // The linker's name leads to the soname, all others to the file.
                    let to = match *name == format!("{stem}.so") {
                        true => names[0],
                        false => &file,
                    };
                    names_to.insert(format!("{lib}/{below}{name} -> {to}"));
                }
                if *stem == "libnvidia-allocator" && *capability == "graphics" {
                    let gbm = "gbm/nvidia-drm_gbm.so -> ../libnvidia-allocator.so.1";
                    names_to.insert(format!("{lib}/{gbm}"));
                }
                files.insert(path);
            }
            if *capability == "display" {
                let xorg = image.xorg_dir();
                let module = format!("libglxserver_nvidia.so.{VERSION}");
                let modules = [
                    format!("{xorg}/drivers/nvidia_drv.so"),
                    format!("{xorg}/extensions/{module}"),
                ];
                assert_eq!(
                    targets(&planned.plan, BindKind::Module),
                    BTreeSet::from(modules)
                );
                let link = "extensions/libglxserver_nvidia.so";
                names_to.insert(format!("{xorg}/{link} -> {module}"));
            }
            entries.sort();
            let directories = match rows.is_empty() {
                true => vec![],
                false => vec![lib.to_owned()],
            };
            if image == Image::Alpine {
                // musl's loader has no cache.
                entries.clear();
            }
            assert_eq!(targets(&planned.plan, BindKind::Library), files, "{what}");
            assert_eq!(links(&planned.plan), names_to, "{what}");
            assert_eq!(cache(&planned.plan), (entries, directories), "{what}");
        }
    }
}

/// Capabilities together give the union of what each gives alone.
#[test]
fn capabilities_add_up() {
    let host = inventory("run-8");
    let all = planned(
        Arc::clone(&host),
        "utility,compute,video,graphics,ngx,display",
        Image::Debian,
    );
    let mut files = BTreeSet::new();
    for (capability, _) in LIBRARIES {
        let one = planned(Arc::clone(&host), capability, Image::Debian);
        files.extend(targets(&one.plan, BindKind::Library));
    }
    assert_eq!(files.len(), 31);
    assert_eq!(targets(&all.plan, BindKind::Library), files);
}

/// 32-bit libraries come with compat32, beside the 64-bit ones, where the root has a place.
#[test]
fn compat32_gives_32_bit_libraries_where_there_is_a_place() {
    let names = [
        "libcuda",
        "libnvidia-allocator",
        "libnvidia-gpucomp",
        "libnvidia-ml",
        "libnvidia-nvvm",
        "libnvidia-opencl",
        "libnvidia-ptxjitcompiler",
    ];
    for name in ["run-8", "debian-8", "rpm-8", "flat-1", "nixos-1"] {
        let host = inventory(name);
        let version = &host.driver.version;
        for image in Image::ALL {
            let what = format!("{name}, {image:?}");
            let without = planned(Arc::clone(&host), "utility,compute", image);
            let with = planned(Arc::clone(&host), "utility,compute,compat32", image);
            let native = targets(&without.plan, BindKind::Library);
            let all = targets(&with.plan, BindKind::Library);
            let of_32 = |c: &(Vec<String>, Vec<String>)| {
                let flags = format!("({I386:#x})");
                c.0.iter().filter(|e| e.ends_with(&flags)).count()
            };
            assert_eq!(of_32(&cache(&without.plan)), 0, "{what}");
            let Some(lib32) = image.lib32_dir() else {
                assert_eq!(all, native, "{what}");
                let why = with.plan.skipped.iter().filter(|s| s.why.contains("i386"));
                assert_eq!(why.count(), names.len(), "{what}");
                continue;
            };
            let more: Vec<String> = all.difference(&native).cloned().collect();
            let expected = names.map(|n| format!("{lib32}/{n}.so.{version}"));
            assert_eq!(more, expected, "{what}");
            assert!(native.is_subset(&all), "{what}");
            // The seven sonames, and the linker's names of cuda, ml, allocator, nvvm and ptxjit.
            assert_eq!(of_32(&cache(&with.plan)), 12, "{what}");
            let (entries, directories) = cache(&with.plan);
            let cuda = format!("libcuda.so.1 => {lib32}/libcuda.so.{version} ({I386:#x})");
            assert!(entries.contains(&cuda), "{what}: {entries:#?}");
            assert_eq!(directories, [image.lib_dir(), lib32], "{what}");
            let left_out = without.plan.skipped.iter();
            let left_out = left_out.filter(|s| s.why.contains("compat32 was not asked for"));
            assert_eq!(left_out.count(), names.len(), "{what}");
        }
    }
}

/// A driver for another processor is of no use, and the message names both.
#[test]
fn libraries_for_another_machine_are_named_as_such() {
    let host = inventory("aarch64-1");
    let env = ["NVIDIA_VISIBLE_DEVICES=0"];
    let finding = plan_in(Arc::clone(&host), &env, false, Image::Debian)
        .err()
        .unwrap();
    assert_eq!(finding.code, Code::MissingFile);
    for word in [
        "/usr/lib/aarch64-linux-gnu/libcuda.so.550.163.01",
        "it is for AArch64, and the container's programs are for x86-64",
        "capability compute",
    ] {
        assert!(finding.message.contains(word), "'{word}' in {finding}");
    }
    // Video has no library that it cannot do without: each is left out with the reason.
    let video = planned(Arc::clone(&host), "video", Image::Debian);
    assert!(targets(&video.plan, BindKind::Library).is_empty());
    assert_eq!(cache(&video.plan), Default::default());
    for stem in ["libnvcuvid", "libnvidia-encode", "libvdpau_nvidia"] {
        let why = video.skipped(&format!("{stem}.so.{VERSION}"));
        assert!(why.contains("it is for AArch64"), "{stem}: {why}");
    }

    // On a machine of that kind all is well.
    let mut facts = Image::Debian.facts();
    facts.native = (Class::Elf64, Machine::Aarch64);
    facts.lib_dir = "/usr/lib/aarch64-linux-gnu".into();
    facts.lib32_dir = None;
    let request = request(&env, false).unwrap();
    let grant = select(&host, &request).unwrap();
    let plan = Plan::new(&host, &grant, &facts).unwrap();
    let cuda = "libcuda.so.1 => /usr/lib/aarch64-linux-gnu/libcuda.so.550.163.01 (0xa03)";
    assert!(cache(&plan).0.contains(&cuda.to_owned()));
}

/// The main library of a capability is missing, or cannot be read.
#[test]
fn a_capability_without_its_main_library_is_an_error() {
    type Fault = fn(&mut HostSpec);
    let rows: &[(&str, Fault, &[&str])] = &[
        (
            "compute",
            |spec| spec.faults.missing.push("libcuda".to_owned()),
            &[
                "has no libcuda.so.550.163.01 for x86-64",
                "capability compute",
            ],
        ),
        (
            "utility",
            |spec| spec.faults.truncated.push("libnvidia-ml".to_owned()),
            &[
                "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.550.163.01 cannot be used",
                "no usable ELF file",
            ],
        ),
    ];
    for (capability, fault, words) in rows {
        let host = Arc::new(changed("run-8", fault));
        let env = capable(capability);
        let env: Vec<&str> = env.iter().map(String::as_str).collect();
        let finding = plan_in(Arc::clone(&host), &env, false, Image::Debian)
            .err()
            .unwrap();
        assert_eq!(finding.code, Code::MissingFile, "{finding}");
        for word in *words {
            assert!(finding.message.contains(word), "'{word}' in {finding}");
        }
        // Others do not need it.
        let display = planned(host, "display", Image::Debian);
        assert_eq!(targets(&display.plan, BindKind::Library).len(), 2);
    }
}

fn add_library(host: &SimHost, path: &str, soname: &str) {
    let object = SharedObject {
        target: Target::X86_64,
        soname: Some(soname),
        needed: &[],
        glibc: "2.2.5",
        text: "a test's",
    };
    fs::write(host.on_disk(path), object.to_bytes()).unwrap();
}

/// A library that a newer driver brings goes where CUDA and the graphics libraries may load it; a
/// soname that is no file name makes no link and no cache entry.
#[test]
fn libraries_that_nobody_knows() {
    let host = SimHost::named("run-1").unwrap();
    let lib = "/usr/lib/x86_64-linux-gnu";
    add_library(
        &host,
        &format!("{lib}/libnvidia-new.so.535.261.03"),
        "libnvidia-new.so.9",
    );
    add_library(
        &host,
        &format!("{lib}/libnvidia-evil.so.535.261.03"),
        "../../../etc/passwd",
    );
    let found = Arc::new(discover(&host.host()).unwrap());
    let compute = planned(Arc::clone(&found), "compute", Image::Debian).plan;
    let files = targets(&compute, BindKind::Library);
    assert!(files.contains(&format!("{lib}/libnvidia-new.so.535.261.03")));
    assert!(files.contains(&format!("{lib}/libnvidia-evil.so.535.261.03")));
    let (entries, _) = cache(&compute);
    let new = format!("libnvidia-new.so.9 => {lib}/libnvidia-new.so.535.261.03 ({X86_64:#x})");
    assert!(entries.contains(&new), "{entries:#?}");
    assert!(links(&compute).contains(&format!(
        "{lib}/libnvidia-new.so.9 -> libnvidia-new.so.535.261.03"
    )));
    let evil = |text: &String| text.contains("passwd") || text.contains("evil");
    assert!(!entries.iter().any(evil) && !links(&compute).iter().any(evil));
    let utility = planned(found, "utility", Image::Debian).plan;
    assert!(
        !targets(&utility, BindKind::Library)
            .iter()
            .any(|t| t.contains("libnvidia-new"))
    );
}

/// The same version twice on one host, both in the loader's cache: one of each file is given.
#[test]
fn a_driver_that_is_there_twice_is_given_once() {
    let text = "[driver]\nversion = \"550.163.01\"\npackages = [\"compute\"]\n[gpus]\ncount = 1\n\
                [[decoy]]\nversion = \"550.163.01\"\ndirectory = \"/opt/copy/lib\"\npreferred = true\n";
    let host = SimHost::of(HostSpec::from_toml(text).unwrap()).unwrap();
    let found = Arc::new(discover(&host.host()).unwrap());
    assert_eq!(found.libraries.len(), 24);
    let planned = planned(found, "utility,compute", Image::Debian);
    assert_eq!(targets(&planned.plan, BindKind::Library).len(), 11);
    let (entries, _) = cache(&planned.plan);
    let once: BTreeSet<&String> = entries.iter().collect();
    assert_eq!(once.len(), entries.len(), "{entries:#?}");
    let taken = planned.plan.skipped.iter();
    let taken = taken.filter(|s| s.why.contains("another file of the driver has its place"));
    assert_eq!(taken.count(), 11, "{:#?}", planned.plan.skipped);
}
