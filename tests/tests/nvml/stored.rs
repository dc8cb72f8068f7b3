//! Hostile files in place of the stored inventory: none is believed, none stops anything.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::mkfifo;
use oci_gpu::inventory::StoredState;
use oci_gpu::{discover, discover_within};

use crate::host::{NvmlHost, findings};

/// Makes the file what it should not be.
type Hostile = fn(&Path);

const FILES: &[(&str, Hostile, &str)] = &[
    (
        "of a user",
        |file| chown(file, Some(1000), None).unwrap(),
        "its owner is user 1000, not root",
    ),
    (
        "writable by its group",
        |file| chmod(file, 0o620),
        "others than its owner may write it (mode 0620)",
    ),
    (
        "writable by all",
        |file| chmod(file, 0o602),
        "others than its owner may write it (mode 0602)",
    ),
    (
        "a link to a good one",
        |file| {
            let other = file.with_file_name("other");
            fs::rename(file, &other).unwrap();
            symlink(&other, file).unwrap();
        },
        "it is a symbolic link",
    ),
    (
        "a FIFO",
        |file| {
            fs::remove_file(file).unwrap();
            mkfifo(file, Mode::from_bits_truncate(0o600)).unwrap();
        },
        "it is no regular file",
    ),
    (
        "a directory",
        |file| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        },
        "it is no regular file",
    ),
    (
        "a device that never ends",
        |file| {
            fs::remove_file(file).unwrap();
            let mode = Mode::from_bits_truncate(0o600);
            mknod(file, SFlag::S_IFCHR, mode, makedev(1, 5)).unwrap();
        },
        "it is no regular file",
    ),
    (
        "huge",
        |file| {
            let opened = fs::File::options().write(true).open(file).unwrap();
            opened.set_len(1 << 40).unwrap();
        },
        "it is larger than 1048576 bytes",
    ),
    ("empty", |file| write(file, ""), "it is malformed"),
    (
        "no JSON",
        |file| write(file, "\u{1b}[2J{"),
        "it is malformed",
    ),
    (
        "deep",
        |file| write(file, &"[".repeat(100_000)),
        "it is malformed",
    ),
    (
        "of a later format",
        |file| write(file, r#"{"format":2}"#),
        "it has format 2",
    ),
    (
        "with one UUID twice",
        |file| {
            let text = fs::read_to_string(file).unwrap();
            write(file, &text.replace("-5008-8000-", "-5007-8000-"));
        },
        "is there twice",
    ),
    (
        "with a name that is none",
        |file| {
            let text = fs::read_to_string(file).unwrap();
            write(
                file,
                &text.replace("MIG-5ca1ab1e-0001-5008", "MIG-../../../etc"),
            );
        },
        "a MIG UUID does not have its form",
    ),
];

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn write(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
}

#[test]
fn no_hostile_file_is_believed() {
    for (what, make, why) in FILES {
        let host = NvmlHost::named("run-8-mig");
        host.refresh();
        make(&host.file());
        let inventory = discover(&host.sim.host()).unwrap();
        let StoredState::Refused { why: told } = &inventory.stored else {
            panic!("{what}: {:?}", inventory.stored);
        };
        assert!(told.contains(why), "{what}: {told}");
        assert!(inventory.gpus.iter().all(|g| g.arch.is_none()), "{what}");
        let mut instances = inventory.gpus.iter().flat_map(|g| &g.mig);
        assert!(instances.all(|m| m.uuid.is_none()), "{what}");
        let list = host.without(&["list", "--format", "json"]).json(what);
        let [(code, message)] = &findings(&list)[..] else {
            panic!("{what}: {list}");
        };
        assert_eq!(code, "OG0309");
        assert!(message.contains(why), "{what}: {message}");
    }
}

/// The caller's own file is believed where he says that he is the caller, and nobody else's.
#[test]
fn a_users_own_file_is_believed_by_that_user() {
    let host = NvmlHost::named("run-1");
    host.refresh();
    chown(host.file(), Some(1000), None).unwrap();
    let stored = |owner| {
        let of = host.sim.host().with_trusted_owner(owner);
        discover(&of).unwrap().stored
    };
    assert_eq!(stored(1000), StoredState::Used);
    assert!(matches!(stored(1001), StoredState::Refused { .. }));
}

/// What does not need the file does not open it: neither a good one nor a FIFO.
#[test]
fn it_is_read_only_where_it_is_needed() {
    let host = NvmlHost::named("run-8-mig");
    host.refresh();
    let uuid = oci_gpu_tests::nvml::mig_uuid(1, 8, 0);
    let cdi = format!("NVIDIA_VISIBLE_DEVICES=nvidia.com/gpu={uuid}");
    let mig = format!("NVIDIA_VISIBLE_DEVICES=0,{uuid}");
    let rows: [(&[&str], bool); 8] = [
        (&["NVIDIA_VISIBLE_DEVICES=all"], false),
        (&["NVIDIA_VISIBLE_DEVICES=1:0,GPU-5ca1"], false),
        (
            &["NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_REQUIRE_D=driver>=550"],
            false,
        ),
        (
            &["NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_REQUIRE_CUDA=cuda>=12.0"],
            true,
        ),
        (
            &["NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_REQUIRE_A=arch>=7.0"],
            true,
        ),
        (
            &["NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_REQUIRE_B=brand=nvidia"],
            true,
        ),
        (&[&mig], true),
        (&[&cdi], true),
    ];
    for (env, needed) in rows {
        let env: Vec<String> = env.iter().map(|e| (*e).to_owned()).collect();
        let config = serde_json::json!({
            "ociVersion": "1.0.2", "process": {"env": env, "args": ["/x"], "cwd": "/"},
            "root": {"path": "rootfs"}, "linux": {},
        });
        let container = oci_gpu::container::Container::parse(config.to_string().as_bytes());
        let asked = oci_gpu::Request::read(&container.unwrap(), &oci_gpu::Policy::default());
        let request = asked.unwrap().request.unwrap();
        let scope = oci_gpu::Scope::of(&request);
        let inventory = discover_within(&host.sim.host(), &scope).unwrap();
        let state = match needed {
            true => StoredState::Used,
            false => StoredState::NotRead,
        };
        assert_eq!(inventory.stored, state, "{env:?}");
        oci_gpu::select(&inventory, &request).unwrap_or_else(|e| panic!("{env:?}: {e}"));
    }
}
