//! A container as a hook finds it, without a runtime: with a root file system, /dev and /proc
//! mounted below it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use oci_gpu_tests::error::{Context, Error, Result};
use oci_gpu_tests::stand_in::StandIn;

/// A bundle, of which any number of containers can be made one after the other.
pub(crate) struct Stage {
    bundle: PathBuf,
    image: PathBuf,
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
            r#"{{"ociVersion":"1.0.2","process":{{"env":["PATH=/bin","NVIDIA_VISIBLE_DEVICES={devices}","NVIDIA_DRIVER_CAPABILITIES={capabilities}"]}},"root":{{"path":"rootfs"}}}}"#
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
    pub(crate) fn container(&self) -> Result<StandIn> {
        StandIn::start(&format!(
            "mount -t tmpfs tmpfs '{root}' && mkdir '{root}/u' '{root}/w' && \
             mount -t overlay overlay -o lowerdir='{image}',upperdir='{root}/u',workdir='{root}/w' '{root}' && \
             mkdir -p '{root}/proc' '{root}/dev' && mount -t proc proc '{root}/proc' && \
             mount -t tmpfs tmpfs '{root}/dev'",
            root = self.rootfs().display(),
            image = self.image.display(),
        ))
    }

    /// How long `command` takes with the container's state on its standard input.
    pub(crate) fn measure(&self, mut command: Command, container: &StandIn) -> Result<Duration> {
        let state = container.state(&self.bundle);
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
