//! A container as a hook finds it, without a runtime: a process in a mount namespace of its own,
//! with an overlay of an image, /dev and /proc below it, and a control group. It stays the same
//! through any number of hooks, and what they did can be seen.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::error::{Context, Error, Result};
use crate::leftovers::Mounts;
use crate::tree::Tree;

const DEVICES: &str = "/sys/fs/cgroup/devices";

/// A bundle's directory and an image, of which containers are made.
#[derive(Clone, Debug)]
pub struct Ground {
    /// The bundle.
    pub bundle: PathBuf,
    /// The image, which is only read.
    pub image: PathBuf,
}

impl Ground {
    /// A bundle at `bundle`, whose container is to ask with `env`.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn new(bundle: &Path, image: &Path, env: &[&str]) -> Result<Ground> {
        for name in ["rootfs", "layer"] {
            fs::create_dir_all(bundle.join(name)).during("make a bundle")?;
        }
        let ground = Ground {
            bundle: bundle.to_owned(),
            image: image.to_owned(),
        };
        ground.write(&ground.config(env))?;
        Ok(ground)
    }

    /// Its config.json.
    pub fn config(&self, env: &[&str]) -> Value {
        json!({
            "ociVersion": "1.0.2",
            "process": {"env": env},
            "root": {"path": "rootfs"},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}
            ]
        })
    }

    /// Writes another config.json.
    ///
    /// # Errors
    /// Where that fails.
    pub fn write(&self, config: &Value) -> Result<()> {
        fs::write(self.bundle.join("config.json"), config.to_string()).during("write config.json")
    }

    /// The state of a container whose process is `pid`.
    pub fn state(&self, pid: u32) -> String {
        let bundle = &self.bundle;
        json!({"ociVersion": "1.0.2", "id": "standin", "status": "creating", "pid": pid,
            "bundle": bundle})
        .to_string()
    }
}

/// A container, until this is dropped.
#[derive(Debug)]
pub struct StandIn {
    /// Its process.
    pub pid: u32,
    ground: Ground,
    child: Child,
    group: Option<PathBuf>,
}

impl StandIn {
    /// A container with an empty layer.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn new(ground: &Ground) -> Result<StandIn> {
        StandIn::prepared(ground, "true")
    }

    /// A container in which `commands` of a shell run last, with `$root` and `$bundle` set.
    ///
    /// # Errors
    /// As [`StandIn::new`].
    pub fn prepared(ground: &Ground, commands: &str) -> Result<StandIn> {
        let group = group()?;
        let script = r#"set -e
            bundle=$1 image=$2 group=$3 root=$1/rootfs
            mount -t tmpfs tmpfs "$bundle/layer"
            mkdir "$bundle/layer/u" "$bundle/layer/w"
            mount -t overlay overlay -o "lowerdir=$image,upperdir=$bundle/layer/u,workdir=$bundle/layer/w" "$root"
            mkdir -p "$root/proc" "$root/dev"
            mount -t proc proc "$root/proc"
            mount -t tmpfs tmpfs "$root/dev"
            test -z "$group" || echo $$ > "$group/cgroup.procs"
            eval "$4"
            echo ready
            read end"#;
        let mut child = Command::new("unshare")
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                script,
                "sh",
            ])
            .args([&ground.bundle, &ground.image])
            .arg(group.as_deref().unwrap_or(Path::new("")))
            .arg(commands)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .during("start unshare")?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).during("read")?;
        }
        let container = StandIn {
            pid: child.id(),
            ground: ground.clone(),
            child,
            group,
        };
        match line.as_str() {
            "ready\n" => Ok(container),
            _ => Err(Error::new(
                "a container without a runtime could not be made",
            )),
        }
    }

    /// Its state, as a runtime passes it to hooks.
    pub fn state(&self) -> String {
        self.ground.state(self.pid)
    }

    /// A path of the container, as seen from outside.
    pub fn path(&self, path: &str) -> PathBuf {
        self.seen(
            &self
                .ground
                .bundle
                .join("rootfs")
                .join(path.trim_start_matches('/')),
        )
    }

    /// The file that takes rules which allow devices; `None` where the machine has no version 1.
    pub fn allow_file(&self) -> Option<PathBuf> {
        self.group.as_ref().map(|group| group.join("devices.allow"))
    }

    /// What it is like now.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let rules = self.group.as_ref().map(|g| g.join("devices.list"));
        let rules = rules.map(fs::read_to_string).transpose();
        let layer = Tree::of(&self.seen(&self.ground.bundle.join("layer/u")))?;
        Ok(Snapshot {
            layer: layer.without_copies_of(&self.ground.image)?,
            dev: Tree::of(&self.path("/dev"))?,
            mounts: Mounts::of_process(self.pid)?,
            rules: rules.during("read devices.list")?.unwrap_or_default(),
        })
    }

    fn seen(&self, path: &Path) -> PathBuf {
        let path = path.strip_prefix("/").unwrap_or(path);
        Path::new("/proc")
            .join(self.pid.to_string())
            .join("root")
            .join(path)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
        if let Some(group) = &self.group {
            let _ = fs::remove_dir(group);
        }
    }
}

/// A control group whose rules allow /dev/null and /dev/fuse only; `None` where the machine has no version 1.
fn group() -> Result<Option<PathBuf>> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    if !Path::new(DEVICES).join("devices.allow").exists() {
        return Ok(None);
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let group = Path::new(DEVICES).join(format!(
        "oci-gpu-test-{}-standin-{number}",
        std::process::id()
    ));
    fs::create_dir(&group).during("make a control group")?;
    fs::write(group.join("devices.deny"), "a").during("write devices.deny")?;
    for device in ["c 1:3 rwm", "c 10:229 rwm"] {
        fs::write(group.join("devices.allow"), device).during("write devices.allow")?;
    }
    Ok(Some(group))
}

/// All that a hook changes in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// What differs from the image.
    pub layer: Tree,
    /// /dev.
    pub dev: Tree,
    /// The mounts of its namespace.
    pub mounts: Mounts,
    /// The device rules, empty where there are none of version 1.
    pub rules: String,
}

impl Snapshot {
    /// How `after` differs; empty where it does not. Mounts of file systems in memory are named
    /// without the device number, which each gets anew.
    pub fn changes_to(&self, after: &Snapshot) -> Vec<String> {
        let mut changes = self.layer.changes_to(&after.layer);
        changes.extend(self.dev.changes_to(&after.dev));
        let mounts = self.mounts.changes_to(&after.mounts).into_iter();
        changes.extend(mounts.map(|line| match line.split_once(' ') {
            Some((number, rest)) if number.starts_with("+0:") => format!("+{rest}"),
            _ => line,
        }));
        if self.rules != after.rules {
            changes.push(format!("rules {:?} -> {:?}", self.rules, after.rules));
        }
        changes
    }
}
