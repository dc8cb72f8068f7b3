//! Hostile cases 95, 96 and 99: many hooks at once, one root again and again, images that have
//! attacked hooks before. See docs/hostile-cases.md; case 97 is in hostile_faults.rs.
//!
//! By default a part of the thousand is tried; with OCI_GPU_TEST_FULL set in the environment, all.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use oci_gpu_tests::error::Result;
use oci_gpu_tests::hostile::Expect::{Refused, Works};
use oci_gpu_tests::hostile::{Arena, Case, MULTIARCH, Site, TEMPORARY, case, libcuda};
use oci_gpu_tests::leftovers::Mounts;
use oci_gpu_tests::rootfs::{Kind, Rootfs};
use oci_gpu_tests::scene::Scene;
use oci_gpu_tests::standin::{Ground, Snapshot, StandIn};
use oci_gpu_tests::tree::Tree;

/// As many hooks as run at the same time.
const BATCH: usize = 50;

/// All of a thousand, or a part.
fn of_thousand(part: usize) -> usize {
    match std::env::var_os("OCI_GPU_TEST_FULL") {
        Some(_) => 1000,
        None => part,
    }
}

/// A hook that has its state and runs.
fn start(scene: &Scene, container: &StandIn) -> Child {
    let mut hook = scene
        .host
        .command(&[], &["createRuntime"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let state = container.state();
    hook.stdin
        .take()
        .unwrap()
        .write_all(state.as_bytes())
        .unwrap();
    hook
}

/// Hooks for a container each, all at once: each container has what a container alone has.
#[test]
fn many_hooks_at_once() {
    let scene = Scene::new(Kind::Bookworm).unwrap();
    let alone = StandIn::new(&scene.ground).unwrap();
    let first = alone.snapshot().unwrap();
    assert!(start(&scene, &alone).wait().unwrap().success());
    let wanted = changes(&first, &alone);
    assert!(wanted.len() > 30, "{wanted:?}");
    for _ in 0..of_thousand(2 * BATCH) / BATCH {
        let containers: Vec<StandIn> = (0..BATCH)
            .map(|_| StandIn::new(&scene.ground).unwrap())
            .collect();
        let before: Vec<_> = containers.iter().map(|c| c.snapshot().unwrap()).collect();
        let hooks: Vec<Child> = containers.iter().map(|c| start(&scene, c)).collect();
        for hook in hooks {
            let output = hook.wait_with_output().unwrap();
            assert!(output.status.success(), "{output:?}");
        }
        for (container, before) in containers.iter().zip(&before) {
            assert_eq!(changes(before, container), wanted);
        }
    }
    scene.host.assert_untouched().unwrap();
}

/// What differs.
fn changes(first: &Snapshot, container: &StandIn) -> BTreeSet<String> {
    let then = container.snapshot().unwrap();
    first.changes_to(&then).into_iter().collect()
}

/// A root that containers share, without a layer for each, and bundles of theirs.
struct SharedRoot {
    scene: Scene,
    root: PathBuf,
}

impl SharedRoot {
    fn new() -> SharedRoot {
        let scene = Scene::new(Kind::Scratch).unwrap();
        let root = scene.host.setting.dir.path().join("shared");
        Rootfs::instance(&scene.host.setting.debs, Kind::Bookworm, &root).unwrap();
        SharedRoot { scene, root }
    }

    fn bundle(&self, name: &str) -> Ground {
        let bundle = self.scene.host.setting.dir.path().join(name);
        Ground::new(
            &bundle,
            &self.scene.ground.image,
            &["NVIDIA_VISIBLE_DEVICES=0"],
        )
        .unwrap()
    }

    fn container(&self, ground: &Ground) -> StandIn {
        let commands = format!(
            "umount $root/proc $root/dev $root; mount --bind '{0}' $root; mount --make-private $root
             mount -t proc proc $root/proc; mount -t tmpfs tmpfs $root/dev",
            self.root.display()
        );
        StandIn::prepared(ground, &commands).unwrap()
    }

    fn tree(&self) -> Tree {
        let tree = Tree::of(&self.root).unwrap();
        let left = tree.names_with(TEMPORARY);
        assert!(left.is_empty(), "{left:?}");
        tree
    }
}

/// Containers on one root at the same time, whose hooks make, replace and find the same things.
#[test]
fn many_hooks_on_one_root() {
    let shared = SharedRoot::new();
    let library = |name: &str| shared.root.join(&MULTIARCH[1..]).join(name);
    for round in 0..of_thousand(3 * 25) / 25 {
        // Something to replace for everybody.
        let _ = fs::remove_file(library("libcuda.so.1"));
        std::os::unix::fs::symlink("libcuda.so.1.old", library("libcuda.so.1")).unwrap();
        fs::write(shared.root.join("etc/ld.so.cache"), "broken").unwrap();
        let grounds: Vec<Ground> = (0..25)
            .map(|i| shared.bundle(&format!("b{round}-{i}")))
            .collect();
        let containers: Vec<StandIn> = grounds.iter().map(|g| shared.container(g)).collect();
        let hooks: Vec<Child> = containers.iter().map(|c| start(&shared.scene, c)).collect();
        for hook in hooks {
            let output = hook.wait_with_output().unwrap();
            assert!(output.status.success(), "{output:?}");
        }
        for container in &containers {
            let mounts = Mounts::of_process(container.pid).unwrap();
            assert!(mounts.any(|m| m.contains(&format!("{MULTIARCH}/{} ", libcuda()))));
        }
        let link = fs::read_link(library("libcuda.so.1")).unwrap();
        assert_eq!(link, Path::new(&libcuda()));
        let cache = fs::read(shared.root.join("etc/ld.so.cache")).unwrap();
        let cache = oci_gpu::ldcache::parse(&cache).unwrap();
        assert!(cache.entries.iter().any(|e| e.soname == b"libcuda.so.1"));
        shared.tree();
    }
    shared.scene.host.assert_untouched().unwrap();
}

/// One root, started and stopped again and again: after the first time nothing is added to it, nor
/// to the host.
#[test]
fn one_root_again_and_again() {
    let shared = SharedRoot::new();
    let ground = shared.bundle("again");
    let run = || {
        let container = shared.container(&ground);
        let output = start(&shared.scene, &container).wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        Mounts::of_process(container.pid).unwrap().count()
    };
    let mounts = run();
    let first = shared.tree();
    for _ in 1..of_thousand(60) {
        assert_eq!(run(), mounts);
    }
    assert_eq!(first.changes_to(&shared.tree()), [""; 0]);
    assert_eq!(shared.scene.host.log(), "");
    shared.scene.host.assert_untouched().unwrap();
}

const COMPAT: &str = "/usr/local/cuda/compat";

/// A link in an image, and what is asked of the probe.
fn compat_leads_to(site: &mut Site<'_>, target: impl AsRef<Path>) -> Result<()> {
    site.link(COMPAT, target)
}

const ATTACKS: &[Case] = &[
    case(
        "99",
        "CUDA's compatibility directory is a link to the host's root",
        |site| compat_leads_to(site, "/../../../../../../.."),
        Works(|seen| seen.library_at(&format!("/usr/lib64/{}", libcuda()))),
    )
    .in_every_stage(),
    case(
        "99",
        "CUDA's compatibility directory leads through the hook's own files",
        |site| compat_leads_to(site, "/proc/self/root"),
        Works(|_| Ok(())),
    )
    .in_every_stage(),
    case(
        "99",
        "libraries in CUDA's compatibility directory are links to the host's files",
        |site| {
            for name in ["libcuda.so.1", "libcuda.so.999.0", "libnvidia-ml.so.1"] {
                let target = site.outside.join("file");
                site.link(&format!("{COMPAT}/{name}"), target)?;
            }
            site.link(&format!("{COMPAT}/libcuda.so.560.1"), "/etc/shadow")
        },
        Works(|_| Ok(())),
    )
    .in_every_stage(),
    case(
        "99",
        "CUDA's compatibility directory has a name with a newline, as a line of ld.so.conf",
        |site| {
            site.directory("/usr/local/cuda/compat/a\n/etc")?;
            site.file(
                "/etc/ld.so.conf.d/00-compat.conf",
                "/usr/local/cuda/compat/a\n/etc\n",
            )
        },
        Works(|_| Ok(())),
    ),
    case(
        "99",
        "the driver's files of the image are links to the host's",
        |site| {
            site.debian()?;
            for name in ["/usr/bin/nvidia-smi", "/usr/bin/nvidia-debugdump"] {
                let target = site.outside.join("file");
                site.link(name, target)?;
            }
            site.directory(MULTIARCH).map(drop)
        },
        Refused(&["OG0602", "/usr/bin/nvidia-", "is a symbolic link"]),
    ),
    case(
        "99",
        "firmware's directory is a link to a directory beside the root",
        |site| {
            let target = site.outside.join("dir");
            site.link("/usr/lib/firmware", target)
        },
        Works(|_| Ok(())),
    ),
];

#[test]
fn images_that_have_attacked_hooks() {
    Arena::new().unwrap().check(ATTACKS).unwrap();
}
