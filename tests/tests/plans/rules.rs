//! What holds for every plan.

use std::collections::HashSet;
use std::path::{Component, Path};

use oci_gpu::elf::Class;
use oci_gpu::plan::{BindKind, Operation};

use crate::scene::{Image, Planned};

/// Fails where `planned` breaks a rule.
pub(crate) fn assert_rules(planned: &Planned, image: Image, what: &str) {
    let plan = &planned.plan;
    let mut seen: HashSet<&Path> = HashSet::new();
    for (place, action) in plan.actions.iter().enumerate() {
        let what = format!("{what}: {:?}", action.what);
        assert!(!action.why.trim().is_empty(), "{what}");
        if let Some(target) = action.what.target() {
            assert!(seen.insert(target), "{what}: the target is taken");
            for later in &plan.actions[place + 1..] {
                let is_above = later.what.target().is_some_and(|t| target.starts_with(t));
                assert!(!is_above, "{what}: {:?} comes later", later.what);
            }
            let plain = |c: Component| matches!(c, Component::RootDir | Component::Normal(_));
            assert!(
                target.is_absolute() && target.components().all(plain),
                "{what}"
            );
            assert!(
                is_documented(&action.what, target, image),
                "{what}: undocumented target"
            );
        }
        match &action.what {
            Operation::Device { source, target, .. } => {
                assert!(
                    source.is_absolute() && source.ends_with(target.strip_prefix("/").unwrap())
                );
            }
            Operation::Bind { source, .. } => assert!(source.is_absolute(), "{what}"),
            // Names of NixOS's store lead to the library directory.
            Operation::Symlink { points_to, target } => {
                let nix = target.starts_with("/nix") && points_to.starts_with(image.lib_dir());
                assert!(points_to.is_relative() || nix, "{what}");
            }
            // Renaming the cache into place is the one step that is not undone.
            Operation::LdCache { .. } => assert_eq!(place + 1, plan.actions.len(), "{what}"),
            Operation::Files { .. } => {}
            // Those of DRM nodes.
            Operation::Group { gid } => assert!([44, 105].contains(gid), "{what}"),
            Operation::Env { .. } => panic!("{what}: nobody asked"),
        }
    }
    // Each once, in the host's order.
    let grant = &planned.grant;
    let gpus: Vec<u32> = grant.gpus.iter().map(|g| g.index).collect();
    assert!(gpus.windows(2).all(|w| w[0] < w[1]), "{what}: {gpus:?}");
    let mig: Vec<_> = grant.mig.iter().map(|(g, m)| (g, m.gi, m.ci)).collect();
    assert!(mig.windows(2).all(|w| w[0] < w[1]), "{what}: {mig:?}");
    for skipped in &plan.skipped {
        assert!(
            !skipped.what.is_empty() && !skipped.why.is_empty(),
            "{what}: {skipped:?}"
        );
    }
    // What is given is not said to be left out.
    let given = |s: &&oci_gpu::plan::Skipped| {
        let target = |a: &oci_gpu::Action| a.what.target().is_some_and(|t| t == Path::new(&s.what));
        s.what.starts_with("/dev/") && plan.actions.iter().any(target)
    };
    assert_eq!(plan.skipped.iter().find(given), None, "{what}");
    assert_loader(planned, what);
}

/// What the loader is told leads to libraries that are there.
fn assert_loader(planned: &Planned, what: &str) {
    let actions = &planned.plan.actions;
    let libraries: HashSet<&Path> = actions
        .iter()
        .filter_map(|a| match &a.what {
            Operation::Bind {
                kind: BindKind::Library,
                target,
                ..
            } => Some(target.as_path()),
            _ => None,
        })
        .collect();
    let told = actions.iter().find_map(|a| match &a.what {
        Operation::LdCache {
            entries,
            directories,
        } => Some((entries, directories)),
        _ => None,
    });
    assert_eq!(told.is_some(), !libraries.is_empty(), "{what}");
    let Some((entries, directories)) = told else {
        return;
    };
    let mut names = HashSet::new();
    for entry in entries {
        assert!(
            libraries.contains(entry.path.as_path()),
            "{what}: {entry:?}"
        );
        assert!(
            names.insert((&entry.soname, entry.flags)),
            "{what}: {entry:?} is there twice"
        );
    }
    for directory in directories {
        let used = libraries.iter().any(|l| l.starts_with(directory));
        assert!(used, "{what}: {}", directory.display());
    }
}

/// The places in a container that the documents name for each kind of item.
fn is_documented(operation: &Operation, target: &Path, image: Image) -> bool {
    let libs = [Some(image.lib_dir()), image.lib32_dir()];
    let libs = libs.into_iter().flatten();
    let below_lib = ["", "vdpau", "gbm"];
    let mut lib_dirs = libs.flat_map(|l| below_lib.map(|b| Path::new(l).join(b)));
    let xorg = Path::new(image.xorg_dir());
    let parent = target.parent().unwrap();
    let below = |directories: &[&str]| directories.iter().any(|d| target.starts_with(d));
    match operation {
        Operation::Device { .. } => {
            let name = target.file_name().unwrap().to_str().unwrap();
            match parent.to_str().unwrap() {
                "/dev" => name.starts_with("nvidia") || name == "gdrdrv",
                "/dev/infiniband" => name.starts_with("uverbs") || name == "rdma_cm",
                "/dev/nvidia-caps" => name.starts_with("nvidia-cap"),
                "/dev/nvidia-caps-imex-channels" => name.starts_with("channel"),
                "/dev/dri" => name.starts_with("card") || name.starts_with("renderD"),
                _ => false,
            }
        }
        Operation::Symlink { .. } => {
            parent == Path::new("/dev/dri/by-path")
                || lib_dirs.any(|l| l == parent)
                || parent == xorg.join("extensions")
                || target.starts_with("/nix/store")
        }
        Operation::Files { .. } => {
            target == Path::new("/proc/driver/nvidia")
                || target == Path::new("/etc/nvidia/nvidia-application-profiles-rc.d")
        }
        Operation::Bind { kind, .. } => match kind {
            BindKind::Library => lib_dirs.any(|l| l == parent),
            BindKind::Module => target.starts_with(xorg),
            BindKind::Binary => parent == Path::new("/usr/bin"),
            BindKind::Firmware => below(&["/lib/firmware/nvidia"]),
            BindKind::Socket => below(&["/run/nvidia-persistenced", "/run/nvidia-fabricmanager"]),
            BindKind::Data => target == Path::new("/run/udev"),
            BindKind::Tree => false,
            BindKind::Directory => target == Path::new("/tmp/nvidia-mps"),
            BindKind::Config => below(&[
                "/etc/OpenCL/vendors",
                "/etc/vulkan",
                "/usr/share/glvnd/egl_vendor.d",
                "/usr/share/nvidia",
                "/usr/share/egl/egl_external_platform.d",
                "/usr/share/X11/xorg.conf.d",
                "/etc/cufile.json",
                &format!("{}/nvidia/wine", image.lib_dir()),
            ]),
            BindKind::Proc => below(&["/proc/driver/nvidia"]),
        },
        Operation::LdCache { .. } | Operation::Env { .. } | Operation::Group { .. } => false,
    }
}

/// Libraries are for the container's programs: of its word size, in that size's directory.
pub(crate) fn assert_classes(planned: &Planned, image: Image, what: &str) {
    for action in &planned.plan.actions {
        let Operation::Bind {
            kind: BindKind::Library,
            source,
            target,
        } = &action.what
        else {
            continue;
        };
        let libraries = &planned.inventory.libraries;
        let library = libraries.iter().find(|l| l.path == *source).unwrap();
        let directory = match library.class {
            Class::Elf64 => image.lib_dir(),
            Class::Elf32 => image.lib32_dir().unwrap(),
        };
        assert!(
            target.starts_with(directory),
            "{what}: {}",
            target.display()
        );
        let granted = planned.grant.capabilities;
        assert!(
            library.capabilities.intersects(granted),
            "{what}: {}",
            source.display()
        );
    }
}
