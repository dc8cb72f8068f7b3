//! OCI bundles: a rootfs and its config.json.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::error::{Context, Result};
use crate::probe;
use crate::rootfs::Rootfs;

/// When a hook runs, in the words of config.json.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// In the runtime's namespaces, deprecated and used most.
    Prestart,
    /// In the runtime's namespaces.
    CreateRuntime,
    /// In the container's namespaces, before its root is entered.
    CreateContainer,
    /// In the container.
    StartContainer,
    /// In the runtime's namespaces, once the process runs.
    Poststart,
    /// In the runtime's namespaces, once the container is deleted.
    Poststop,
}

impl Stage {
    /// The key in config.json, and what the hook takes as its argument.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Prestart => "prestart",
            Stage::CreateRuntime => "createRuntime",
            Stage::CreateContainer => "createContainer",
            Stage::StartContainer => "startContainer",
            Stage::Poststart => "poststart",
            Stage::Poststop => "poststop",
        }
    }
}

/// A program that the runtime runs.
#[derive(Clone, Debug, Default)]
pub struct Hook {
    /// Absolute path.
    pub path: PathBuf,
    /// All arguments, that of index 0 (the name) included.
    pub args: Vec<String>,
    /// `None`: the key is absent, and the hook inherits what the runtime happens to have.
    pub env: Option<Vec<String>>,
    /// Seconds.
    pub timeout: Option<u32>,
}

impl Hook {
    /// A hook that runs a line of shell with nothing but PATH in its environment.
    pub fn shell(line: &str) -> Hook {
        Hook {
            path: "/bin/sh".into(),
            args: ["sh", "-c", line].map(str::to_owned).into(),
            env: Some(vec!["PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned()]),
            timeout: None,
        }
    }
}

/// A device node that the runtime makes and allows.
#[derive(Clone, Debug)]
pub struct Device {
    /// Path in the container.
    pub path: String,
    /// Device number; all are character devices.
    pub number: (u32, u32),
}

/// A container to be: public fields are set before [`Bundle::write`].
#[derive(Clone, Debug)]
pub struct Bundle {
    /// Where config.json is.
    pub dir: PathBuf,
    /// Unique on this machine.
    pub id: String,
    /// The root file system.
    pub rootfs: Rootfs,
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// The hooks, in the order in which they are listed.
    pub hooks: Vec<(Stage, Hook)>,
    /// Whether the root file system is read-only.
    pub readonly: bool,
    /// The id on the host of the root of the container's own user namespace.
    pub user_namespace: Option<u32>,
    /// More mounts, as in config.json.
    pub mounts: Vec<Value>,
    /// Device nodes beside the usual ones.
    pub devices: Vec<Device>,
    /// Device-cgroup rules beside those of `devices`: (major, minor, access).
    pub allowed: Vec<(u32, u32, &'static str)>,
    /// More capabilities of the container's process, such as `CAP_MKNOD`.
    pub capabilities: Vec<&'static str>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

impl Bundle {
    /// A bundle at `dir`, made where it is missing, that runs the probe in `rootfs`.
    pub fn new(dir: &Path, rootfs: &Rootfs) -> Bundle {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Bundle {
            dir: dir.to_owned(),
            id: format!("oci-gpu-test-{}-{number}", std::process::id()),
            rootfs: rootfs.clone(),
            args: vec![probe::PATH.to_owned()],
            env: vec!["PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
            hooks: Vec::new(),
            readonly: false,
            user_namespace: None,
            mounts: Vec::new(),
            devices: Vec::new(),
            allowed: Vec::new(),
            capabilities: Vec::new(),
            annotations: BTreeMap::new(),
        }
    }

    /// Makes the container run the probe with `arguments`.
    pub fn probe(&mut self, arguments: &[&str]) {
        self.args = [probe::PATH]
            .iter()
            .chain(arguments)
            .map(|word| (*word).to_owned())
            .collect();
    }

    /// The cgroup of the container, below the root of each hierarchy.
    pub fn cgroup(&self) -> String {
        format!("/{}", self.id)
    }

    /// Where config.json is.
    pub fn config_path(&self) -> PathBuf {
        self.dir.join("config.json")
    }

    /// Writes config.json.
    ///
    /// # Errors
    /// Where that fails.
    pub fn write(&self) -> Result<()> {
        self.write_config(&self.config())
    }

    /// Writes `config` as config.json: [`Bundle::config`] with changes of the caller's.
    ///
    /// # Errors
    /// Where that fails.
    pub fn write_config(&self, config: &Value) -> Result<()> {
        fs::create_dir_all(&self.dir).during(format_args!("create {}", self.dir.display()))?;
        let path = self.config_path();
        fs::write(&path, format!("{config:#}\n")).during(format_args!("write {}", path.display()))
    }

    /// The content of config.json: what `runc spec` writes, without its cgroup mount.
    pub fn config(&self) -> Value {
        let capabilities: Vec<_> = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
            .into_iter()
            .chain(self.capabilities.iter().copied())
            .collect();
        let mut config = json!({
            "ociVersion": "1.0.2",
            "process": {
                "terminal": false,
                "user": {"uid": 0, "gid": 0},
                "args": self.args,
                "env": self.env,
                "cwd": "/",
                "capabilities": {
                    "bounding": capabilities, "effective": capabilities, "permitted": capabilities
                },
                "noNewPrivileges": true
            },
            "root": {"path": self.rootfs.path, "readonly": self.readonly},
            "hostname": "oci-gpu-test",
            "mounts": self.all_mounts(),
            "linux": {
                "namespaces": [
                    {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"},
                    {"type": "mount"}
                ],
                "cgroupsPath": self.cgroup(),
                "resources": {"devices": self.device_rules()},
                "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/scsi",
                    "/proc/sched_debug", "/proc/timer_list", "/sys/firmware"],
                "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                    "/proc/sysrq-trigger"]
            }
        });
        if !self.devices.is_empty() {
            let nodes = self.devices.iter().map(|device| {
                let (major, minor) = device.number;
                json!({"path": device.path, "type": "c", "major": major, "minor": minor,
                    "fileMode": 0o666, "uid": 0, "gid": 0})
            });
            config["linux"]["devices"] = nodes.collect();
        }
        if let Some(first) = self.user_namespace {
            let mapping = json!([{"containerID": 0, "hostID": first, "size": 65536}]);
            config["linux"]["uidMappings"] = mapping.clone();
            config["linux"]["gidMappings"] = mapping;
            if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
                namespaces.push(json!({"type": "user"}));
            }
        }
        if !self.hooks.is_empty() {
            config["hooks"] = self.hook_lists();
        }
        if !self.annotations.is_empty() {
            config["annotations"] = json!(self.annotations);
        }
        config
    }

    fn all_mounts(&self) -> Vec<Value> {
        let mut mounts = vec![
            json!({"destination": "/proc", "type": "proc", "source": "proc"}),
            json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]}),
            json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]}),
            json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]}),
            json!({"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
                "options": ["nosuid", "noexec", "nodev"]}),
            json!({"destination": "/sys", "type": "sysfs", "source": "sysfs",
                "options": ["nosuid", "noexec", "nodev", "ro"]}),
        ];
        mounts.extend(self.mounts.iter().cloned());
        mounts
    }

    fn device_rules(&self) -> Vec<Value> {
        let mut rules = vec![json!({"allow": false, "access": "rwm"})];
        let nodes = self
            .devices
            .iter()
            .map(|device| (device.number.0, device.number.1, "rwm"));
        rules.extend(nodes.chain(self.allowed.iter().copied()).map(|(major, minor, access)| {
            json!({"allow": true, "type": "c", "major": major, "minor": minor, "access": access})
        }));
        rules
    }

    fn hook_lists(&self) -> Value {
        let mut lists: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for (stage, hook) in &self.hooks {
            let mut entry = json!({"path": hook.path, "args": hook.args});
            if let Some(env) = &hook.env {
                entry["env"] = json!(env);
            }
            if let Some(seconds) = hook.timeout {
                entry["timeout"] = json!(seconds);
            }
            lists.entry(stage.name()).or_default().push(entry);
        }
        json!(lists)
    }
}
