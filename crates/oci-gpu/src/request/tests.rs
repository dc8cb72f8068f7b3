//! The grammar as a whole: a row per row of the reference's behaviour, and per defect of it that
//! must not come back.

use super::*;
use crate::container::Mount;
use crate::finding::Code;

fn container(env: &[&str]) -> Container {
    Container {
        env: env.iter().map(|e| (*e).to_owned()).collect(),
        ..Container::default()
    }
}

fn privileged(env: &[&str]) -> Container {
    Container {
        privileged: true,
        ..container(env)
    }
}

fn mounted(mounts: &[(&str, &str)]) -> Container {
    let mounts = mounts.iter().map(|(source, destination)| Mount {
        source: source.into(),
        destination: destination.into(),
        ..Mount::default()
    });
    Container {
        mounts: mounts.collect(),
        ..Container::default()
    }
}

fn read(env: &[&str]) -> Result<Asked, Finding> {
    Request::read(&container(env), &Policy::default())
}

fn request(env: &[&str]) -> Request {
    let asked = read(env).unwrap_or_else(|e| panic!("{env:?}: {e}"));
    assert_eq!(asked.notes, [], "{env:?}");
    asked
        .request
        .unwrap_or_else(|| panic!("{env:?}: no request"))
}

fn error(env: &[&str]) -> Finding {
    match Request::read(&privileged(env), &Policy::default()) {
        Err(finding) => finding,
        Ok(asked) => panic!("{env:?}: {asked:?}"),
    }
}

/// Devices as one text: "all", "none", or names with blanks between.
fn text(devices: &Devices) -> String {
    match devices {
        Devices::All => "all".to_owned(),
        Devices::DriverOnly => "none".to_owned(),
        Devices::List(list) => {
            let names: Vec<String> = list.iter().map(DeviceId::to_string).collect();
            names.join(" ")
        }
    }
}

fn devices(env: &[&str]) -> Option<String> {
    let asked = read(env).unwrap_or_else(|e| panic!("{env:?}: {e}"));
    asked.request.map(|r| text(&r.devices))
}

#[test]
fn visible_devices_as_the_reference_reads_them() {
    let rows: [(&[&str], Option<&str>); 26] = [
        (&[], None),
        (&["PATH=/bin", "NVIDIA_VISIBLE_DEVICES"], None),
        (&["NVIDIA_VISIBLE_DEVICES="], None),
        (&["NVIDIA_VISIBLE_DEVICES=,  ,"], None),
        (&["NVIDIA_VISIBLE_DEVICES=void"], None),
        (&["NVIDIA_VISIBLE_DEVICES=0,void"], None),
        (&["NVIDIA_VISIBLE_DEVICES=all, void"], None),
        (&["NVIDIA_VISIBLE_DEVICES=../../dev/mem,void"], None),
        (&["NVIDIA_VISIBLE_DEVICES=none"], Some("none")),
        (&["NVIDIA_VISIBLE_DEVICES=0,none"], Some("none")),
        (&["NVIDIA_VISIBLE_DEVICES=all"], Some("all")),
        (&["NVIDIA_VISIBLE_DEVICES=ALL"], Some("all")),
        (&["NVIDIA_VISIBLE_DEVICES=0,all"], Some("all")),
        (&["NVIDIA_VISIBLE_DEVICES=all,none"], Some("all")),
        (&["NVIDIA_VISIBLE_DEVICES=none,all"], Some("none")),
        (&["NVIDIA_VISIBLE_DEVICES=0, 1,,2"], Some("0 1 2")),
        (
            &["NVIDIA_VISIBLE_DEVICES=0,GPU-abc,0:1,MIG-00000000-0000-4000-8000-000000000001"],
            Some("0 GPU-abc 0:1 MIG-00000000-0000-4000-8000-000000000001"),
        ),
        (
            &["NVIDIA_VISIBLE_DEVICES=nvidia.com/gpu=0"],
            Some("nvidia.com/gpu=0"),
        ),
        (&["NVIDIA_VISIBLE_DEVICES=99999"], Some("99999")),
        // Defect 1: a repeated name lost its GPU.
        (&["NVIDIA_VISIBLE_DEVICES=0,0"], Some("0")),
        (&["NVIDIA_VISIBLE_DEVICES=0,0,1"], Some("0 1")),
        (
            &["NVIDIA_VISIBLE_DEVICES=1,GPU-AB,0,gpu-ab,1"],
            Some("1 GPU-ab 0"),
        ),
        (
            &["NVIDIA_VISIBLE_DEVICES=1a:00.0,00000000:1A:00.0"],
            Some("0000:1a:00.0"),
        ),
        // Defect 2: another request made the GPUs vanish.
        (
            &[
                "NVIDIA_VISIBLE_DEVICES=0",
                "NVIDIA_GDS=enabled",
                "NVIDIA_MOFED=enabled",
            ],
            Some("0"),
        ),
        // Defect 28: a variable given twice. The last one counts, as for the reference.
        (
            &["NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_VISIBLE_DEVICES=1"],
            Some("1"),
        ),
        (
            &["NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_VISIBLE_DEVICES="],
            None,
        ),
    ];
    for (env, expected) in rows {
        assert_eq!(devices(env).as_deref(), expected, "{env:?}");
    }
}

#[test]
fn bad_device_names_name_the_variable_the_item_and_the_forms() {
    for item in [
        "../../dev/mem",
        "-1",
        "+1",
        "4294967296",
        "٣",
        "0 1",
        "nvidia0",
        "GPU-",
        "0:1:2",
        "0\u{1b}[2J",
    ] {
        let finding = error(&[&format!("NVIDIA_VISIBLE_DEVICES=0,{item}")]);
        assert_eq!(finding.code, Code::RequestSyntax, "{item}");
        assert!(
            finding.message.starts_with("NVIDIA_VISIBLE_DEVICES: "),
            "{finding}"
        );
        assert!(finding.message.contains(item), "{finding}");
        for form in [
            "all",
            "none",
            "GPU-",
            "0000:1a:00.0",
            "0:1",
            "MIG-",
            "nvidia.com/gpu=0",
        ] {
            assert!(finding.remedy.contains(form), "{finding}");
        }
        assert!(!finding.to_string().contains('\u{1b}'));
    }
    let finding = error(&["NVIDIA_VISIBLE_DEVICES=None"]);
    assert!(finding.message.contains("none, in lower case"), "{finding}");
    let finding = error(&[&format!("NVIDIA_VISIBLE_DEVICES={}", "x".repeat(1 << 20))]);
    assert!(finding.message.len() < 300, "{}", finding.message.len());
}

#[test]
fn images_from_before_these_variables() {
    let old = request(&["CUDA_VERSION=9.0.176"]);
    assert_eq!(old.devices, Devices::All);
    assert_eq!(old.capabilities, CapabilitySet::all());
    assert_eq!(old.requirements[0].expression, "cuda>=9.0");
    assert_eq!(old.requirements[0].name, "CUDA_VERSION");
    assert_eq!(old.source, "CUDA_VERSION");
    assert_eq!(old.imex_channels, [0_u32; 0]);

    let none: [&[&str]; 4] = [
        &["CUDA_VERSION=9.0.1", "NVIDIA_REQUIRE_CUDA=cuda>=9.0"],
        &["CUDA_VERSION=9.0.1", "NVIDIA_VISIBLE_DEVICES="],
        &["CUDA_VERSION=9.0.1", "NVIDIA_VISIBLE_DEVICES=void"],
        &["CUDA_VERSION="],
    ];
    for env in none {
        assert_eq!(devices(env), None, "{env:?}");
    }
    let mixed = request(&[
        "CUDA_VERSION=8",
        "NVIDIA_VISIBLE_DEVICES=0",
        "NVIDIA_REQUIRE_CUDA=",
    ]);
    assert_eq!(mixed.requirements.len(), 1);
    assert_eq!(mixed.requirements[0].expression, "cuda>=8.0");
}

#[test]
fn a_cuda_version_that_is_none_stops_only_who_asks_for_gpus() {
    for version in ["bogus", "11.2.3.4", "cu121"] {
        let version = format!("CUDA_VERSION={version}");
        let asked = read(&[&version]).unwrap();
        assert!(asked.request.is_none());
        assert_eq!(asked.notes[0].code, Code::RequestIgnored);
        let finding = error(&[&version, "NVIDIA_VISIBLE_DEVICES=all"]);
        assert_eq!(finding.code, Code::RequestSyntax);
        assert!(finding.message.starts_with("CUDA_VERSION: "), "{finding}");
        let disabled = request(&[
            &version,
            "NVIDIA_VISIBLE_DEVICES=all",
            "NVIDIA_DISABLE_REQUIRE=1",
        ]);
        assert_eq!(disabled.requirements, []);
    }
}

#[test]
fn swarm_variables_replace_the_usual_one() {
    let policy = Policy {
        swarm_resources: vec!["A".to_owned(), "B".to_owned()],
        ..Policy::default()
    };
    let rows: [(&[&str], _); 6] = [
        (
            &["NVIDIA_VISIBLE_DEVICES=all", "A=3", "B=4"],
            Some(("3 4", "A, B")),
        ),
        (
            &["B=4,0", "NVIDIA_VISIBLE_DEVICES=all", "A=4"],
            Some(("4 0", "A, B")),
        ),
        (&["B=GPU-1"], Some(("GPU-1", "B"))),
        (&["A=", "NVIDIA_VISIBLE_DEVICES=all"], None),
        (&["A=0", "B=void"], None),
        (
            &["NVIDIA_VISIBLE_DEVICES=2"],
            Some(("2", "NVIDIA_VISIBLE_DEVICES")),
        ),
    ];
    for (env, expected) in rows {
        let asked = Request::read(&container(env), &policy).unwrap();
        let got = asked.request.map(|r| (text(&r.devices), r.source));
        let got = got.as_ref().map(|(d, s)| (d.as_str(), s.as_str()));
        assert_eq!(got, expected, "{env:?}");
    }
    let finding = Request::read(&container(&["A=0", "B=x"]), &policy).unwrap_err();
    assert!(finding.message.starts_with("B: \"x\""), "{finding}");
}

fn by_mounts(mounts: &[(&str, &str)]) -> Result<Asked, Finding> {
    let policy = Policy {
        volume_mounts: true,
        env_when_unprivileged: false,
        ..Policy::default()
    };
    Request::read(&mounted(mounts), &policy)
}

#[test]
fn volume_mounts_ask_without_privilege() {
    const D: &str = "/var/run/nvidia-container-devices";
    let numbers = "MIG-GPU-00000000-0000-4000-8000-000000000001/1/0";
    let rows: [(&[&str], Option<&str>); 15] = [
        (&["0"], Some("0")),
        (&["0", "GPU-1", "0"], Some("0 GPU-1")),
        (&["all"], Some("all")),
        (&["none", "0"], Some("none")),
        (&["void", "0"], None),
        (&[numbers], Some(numbers)),
        (&["cdi/nvidia.com/gpu/0"], Some("nvidia.com/gpu=0")),
        (&["cdi/nvidia.com/gpu=0:1"], Some("nvidia.com/gpu=0:1")),
        (&["./0/"], Some("0")),
        (&["/1"], Some("1")),
        (&[""], None),
        (&["imex/0"], None),
        (&["imex/0", "2"], Some("2")),
        // Defect 5: another directory whose name begins alike.
        (&["-evil/5"], None),
        (&["x/../0"], Some("error")),
    ];
    for (names, expected) in rows {
        let paths: Vec<String> = names
            .iter()
            .map(|n| {
                if n.starts_with('-') {
                    format!("{D}{n}")
                } else {
                    format!("{D}/{n}")
                }
            })
            .collect();
        let mounts: Vec<_> = paths.iter().map(|p| ("/dev/null", p.as_str())).collect();
        let got = match by_mounts(&mounts) {
            Ok(asked) => asked.request.map(|r| text(&r.devices)),
            Err(finding) => {
                assert_eq!(finding.code, Code::RequestSyntax);
                Some("error".to_owned())
            }
        };
        assert_eq!(got.as_deref(), expected, "{names:?}");
    }
}

#[test]
fn volume_mounts_of_other_files_ask_for_nothing() {
    let at = "/var/run/nvidia-container-devices/all";
    for source in [
        "/dev/zero",
        "",
        "/tmp/x",
        "/dev/null/x",
        "dev/null",
        "/dev/../dev/null",
    ] {
        let asked = by_mounts(&[(source, at)]).unwrap();
        assert!(asked.request.is_none(), "{source}");
        assert_eq!(asked.notes[0].code, Code::RequestIgnored);
    }
    assert!(
        by_mounts(&[("/dev//./null", at)])
            .unwrap()
            .request
            .is_some()
    );
    let elsewhere = [("/dev/null", "/var/run/other/0"), ("/dev/null", "/dev/x")];
    assert!(by_mounts(&elsewhere).unwrap().notes.is_empty());
    let off = Request::read(&mounted(&[("/dev/null", at)]), &Policy::default()).unwrap();
    assert!(off.request.is_none());
}

#[test]
fn hostile_volume_mounts_are_refused() {
    const D: &str = "/var/run/nvidia-container-devices";
    for name in [
        "..",
        "../0",
        "0/..",
        "../../../dev/mem",
        "0/1",
        "0,1",
        "imex",
        "imex/0/1",
        "cdi",
        "cdi/nvidia.com",
        "cdi/nvidia.com/gpu",
        "cdi/nvidia.com/gpu/0/1",
        "cdi/nvidia.com/gpu/a=b",
        "cdi/../gpu/0",
        "0\n",
    ] {
        let at = format!("{D}/{name}");
        let mounts = [("/dev/null", at.as_str())];
        // Without a device mount the channels are not looked at: ask for one.
        let with_device = [
            mounts[0],
            ("/dev/null", "/var/run/nvidia-container-devices/0"),
        ];
        let finding = by_mounts(&with_device).unwrap_err();
        assert_eq!(finding.code, Code::RequestSyntax, "{name}");
        assert!(!finding.to_string().contains('\n'));
    }
    let many: Vec<String> = (0..10_000).map(|i| format!("{D}/{i}")).collect();
    let many: Vec<_> = many.iter().map(|p| ("/dev/null", p.as_str())).collect();
    assert!(by_mounts(&many).unwrap_err().message.contains("4096"));
}

#[test]
fn mounts_win_over_variables() {
    let policy = Policy {
        volume_mounts: true,
        ..Policy::default()
    };
    let mut c = mounted(&[
        ("/dev/null", "/var/run/nvidia-container-devices/3"),
        ("/dev/null", "/var/run/nvidia-container-devices/imex/7"),
    ]);
    c.env = vec![
        "NVIDIA_VISIBLE_DEVICES=all".to_owned(),
        "NVIDIA_IMEX_CHANNELS=1".to_owned(),
    ];
    let request = Request::read(&c, &policy).unwrap().request.unwrap();
    assert_eq!(text(&request.devices), "3");
    assert_eq!(request.imex_channels, [7]);
    assert_eq!(request.source, "volume mounts");
}

#[test]
fn unprivileged_containers_ask_by_variable_only_where_policy_lets_them() {
    let strict = Policy {
        env_when_unprivileged: false,
        ..Policy::default()
    };
    for env in [
        &["NVIDIA_VISIBLE_DEVICES=all"][..],
        &["NVIDIA_VISIBLE_DEVICES=x"],
        &["CUDA_VERSION=9.0"],
    ] {
        let asked = Request::read(&container(env), &strict).unwrap();
        assert!(asked.request.is_none());
        assert_eq!(asked.notes[0].code, Code::RequestIgnored);
        assert!(
            asked.notes[0].message.contains("not privileged"),
            "{:?}",
            asked.notes
        );
    }
    for env in [
        &["NVIDIA_VISIBLE_DEVICES=void"][..],
        &["NVIDIA_VISIBLE_DEVICES="],
        &[],
    ] {
        let asked = Request::read(&container(env), &strict).unwrap();
        assert!(asked.request.is_none() && asked.notes.is_empty());
    }
    let asked = Request::read(&privileged(&["NVIDIA_VISIBLE_DEVICES=all"]), &strict).unwrap();
    assert!(asked.request.is_some() && asked.notes.is_empty());
}

#[test]
fn driver_capabilities() {
    let all = "compat32,compute,display,graphics,ngx,utility,video";
    let rows: [(&[&str], &str); 9] = [
        (&[], "compute,utility"),
        (&["NVIDIA_DRIVER_CAPABILITIES="], "compute,utility"),
        (
            &["NVIDIA_DRIVER_CAPABILITIES=video,utility,video"],
            "utility,video",
        ),
        (
            &["NVIDIA_DRIVER_CAPABILITIES= graphics , compat32,"],
            "compat32,graphics",
        ),
        (&["NVIDIA_DRIVER_CAPABILITIES=all"], all),
        (&["NVIDIA_DRIVER_CAPABILITIES=video,all"], all),
        (&["NVIDIA_DRIVER_CAPABILITIES=,"], ""),
        (&["CUDA_VERSION=9.0"], all),
        (
            &["CUDA_VERSION=9.0", "NVIDIA_DRIVER_CAPABILITIES="],
            "compute,utility",
        ),
    ];
    for (env, expected) in rows {
        let env = [&["NVIDIA_VISIBLE_DEVICES=0"], env].concat();
        assert_eq!(request(&env).capabilities.to_string(), expected, "{env:?}");
    }
}

#[test]
fn capability_errors_list_the_words_and_what_is_allowed() {
    // Defect 39: the reference prints "allowed ''" here.
    for word in ["none", "comput", "compute32", "Compute", "ALL"] {
        let variable = format!("NVIDIA_DRIVER_CAPABILITIES=utility,{word}");
        let finding = error(&["NVIDIA_VISIBLE_DEVICES=0", &variable]);
        assert_eq!(finding.code, Code::RequestCapability);
        assert!(
            finding
                .message
                .contains(&format!("NVIDIA_DRIVER_CAPABILITIES: \"{word}\""))
        );
        for c in crate::Capability::ALL {
            assert!(finding.remedy.contains(c.as_str()), "{finding}");
        }
        let differs_by_case = word.to_lowercase() != word;
        assert_eq!(
            finding.message.contains(", but "),
            differs_by_case,
            "{finding}"
        );
    }
    let policy = Policy {
        capabilities: [crate::Capability::Compute, crate::Capability::Video]
            .into_iter()
            .collect(),
        ..Policy::default()
    };
    let read = |value: &str| {
        let value = format!("NVIDIA_DRIVER_CAPABILITIES={value}");
        Request::read(&container(&["NVIDIA_VISIBLE_DEVICES=0", &value]), &policy)
    };
    let finding = read("graphics,display,compute").unwrap_err();
    assert_eq!(finding.code, Code::RequestCapability);
    assert!(
        finding.message.contains("display,graphics is not allowed"),
        "{finding}"
    );
    assert!(
        finding.message.contains("only compute,video is"),
        "{finding}"
    );
    let capabilities = |value| {
        read(value)
            .unwrap()
            .request
            .unwrap()
            .capabilities
            .to_string()
    };
    assert_eq!(capabilities("all"), "compute,video");
    assert_eq!(capabilities(""), "compute");
    // What follows `all` decides nothing, but is not passed over in silence.
    let asked = read("all,what").unwrap();
    assert!(asked.notes[0].message.contains("\"what\""));
}

#[test]
fn requirements_are_all_of_their_variables_by_name() {
    let request = request(&[
        "NVIDIA_VISIBLE_DEVICES=0",
        "NVIDIA_REQUIRE_DRIVER=driver>=535",
        "NVIDIA_REQUIRE_CUDA=cuda>=12.0",
        "NVIDIA_REQUIRE_CUDA= cuda>=12.4 brand=tesla,driver>=535 ",
        "NVIDIA_REQUIRE_JETPACK=csv-mounts=all",
        "NVIDIA_REQUIRE_JETPACK_HOST_MOUNTS=base-only",
        "NVIDIA_REQUIRE_EMPTY= ",
        "NVIDIA_REQUIRE",
    ]);
    let got: Vec<_> = request
        .requirements
        .iter()
        .map(|r| (r.name.as_str(), r.expression.as_str()))
        .collect();
    assert_eq!(
        got,
        [
            ("NVIDIA_REQUIRE_CUDA", "cuda>=12.4 brand=tesla,driver>=535"),
            ("NVIDIA_REQUIRE_DRIVER", "driver>=535"),
        ]
    );
    let many: Vec<String> = (0..65)
        .map(|i| format!("NVIDIA_REQUIRE_{i}=cuda>=1"))
        .collect();
    let mut env: Vec<&str> = many.iter().map(String::as_str).collect();
    env.push("NVIDIA_VISIBLE_DEVICES=0");
    assert!(error(&env).message.contains("more than 64"));
}

#[test]
fn requirements_can_be_switched_off() {
    fn env(switch: &str) -> [&str; 3] {
        [
            "NVIDIA_VISIBLE_DEVICES=0",
            "NVIDIA_REQUIRE_CUDA=cuda>=99",
            switch,
        ]
    }
    for on in ["1", "t", "T", "TRUE", "true", "True"] {
        let switch = format!("NVIDIA_DISABLE_REQUIRE={on}");
        assert_eq!(request(&env(&switch)).requirements, [], "{on}");
    }
    for off in ["", "0", "false", "F"] {
        let switch = format!("NVIDIA_DISABLE_REQUIRE={off}");
        assert_eq!(request(&env(&switch)).requirements.len(), 1, "{off}");
    }
    let asked = read(&env("NVIDIA_DISABLE_REQUIRE=yes")).unwrap();
    assert_eq!(asked.request.unwrap().requirements.len(), 1);
    assert!(asked.notes[0].message.contains("\"yes\" is no switch"));
    let policy = Policy {
        disable_require: true,
        ..Policy::default()
    };
    let asked = Request::read(&container(&env("A=")), &policy).unwrap();
    assert_eq!(asked.request.unwrap().requirements, []);
}

#[test]
fn all_of_mig_is_for_privileged_containers() {
    let variables = ["NVIDIA_MIG_CONFIG_DEVICES", "NVIDIA_MIG_MONITOR_DEVICES"];
    for (i, variable) in variables.into_iter().enumerate() {
        let all = format!("{variable}=all");
        let env = ["NVIDIA_VISIBLE_DEVICES=0", &all];
        let asked = Request::read(&privileged(&env), &Policy::default()).unwrap();
        let request = asked.request.unwrap();
        assert_eq!((request.mig_config, request.mig_monitor), (i == 0, i == 1));
        let finding = read(&env).unwrap_err();
        assert_eq!(finding.code, Code::RequestDenied);
        assert!(finding.message.contains(variable), "{finding}");
        let finding = error(&["NVIDIA_VISIBLE_DEVICES=0", &format!("{variable}=0")]);
        assert_eq!(finding.code, Code::RequestSyntax);
        let unset = self::request(&["NVIDIA_VISIBLE_DEVICES=0", &format!("{variable}=")]);
        assert!(!unset.mig_config && !unset.mig_monitor);
        assert!(
            read(&[&all]).unwrap().request.is_none(),
            "only GPU containers are looked at"
        );
    }
}

#[test]
fn imex_channels() {
    let read = |value: &str, policy: &Policy| {
        let value = format!("NVIDIA_IMEX_CHANNELS={value}");
        Request::read(&container(&["NVIDIA_VISIBLE_DEVICES=0", &value]), policy)
    };
    let rows: [(&str, &[u32]); 8] = [
        ("", &[]),
        ("void", &[]),
        ("0,void", &[]),
        // Defect 4: `none` gave every channel of the node.
        ("none", &[]),
        ("0", &[0]),
        ("7, 3,,7,0", &[0, 3, 7]),
        ("1048575", &[1_048_575]),
        ("2,2,2,2", &[2]),
    ];
    for (value, expected) in rows {
        let asked = read(value, &Policy::default()).unwrap();
        assert_eq!(asked.request.unwrap().imex_channels, expected, "{value}");
        assert!(asked.notes.is_empty());
    }
    for value in [
        "-1",
        "1048576",
        "4294967296",
        "x",
        "0:1",
        "channel0",
        "+1",
        "1 2",
    ] {
        let finding = read(value, &Policy::default()).unwrap_err();
        assert_eq!(finding.code, Code::RequestSyntax);
        assert!(
            finding
                .message
                .contains(&format!("NVIDIA_IMEX_CHANNELS: \"{value}\""))
        );
    }
    let ignoring = Policy {
        ignore_imex: true,
        ..Policy::default()
    };
    for (value, policy) in [
        ("all", &Policy::default()),
        ("0,all", &Policy::default()),
        ("0", &ignoring),
    ] {
        let asked = read(value, policy).unwrap();
        assert_eq!(asked.request.unwrap().imex_channels, [0_u32; 0]);
        assert_eq!(asked.notes[0].code, Code::RequestIgnored, "{value}");
    }
    assert!(read("", &ignoring).unwrap().notes.is_empty());
    // A CDI name among the devices is no way around.
    let named = |policy: &Policy| {
        let value = "NVIDIA_VISIBLE_DEVICES=0,nvidia.com/imex-channel=3";
        let asked = Request::read(&container(&[value, "NVIDIA_IMEX_CHANNELS=1"]), policy).unwrap();
        (asked.request.unwrap().imex_channels, asked.notes.len())
    };
    assert_eq!(named(&Policy::default()), (vec![1, 3], 0));
    assert_eq!(named(&ignoring), (vec![], 1));
    let bad = by_mounts(&[
        ("/dev/null", "/var/run/nvidia-container-devices/0"),
        ("/dev/null", "/var/run/nvidia-container-devices/imex/-1"),
    ]);
    assert_eq!(bad.unwrap_err().code, Code::RequestSyntax);
}

#[test]
fn imex_channels_by_variable_need_leave_too() {
    let policy = Policy {
        env_when_unprivileged: false,
        volume_mounts: true,
        ..Policy::default()
    };
    let mut c = mounted(&[("/dev/null", "/var/run/nvidia-container-devices/0")]);
    c.env = vec!["NVIDIA_IMEX_CHANNELS=1".to_owned()];
    let asked = Request::read(&c, &policy).unwrap();
    assert_eq!(asked.request.unwrap().imex_channels, [0_u32; 0]);
    assert!(asked.notes[0].message.contains("not privileged"));
}

#[test]
fn annotations_ask_for_nothing() {
    let c = Container {
        annotations: vec![("cdi.k8s.io/gpu".to_owned(), "nvidia.com/gpu=all".to_owned())],
        ..Container::default()
    };
    assert!(
        Request::read(&c, &Policy::default())
            .unwrap()
            .request
            .is_none()
    );
}

#[test]
fn what_may_ask_is_told_from_the_bytes() {
    let policy = Policy {
        swarm_resources: vec!["DOCKER_RESOURCE_GPU".to_owned()],
        volume_mounts: true,
        ..Policy::default()
    };
    let cases = [
        (
            r#"{"env": ["PATH=/bin", "NVIDIA=1", "A=\u0026\u003c\u001b\u2028\\"]}"#,
            false,
        ),
        (r#"{"env": ["NVIDIA_VISIBLE_DEVICES=all"]}"#, true),
        (r#"{"env": ["CUDA_VERSION=9"]}"#, true),
        (r#"{"env": ["DOCKER_RESOURCE_GPU=9"]}"#, true),
        (
            r#"{"destination": "/var/run/nvidia-container-devices/0"}"#,
            true,
        ),
        (r#"{"env": ["NVIDIA\u005fVISIBLE_DEVICES=all"]}"#, true),
        (r#"{"env": ["\u004EVIDIA_VISIBLE_DEVICES=all"]}"#, true),
        (r#"{"env": ["\u00"#, true),
        ("not JSON", false),
        ("", false),
    ];
    for (config, expected) in cases {
        assert_eq!(
            Request::possible(config.as_bytes(), &policy),
            expected,
            "{config}"
        );
    }
    let default = Policy::default();
    assert!(!Request::possible(cases[3].0.as_bytes(), &default));
    assert!(!Request::possible(cases[4].0.as_bytes(), &default));
    assert!(!Request::possible(&[0xff, 0xfe, b'{'], &default));
}

/// What `possible` refuses must never be a request: it decides for whole hosts.
#[test]
fn whatever_asks_is_possible() {
    let policy = Policy {
        volume_mounts: true,
        swarm_resources: vec!["SWARM".to_owned()],
        ..Policy::default()
    };
    let members = [
        r#""process": {"env": ["NVIDIA_VISIBLE_DEVICES=0"]}"#,
        r#""process": {"env": ["CUDA_VERSION=9.0"]}"#,
        r#""process": {"env": ["SWARM=none"]}"#,
        r#""process": {"env": ["NVIDIA_VISIBLE_DEVIC\u0045S=0"]}"#,
        r#""mounts": [{"source": "\/dev\/null",
            "destination": "\/var\/run\/nvidia-container-devices\/0"}]"#,
    ];
    for member in members {
        let config = format!(r#"{{"root": {{"path": "r"}}, {member}}}"#);
        let container = Container::parse(config.as_bytes()).unwrap();
        assert!(
            Request::read(&container, &policy)
                .unwrap()
                .request
                .is_some(),
            "{member}"
        );
        assert!(Request::possible(config.as_bytes(), &policy), "{member}");
    }
}

proptest::proptest! {
    #[test]
    fn no_environment_panics(
        values in proptest::collection::vec("[0-9a-zA-Z,.:/=<>!v -]{0,20}|\\PC{0,20}", 8),
        privileged: bool,
        volume_mounts: bool,
    ) {
        let names = [
            VISIBLE, CUDA_VERSION, "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_IMEX_CHANNELS",
            "NVIDIA_REQUIRE_CUDA", "NVIDIA_DISABLE_REQUIRE", "NVIDIA_MIG_CONFIG_DEVICES",
        ];
        let env = names.iter().zip(&values).map(|(n, v)| format!("{n}={v}")).collect();
        let mount = Mount {
            source: "/dev/null".into(),
            destination: format!("/var/run/nvidia-container-devices/{}", values[7]).into(),
            ..Mount::default()
        };
        let container = Container { env, privileged, mounts: vec![mount], ..Container::default() };
        let policy = Policy { volume_mounts, ..Policy::default() };
        let _ = Request::read(&container, &policy);
    }
}
