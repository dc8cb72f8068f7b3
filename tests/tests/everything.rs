//! Everything that genuine drivers have, in the three layouts: each file is named by discovery, or
//! is on the list of those that containers do not get, with the reason in docs/differences.md.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use oci_gpu::elf::Class;
use oci_gpu::{Host, Inventory, discover};
use oci_gpu_sim::HostSpec;
use oci_gpu_tests::cache;
use oci_gpu_tests::complete::complete_root;
use oci_gpu_tests::debs::Debs;
use oci_gpu_tests::driver::{Branch, DriverTree, Layout};
use oci_gpu_tests::error::run;
use oci_gpu_tests::rootfs::{Kind, image};

/// When a file is there.
#[derive(Clone, Copy, PartialEq)]
enum Of {
    Every,
    /// Branches from 545 on.
    New,
    /// Those before.
    Old,
}
use Of::{Every, New, Old};

/// Libraries of the driver's version that libnvidia-container or the toolkit name for such a tree,
/// and those that neither has: (stem, branches, whether there is a 32-bit one).
const LIBRARIES: &[(&str, Of, bool)] = &[
    ("libEGL_nvidia", Every, true),
    ("libGLESv1_CM_nvidia", Every, true),
    ("libGLESv2_nvidia", Every, true),
    ("libGLX_nvidia", Every, true),
    ("libcuda", Every, true),
    ("libcudadebugger", Every, false),
    ("libnvcuvid", Every, true),
    ("libnvidia-allocator", Every, true),
    ("libnvidia-cfg", Every, false),
    ("libnvidia-eglcore", Every, true),
    ("libnvidia-encode", Every, true),
    ("libnvidia-fbc", Every, true),
    ("libnvidia-glcore", Every, true),
    ("libnvidia-glsi", Every, true),
    ("libnvidia-glvkspirv", Every, true),
    ("libnvidia-gpucomp", New, true),
    ("libnvidia-ml", Every, true),
    ("libnvidia-ngx", Every, false),
    ("libnvidia-nvvm", Every, false),
    ("libnvidia-opencl", Every, true),
    ("libnvidia-opticalflow", Every, true),
    ("libnvidia-pkcs11-openssl3", Every, false),
    ("libnvidia-ptxjitcompiler", Every, true),
    ("libnvidia-rtcore", Every, false),
    ("libnvidia-tls", Every, true),
    ("libnvidia-vulkan-producer", Old, false),
    ("libnvoptix", Every, false),
    ("libvdpau_nvidia", Every, true),
];

/// Libraries with versions of their own. Those for X11 are in no package of a release yet.
const OWN: &[(&str, Of)] = &[
    ("libnvidia-api.so.1", Every),
    ("libnvidia-egl-gbm.so.1.1.", Every),
    ("libnvidia-egl-wayland.so.1.1.", Every),
];

/// Everything else, by the place in a container; "V" stands for the version.
const FILES: &[(&str, Of)] = &[
    ("/usr/bin/nvidia-cuda-mps-control", Every),
    ("/usr/bin/nvidia-cuda-mps-server", Every),
    ("/usr/bin/nvidia-debugdump", Every),
    ("/usr/bin/nvidia-persistenced", Every),
    ("/usr/bin/nvidia-smi", Every),
    ("/lib/firmware/nvidia/V/gsp_ga10x.bin", Every),
    ("/lib/firmware/nvidia/V/gsp_tu10x.bin", Every),
    ("/etc/OpenCL/vendors/nvidia.icd", Every),
    ("/usr/share/glvnd/egl_vendor.d/10_nvidia.json", Every),
    (
        "/usr/share/egl/egl_external_platform.d/10_nvidia_wayland.json",
        Every,
    ),
    (
        "/usr/share/egl/egl_external_platform.d/15_nvidia_gbm.json",
        Every,
    ),
    ("/etc/vulkan/implicit_layer.d/nvidia_layers.json", Every),
    ("/usr/share/nvidia/nvoptix.bin", Every),
    ("/usr/share/nvidia/nvidia-application-profiles-V-rc", Every),
    ("nvidia/wine/_nvngx.dll", Every),
    ("nvidia/wine/nvngx.dll", Every),
    ("drivers/nvidia_drv.so", Every),
    ("extensions/libglxserver_nvidia.so.V", Every),
];

/// Files of the packages that no container gets: what their path has in it, and the words under
/// which docs/differences.md has the reason.
const LEFT_OUT: &[(&str, &str)] = &[
    ("/nvidia-settings", "nvidia-settings"),
    ("/nv-control-dpy", "nvidia-settings"),
    ("/libnvidia-gtk3.so.", "nvidia-settings"),
    ("/libnvidia-gtk2.so.", "nvidia-settings"),
    ("/libnvidia-wayland-client.so.", "nvidia-settings"),
    ("/nvidia-modprobe", "nvidia-modprobe"),
    ("/nvidia-powerd", "nvidia-powerd"),
    ("/nvidia-bug-report.sh", "nvidia-bug-report.sh"),
    ("/nvidia.ids", "nvidia.ids"),
    ("-key-documentation", "key-documentation"),
    ("/rim/", "reference integrity manifests"),
    ("/etc/init.d/", "services"),
    ("/systemd/", "services"),
    ("/initramfs-tools/", "services"),
    ("/apt/", "services"),
    ("/etc/X11/Xsession.d/", "services"),
    ("/dbus-1/", "services"),
    ("/share/bug/", "services"),
    ("/share/applications/", "nvidia-settings"),
    ("/share/icons/", "nvidia-settings"),
    ("/share/doc", "services"),
    ("/nvidia-smi.1.gz", "services"),
];

/// The kernel's side of a host with that driver, over the genuine files.
fn host(tree: &DriverTree) -> tempfile::TempDir {
    let dir = tempfile::tempdir_in(cache::directory().unwrap()).unwrap();
    run(Command::new("cp")
        .args(["-al", "-T"])
        .args([&tree.dir, dir.path()]))
    .unwrap();
    let mut spec = HostSpec::named("run-1").unwrap();
    spec.driver.as_mut().unwrap().version = tree.version.clone();
    spec.create_kernel_side(dir.path()).unwrap();
    dir
}

fn applies(of: Of, branch: Branch) -> bool {
    match of {
        Every => true,
        New => branch == Branch::R550,
        Old => branch == Branch::R535,
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn assert_libraries(inventory: &Inventory, branch: Branch, version: &str, what: &str) {
    for class in [Class::Elf64, Class::Elf32] {
        let of_class = inventory.libraries.iter().filter(|l| l.class == class);
        let (driver, own): (Vec<_>, Vec<_>) = of_class.partition(|l| l.foreign.is_none());
        let seen: BTreeSet<String> = driver.iter().map(|l| name(&l.path)).collect();
        let expected: BTreeSet<String> = LIBRARIES
            .iter()
            .filter(|(_, of, both)| applies(*of, branch) && (class == Class::Elf64 || *both))
            .map(|(stem, ..)| format!("{stem}.so.{version}"))
            .collect();
        assert_eq!(seen, expected, "{what}, {class:?}");
        let own: Vec<String> = own.iter().map(|l| name(&l.path)).collect();
        let expected = OWN.iter().filter(|(_, of)| applies(*of, branch));
        let expected: Vec<&str> = match class {
            Class::Elf64 => expected.map(|(begins, _)| *begins).collect(),
            Class::Elf32 => Vec::new(),
        };
        assert_eq!(own.len(), expected.len(), "{what}, {class:?}: {own:?}");
        for begins in expected {
            let found = own.iter().any(|n| n.starts_with(begins));
            assert!(found, "{what}: {begins} in {own:?}");
        }
    }
    // Sonames are read, not guessed.
    for library in &inventory.libraries {
        let none = library.stem == "libnvidia-vulkan-producer";
        assert_eq!(library.soname.is_none(), none, "{what}: {library:?}");
    }
}

fn assert_files(inventory: &Inventory, branch: Branch, layout: Layout, version: &str, what: &str) {
    let icd = match layout {
        Layout::Rpm => "/etc/vulkan/icd.d/nvidia_icd.x86_64.json",
        Layout::Debian | Layout::Run => "/etc/vulkan/icd.d/nvidia_icd.json",
    };
    let conf = match layout {
        Layout::Rpm => "/usr/share/X11/xorg.conf.d/10-nvidia.conf",
        Layout::Debian | Layout::Run => "/usr/share/X11/xorg.conf.d/nvidia-drm-outputclass.conf",
    };
    let files = FILES.iter().filter(|(_, of)| applies(*of, branch));
    let files = files.map(|(target, _)| *target).chain([icd, conf]);
    let expected: BTreeSet<String> = files.map(|f| f.replace('V', version)).collect();
    let seen: BTreeSet<String> = inventory
        .files
        .iter()
        .map(|f| f.target.display().to_string())
        .collect();
    assert_eq!(seen, expected, "{what}");
}

/// Regular files of the tree that its base image lacks, as paths in it.
fn of_packages(dir: &Path, base: &Path) -> Vec<PathBuf> {
    fn walk(dir: &Path, below: &Path, base: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir.join(below)).unwrap() {
            let entry = entry.unwrap();
            let path = below.join(entry.file_name());
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                walk(dir, &path, base, found);
            } else if kind.is_file() && !base.join(&path).exists() {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(dir, Path::new(""), base, &mut found);
    found.sort();
    found.into_iter().map(|p| Path::new("/").join(p)).collect()
}

#[test]
fn every_file_of_a_genuine_driver_is_named_or_left_out_for_a_reason() {
    let debs = Debs::new().unwrap();
    let differences = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/differences.md");
    let differences = fs::read_to_string(differences).unwrap();
    for branch in Branch::ALL {
        for layout in Layout::ALL {
            let tree = complete_root(&debs, branch, layout).unwrap();
            let what = format!("{branch:?}, {layout:?}, {}", tree.version);
            let dir = host(&tree);
            let inventory = discover(&Host::at(dir.path())).unwrap();
            assert_libraries(&inventory, branch, &tree.version, &what);
            assert_files(&inventory, branch, layout, &tree.version, &what);

            let mut named: BTreeSet<&Path> = BTreeSet::new();
            named.extend(inventory.libraries.iter().map(|l| l.path.as_path()));
            named.extend(inventory.files.iter().map(|f| f.path.as_path()));
            let base = match (layout, branch) {
                (Layout::Rpm, _) => Kind::Lib64,
                (Layout::Debian, Branch::R550) => Kind::Trixie,
                _ => Kind::Bookworm,
            };
            let base = image(&debs, base).unwrap();
            // A specification mounts all of it.
            let options = oci_gpu::cdi::Options::default();
            let spec = oci_gpu::cdi::generate(&Host::at(dir.path()), &inventory, &options).unwrap();
            let mounts = spec.container_edits.mounts.iter();
            let mounted: BTreeSet<&Path> = mounts.map(|m| m.host_path.as_path()).collect();
            let missing: Vec<_> = named.difference(&mounted).collect();
            assert!(missing.is_empty(), "{what}: {missing:?}");

            let mut left_out = 0;
            for path in of_packages(&tree.dir, &base) {
                let text = path.display().to_string();
                if named.contains(path.as_path()) || text == "/etc/ld.so.cache" {
                    continue;
                }
                let made_here = text.starts_with("/etc/ld.so.conf.d/");
                let reason = LEFT_OUT.iter().find(|(part, _)| text.contains(part));
                assert!(made_here || reason.is_some(), "{what}: {text} is not named");
                if let Some((_, reason)) = reason {
                    assert!(differences.contains(reason), "{what}: no reason for {text}");
                    left_out += 1;
                }
            }
            assert!(left_out > 3, "{what}: {left_out}");
            for file in &inventory.files {
                let metadata = fs::metadata(dir.path().join(&file.path.display().to_string()[1..]));
                assert!(metadata.is_ok_and(|m| m.len() > 0), "{what}: {file:?}");
            }
        }
    }
}
