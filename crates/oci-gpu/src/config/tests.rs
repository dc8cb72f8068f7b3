use super::*;
use crate::capability::CapabilitySet;

/// A host with these files.
fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = dir.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let host = Host::at(dir.path());
    (dir, host)
}

fn ours(content: &str) -> Result<Config, Finding> {
    Config::load(None, &host(&[(OWN_FILE, content)]).1)
}

fn nvidias(content: &str) -> Result<Config, Finding> {
    Config::load(None, &host(&[(NVIDIA_FILE, content)]).1)
}

fn refused(result: Result<Config, Finding>) -> String {
    let finding = result.unwrap_err();
    assert_eq!(finding.code, Code::Config);
    assert!(!finding.remedy.is_empty());
    finding.to_string()
}

#[test]
fn the_first_file_that_exists_counts() {
    let both = [
        (OWN_FILE, "no-cgroups = true"),
        (NVIDIA_FILE, "disable-require = true"),
    ];
    let config = Config::load(None, &host(&both).1).unwrap();
    assert!(config.no_cgroups && !config.policy.disable_require);
    assert_eq!(config.source.as_deref(), Some(Path::new(OWN_FILE)));

    let config = Config::load(None, &host(&both[1..]).1).unwrap();
    assert!(config.policy.disable_require);
    assert_eq!(config.source.as_deref(), Some(Path::new(NVIDIA_FILE)));

    assert_eq!(Config::load(None, &host(&[]).1), Ok(Config::default()));
    assert_eq!(
        Config::load(None, &host(&[("/etc/x", "")]).1),
        Ok(Config::default())
    );
    assert_eq!(ours("").unwrap().policy, Policy::default());
}

#[test]
fn every_key_of_ours() {
    let config = ours(
        r#"
        driver-capabilities = "compute, utility"
        env-when-unprivileged = false
        volume-mounts = true
        swarm-resources = ["A", " B "]
        disable-require = true
        ignore-imex-channels = true
        driver-root = "/run/nvidia/driver"
        dev-root = "/host"
        cuda-compat = false
        mps-pipe-directory = "/run/mps"
        create-device-nodes = true
        no-cgroups = true
        log = "/var/log/oci-gpu.log"
        "#,
    );
    let expected = Config {
        policy: Policy {
            capabilities: CapabilitySet::default_set(),
            env_when_unprivileged: false,
            volume_mounts: true,
            swarm_resources: vec!["A".to_owned(), "B".to_owned()],
            disable_require: true,
            ignore_imex: true,
        },
        driver_root: Some("/run/nvidia/driver".into()),
        dev_root: Some("/host".into()),
        cuda_compat: false,
        mps_directory: Some("/run/mps".into()),
        create_device_nodes: true,
        no_cgroups: true,
        log: Some("/var/log/oci-gpu.log".into()),
        source: Some(OWN_FILE.into()),
    };
    assert_eq!(config, Ok(expected));
    let all = ours("driver-capabilities = ['all']\nswarm-resources = 'A,B,'").unwrap();
    assert_eq!(all.policy.capabilities, CapabilitySet::all());
    assert_eq!(all.policy.swarm_resources, ["A", "B"]);
}

#[test]
fn each_key_is_read_alone() {
    for key in keys::OURS {
        let value = match key {
            "driver-capabilities" | "swarm-resources" => "'video'",
            "driver-root" | "dev-root" | "log" | "mps-pipe-directory" => "'/x'",
            "env-when-unprivileged" | "cuda-compat" => "false",
            _ => "true",
        };
        let mut config = ours(&format!("{key} = {value}")).unwrap_or_else(|e| panic!("{e}"));
        config.source = None;
        assert_ne!(config, Config::default(), "{key} has no effect");
        let text = refused(ours(&format!("# a comment\n\n{key} = 5")));
        assert!(
            text.contains(&format!("config.toml:3: {key} is not")),
            "{text}"
        );
    }
}

/// The file that NVIDIA's installer writes, every key of it set.
const NVIDIA_ALL: &str = r#"
#accept-nvidia-visible-devices-as-volume-mounts = false
accept-nvidia-visible-devices-as-volume-mounts = true
accept-nvidia-visible-devices-envvar-when-unprivileged = false
disable-require = true
supported-driver-capabilities = "compute,utility"
swarm-resource = "DOCKER_RESOURCE_GPU, OTHER"
a-key-of-a-later-version = {deep = [1, 2]}

[features]
allow-cuda-compat-libs-from-container = true
allow-ldconfig-from-container = true
allow-unknown-oci-spec-fields = true
disable-cuda-compat-lib-hook = true
disable-imex-channel-creation = true
ignore-imex-channel-requests = true
no-additional-gids-for-device-nodes = true

[nvidia-container-cli]
debug = "/var/log/nvidia-container-toolkit.log"
environment = ["A=b"]
ldcache = "/etc/ld.so.cache"
ldconfig = "@/sbin/ldconfig.real"
load-kmods = true
no-cgroups = true
no-pivot = true
path = "/usr/bin/nvidia-container-cli"
root = "/run/nvidia/driver"
user = "root:video"

[nvidia-container-runtime]
debug = "/var/log/nvidia-container-runtime.log"
log-level = "info"
mode = "auto"
runtimes = ["docker-runc", "runc", "crun"]
[nvidia-container-runtime.modes.cdi]
annotation-prefixes = ["cdi.k8s.io/"]
default-kind = "nvidia.com/gpu"
spec-dirs = ["/etc/cdi", "/var/run/cdi"]
[nvidia-container-runtime.modes.csv]
compat-container-root = "/usr/local/cuda/compat_orin"
mount-spec-path = "/etc/nvidia-container-runtime/host-files-for-container.d"
[nvidia-container-runtime.modes.jit-cdi]
nvcdi-disable-hooks = ["all"]
nvcdi-feature-flags = []
[nvidia-container-runtime.modes.legacy]
cuda-compat-mode = "ldconfig"

[nvidia-container-runtime-hook]
path = "nvidia-container-runtime-hook"
skip-mode-detection = true

[nvidia-ctk]
path = "nvidia-ctk"
"#;

#[test]
fn nvidias_file_is_accepted_whole_and_its_policy_counts() {
    let config = nvidias(NVIDIA_ALL).unwrap();
    let expected = Config {
        policy: Policy {
            capabilities: CapabilitySet::default_set(),
            env_when_unprivileged: false,
            volume_mounts: true,
            swarm_resources: vec!["DOCKER_RESOURCE_GPU".to_owned(), "OTHER".to_owned()],
            disable_require: true,
            ignore_imex: true,
        },
        driver_root: Some("/run/nvidia/driver".into()),
        no_cgroups: true,
        source: Some(NVIDIA_FILE.into()),
        ..Config::default()
    };
    assert_eq!(config, expected);
    let dotted =
        nvidias("nvidia-container-cli.root = ''\nfeatures.ignore-imex-channel-requests = true");
    let dotted = dotted.unwrap();
    assert!(dotted.policy.ignore_imex && dotted.driver_root.is_none());
    assert_eq!(nvidias("").unwrap().policy, Policy::default());
}

#[test]
fn bad_values_of_nvidias_keys_name_the_line_and_the_key() {
    let rows = [
        (
            "disable-require = 'yes'",
            ":1: disable-require is not true or false",
        ),
        ("\nswarm-resource = 1", ":2: swarm-resource is not"),
        (
            "[nvidia-container-cli]\nno-cgroups = 1",
            ":2: no-cgroups is not true or false",
        ),
        (
            "[nvidia-container-cli]\nroot = 'run'",
            ":2: root is not an absolute path",
        ),
        ("features = 1", ":1: features is not a table"),
        // Defect 40: the reference fails without a word here.
        (
            "supported-driver-capabilities = 'compute,vido'",
            "\"vido\" is no driver capability",
        ),
        (
            "accept-nvidia-visible-devices-as-volume-mounts = 'x'",
            "as-volume-mounts is not",
        ),
        (
            "accept-nvidia-visible-devices-envvar-when-unprivileged = 0",
            "when-unprivileged is not",
        ),
    ];
    for (content, expected) in rows {
        let text = refused(nvidias(content));
        assert!(text.contains(expected), "{text}");
        assert!(text.contains(NVIDIA_FILE), "{text}");
    }
}

#[test]
fn unknown_keys_of_ours_are_errors_with_the_nearest_one() {
    let text = refused(ours("# mine\nvolume-mount = true"));
    assert!(
        text.contains(":2: there is no key \"volume-mount\""),
        "{text}"
    );
    assert!(text.contains("the nearest is volume-mounts"), "{text}");
    for content in [
        "[features]",
        "[nvidia-container-cli]\nroot = '/x'",
        "\"\" = 1",
        "driver.root = '/x'",
    ] {
        assert!(
            refused(ours(content)).contains("there is no key"),
            "{content}"
        );
    }
}

#[test]
fn what_is_no_toml_names_the_line() {
    let rows = [
        ("a = 1\nb = \n", ":2"),
        ("no-cgroups = true\nno-cgroups = false", ":2"),
        ("=", ":1"),
        ("\n\n[x", ":3"),
    ];
    for (content, place) in rows {
        let text = refused(ours(content));
        assert!(text.contains(&format!("{OWN_FILE}{place}: ")), "{text}");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    fs::write(&path, b"log = '/x'\n# \xff").unwrap();
    let text = refused(Config::load(Some(&path), &Host::at(dir.path())));
    assert!(text.contains("c.toml:2: the text is not UTF-8"), "{text}");
}

#[test]
fn paths_must_be_absolute() {
    for value in ["''", "'x'", "'./x'", "\"/a\\u0000b\"", "['/x']"] {
        let text = refused(ours(&format!("driver-root = {value}")));
        assert!(text.contains("driver-root is not"), "{text}");
    }
}

#[test]
fn an_explicit_file_must_exist_and_tells_its_kind_by_its_keys() {
    let (dir, host) = host(&[
        (OWN_FILE, "log = '/other'"),
        ("mine.toml", "disable-require = true\nlog = '/x'"),
        ("nvidia.toml", NVIDIA_ALL),
        ("either.toml", "disable-require = true"),
        ("mixed.toml", "no-cgroups = true\n[nvidia-container-cli]\n"),
    ]);
    let load = |name: &str| Config::load(Some(&dir.path().join(name)), &host);
    assert_eq!(load("mine.toml").unwrap().log, Some("/x".into()));
    assert!(load("nvidia.toml").unwrap().policy.volume_mounts);
    assert!(load("either.toml").unwrap().policy.disable_require);
    assert!(refused(load("mixed.toml")).contains("nvidia-container-cli"));
    let text = refused(load("absent.toml"));
    assert!(text.contains("absent.toml"), "{text}");
    assert!(refused(load("etc")).contains("not a regular file"));
}

#[test]
fn a_file_that_cannot_be_read_is_no_absent_file() {
    use std::os::unix::fs::symlink;
    let large = " ".repeat(FILE_LIMIT as usize + 1);
    assert!(refused(ours(&large)).contains("larger than"));
    let (dir, host) = host(&[("etc/oci-gpu/x", ""), ("big.toml", &large)]);
    symlink("nowhere", dir.path().join("etc/oci-gpu/config.toml")).unwrap();
    assert!(refused(Config::load(None, &host)).contains(OWN_FILE));
    let big = dir.path().join("big.toml");
    assert!(refused(Config::load(Some(&big), &host)).contains("larger than"));
    fs::remove_file(dir.path().join("etc/oci-gpu/config.toml")).unwrap();
    fs::create_dir(dir.path().join("etc/oci-gpu/config.toml")).unwrap();
    assert!(refused(Config::load(None, &host)).contains("Is a directory"));
}

#[test]
fn depth_is_bounded() {
    let deep = format!("x = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    refused(ours(&deep));
    refused(nvidias(&deep));
    refused(nvidias(&format!("{}x = 1", "a.".repeat(50_000))));
}

proptest::proptest! {
    #[test]
    fn no_file_panics(content in "\\PC{0,60}|((log|features|driver-root|[a-z.]{1,4}) = ([0-9]|'x'|\\[|\\{)?\n?){0,4}") {
        let path = Path::new("/c");
        if let Ok(document) = Document::parse(path, content.as_bytes()) {
            let _ = keys::ours(&document);
            let _ = keys::nvidias(&document);
        }
    }
}
