//! Hostile cases 29 to 38: mounts of others in the container and around it. See
//! docs/hostile-cases.md.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use oci_gpu_tests::binaries;
use oci_gpu_tests::error::{Context, Error, Result};
use oci_gpu_tests::hostile::Expect::{By, Refused, RuntimeDecides, Works};
use oci_gpu_tests::hostile::{Arena, Case, Site, VERSION, case, libcuda};
use oci_gpu_tests::rootfs::Kind;
use oci_gpu_tests::runtime::Engine;
use oci_gpu_tests::scene::Scene;
use oci_gpu_tests::skip;
use serde_json::json;

fn library() -> String {
    format!("/usr/lib64/{}", libcuda())
}

const VOLUMES: &[Case] = &[
    case(
        "29",
        "a volume's file is mounted on the library's place",
        |site| {
            let file = site.outside.join("file");
            site.volume(&file, &library(), &[])
        },
        // Ours lies on it; it is not taken away.
        Works(|seen| {
            seen.library_at(&library())?;
            let mounts = seen.report.read("/proc/self/mountinfo").unwrap();
            let on_it = mounts
                .lines()
                .filter(|l| l.split(' ').nth(4) == Some(&library()));
            seen.is(&on_it.count(), &2)
        }),
    )
    .in_every_stage(),
    case(
        "29",
        "another device is mounted on a node's place",
        |site| {
            let node = Path::new("/dev/null");
            site.bundle
                .mounts
                .push(json!({"destination": "/dev/nvidia0", "type": "bind",
                "source": node, "options": ["bind"]}));
            Ok(())
        },
        Refused(&["OG0602", "/dev/nvidia0", "is another device"]),
    )
    .in_every_stage(),
    case(
        "29",
        "the same device is mounted there already",
        |site| {
            let node = site.host.root.join("dev/nvidia0");
            site.bundle
                .mounts
                .push(json!({"destination": "/dev/nvidia0", "type": "bind",
                "source": node, "options": ["bind"]}));
            Ok(())
        },
        Works(|seen| {
            let mounts = seen.report.read("/proc/self/mountinfo").unwrap();
            let on_it = mounts
                .lines()
                .filter(|l| l.split(' ').nth(4) == Some("/dev/nvidia0"));
            seen.is(&on_it.count(), &1)
        }),
    ),
    case(
        "29",
        "by a link of the image, a volume in memory lies on /dev",
        |site| {
            site.link("/link", "dev")?;
            let source = site.outside.join("dir");
            let memory = format!("mount -t tmpfs tmpfs '{}'", source.display());
            site.runtime.prepare.push(memory);
            site.volume(&source, "/link", &[])
        },
        Refused(&["OG0602", "/dev/nvidiactl", "lies on a volume"]),
    )
    .in_every_stage(),
    case(
        "29",
        "a volume with a mount of its own lies on the way to a tmpfs that was mounted before",
        |site| {
            let source = site.outside.join("dir");
            site.runtime.prepare.push(format!(
                "mount -t tmpfs tmpfs '{0}'; mkdir '{0}/lib64'; mount -t tmpfs tmpfs '{0}/lib64'",
                source.display()
            ));
            memory(site, &[])?;
            site.volume(&source, "/usr", &[])
        },
        Refused(&["OG0602", "/usr/lib64/", "lies on a volume"]),
    )
    .in_every_stage(),
    case(
        "29",
        "the host's /proc is a volume on /proc",
        |site| site.volume(Path::new("/proc"), "/proc", &[]),
        RuntimeDecides,
    ),
    case(
        "30",
        "the library directory is a read-only volume",
        |site| {
            let volume = site.outside.join("dir");
            site.volume(&volume, "/usr/lib64", &["ro"])
        },
        Refused(&[
            "OG0602",
            "/usr/lib64/",
            "lies on a volume",
            "mount the volume elsewhere",
        ]),
    )
    .in_every_stage(),
    case(
        "30",
        "the library directory is a volume that can be written",
        |site| {
            let volume = site.outside.join("dir");
            site.volume(&volume, "/usr/lib64", &["rw"])
        },
        Refused(&["OG0602", "/usr/lib64/", "lies on a volume"]),
    ),
    case(
        "30",
        "the library directory is a read-only volume that has the places",
        |site| {
            let volume = places(site)?;
            site.volume(&volume, "/usr/lib64", &["ro"])
        },
        Works(|seen| seen.library_at(&library())),
    )
    .in_every_stage(),
    case(
        "31",
        "the root is read-only",
        |site| {
            site.bundle.readonly = true;
            Ok(())
        },
        Works(|seen| seen.library_at(&library())),
    )
    .in_every_stage(),
    case(
        "31",
        "the root is read-only and lacks the last place",
        |site| {
            site.bundle.readonly = true;
            site.directory("/etc/ld.so.cache").map(drop)
        },
        Refused(&["OG0605", "ld.so.cache", "it is a directory"]),
    )
    .in_every_stage(),
    case(
        "32",
        "the root is nosuid",
        |site| {
            let root = site.bundle.rootfs.path.display().to_string();
            site.runtime.prepare.push(format!(
                "mount --bind '{root}' '{root}'; mount -o remount,bind,nosuid '{root}'"
            ));
            Ok(())
        },
        Works(|seen| seen.library_at(&library())),
    ),
    case(
        "36",
        "the library directory is a tmpfs of the user",
        |site| memory(site, &["mode=755"]),
        Works(|seen| {
            seen.library_at(&library())?;
            // It went with the container.
            let left = fs::read_dir(seen.root.join("usr/lib64")).unwrap().count();
            seen.is(&left, &0)
        }),
    )
    .in_every_stage(),
    case(
        "36",
        "the library directory is a read-only tmpfs of the user",
        |site| memory(site, &["ro"]),
        // runc makes it read-only after these hooks.
        By(|runtime, _| match runtime.engine {
            Engine::Runc => Works(|seen| seen.library_at(&library())),
            Engine::Crun => Refused(&["OG0602", "/usr/lib64/", "Read-only file system"]),
        }),
    ),
    case(
        "37",
        "the path of the root leads along links of the host",
        |site| {
            let bundle = &site.bundle.dir;
            symlink(bundle, bundle.join("link")).during("link")?;
            let path = bundle.join("link/link/rootfs");
            site.edit = Some(Box::new(move |config| config["root"]["path"] = json!(path)));
            Ok(())
        },
        RuntimeDecides,
    )
    .in_every_stage(),
    case(
        "38",
        "root.path is relative",
        |site| {
            site.edit = Some(Box::new(|config| config["root"]["path"] = json!("rootfs")));
            Ok(())
        },
        Works(|seen| seen.library_at(&library())),
    )
    .in_every_stage(),
];

/// A directory outside that has an empty file for every library of the host.
fn places(site: &Site<'_>) -> Result<std::path::PathBuf> {
    let volume = site.outside.join("places");
    fs::create_dir(&volume).during("create")?;
    let mut left = vec![site.host.root.join("usr/lib")];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).during("list")? {
            let entry = entry.during("list")?;
            let name = entry.file_name();
            match entry.file_type().during("stat")?.is_dir() {
                true => left.push(entry.path()),
                false if name.to_string_lossy().ends_with(VERSION) => {
                    fs::write(volume.join(name), "").during("write")?;
                }
                false => {}
            }
        }
    }
    Ok(volume)
}

const HOST_DEV: &[Case] = &[case(
    "29",
    "the host's /dev is a volume on /dev",
    |site| {
        // Where it has the places already there is nothing to create, and another answer is right.
        match fs::symlink_metadata("/dev/nvidiactl") {
            Ok(node) => Err(Error::new(format!(
                "this machine has no driver, and yet a /dev/nvidiactl ({:?}); who made it?",
                node.file_type()
            ))),
            Err(_) => site.volume(Path::new("/dev"), "/dev", &[]),
        }
    },
    Refused(&["OG0602", "/dev/nvidiactl", "lies on a volume"]),
)
.in_every_stage()];

#[test]
fn volumes_and_roots() {
    let arena = Arena::new().unwrap();
    arena.check(VOLUMES).unwrap();
    match Path::new("/proc/driver/nvidia").exists() {
        true => skip!(
            "case 29, the host's /dev",
            "this machine has nodes of its own"
        ),
        false => arena.check(HOST_DEV).unwrap(),
    }
}

/// A tmpfs on the library directory.
fn memory(site: &mut Site<'_>, options: &[&str]) -> Result<()> {
    site.directory("/usr/lib64")?;
    site.bundle.mounts.push(json!({
        "destination": "/usr/lib64", "type": "tmpfs", "source": "tmpfs", "options": options
    }));
    Ok(())
}

/// The machine's mounts are shared, the volume lies on a mount of its own, and the runtime's caller
/// looks for mounts that appeared beside it.
fn shared(site: &mut Site<'_>, propagation: &'static str) -> Result<()> {
    let outside = site.outside.display().to_string();
    let root = site.bundle.rootfs.path.display().to_string();
    site.runtime.prepare.push(format!(
        "mount --bind '{outside}' '{outside}'; mount --bind '{root}' '{root}'; mount --make-rshared /"
    ));
    let watched = site.bundle.dir.join("watched");
    let script = format!(
        "#!/bin/sh
         cut -d' ' -f3- /proc/self/mountinfo > '{0}.before'
         '{1}' \"$@\"
         status=$?
         cut -d' ' -f3- /proc/self/mountinfo | diff '{0}.before' - >&2 && exit $status
         exit 77",
        watched.display(),
        site.runtime.program.display()
    );
    fs::write(&watched, script).during("write a script")?;
    fs::set_permissions(&watched, fs::Permissions::from_mode(0o755)).during("chmod")?;
    site.runtime.program = watched;
    site.edit = Some(Box::new(move |config| {
        config["linux"]["rootfsPropagation"] = json!(propagation);
    }));
    Ok(())
}

const PROPAGATION: &[Case] = &[
    case(
        "33",
        "the root shares its mounts",
        |site| shared(site, "shared"),
        Works(|_| Ok(())),
    )
    .in_every_stage(),
    case(
        "33",
        "the root receives mounts",
        |site| shared(site, "slave"),
        Works(|_| Ok(())),
    ),
    case(
        "33",
        "a volume with places for the libraries shares its mounts with the host",
        |site| {
            let volume = places(site)?;
            site.volume(&volume, "/usr/lib64", &["rshared"])?;
            shared(site, "shared")
        },
        Refused(&[
            "OG0602",
            "/usr/lib64/",
            "shares its mounts with the host",
            "rshared",
        ]),
    )
    .in_every_stage(),
    case(
        "33",
        "a volume's file in a library's place shares its mounts with the host",
        |site| {
            let file = site.outside.join("file");
            site.volume(&file, &library(), &["shared"])?;
            shared(site, "shared")
        },
        Refused(&["OG0602", "libcuda", "shares its mounts with the host"]),
    ),
    case(
        "33",
        "a volume with places for the libraries receives the host's mounts",
        |site| {
            let volume = places(site)?;
            site.volume(&volume, "/usr/lib64", &["rslave"])?;
            shared(site, "shared")
        },
        Works(|seen| seen.library_at(&library())),
    )
    .in_every_stage(),
    case(
        "33",
        "another volume shares its mounts with the host",
        |site| {
            let volume = site.outside.join("dir");
            site.volume(&volume, "/vol", &["rshared"])?;
            shared(site, "shared")
        },
        Works(|seen| seen.library_at(&library())),
    )
    .in_every_stage(),
];

#[test]
fn no_mount_appears_on_the_host() {
    Arena::new().unwrap().check(PROPAGATION).unwrap();
}

/// A user's mount on a library's place, and then a failure: what is undone is ours alone.
#[test]
fn undoing_leaves_the_mounts_of_others() {
    let scene = Scene::new(Kind::Bookworm).unwrap();
    let library = format!("usr/lib/x86_64-linux-gnu/{}", libcuda());
    scene.refused(
        "29 a user's mount on the library, and then a failure",
        &format!(
            "echo theirs > $bundle/theirs; touch $root/{library}; mount --bind $bundle/theirs $root/{library};
             rm $root/etc/ld.so.cache; mkdir $root/etc/ld.so.cache"
        ),
        &[],
        &["OG0605", "it is a directory"],
    )
    .unwrap();
}

/// Our mounts have their own attributes, whatever the root's are.
#[test]
fn a_root_without_programs_or_devices() {
    let scene = Scene::new(Kind::Bookworm).unwrap();
    for attributes in ["noexec", "nodev", "nosuid,nodev,noexec"] {
        let commands = format!(
            "mount --bind $root $root; mount -o remount,bind,{attributes} $root; mount -t proc proc $root/proc; mount -t tmpfs tmpfs $root/dev"
        );
        let ran = scene
            .works(&format!("32 {attributes}"), &commands, &[])
            .unwrap();
        let added = ran.first.mounts.changes_to(&ran.then.mounts);
        let added = |name: &str| -> Vec<String> {
            let line = added.iter().find(|l| l.contains(name)).unwrap();
            let options = line.split(' ').nth(3).unwrap();
            options.split(',').map(str::to_owned).collect()
        };
        let library = added(&libcuda());
        assert!(!library.contains(&"noexec".to_owned()), "{library:?}");
        let node = added("/dev/nvidia0 ");
        assert!(!node.contains(&"nodev".to_owned()), "{node:?}");
    }
}

/// A volume on the library directory that has the same device number as the root, on kernels whose
/// statx(2) does not tell mounts apart.
#[test]
fn a_volume_is_told_apart_without_statx() {
    let scene = Scene::new(Kind::Bookworm).unwrap();
    let deny = binaries::deny().unwrap();
    let deny = deny.to_str().unwrap();
    for error in ["ENOSYS", "EPERM"] {
        scene
            .refused(
                &format!("30 a volume of the same device, statx: {error}"),
                "mkdir $root/vol; mount --bind $root/vol $root/usr/lib/x86_64-linux-gnu",
                &[deny, &format!("statx={error}")],
                &["OG0602", "lies on a volume"],
            )
            .unwrap();
    }
}

/// `count` mounts at least, by binding a directory into itself.
fn many_mounts(count: u64) -> String {
    let doublings = (0..).find(|n| 1 << n >= count).unwrap_or(0);
    format!(
        "mkdir -p $bundle/many; mount -t tmpfs tmpfs $bundle/many; cd $bundle/many
         for i in $(seq {doublings}); do mkdir d$i; mount --rbind . d$i; done; cd /"
    )
}

#[test]
fn ten_thousand_mounts() {
    let scene = Scene::new(Kind::Bookworm).unwrap();
    let ran = scene.works("34", &many_mounts(10_000), &[]).unwrap();
    let before = ran.first.mounts.count();
    assert!(before > 10_000, "{before}");
    assert!(ran.then.mounts.count() > before + 10);
}

/// The limit of mounts of the namespace (fs.mount-max, which stays as it is) is reached before the
/// hook starts, or half way.
#[test]
fn the_limit_of_mounts() {
    let limit = fs::read_to_string("/proc/sys/fs/mount-max").unwrap_or_default();
    let limit: u64 = limit.trim().parse().unwrap_or(u64::MAX);
    if limit > 200_000 {
        skip!(
            "hostile case 35",
            "fs.mount-max is above 200,000: so many mounts take too long to make"
        );
    }
    let scene = Scene::new(Kind::Bookworm).unwrap();
    for free in [0, 9] {
        // Ever smaller trees until not even one mount fits; then some go again.
        let fill = format!(
            "mkdir -p $bundle/many; mount -t tmpfs tmpfs $bundle/many; cd $bundle/many
             mkdir -p $bundle/rest; mount -t tmpfs tmpfs $bundle/rest
             for i in $(seq 1 {free}); do mkdir $bundle/rest/s$i; mount --bind $bundle $bundle/rest/s$i; done
             n=0; s=1; while [ $((s * 2)) -lt {limit} ]; do mkdir d$n; mount --rbind . d$n; n=$((n + 1)); s=$((s * 2)); done
             while [ $n -gt 0 ]; do n=$((n - 1)); mkdir $bundle/rest/r$n
                 mount --rbind d$n $bundle/rest/r$n 2>/dev/null || true; done
             n=0; while mkdir $bundle/rest/t$n; mount --bind $bundle $bundle/rest/t$n 2>/dev/null; do n=$((n + 1)); done
             for i in $(seq 1 {free}); do umount $bundle/rest/s$i; done; cd /"
        );
        scene
            .refused(
                &format!("35 {free} mounts short of the limit"),
                &fill,
                &[],
                &["OG0603", "No space left", "fs.mount-max"],
            )
            .unwrap();
    }
}

/// Paths of the root that are no container's. The state's process is a container all the same.
#[test]
fn roots_that_are_no_containers() {
    let scene = Scene::new(Kind::Bookworm).unwrap();
    let bundle = &scene.ground.bundle;
    symlink("/", bundle.join("to-host")).unwrap();
    symlink("rootfs/etc", bundle.join("to-part")).unwrap();
    fs::create_dir(bundle.join("other")).unwrap();
    let deep = format!("{}/../../../../../..", bundle.display());
    let cases: &[(&str, &[&str])] = &[
        ("/", &["OG0102", "the host's own root"]),
        ("//", &["OG0102", "the host's own root"]),
        ("/.", &["OG0102", "the host's own root"]),
        ("/tmp/..", &["OG0102", "the host's own root"]),
        ("", &["OG0102", "missing or empty"]),
        ("..", &["OG0102", "root.path"]),
        ("../..", &["OG0102", "root.path"]),
        ("rootfs/../..", &["OG0102", "root.path"]),
        (&deep, &["OG0"]),
        ("to-host", &["OG0601", "is the root of process"]),
        ("to-part", &["OG0601", "is no mount point"]),
        ("other", &["OG0601", "is no mount point"]),
        ("missing", &["OG0601", "No such file or directory"]),
        ("config.json", &["OG0601", "Not a directory"]),
        (
            "layer",
            &["OG0601", "/proc of config.json is not mounted in"],
        ),
        // 22, too: terminals would obey these.
        ("rootfs\u{1b}[31m\n\0", &["OG0102", "NUL"]),
        ("rootfs\u{1b}[31m\n", &["OG0601", "\\u{1b}[31m\\n"]),
    ];
    symlink(".", bundle.join("link")).unwrap();
    let with_root = |path: &str| {
        let mut config = scene.ground.config(&["NVIDIA_VISIBLE_DEVICES=0"]);
        config["root"]["path"] = json!(path);
        scene.ground.write(&config).unwrap();
    };
    with_root("link/link/rootfs");
    scene
        .works("37 links on the way to the root", "true", &[])
        .unwrap();
    for (path, words) in cases {
        with_root(path);
        scene
            .refused(&format!("38 root.path {path:?}"), "true", &[], words)
            .unwrap();
    }
}
