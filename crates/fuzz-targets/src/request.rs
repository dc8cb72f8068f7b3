//! What a container asks for: its environment and its mounts.

use std::path::PathBuf;

use oci_gpu::container::Mount;
use oci_gpu::request::{Asked, Devices};
use oci_gpu::{Capability, CapabilitySet, Container, Policy, Request};

use crate::findings::presentable;

/// Each line is an entry of process.env, or a word on the container and the policy (see [`Scene`]).
/// A request is within its limits and the policy, comes back the same when it is written as
/// variables, and is not passed over by the short cut that looks at config.json's bytes.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let scene = Scene::of(&text);
    let asked = match Request::read(&scene.container, &scene.policy) {
        Ok(asked) => asked,
        Err(finding) => {
            assert_eq!(finding.code as u16 / 100, 2, "{finding}");
            return presentable(&finding);
        }
    };
    asked.notes.iter().for_each(presentable);
    if let Some(request) = asked.request {
        within_limits(&request, &scene);
        reads_back(&request, scene.policy.capabilities);
        is_possible(&scene);
    }
}

/// A container and a policy.
#[derive(Default)]
struct Scene {
    container: Container,
    policy: Policy,
}

impl Scene {
    fn of(text: &str) -> Scene {
        let mut scene = Scene::default();
        scene.container.root = PathBuf::from("rootfs");
        for line in text.lines() {
            match line.split_once(' ').unwrap_or((line, "")) {
                ("privileged", "") => scene.container.privileged = true,
                ("env-denied", "") => scene.policy.env_when_unprivileged = false,
                ("volume-mounts", "") => scene.policy.volume_mounts = true,
                ("disable-require", "") => scene.policy.disable_require = true,
                ("ignore-imex", "") => scene.policy.ignore_imex = true,
                ("utility-only", "") => {
                    scene.policy.capabilities = [Capability::Utility].into_iter().collect();
                }
                ("swarm", name) => scene.policy.swarm_resources.push(name.to_owned()),
                ("mount", destination) => scene.mount(destination, "/dev/null"),
                ("mount-other", destination) => scene.mount(destination, "/x"),
                _ => scene.container.env.push(line.to_owned()),
            }
        }
        scene
    }

    fn mount(&mut self, destination: &str, source: &str) {
        self.container.mounts.push(Mount {
            destination: PathBuf::from(destination),
            source: PathBuf::from(source),
            fresh: false,
        });
    }
}

fn within_limits(request: &Request, scene: &Scene) {
    if let Devices::List(list) = &request.devices {
        assert!((1..=4096).contains(&list.len()));
    }
    assert!(
        request
            .capabilities
            .without(scene.policy.capabilities)
            .is_empty()
    );
    assert!(request.requirements.len() <= 65);
    assert!(request.imex_channels.is_sorted_by(|a, b| a < b));
    assert!(request.imex_channels.iter().all(|c| *c < 1 << 20));
    assert!(scene.container.privileged || !(request.mig_config || request.mig_monitor));
    assert!(!scene.policy.disable_require || request.requirements.is_empty());
    assert!(!scene.policy.ignore_imex || request.imex_channels.is_empty());
}

/// The request written as variables of a privileged container is the same request.
fn reads_back(request: &Request, supported: CapabilitySet) {
    let join = |items: Vec<String>| items.join(",");
    let devices = match &request.devices {
        Devices::All => "all".to_owned(),
        Devices::DriverOnly => "none".to_owned(),
        Devices::List(list) => join(list.iter().map(ToString::to_string).collect()),
    };
    let channels = join(
        request
            .imex_channels
            .iter()
            .map(ToString::to_string)
            .collect(),
    );
    let mut env = vec![
        format!("NVIDIA_VISIBLE_DEVICES={devices}"),
        // Empty would be the default set.
        format!("NVIDIA_DRIVER_CAPABILITIES={},", request.capabilities),
        format!("NVIDIA_IMEX_CHANNELS={channels}"),
    ];
    // Numbered, so that they stay in order.
    let requirements = request.requirements.iter().enumerate();
    env.extend(requirements.map(|(n, r)| format!("NVIDIA_REQUIRE_{n:03}={}", r.expression)));
    for (asked, variable) in [
        (request.mig_config, "NVIDIA_MIG_CONFIG_DEVICES=all"),
        (request.mig_monitor, "NVIDIA_MIG_MONITOR_DEVICES=all"),
    ] {
        env.extend(asked.then(|| variable.to_owned()));
    }
    let mut container = Container::default();
    container.env = env;
    container.privileged = true;
    let mut policy = Policy::default();
    policy.capabilities = supported;
    let Ok(Asked {
        request: Some(again),
        ..
    }) = Request::read(&container, &policy)
    else {
        panic!("{:?} is no request", container.env);
    };
    let expressions = |r: &Request| -> Vec<String> {
        r.requirements
            .iter()
            .map(|r| r.expression.clone())
            .collect()
    };
    assert_eq!(expressions(&again), expressions(request));
    let mut expected = request.clone();
    expected.requirements.clone_from(&again.requirements);
    expected.source.clone_from(&again.source);
    assert_eq!(again, expected);
}

/// The container's config.json, plain and with every character spelled out, may hold a request.
fn is_possible(scene: &Scene) {
    let plain = config_json(&scene.container, |text| {
        serde_json::Value::from(text).to_string()
    });
    let parsed = Container::parse(plain.as_bytes()).unwrap();
    assert_eq!(parsed.env, scene.container.env);
    assert_eq!(parsed.mounts, scene.container.mounts);
    assert!(
        Request::possible(plain.as_bytes(), &scene.policy),
        "{plain}"
    );
    let spelled = config_json(&scene.container, |text| {
        let units = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
        format!("\"{}\"", units.collect::<String>())
    });
    assert!(Request::possible(spelled.as_bytes(), &scene.policy));
}

fn config_json(container: &Container, string: impl Fn(&str) -> String) -> String {
    let env: Vec<String> = container.env.iter().map(|e| string(e)).collect();
    let mount = |m: &Mount| {
        let [to, from] = [&m.destination, &m.source].map(|p| string(p.to_str().unwrap()));
        format!(r#"{{"destination":{to},"source":{from}}}"#)
    };
    let mounts: Vec<String> = container.mounts.iter().map(mount).collect();
    format!(
        r#"{{"process":{{"env":[{}]}},"mounts":[{}],"root":{{"path":"rootfs"}}}}"#,
        env.join(","),
        mounts.join(",")
    )
}
