//! Programs, firmware, sockets, configuration and procfs: exactly those of the capabilities.

use std::path::Path;

use oci_gpu::container::ProcDriver;
use oci_gpu::plan::{BindKind, Operation};
use oci_gpu::{Plan, select};

use crate::scene::{Image, inventory, plan, planned, request, targets};

/// (capability, kind, targets, whether a container cannot do without).
#[test]
fn programs_and_files_of_each_capability() {
    use BindKind::{Binary, Config, Directory, Firmware, Socket};
    type Files = (BindKind, bool, &'static [&'static str]);
    let rows: &[(&str, &[Files])] = &[
        (
            "utility",
            &[
                (
                    Binary,
                    true,
                    &[
                        "/usr/bin/nv-fabricmanager",
                        "/usr/bin/nvidia-debugdump",
                        "/usr/bin/nvidia-imex",
                        "/usr/bin/nvidia-imex-ctl",
                        "/usr/bin/nvidia-persistenced",
                        "/usr/bin/nvidia-smi",
                    ],
                ),
                (
                    Firmware,
                    false,
                    &[
                        "/lib/firmware/nvidia/550.163.01/gsp_ga10x.bin",
                        "/lib/firmware/nvidia/550.163.01/gsp_tu10x.bin",
                    ],
                ),
                (
                    Socket,
                    false,
                    &[
                        "/run/nvidia-fabricmanager/socket",
                        "/run/nvidia-persistenced/socket",
                    ],
                ),
            ],
        ),
        (
            "compute",
            &[
                (
                    Binary,
                    true,
                    &[
                        "/usr/bin/nvidia-cuda-mps-control",
                        "/usr/bin/nvidia-cuda-mps-server",
                    ],
                ),
                (Directory, false, &["/tmp/nvidia-mps"]),
                (
                    Config,
                    false,
                    &[
                        "/etc/OpenCL/vendors/nvidia.icd",
                        "/usr/share/nvidia/nvidia-application-profiles-550.163.01-rc",
                    ],
                ),
            ],
        ),
        (
            "graphics",
            &[(
                Config,
                false,
                &[
                    "/etc/vulkan/icd.d/nvidia_icd.json",
                    "/etc/vulkan/implicit_layer.d/nvidia_layers.json",
                    "/usr/share/glvnd/egl_vendor.d/10_nvidia.json",
                    "/usr/share/nvidia/nvidia-application-profiles-550.163.01-rc",
                    "/usr/share/nvidia/nvoptix.bin",
                ],
            )],
        ),
        ("video", &[]),
        (
            "ngx",
            &[(
                Config,
                false,
                &[
                    "/usr/lib/x86_64-linux-gnu/nvidia/wine/_nvngx.dll",
                    "/usr/lib/x86_64-linux-gnu/nvidia/wine/nvngx.dll",
                ],
            )],
        ),
        (
            "display",
            &[
                (Binary, true, &["/usr/bin/nvidia-xconfig"]),
                (
                    Config,
                    false,
                    &["/usr/share/X11/xorg.conf.d/nvidia-drm-outputclass.conf"],
                ),
            ],
        ),
        ("compat32", &[]),
    ];
    for host in ["run-8", "debian-8"] {
        for (capability, expected) in rows {
            let planned = planned(inventory(host), capability, Image::Debian);
            for kind in [Binary, Config, Directory, Firmware, Socket] {
                let row = expected.iter().find(|(k, ..)| *k == kind);
                let paths = row.map_or(&[][..], |(_, _, paths)| paths);
                // Debian does not package it.
                let packaged = |p: &&str| host != "debian-8" || *p != "/usr/bin/nvidia-xconfig";
                let paths: Vec<&str> = paths.iter().copied().filter(packaged).collect();
                let seen = targets(&planned.plan, kind);
                let seen: Vec<&str> = seen.iter().map(String::as_str).collect();
                assert_eq!(seen, paths, "{host}, {capability}: {kind:?}");
                let of_kind =
                    planned.plan.actions.iter().filter(
                        |a| matches!(&a.what, Operation::Bind { kind: k, .. } if *k == kind),
                    );
                let required = row.is_some_and(|(_, required, _)| *required);
                for action in of_kind {
                    assert_eq!(action.required, required, "{host}: {:?}", action.what);
                }
            }
        }
    }
}

/// The view of /proc/driver/nvidia: copies of the driver's files that allow no node to be made, and
/// the granted GPUs.
#[test]
fn procfs_shows_the_granted_gpus() {
    let host = inventory("run-8-mig");
    let rows = [
        (ProcDriver::Nvidia, "/proc/driver/nvidia", ""),
        (ProcDriver::Above, "/proc/driver", "nvidia/"),
    ];
    for (proc_driver, mount, prefix) in rows {
        let mut facts = Image::Debian.facts();
        facts.proc_driver = proc_driver;
        let request = request(&["NVIDIA_VISIBLE_DEVICES=0,4:1"], false).unwrap();
        let grant = select(&host, &request).unwrap();
        let plan = Plan::new(&host, &grant, &facts).unwrap();
        let entries = plan.actions.iter().find_map(|a| match &a.what {
            Operation::Files { target, entries } => {
                assert_eq!(target, Path::new(mount));
                Some(entries)
            }
            _ => None,
        });
        let entries = entries.unwrap();
        let text = |name: &str| {
            let path = format!("{prefix}{name}");
            let entry = entries.iter().find(|e| e.path == Path::new(&path)).unwrap();
            String::from_utf8(entry.content.clone().unwrap()).unwrap()
        };
        assert!(text("version").contains("550.163.01"));
        let params = text("params");
        assert!(
            params.contains("ModifyDeviceFiles: 0\n") && params.contains("DeviceFileMode: 438\n")
        );
        for (place, entry) in entries.iter().enumerate() {
            let parent = entry.path.parent().unwrap();
            let above = entries[..place].iter().any(|e| e.path == parent);
            assert!(above || parent == Path::new(""), "{}", entry.path.display());
        }
        assert_eq!(
            targets(&plan, BindKind::Proc)
                .into_iter()
                .collect::<Vec<_>>(),
            [
                "/proc/driver/nvidia/capabilities/gpu4/mig/gi3/access",
                "/proc/driver/nvidia/capabilities/gpu4/mig/gi3/ci0/access",
                "/proc/driver/nvidia/gpus/0000:1a:00.0",
                "/proc/driver/nvidia/gpus/0000:8a:00.0",
            ]
        );
    }
    let mut facts = Image::Debian.facts();
    facts.proc_driver = ProcDriver::Absent;
    let request = request(&["NVIDIA_VISIBLE_DEVICES=0"], false).unwrap();
    let grant = select(&host, &request).unwrap();
    let plan = Plan::new(&host, &grant, &facts).unwrap();
    assert!(targets(&plan, BindKind::Proc).is_empty());
    let skipped = plan
        .skipped
        .iter()
        .find(|s| s.what == "/proc/driver/nvidia");
    assert_eq!(skipped.unwrap().why, "the container mounts no procfs");
}

/// Without a GPU there is the driver all the same.
#[test]
fn none_gives_the_driver_alone() {
    let planned = plan("run-8", &["NVIDIA_VISIBLE_DEVICES=none"]).unwrap();
    assert_eq!(targets(&planned.plan, BindKind::Library).len(), 11);
    assert!(targets(&planned.plan, BindKind::Proc).is_empty());
    assert!(targets(&planned.plan, BindKind::Binary).contains("/usr/bin/nvidia-smi"));
}
