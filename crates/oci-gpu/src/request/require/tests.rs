use super::*;

fn expression(text: &str) -> [Requirement; 1] {
    [Requirement {
        name: "NVIDIA_REQUIRE_CUDA".to_owned(),
        expression: text.to_owned(),
    }]
}

fn gpu(index: u32, arch: (u32, u32), brand: &str) -> DeviceTraits {
    DeviceTraits {
        index,
        arch: Some(arch),
        brand: Some(brand.to_owned()),
    }
}

fn facts(devices: &[DeviceTraits]) -> RequireFacts<'_> {
    RequireFacts {
        driver: "535.104.05",
        cuda: Some((12, 2)),
        devices,
    }
}

fn holds(text: &str) -> bool {
    check(&expression(text), &facts(&[gpu(0, (8, 0), "Tesla")])).is_ok()
}

fn message(text: &str) -> String {
    let devices = [gpu(0, (8, 0), "Tesla")];
    let finding = check(&expression(text), &facts(&devices)).unwrap_err();
    assert_eq!(finding.code, Code::Requirement);
    finding.message
}

#[test]
fn terms_compare_as_their_names_demand() {
    let rows = [
        ("cuda>=12.2", true),
        ("cuda>=12.10", false),
        ("cuda>12.2", false),
        ("cuda<12.3", true),
        ("cuda<=12.2.0.0", true),
        ("cuda=12.2", true),
        ("cuda=12", false),
        ("cuda!=12", true),
        ("cuda>=9.2", true),
        ("cuda>=012.02", true),
        ("driver>=535", true),
        ("driver>535.104.4", true),
        ("driver=535.104.5", true),
        ("driver<536", true),
        ("driver<535.104.05", false),
        ("driver>=4294967296", false),
        ("arch>=7.5", true),
        ("arch=8", true),
        ("arch<8", false),
        ("brand=Tesla", true),
        ("brand=tESLA", true),
        ("brand=geforce", false),
        ("brand!=geforce", true),
        ("brand!=tesla", false),
        ("brand=tesla2", false),
    ];
    for (text, expected) in rows {
        assert_eq!(holds(text), expected, "{text}");
    }
}

#[test]
fn commas_are_and_and_white_space_is_or() {
    let rows = [
        ("", true),
        ("   ", true),
        ("cuda>=12,driver>=535", true),
        ("cuda>=12,driver>=536", false),
        ("cuda>=13 driver>=535", true),
        ("cuda>=13 driver>=536 brand=tesla", true),
        ("cuda>=13 brand=tesla,driver>=535,driver<536", true),
        (
            "cuda>=13 brand=tesla,driver>=450,driver<451 brand=tesla,driver>=535,driver<536",
            true,
        ),
        ("cuda>=13\t brand=tesla,driver>=450,driver<451", false),
    ];
    for (text, expected) in rows {
        assert_eq!(holds(text), expected, "{text}");
    }
}

#[test]
fn terms_that_cannot_be_read_fail_and_spoil_only_their_alternative() {
    let bad = [
        "cuda",
        "cuda>=",
        "cuda==12",
        "cuda!12",
        "cuda=>12",
        "cuda><12",
        "cuda>=12.x",
        "cuda>=-1",
        "cuda>=.5",
        "cuda>=12..1",
        "cuda>=12.",
        "CUDA>=12",
        "cudas>=12",
        ">=12",
        "=",
        "brand<tesla",
        "brand=",
        "arch>=8.0a",
        "driver>=18446744073709551616",
        "memory>=16",
        ",",
        "cuda>=12,",
        "cuda>=1٢",
        "cuda>= 12",
        "\u{1b}[2J=1",
    ];
    for text in bad {
        assert!(!holds(text), "{text}");
        assert!(holds(&format!("{text} driver>=1")), "{text}");
        assert!(holds(&format!("driver>=1 {text}")), "{text}");
    }
    assert!(message("cuda==12").contains("\"cuda==12\" (its operator is none of"));
    let finding = check(&expression("memory>=16"), &facts(&[])).unwrap_err();
    assert!(
        finding
            .message
            .contains("none of cuda, driver, arch, brand"),
        "{finding}"
    );
    assert!(
        finding
            .remedy
            .starts_with("correct the expression, or set NVIDIA_DISABLE_REQUIRE")
    );
}

#[test]
fn every_term_that_fails_is_named_with_its_reason() {
    let text = message("cuda>=12.4 brand=geforce,driver>=470,driver<471 arch>=9,driver>=550");
    for part in [
        "NVIDIA_REQUIRE_CUDA: ",
        "cuda>=12.4 (the driver supports CUDA up to 12.2)",
        "brand=geforce (the brand of GPU 0 is Tesla)",
        "driver<471 driver>=550 (the driver is 535.104.05)",
        "arch>=9 (GPU 0 has compute capability 8.0)",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains("driver>=470"), "{text}");
}

#[test]
fn all_requirements_must_hold_and_all_that_fail_are_named() {
    let of = |name: &str, expression: &str| Requirement {
        name: name.to_owned(),
        expression: expression.to_owned(),
    };
    let requirements = [
        of("A", "cuda>=12"),
        of("B", "cuda>=13"),
        of("C", "driver>=600"),
    ];
    let finding = check(&requirements, &facts(&[])).unwrap_err();
    assert!(!finding.message.contains("A: "), "{finding}");
    assert!(finding.message.contains("B: cuda>=13 ("), "{finding}");
    assert!(finding.message.contains("; C: driver>=600 ("), "{finding}");
    assert!(check(&requirements[..1], &facts(&[])).is_ok());
    assert!(check(&[], &facts(&[])).is_ok());
}

#[test]
fn remedies_name_what_would_help() {
    let remedy = |text: &str| check(&expression(text), &facts(&[])).unwrap_err().remedy;
    let anyway = "set NVIDIA_DISABLE_REQUIRE=true in the container to start it all the same";
    assert_eq!(
        remedy("cuda>=12.4 driver>=550"),
        format!("install a newer driver, one that supports CUDA 12.4, or {anyway}")
    );
    assert_eq!(
        remedy("driver>550"),
        format!("install a newer driver, 550 or later, or {anyway}")
    );
    assert_eq!(remedy("driver<471"), anyway);
}

#[test]
fn each_gpu_must_do_and_without_gpus_their_terms_hold() {
    let devices = [gpu(0, (8, 0), "Tesla"), gpu(3, (7, 0), "GeForce")];
    let both = facts(&devices);
    assert!(check(&expression("brand=tesla brand=geforce"), &both).is_ok());
    let finding = check(&expression("arch>=7.5"), &both).unwrap_err();
    assert!(
        finding.message.contains("GPU 3 has compute capability 7.0"),
        "{finding}"
    );
    assert!(!finding.message.contains("GPU 0"), "{finding}");
    assert!(check(&expression("arch>=99,brand=x"), &facts(&[])).is_ok());
    assert!(check(&expression("arch>=99,cuda>=99"), &facts(&[])).is_err());
}

#[test]
fn what_is_not_known_fails_and_says_so() {
    let devices = [DeviceTraits {
        index: 1,
        arch: None,
        brand: None,
    }];
    let unknown = RequireFacts {
        driver: "535.104.05-custom",
        cuda: None,
        devices: &devices,
    };
    let rows = [
        (
            "cuda>=1",
            "which CUDA version driver 535.104.05-custom supports is not known",
        ),
        (
            "driver>=1",
            "the driver is 535.104.05-custom, which is no version",
        ),
        ("arch!=1", "the compute capability of GPU 1 is not known"),
        ("brand!=tesla", "the brand of GPU 1 is not known"),
    ];
    for (text, reason) in rows {
        let finding = check(&expression(text), &unknown).unwrap_err();
        assert!(finding.message.contains(reason), "{finding}");
    }
}

/// The form that CUDA images have: one alternative for the driver's own CUDA, then one for each
/// brand and driver branch with forward compatibility.
#[test]
fn the_expression_of_a_cuda_image() {
    let mut text = "cuda>=12.4".to_owned();
    for brand in ["tesla", "unknown", "nvidia", "quadro", "geforce", "titan"] {
        for branch in [470, 525, 535] {
            text += &format!(" brand={brand},driver>={branch},driver<{}", branch + 1);
        }
    }
    assert!(holds(&text));
    let devices = [gpu(0, (8, 9), "GeForceRTX")];
    let finding = check(&expression(&text), &facts(&devices)).unwrap_err();
    assert_eq!(
        finding.message.matches("the driver is 535.104.05").count(),
        1
    );
    assert_eq!(finding.message.matches("brand=tesla").count(), 1);
    assert!(
        finding.to_string().contains("NVIDIA_DISABLE_REQUIRE"),
        "{finding}"
    );
}

#[test]
fn expressions_are_bounded() {
    for text in [
        "cuda>=1 ".repeat(4000),
        "driver=1,".repeat(TERM_LIMIT),
        ",".repeat(EXPRESSION_LIMIT),
    ] {
        let finding = check(&expression(&text), &facts(&[])).unwrap_err();
        assert!(finding.message.contains("more than"), "{finding}");
        assert!(finding.remedy.contains("NVIDIA_DISABLE_REQUIRE"));
    }
    let largest = "cuda>=99,".repeat(TERM_LIMIT - 1) + "cuda>=99";
    assert!(message(&largest).contains("cuda>=99"));
}

proptest::proptest! {
    #[test]
    fn no_expression_panics(text in "\\PC{0,60}|([a-z]{0,6}[<>=!]{0,3}[0-9.]{0,6}[ ,]?){0,8}") {
        let devices = [gpu(0, (8, 0), "Tesla")];
        let _ = check(&expression(&text), &facts(&devices));
    }

    #[test]
    fn versions_compare_like_tuples(a: (u32, u32), b: (u32, u32)) {
        let text = |v: (u32, u32)| format!("{}.{}", v.0, v.1);
        let (x, y) = (text(a), text(b));
        let order = Version::parse(&x).unwrap().compare(Version::parse(&y).unwrap());
        proptest::prop_assert_eq!(order, a.cmp(&b));
    }
}
