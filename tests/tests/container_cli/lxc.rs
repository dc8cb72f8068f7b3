//! LXC's own hook script, as Debian ships it, in an unprivileged container's namespaces.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use oci_gpu_tests::gpu::GpuHost;
use oci_gpu_tests::probe::Report;
use oci_gpu_tests::rootfs::Kind;

use crate::callers::{LOOK, assert_two_gpus, tool};
use crate::tool::NAME;

/// The id on the host of the container's root.
const FIRST_ID: u32 = 200_000;

/// The hook script, from the package that has it.
fn hook(host: &GpuHost) -> PathBuf {
    let debs = &host.setting.debs;
    let packages = debs.fetch("bookworm", "main", &["liblxc-common"]).unwrap();
    let directory = host.setting.dir.path().join("lxc");
    debs.unpack(&packages[0], &directory).unwrap();
    directory.join("usr/share/lxc/hooks/nvidia")
}

/// A directory for the PATH, in which the tool looks at the simulated host.
fn on_path(host: &GpuHost) -> PathBuf {
    let directory = host.setting.dir.path().join("bin");
    fs::create_dir(&directory).unwrap();
    let script = directory.join(NAME);
    fs::write(&script, format!("#!/bin/sh\nexec {} \"$@\"\n", tool(host))).unwrap();
    fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    directory
}

/// Runs `script` as root of a new user namespace, whose ids begin at [`FIRST_ID`], and of a mount
/// namespace; returns its standard output.
fn in_user_namespace(script: &str, path: &Path) -> Vec<u8> {
    let enter = "read go && exec setpriv --reuid=0 --regid=0 --clear-groups sh -c \"$1\"";
    let mut child = Command::new("unshare")
        .args([
            "--user",
            "--keep-caps",
            "--mount",
            "--propagation",
            "private",
        ])
        .args(["sh", "-c", enter, "sh", script])
        .env(
            "PATH",
            format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", path.display()),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let own = fs::read_link("/proc/self/ns/user").unwrap();
    let process = PathBuf::from(format!("/proc/{}", child.id()));
    while fs::read_link(process.join("ns/user")).unwrap() == own {
        std::thread::yield_now();
    }
    for map in ["uid_map", "gid_map"] {
        fs::write(process.join(map), format!("0 {FIRST_ID} 65536")).unwrap();
    }
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    output.stdout
}

#[test]
fn lxcs_own_hook_gives_gpus_to_an_unprivileged_container() {
    let host = GpuHost::new("debian-8").unwrap();
    let (hook, path) = (hook(&host), on_path(&host));
    let bundle = host.bundle(Kind::Bookworm, &[]).unwrap();
    host.setting.probe.install(&bundle.rootfs).unwrap();
    bundle.rootfs.give_to(FIRST_ID).unwrap();
    let script = format!(
        "set -e
        root={root}
        mount --rbind $root $root
        mount -t tmpfs tmpfs $root/dev
        mount --rbind /proc $root/proc
        export NVIDIA_VISIBLE_DEVICES=0,1 NVIDIA_DRIVER_CAPABILITIES=compute,utility
        export NVIDIA_REQUIRE_CUDA='cuda>=12.0 brand=Tesla' LXC_LOG_LEVEL=ERROR
        LXC_ROOTFS_MOUNT=$root LXC_ROOTFS_PATH=$root {hook} c1 lxc mount
        exec chroot $root /probe {look}",
        root = bundle.rootfs.path.display(),
        hook = hook.display(),
        look = LOOK.join(" "),
    );
    let report = Report::parse(&in_user_namespace(&script, &path)).unwrap();
    assert_two_gpus(&report, "LXC's hook");
    let cache = owner(&bundle.rootfs.on_host("/etc/ld.so.cache"));
    assert_eq!(
        cache, FIRST_ID,
        "what is made belongs to the container's root"
    );
    host.assert_untouched().unwrap();
}

fn owner(path: &Path) -> u32 {
    use std::os::unix::fs::MetadataExt;
    fs::symlink_metadata(path).unwrap().uid()
}
