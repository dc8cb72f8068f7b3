//! `list` prints what the reference prints, in its order, for every layout of a driver.

use std::fs;

use oci_gpu_sim::HostSpec;
use oci_gpu_tests::sim::SimHost;

use crate::tool::run_on;

fn list(host: &SimHost, args: &[&str]) -> String {
    let args = [&["list"], args].concat();
    run_on(host.root(), &args).done(&format!("{args:?}"))
}

/// Everything of a host with one GPU and Debian's packages for computing.
#[test]
fn everything_is_listed_where_nothing_is_named() {
    let host = SimHost::named("debian-1").unwrap();
    let expected = "\
/dev/nvidiactl
/dev/nvidia-uvm
/dev/nvidia-uvm-tools
/dev/nvidia0
/usr/lib/nvidia/current/nvidia-smi
/usr/lib/nvidia/current/nvidia-debugdump
/usr/bin/nvidia-persistenced
/usr/bin/nvidia-cuda-mps-control
/usr/sbin/nvidia-cuda-mps-server
/usr/lib/x86_64-linux-gnu/nvidia/current/libnvidia-ml.so.550.163.01
/usr/lib/x86_64-linux-gnu/nvidia/current/libnvidia-cfg.so.550.163.01
/usr/lib/x86_64-linux-gnu/nvidia/current/libcuda.so.550.163.01
/usr/lib/x86_64-linux-gnu/nvidia/current/libcudadebugger.so.550.163.01
/usr/lib/x86_64-linux-gnu/nvidia/current/libnvidia-opencl.so.550.163.01
/usr/lib/x86_64-linux-gnu/libnvidia-gpucomp.so.550.163.01
/usr/lib/x86_64-linux-gnu/nvidia/current/libnvidia-ptxjitcompiler.so.550.163.01
/usr/lib/x86_64-linux-gnu/nvidia/current/libnvidia-allocator.so.550.163.01
/usr/lib/x86_64-linux-gnu/libnvidia-pkcs11-openssl3.so.550.163.01
/usr/lib/x86_64-linux-gnu/nvidia/current/libnvidia-nvvm.so.550.163.01
/lib/firmware/nvidia/550.163.01/gsp_ga10x.bin
/lib/firmware/nvidia/550.163.01/gsp_tu10x.bin
";
    assert_eq!(list(&host, &[]), expected);
    // Charliecloud's call.
    let part: String = expected
        .lines()
        .filter(|l| l.starts_with("/usr/"))
        .map(|l| format!("{l}\n"))
        .collect();
    assert_eq!(list(&host, &["--binaries", "--libraries"]), part);
}

/// The reference's names for the libraries of a whole driver, in its order; of the directories of
/// one layout the 64-bit ones come first.
#[test]
fn libraries_come_in_the_references_order_in_every_layout() {
    let names = [
        "libnvidia-ml",
        "libnvidia-cfg",
        "libcuda",
        "libcudadebugger",
        "libnvidia-opencl",
        "libnvidia-gpucomp",
        "libnvidia-ptxjitcompiler",
        "libnvidia-allocator",
        "libnvidia-pkcs11",
        "libnvidia-pkcs11-openssl3",
        "libnvidia-nvvm",
        "libnvidia-ngx",
        "libnvidia-encode",
        "libnvidia-opticalflow",
        "libnvcuvid",
        "libnvidia-eglcore",
        "libnvidia-glcore",
        "libnvidia-tls",
        "libnvidia-glsi",
        "libnvidia-fbc",
        "libnvidia-rtcore",
        "libnvoptix",
        "libGLX_nvidia",
        "libEGL_nvidia",
        "libGLESv2_nvidia",
        "libGLESv1_CM_nvidia",
        "libnvidia-glvkspirv",
    ];
    // Debian has no libnvidia-pkcs11 since OpenSSL 3; a driver container is for computing.
    let rows = [
        ("debian-8", "/usr/lib/x86_64-linux-gnu/", "libnvidia-pkcs11"),
        ("run-8", "/usr/lib/x86_64-linux-gnu/", ""),
        ("rpm-8", "/usr/lib64/", ""),
        (
            "driver-container-8",
            "/usr/lib/x86_64-linux-gnu/",
            "libnvidia-ngx",
        ),
    ];
    for (name, directory, absent) in rows {
        let expected: Vec<&str> = names.into_iter().filter(|n| *n != absent).collect();
        let host = SimHost::named(name).unwrap();
        let all = list(&host, &["-l", "--compat32"]);
        let plain = list(&host, &["-l"]);
        let is_known = |stem: &&str| names.contains(stem);
        let stems: Vec<&str> = plain.lines().map(stem).filter(is_known).collect();
        assert_eq!(stems, expected, "{name}");
        // What the reference does not know follows what it does.
        let known = plain
            .lines()
            .map(stem)
            .take_while(|s| *s != "libnvidia-glvkspirv");
        let more: Vec<_> = known.filter(|s| !names.contains(s)).collect();
        assert!(
            more.is_empty() || more == ["libvdpau_nvidia"],
            "{name}: {more:?}"
        );
        for line in plain.lines() {
            assert!(line.starts_with(directory), "{name}: {line}");
        }
        // 32-bit ones follow, each as the reference orders them.
        let small = all.strip_prefix(&plain).unwrap();
        let small: Vec<&str> = small.lines().map(stem).filter(is_known).collect();
        let in_order = expected.iter().filter(|n| small.contains(n)).copied();
        assert_eq!(small, in_order.collect::<Vec<_>>(), "{name}");
        assert_eq!(small.is_empty(), name == "driver-container-8", "{name}");
    }
}

/// "libcuda" of "/usr/lib64/libcuda.so.550".
fn stem(line: &str) -> &str {
    let name = line.rsplit('/').next().unwrap();
    name.split_once(".so").map_or(name, |(stem, _)| stem)
}

/// Paths are those in the driver root, wherever that is.
#[test]
fn paths_are_relative_to_the_driver_root() {
    let host = SimHost::named("driver-container-8").unwrap();
    let found = list(&host, &[]);
    let named = ["--root=/run/nvidia/driver", "list"];
    assert_eq!(run_on(host.root(), &named).done("--root"), found);
    assert!(!found.contains("/run/nvidia/driver"), "{found}");
    for path in ["/dev/nvidia7", "/usr/bin/nvidia-smi"] {
        assert!(found.lines().any(|l| l == path), "{path} in {found}");
        assert!(
            host.on_disk("/run/nvidia/driver").join(&path[1..]).exists(),
            "{path}"
        );
    }
}

/// Another cache of the loader leads to the driver that the usual one does not know.
#[test]
fn another_cache_can_be_named() {
    let host = SimHost::named("debian-1").unwrap();
    let usual = list(&host, &["-l"]);
    let cache = host.on_disk("/etc/ld.so.cache");
    let moved = host.on_disk("/var/cache.other");
    fs::create_dir_all(moved.parent().unwrap()).unwrap();
    fs::rename(cache, moved).unwrap();
    let debug = host.on_disk("/log");
    let debug = format!("--debug={}", debug.display());
    let args = [&debug, "--ldcache=/var/cache.other", "list", "-l"];
    assert_eq!(run_on(host.root(), &args).done("--ldcache"), usual);
    let log = fs::read_to_string(host.on_disk("/log")).unwrap();
    assert!(
        log.contains("(ld.so.cache): its version is the kernel's"),
        "{log}"
    );
    // One that does not exist is refused with its reason; the known directories have the driver.
    let args = [&debug, "--ldcache=/nowhere", "list", "-l"];
    assert_eq!(run_on(host.root(), &args).done("/nowhere"), usual);
    let log = fs::read_to_string(host.on_disk("/log")).unwrap();
    assert!(log.contains("refused /nowhere (ld.so.cache): "), "{log}");
}

#[test]
fn devices_go_by_every_name_and_are_listed_in_the_drivers_order() {
    let mut spec = HostSpec::named("run-8").unwrap();
    spec.gpus.minors = oci_gpu_sim::Minors::Reversed;
    let host = SimHost::of(spec).unwrap();
    let control = "/dev/nvidiactl\n/dev/nvidia-uvm\n/dev/nvidia-uvm-tools\n/dev/nvidia-modeset\n";
    let rows: &[(&[&str], &[u32])] = &[
        (&["-d", "0"], &[7]),
        (&["--device=2,0", "-d", "0"], &[7, 5]),
        (&["--device=GPU-5ca1ab1e-1d5e-4f0c-9a3b-a0b1c2d3e400"], &[7]),
        (&["--device=gpu-5CA1AB1E-1d5e-4f0c-9a3b-a0b1c2d3e400"], &[7]),
        (&["--device=00000000:1B:00.0"], &[6]),
        (&["--device=0:1a:0.0"], &[7]),
        (&["--device="], &[]),
        (&["--device=ALL"], &[7, 6, 5, 4, 3, 2, 1, 0]),
        (&["--device=1,all,x"], &[7, 6, 5, 4, 3, 2, 1, 0]),
    ];
    for (args, minors) in rows {
        let gpus: String = minors.iter().map(|m| format!("/dev/nvidia{m}\n")).collect();
        assert_eq!(list(&host, args), format!("{control}{gpus}"), "{args:?}");
    }
    // Without GPUs "all" is none.
    let none = SimHost::named("no-devices").unwrap();
    assert!(list(&none, &["-d", "all"]).starts_with("/dev/nvidiactl\n"));
    // A node that nobody made is listed: whoever mounts it must notice.
    let missing = SimHost::named("missing-uvm").unwrap();
    let text = list(&missing, &["-d", "0"]);
    assert!(
        text.contains("/dev/nvidia-uvm\n") && !text.contains("uvm-tools"),
        "{text}"
    );
}

#[test]
fn mig_instances_have_access_files_and_nodes() {
    let host = SimHost::named("run-8-mig").unwrap();
    let text = list(&host, &["--device=1:0,6:1"]);
    let expected = "\
/dev/nvidia1
/dev/nvidia6
/proc/driver/nvidia/capabilities/gpu1/mig/gi7/access
/dev/nvidia-caps/nvidia-cap201
/proc/driver/nvidia/capabilities/gpu1/mig/gi7/ci0/access
/dev/nvidia-caps/nvidia-cap202
/proc/driver/nvidia/capabilities/gpu6/mig/gi0/access
/dev/nvidia-caps/nvidia-cap813
/proc/driver/nvidia/capabilities/gpu6/mig/gi0/ci1/access
/dev/nvidia-caps/nvidia-cap815
";
    assert!(
        text.ends_with(&format!("/dev/nvidia-modeset\n{expected}")),
        "{text}"
    );
    let whole = list(&host, &["--device=6"]);
    assert_eq!(
        whole.lines().filter(|l| l.ends_with("/access")).count(),
        4,
        "{whole}"
    );
}

/// A right over all of MIG: its file and node, and of each listed GPU its directory and the nodes of
/// every instance that it can have. Instances' own files are then left out.
#[test]
fn mig_rights_have_blocks_of_their_own() {
    let host = SimHost::named("run-8-mig").unwrap();
    let block = |right: &str, node: u32, gpus: &[u32]| {
        let proc = "/proc/driver/nvidia/capabilities";
        let mut lines = format!("{proc}/mig/{right}\n/dev/nvidia-caps/nvidia-cap{node}\n");
        for gpu in gpus {
            lines += &format!("{proc}/gpu{gpu}\n/dev/nvidia-caps\n");
            let first = 3 + gpu * 15 * 9;
            for minor in first..first + 15 * 9 {
                lines += &format!("/dev/nvidia-caps/nvidia-cap{minor}\n");
            }
        }
        lines
    };
    let config = list(&host, &["--mig-config=all"]);
    assert_eq!(config, block("config", 1, &[]));
    let both = ["-d1,3", "--mig-monitor=all", "--mig-config=ALL"];
    let both = list(&host, &both);
    let (devices, rights) = both.split_once("/proc/").unwrap();
    assert!(
        devices.ends_with("/dev/nvidia1\n/dev/nvidia3\n"),
        "{devices}"
    );
    let expected = block("config", 1, &[1, 3]) + &block("monitor", 2, &[1, 3]);
    assert_eq!(format!("/proc/{rights}"), expected);
}

#[test]
fn imex_channels_sockets_and_firmware() {
    let host = SimHost::named("debian-8").unwrap();
    assert!(!list(&host, &[]).contains("imex-channels"));
    let text = list(&host, &["--imex-channel=2,0"]);
    let channels = "/dev/nvidia7
/dev/nvidia-caps-imex-channels/channel0
/dev/nvidia-caps-imex-channels/channel2
/usr/lib/nvidia/current/nvidia-smi
";
    assert!(text.contains(channels), "{text}");
    run_on(host.root(), &["list", "--imex-channel=9"]).failed(
        "device",
        "OG0404",
        &["channel 9", "4 channels"],
        "absent channel",
    );
    let sockets =
        "/run/nvidia-persistenced/socket\n/run/nvidia-fabricmanager/socket\n/tmp/nvidia-mps\n";
    assert_eq!(list(&host, &["--ipcs"]), sockets);
    let rest = ["-i", "--no-persistenced", "--no-fabricmanager"];
    assert_eq!(list(&host, &rest), "/tmp/nvidia-mps\n");
    let firmware = "/lib/firmware/nvidia/550.163.01/gsp_ga10x.bin
/lib/firmware/nvidia/550.163.01/gsp_tu10x.bin
";
    assert_eq!(list(&host, &["-f"]), firmware);
    assert_eq!(list(&host, &["-f", "--no-gsp-firmware"]), "");
    assert_eq!(list(&host, &["--compat32"]), "");
}
