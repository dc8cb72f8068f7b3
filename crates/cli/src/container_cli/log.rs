//! The file of `--debug`: what was found, decided and done, one line each.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::OFlag;
use oci_gpu::finding::one_line;
use oci_gpu::inventory::Inventory;
use oci_gpu::plan::Skipped;

/// Where lines go, if anywhere.
#[derive(Default)]
pub(crate) struct Log {
    out: Option<Box<dyn Write>>,
}

impl Log {
    /// Appends to the file at `path`, which root alone may read where it is made. One that cannot be opened is no reason to fail: the reference
    /// goes on without it as well.
    pub(crate) fn open(path: Option<&Path>) -> Log {
        let Some(path) = path else {
            return Log::default();
        };
        let opened = File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits() | OFlag::O_NONBLOCK.bits())
            .open(path);
        let out: Option<Box<dyn Write>> = match opened {
            Ok(file) => Some(Box::new(file)),
            // Callers debug with --debug=/dev/stderr, which is a link.
            Err(_) if path == Path::new("/dev/stderr") => Some(Box::new(io::stderr())),
            Err(_) => None,
        };
        let mut log = Log { out };
        let arguments: Vec<_> = std::env::args_os().collect();
        let version = env!("CARGO_PKG_VERSION");
        log.line(format_args!("oci-gpu {version}, started as {arguments:?}"));
        log
    }

    /// One line, with the time and the process.
    pub(crate) fn line(&mut self, message: impl Display) {
        let Some(out) = &mut self.out else {
            return;
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let line = format!(
            "{}.{:06} {} {}\n",
            now.as_secs(),
            now.subsec_micros(),
            std::process::id(),
            one_line(&message.to_string())
        );
        // One write a line, for other processes append to the same file.
        let _ = out.write_all(line.as_bytes());
    }

    /// The driver, and every place that was looked at for its files.
    pub(crate) fn inventory(&mut self, inventory: &Inventory) {
        let driver = &inventory.driver;
        self.line(format_args!(
            "driver {} in {}, {} GPUs, {} libraries",
            driver.version,
            driver.root.display(),
            inventory.gpus.len(),
            inventory.libraries.len()
        ));
        for c in &driver.candidates {
            let verdict = if c.accepted { "took" } else { "refused" };
            let (path, evidence, why) = (c.path.display(), c.evidence, &c.why);
            self.line(format_args!("{verdict} {path} ({evidence}): {why}"));
        }
        inventory.findings.iter().for_each(|f| self.line(f));
    }

    /// What was left out.
    pub(crate) fn skipped(&mut self, skipped: &[Skipped]) {
        for s in skipped {
            self.line(format_args!("left out {}: {}", s.what, s.why));
        }
    }
}
