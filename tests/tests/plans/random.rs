//! Random requests: a plan has the devices that were granted and no other, and a hook that looks at
//! a part of the host decides as one that looks at all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use oci_gpu::plan::{Operation, Plan};
use oci_gpu::{Scope, discover, discover_within, select};
use oci_gpu_sim::{HostSpec, Module};
use oci_gpu_tests::sim::SimHost;
use proptest::prelude::*;
use proptest::sample::{Index, select as one_of, subsequence};
use proptest::test_runner::{Config, TestRunner};

use crate::rules::{assert_classes, assert_rules};
use crate::scene::{Image, Planned, plan_in, request};

const HOSTS: [&str; 8] = [
    "debian-8",
    "driver-container-8",
    "flat-1",
    "nixos-1",
    "rpm-8",
    "run-16",
    "run-8",
    "run-8-mig",
];

const WORDS: [&str; 7] = [
    "compat32", "compute", "display", "graphics", "ngx", "utility", "video",
];

/// What a container asks for, before it is known which host it meets.
#[derive(Clone, Debug)]
struct Wish {
    host: &'static str,
    image: Image,
    devices: Devices,
    /// `None`: not said.
    capabilities: Option<Vec<&'static str>>,
    /// Which of the host's channels.
    channels: Vec<Index>,
    mig_config: bool,
}

#[derive(Clone, Debug)]
enum Devices {
    None,
    All,
    /// GPU, spelling, and which of its instances if it has any.
    Some(Vec<(Index, usize, Option<Index>)>),
}

fn wish() -> impl Strategy<Value = Wish> {
    let device = (any::<Index>(), 0..SPELLINGS, any::<Option<Index>>());
    let devices = prop_oneof![
        Just(Devices::None),
        Just(Devices::All),
        prop::collection::vec(device, 1..6).prop_map(Devices::Some),
    ];
    let words = subsequence(WORDS.to_vec(), 1..=WORDS.len());
    let channels = prop::collection::vec(any::<Index>(), 0..3);
    (
        one_of(&HOSTS[..]),
        one_of(&Image::ALL[..]),
        devices,
        prop::option::of(words),
        channels,
        prop::bool::weighted(0.2),
    )
        .prop_map(
            |(host, image, devices, capabilities, channels, mig_config)| Wish {
                host,
                image,
                devices,
                capabilities,
                channels,
                mig_config,
            },
        )
}

const SPELLINGS: usize = 6;

/// One of the names of a GPU.
fn spell(gpu: &oci_gpu_sim::Gpu, spelling: usize) -> String {
    match spelling {
        0 => gpu.index.to_string(),
        1 => gpu.uuid.clone(),
        2 => gpu.uuid[..12].to_ascii_uppercase(),
        3 => gpu.bus_id.clone(),
        4 => format!("0000{}", gpu.bus_id.to_ascii_uppercase()),
        _ => format!("nvidia.com/gpu={}", gpu.index),
    }
}

/// A wish on its host: the environment, and the devices that must come of it.
struct Case {
    env: Vec<String>,
    devices: BTreeSet<String>,
}

impl Wish {
    fn on(&self, spec: &HostSpec) -> Case {
        let gpus = spec.gpu_list().unwrap();
        let mut names: Vec<String> = Vec::new();
        let mut devices: BTreeSet<String> = BTreeSet::new();
        let mut granted: BTreeSet<u32> = BTreeSet::new();
        let instances = |gpu: &oci_gpu_sim::Gpu| -> Vec<(u32, u32)> {
            let of = |i: &oci_gpu_sim::GpuInstance| {
                let gi = i.gi;
                i.ci.iter().map(move |ci| (gi, *ci)).collect::<Vec<_>>()
            };
            gpu.mig.iter().flat_map(of).collect()
        };
        let mut give = |gpu: &oci_gpu_sim::Gpu, some: &[(u32, u32)]| {
            granted.insert(gpu.index);
            devices.insert(format!("/dev/nvidia{0} 195:{0}", gpu.minor));
            for (gi, ci) in some {
                let minor = 3 + (gpu.minor * 15 + gi) * 9;
                for minor in [minor, minor + 1 + ci] {
                    let major = spec.majors.caps;
                    devices.insert(format!(
                        "/dev/nvidia-caps/nvidia-cap{minor} {major}:{minor}"
                    ));
                }
            }
        };
        match &self.devices {
            Devices::None => names.push("none".to_owned()),
            Devices::All => {
                names.push("all".to_owned());
                gpus.iter().for_each(|g| give(g, &instances(g)));
            }
            Devices::Some(list) => {
                for (gpu, spelling, instance) in list {
                    let gpu = gpu.get(&gpus);
                    let all = instances(gpu);
                    match instance.filter(|_| !all.is_empty()) {
                        Some(instance) => {
                            let place = instance.index(all.len());
                            let (gi, ci) = all[place];
                            names.push(match spelling % 2 {
                                0 => format!("{}:{place}", gpu.index),
                                _ => format!("MIG-{}/{gi}/{ci}", gpu.uuid),
                            });
                            give(gpu, &[(gi, ci)]);
                        }
                        None => {
                            names.push(spell(gpu, *spelling));
                            give(gpu, &all);
                        }
                    }
                }
            }
        }
        let mut env = vec![format!("NVIDIA_VISIBLE_DEVICES={}", names.join(","))];
        let words = match &self.capabilities {
            None => vec!["compute", "utility"],
            Some(words) => {
                env.push(format!("NVIDIA_DRIVER_CAPABILITIES={}", words.join(",")));
                words.clone()
            }
        };
        let uvm = spec.majors.uvm;
        devices.insert("/dev/nvidiactl 195:255".to_owned());
        // The video codecs run on CUDA.
        if words.contains(&"compute") || words.contains(&"video") {
            devices.insert(format!("/dev/nvidia-uvm {uvm}:0"));
            devices.insert(format!("/dev/nvidia-uvm-tools {uvm}:1"));
        }
        let modules = &spec.driver.as_ref().unwrap().modules;
        if words.contains(&"display") || words.contains(&"graphics") {
            if modules.contains(&Module::Modeset) {
                devices.insert("/dev/nvidia-modeset 195:254".to_owned());
            }
            // A split GPU has none to give.
            let whole = gpus.iter().filter(|g| g.mig.is_empty());
            for gpu in whole.filter(|g| granted.contains(&g.index)) {
                devices.extend(gpu.card.map(|n| format!("/dev/dri/card{n} 226:{n}")));
                devices.extend(gpu.render.map(|n| format!("/dev/dri/renderD{n} 226:{n}")));
            }
        }
        if !spec.imex_channels.is_empty() && !self.channels.is_empty() {
            let channels = self.channels.iter().map(|c| *c.get(&spec.imex_channels));
            let channels: Vec<u32> = channels.collect();
            let text: Vec<String> = channels.iter().map(u32::to_string).collect();
            env.push(format!("NVIDIA_IMEX_CHANNELS={}", text.join(",")));
            let (directory, major) = ("/dev/nvidia-caps-imex-channels", spec.majors.imex);
            let node = |n: &u32| format!("{directory}/channel{n} {major}:{n}");
            devices.extend(channels.iter().map(node));
        }
        // A right of GPUs that can be split; others have no node for it.
        if self.mig_config && gpus.iter().any(|g| g.model.mig) {
            env.push("NVIDIA_MIG_CONFIG_DEVICES=all".to_owned());
            devices.insert(format!(
                "/dev/nvidia-caps/nvidia-cap1 {}:1",
                spec.majors.caps
            ));
        }
        Case { env, devices }
    }
}

#[test]
fn a_plan_has_the_devices_that_were_granted_and_no_other() {
    let hosts: BTreeMap<&str, SimHost> = HOSTS
        .iter()
        .map(|name| (*name, SimHost::named(name).unwrap()))
        .collect();
    let inventories: BTreeMap<&str, _> = hosts
        .iter()
        .map(|(name, host)| (*name, Arc::new(discover(&host.host()).unwrap())))
        .collect();
    let config = Config {
        // The directory of the sources is nobody's to write to.
        failure_persistence: None,
        ..Config::default()
    };
    let check = |wish: Wish| {
        let host = &hosts[wish.host];
        let case = wish.on(&host.spec);
        let what = format!("{wish:?}: {:?}", case.env);
        let env: Vec<&str> = case.env.iter().map(String::as_str).collect();
        let inventory = Arc::clone(&inventories[wish.host]);
        let planned =
            plan_in(inventory, &env, true, wish.image).unwrap_or_else(|e| panic!("{what}: {e}"));
        let devices: BTreeSet<String> = planned.devices().into_iter().collect();
        prop_assert_eq!(&devices, &case.devices, "{}", what);
        assert_rules(&planned, wish.image, &what);
        assert_classes(&planned, wish.image, &what);

        let request = request(&env, true).unwrap();
        let part = discover_within(&host.host(), &Scope::of(&request)).unwrap();
        let grant = select(&part, &request).unwrap();
        let plan = Plan::new(&part, &grant, &wish.image.facts()).unwrap();
        prop_assert_eq!(plan.actions, planned.plan.actions, "{}", what);
        Ok(())
    };
    TestRunner::new(config).run(&wish(), check).unwrap();
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    /// Whatever a container asks for, it is refused or gets GPUs by name.
    #[test]
    fn any_text_is_refused_or_granted_by_the_rules(
        devices in "(all|none|void|0|1|4:[0-3]|6|GPU-[56][0-9a-f]{0,8}|MIG-GPU-5|0000:[14][ab]:00.0|nvidia.com/gpu=(all|[0-9])|\\PC{0,8})(,(all|none|[0-9]|1:[0-9]|\\PC{0,3})){0,4}",
        capabilities in "(all|compute|utility|graphics|\\PC{0,8})(,(display|video|ngx|compat32|\\PC{0,3})){0,3}",
        channels in "([0-9]{0,4}|all|none|\\PC{0,3})(,[0-9]{1,2}){0,2}",
        host in one_of(&HOSTS[..]),
    ) {
        let env = [
            format!("NVIDIA_VISIBLE_DEVICES={devices}"),
            format!("NVIDIA_DRIVER_CAPABILITIES={capabilities}"),
            format!("NVIDIA_IMEX_CHANNELS={channels}"),
        ];
        let env: Vec<&str> = env.iter().map(String::as_str).collect();
        let asks = oci_gpu::Request::read(
            &crate::scene::container(&env, false),
            &oci_gpu::Policy::default(),
        );
        if !asks.is_ok_and(|a| a.request.is_some()) {
            return Ok(());
        }
        match plan_in(crate::scene::inventory(host), &env, false, Image::Debian) {
            Ok(planned) => {
                let what = format!("{host}, {env:?}");
                assert_rules(&planned, Image::Debian, &what);
                assert_granted(&planned, &what);
            }
            Err(finding) => {
                prop_assert!(!finding.message.is_empty() && !finding.remedy.is_empty());
            }
        }
    }
}

/// Every node of a GPU, an instance or a channel is one of the grant.
fn assert_granted(planned: &Planned, what: &str) {
    let grant = &planned.grant;
    let mut nodes: BTreeSet<_> = grant.control.iter().map(|c| c.node.path.clone()).collect();
    nodes.extend(grant.gpus.iter().map(|g| g.node.path.clone()));
    let whole = grant.gpus.iter().filter(|g| !g.mig_enabled);
    let drm = whole.flat_map(|g| &g.drm);
    nodes.extend(drm.map(|d| d.node.path.clone()));
    for (_, instance) in &grant.mig {
        nodes.insert(instance.gi_access.node.path.clone());
        nodes.insert(instance.ci_access.node.path.clone());
    }
    nodes.extend(grant.imex_channels.iter().map(|c| c.node.path.clone()));
    for action in &planned.plan.actions {
        if let Operation::Device { source, .. } = &action.what {
            assert!(nodes.contains(source), "{what}: {}", source.display());
        }
    }
}
