//! Hardware beside the GPUs, management, the groups of DRM nodes, EGL's application profile.

use std::path::Path;
use std::sync::Arc;

use oci_gpu::finding::Code;
use oci_gpu::plan::{BindKind, Operation};
use oci_gpu::{Inventory, Plan};
use oci_gpu_sim::Peripheral;

use crate::rules::assert_rules;
use crate::scene::{Image, Planned, changed, plan, plan_in, targets};

fn host(peripherals: &[Peripheral]) -> Arc<Inventory> {
    let peripherals = peripherals.to_vec();
    Arc::new(changed("run-1", |spec| spec.peripherals = peripherals))
}

fn get(host: &Arc<Inventory>, env: &[&str], privileged: bool) -> Result<Planned, oci_gpu::Finding> {
    plan_in(Arc::clone(host), env, privileged, Image::Debian)
}

const ALL: [Peripheral; 4] = [
    Peripheral::Gds,
    Peripheral::Gdrcopy,
    Peripheral::Mofed,
    Peripheral::Nvswitch,
];

/// (variable, CDI name, nodes)
const ROWS: &[(&str, &str, &[&str])] = &[
    (
        "NVIDIA_GDS",
        "nvidia.com/gds=all",
        &["/dev/nvidia-fs0 505:0", "/dev/nvidia-fs1 505:1"],
    ),
    (
        "NVIDIA_GDRCOPY",
        "nvidia.com/gdrcopy=all",
        &["/dev/gdrdrv 504:0"],
    ),
    (
        "NVIDIA_MOFED",
        "nvidia.com/mofed=all",
        &[
            "/dev/infiniband/rdma_cm 10:122",
            "/dev/infiniband/uverbs0 231:192",
            "/dev/infiniband/uverbs1 231:193",
        ],
    ),
    (
        "NVIDIA_NVSWITCH",
        "nvidia.com/nvswitch=all",
        &[
            "/dev/nvidia-nvswitch0 503:0",
            "/dev/nvidia-nvswitch1 503:1",
            "/dev/nvidia-nvswitchctl 503:255",
        ],
    ),
];

#[test]
fn each_kind_is_asked_for_by_its_own_word() {
    let host = host(&ALL);
    let base = get(&host, &["NVIDIA_VISIBLE_DEVICES=0"], false).unwrap();
    for (variable, name, nodes) in ROWS {
        let with = |words: &[&str]| get(&host, words, false).unwrap();
        let gpu = "NVIDIA_VISIBLE_DEVICES=0";
        let enabled = format!("{variable}=enabled");
        let both = format!("NVIDIA_VISIBLE_DEVICES=0,{name}");
        for env in [vec![gpu, &enabled], vec![&both], vec![&both, &enabled]] {
            let planned = with(&env);
            let mut expected = base.devices();
            expected.extend(nodes.iter().map(|n| (*n).to_owned()));
            assert_eq!(planned.devices(), expected, "{env:?}");
            assert_rules(&planned, Image::Debian, &enabled);
            let gds = *variable == "NVIDIA_GDS";
            let udev = targets(&planned.plan, BindKind::Data).contains("/run/udev");
            let cufile = targets(&planned.plan, BindKind::Config).contains("/etc/cufile.json");
            assert_eq!((udev, cufile), (gds, gds), "{env:?}");
        }
        for value in ["", "disabled", "true", "ENABLED"] {
            let env = format!("{variable}={value}");
            assert_eq!(with(&[gpu, &env]).devices(), base.devices(), "{env}");
        }
        let alone = with(&[&format!("NVIDIA_VISIBLE_DEVICES={name}")]);
        assert!(alone.grant.gpus.is_empty());
        assert!(alone.devices().ends_with(&nodes.map_strings()), "{name}");
    }
}

trait Strings {
    fn map_strings(&self) -> Vec<String>;
}

impl Strings for &[&str] {
    fn map_strings(&self) -> Vec<String> {
        self.iter().map(|s| (*s).to_owned()).collect()
    }
}

/// A request for what is not there fails, and says so; the reference starts the container.
#[test]
fn hardware_that_is_not_there_is_an_error() {
    let host = host(&[]);
    for (variable, _, _) in ROWS {
        let env = format!("{variable}=enabled");
        let Err(finding) = get(&host, &["NVIDIA_VISIBLE_DEVICES=0", &env], false) else {
            panic!("{variable}");
        };
        assert_eq!(finding.code, Code::Peripheral, "{finding}");
        assert!(finding.remedy.contains(variable), "{finding}");
    }
}

/// A node with another number than the kernel says is refused, as everywhere.
#[test]
fn a_stale_node_is_wrong() {
    let host = changed("run-1", |spec| {
        spec.peripherals = vec![Peripheral::Gdrcopy];
        spec.faults.wrong_nodes = vec!["/dev/gdrdrv".to_owned()];
    });
    let env = ["NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_GDRCOPY=enabled"];
    let finding = get(&Arc::new(host), &env, false).map(|_| ()).unwrap_err();
    assert_eq!(finding.code, Code::NodeWrong, "{finding}");
    assert!(finding.message.contains("505:0"), "{finding}");
}

/// Management has every node, the rights over MIG included, and procfs as it is; for privileged
/// containers only.
#[test]
fn management_is_everything_and_for_privileged_containers() {
    let env = [
        "NVIDIA_VISIBLE_DEVICES=management.nvidia.com/gpu=all",
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
    ];
    let host = Arc::new(changed("run-8-mig", |spec| {
        spec.imex_channels = vec![0, 7];
    }));
    let finding = get(&host, &env, false).map(|_| ()).unwrap_err();
    assert_eq!(finding.code, Code::RequestDenied, "{finding}");

    let planned = get(&host, &env, true).unwrap();
    let devices = planned.devices();
    // Control 3, GPUs 8, instances 11 and 12, rights 2, channels 2.
    assert_eq!(devices.len(), 3 + 8 + 11 + 12 + 2 + 2, "{devices:#?}");
    for node in [
        "/dev/nvidia7 195:7",
        "/dev/nvidia-caps/nvidia-cap1 237:1",
        "/dev/nvidia-caps/nvidia-cap2 237:2",
        "/dev/nvidia-caps-imex-channels/channel7 234:7",
    ] {
        assert!(devices.iter().any(|d| d == node), "{node} in {devices:#?}");
    }
    assert!(
        planned
            .skipped("/proc/driver/nvidia")
            .contains("sees them all")
    );
    assert!(files_at(&planned.plan, "/proc/driver/nvidia").is_none());
}

fn files_at(plan: &Plan, at: &str) -> Option<Vec<(String, String)>> {
    plan.actions.iter().find_map(|a| match &a.what {
        Operation::Files { target, entries } if target == Path::new(at) => {
            let text = |e: &oci_gpu::plan::FileEntry| {
                String::from_utf8(e.content.clone().unwrap_or_default()).unwrap()
            };
            let entries = entries.iter();
            let entries = entries.map(|e| (e.path.display().to_string(), text(e)));
            Some(entries.collect())
        }
        _ => None,
    })
}

fn groups(plan: &Plan) -> Vec<u32> {
    let group = |a: &oci_gpu::Action| match a.what {
        Operation::Group { gid } => Some(gid),
        _ => None,
    };
    plan.actions.iter().filter_map(group).collect()
}

/// Each group once, for nodes that only their group may open, and only where they are given.
#[test]
fn groups_of_nodes_that_are_not_everybodys() {
    let rows: &[(&str, &str, &[u32])] = &[
        ("debian-8", "graphics", &[44, 105]),
        ("debian-8", "compute,utility", &[]),
    ];
    for (host, capabilities, expected) in rows {
        let capabilities = format!("NVIDIA_DRIVER_CAPABILITIES={capabilities}");
        let planned = plan(host, &["NVIDIA_VISIBLE_DEVICES=0,1", &capabilities]).unwrap();
        assert_eq!(groups(&planned.plan), *expected, "{host}, {capabilities}");
    }
}

/// A split GPU has no DRM nodes to give.
#[test]
fn mig_instances_have_no_drm_nodes() {
    let env = [
        "NVIDIA_VISIBLE_DEVICES=4:0",
        "NVIDIA_DRIVER_CAPABILITIES=graphics",
    ];
    let host = Arc::new(changed("run-8-mig", |spec| {
        let driver = spec.driver.as_mut().unwrap();
        driver.modules = vec![
            oci_gpu_sim::Module::Uvm,
            oci_gpu_sim::Module::Modeset,
            oci_gpu_sim::Module::Drm,
        ];
    }));
    assert!(host.gpus.iter().all(|g| !g.drm.is_empty()));
    let planned = get(&host, &env, false).unwrap();
    assert!(planned.devices().iter().all(|d| !d.contains("/dri/")));
    assert!(planned.skipped("renderD132").contains("MIG"));
    let whole = ["NVIDIA_VISIBLE_DEVICES=7", env[1]];
    let planned = get(&host, &whole, false).unwrap();
    assert!(!host.gpus[7].mig_enabled);
    assert!(
        planned
            .devices()
            .iter()
            .any(|d| d.contains("/dri/renderD135"))
    );
}

/// The mask has a bit for each minor number, which need not be the index.
#[test]
fn the_application_profile_shows_the_granted_gpus() {
    const AT: &str = "/etc/nvidia/nvidia-application-profiles-rc.d";
    let reversed = Arc::new(changed("debian-8", |spec| {
        spec.gpus.minors = oci_gpu_sim::Minors::Reversed;
    }));
    let host = Arc::new(changed("debian-8", |_| {}));
    let rows = [
        (&host, "0,3", "graphics", Some("0x9")),
        (&host, "all", "display", Some("0xff")),
        (&reversed, "0", "graphics", Some("0x80")),
        (&host, "0", "compute,utility", None),
        (&host, "none", "graphics", None),
    ];
    for (host, devices, capabilities, mask) in rows {
        let env = [
            format!("NVIDIA_VISIBLE_DEVICES={devices}"),
            format!("NVIDIA_DRIVER_CAPABILITIES={capabilities}"),
        ];
        let planned = get(host, &[&env[0], &env[1]], false).unwrap();
        let files = files_at(&planned.plan, AT);
        let Some(mask) = mask else {
            assert_eq!(files, None, "{env:?}");
            continue;
        };
        let files = files.unwrap();
        let [(name, text)] = &files[..] else {
            panic!("{files:?}");
        };
        assert_eq!(name, "10-container.conf");
        assert!(
            text.contains(&format!("\"EGLVisibleDGPUDevices\", {mask}]")),
            "{text}"
        );
        // Its numbers are hexadecimal, which JSON has not.
        let json: serde_json::Value = serde_json::from_str(&text.replace(mask, "1")).unwrap();
        assert_eq!(json["rules"][0]["profile"], json["profiles"][0]["name"]);
    }
}
