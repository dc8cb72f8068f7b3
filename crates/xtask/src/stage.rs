//! A container as a hook finds it, without a runtime: a process in a mount namespace of its own,
//! with a root file system, /dev and /proc mounted below it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oci_gpu_tests::error::{Context, Error, Result};

/// A bundle, of which any number of containers can be made one after the other.
pub(crate) struct Stage {
    bundle: PathBuf,
    image: PathBuf,
}

/// A container that lives until this is dropped.
pub(crate) struct Container {
    pub(crate) pid: u32,
    child: Child,
}

impl Stage {
    pub(crate) fn new(
        scratch: &Path,
        image: &Path,
        devices: &str,
        capabilities: &str,
    ) -> Result<Stage> {
        let bundle = scratch.join("bundle");
        fs::create_dir_all(bundle.join("rootfs")).during("make a bundle")?;
        let config = format!(
            r#"{{"ociVersion":"1.0.2","process":{{"env":["PATH=/bin","NVIDIA_VISIBLE_DEVICES={devices}","NVIDIA_DRIVER_CAPABILITIES={capabilities}"]}},"root":{{"path":"rootfs"}},"mounts":[{{"destination":"/proc","type":"proc"}},{{"destination":"/dev","type":"tmpfs"}}]}}"#
        );
        fs::write(bundle.join("config.json"), config).during("write config.json")?;
        Ok(Stage {
            bundle,
            image: image.to_path_buf(),
        })
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.bundle.join("config.json")
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.bundle.join("rootfs")
    }

    pub(crate) fn image(&self) -> &Path {
        &self.image
    }

    /// A new container, with nothing in its upper layer.
    pub(crate) fn container(&self) -> Result<Container> {
        let root = self.rootfs();
        let script = format!(
            "mount -t tmpfs tmpfs '{root}' && mkdir '{root}/u' '{root}/w' && \
             mount -t overlay overlay -o lowerdir='{image}',upperdir='{root}/u',workdir='{root}/w' '{root}' && \
             mkdir -p '{root}/proc' '{root}/dev' && mount -t proc proc '{root}/proc' && \
             mount -t tmpfs tmpfs '{root}/dev' && echo ready && read end",
            root = root.display(),
            image = self.image.display(),
        );
        let mut child = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .during("start unshare")?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).during("read")?;
        }
        match line.as_str() {
            "ready\n" => Ok(Container {
                pid: child.id(),
                child,
            }),
            _ => Err(Error::new("the benchmark's container could not be made")),
        }
    }

    /// How long `command` takes with the container's state on its standard input.
    pub(crate) fn measure(&self, mut command: Command, container: &Container) -> Result<Duration> {
        let state = format!(
            r#"{{"ociVersion":"1.0.2","id":"bench","status":"creating","pid":{},"bundle":"{}"}}"#,
            container.pid,
            self.bundle.display()
        );
        let begin = Instant::now();
        let mut child = command
            .stdin(Stdio::piped())
            .spawn()
            .during("start a program")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin
                .write_all(state.as_bytes())
                .during("write the state")?;
        }
        let status = child.wait().during("wait for a program")?;
        let time = begin.elapsed();
        match status.success() {
            true => Ok(time),
            false => Err(Error::new(format!("{command:?} failed: {status}"))),
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
