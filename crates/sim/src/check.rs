//! What a description may not say: what no machine can be, and what this crate cannot make.

use std::path::{Component, Path};

use oci_gpu::finding::{Code, Finding};

use crate::libraries::LIBRARIES;
use crate::spec::{Arch, HostSpec, Layout};

impl HostSpec {
    /// Refuses what no machine can be, and what this crate cannot make.
    pub(crate) fn check(&self) -> Result<(), Finding> {
        if let Some(driver) = &self.driver {
            version_branch(&driver.version)?;
            if let Some(userland) = &driver.userland {
                version_branch(userland)?;
            }
            if driver.loaded && matches!(self.layout, Layout::Wsl | Layout::Tegra) {
                return Err(refusal(
                    "a loaded driver with layout \"wsl\" or \"tegra\": NVIDIA's modules are not what drives these",
                    "set loaded = false in [driver]",
                ));
            }
            if driver.compat32 && self.arch == Arch::Aarch64 {
                return Err(refusal(
                    "driver.compat32 on aarch64: no driver has 32-bit libraries there",
                    "remove the key, or set arch = \"x86_64\"",
                ));
            }
            if let Some(glibc) = &driver.glibc
                && !is_dotted_number(glibc)
            {
                return Err(refusal(
                    format!("driver.glibc = {glibc:?} is not a version"),
                    "write it as \"2.17\"",
                ));
            }
        }
        for decoy in &self.decoy {
            version_branch(&decoy.version)?;
            let is_beside = decoy.directory.is_none() && decoy.root.is_none();
            if is_beside && Some(decoy.version.as_str()) == self.userland_version() {
                return Err(refusal(
                    format!("decoy {} is the driver itself", decoy.version),
                    "give the decoy another version, or a directory",
                ));
            }
        }
        if self.driver.is_none() && !(self.decoy.is_empty() && self.imex_channels.is_empty()) {
            return Err(refusal(
                "decoys or IMEX channels on a host without a driver",
                "add a [driver] table with a version; loaded = false leaves the modules out",
            ));
        }
        self.check_paths()?;
        self.check_faults()?;
        self.gpu_list().map(|_| ())
    }

    fn check_paths(&self) -> Result<(), Finding> {
        let paths = &self.paths;
        if self.layout == Layout::Debian && (paths.lib.is_some() || paths.lib32.is_some()) {
            return Err(refusal(
                "paths.lib with layout \"debian\": its links have fixed places",
                "use layout \"run\"",
            ));
        }
        let directories = [
            &paths.lib,
            &paths.lib32,
            &paths.bin,
            &paths.etc,
            &paths.share,
            &paths.firmware,
            &paths.ld_cache,
        ];
        let named = directories.into_iter().flatten();
        let roots = self.decoy.iter().filter_map(|d| d.root.as_ref());
        let roots = paths.root.iter().chain(roots.filter(|r| *r != "/"));
        let links = self.link.iter().flat_map(|l| [&l.path, &l.target]);
        let files = self.file.iter().map(|f| &f.path).chain(links).chain(roots);
        let nodes = paths.dev.iter().flatten();
        let decoys = self.decoy.iter().flat_map(|d| [&d.directory, &d.bin]);
        let decoys = decoys.flatten();
        for path in named.chain(nodes).chain(decoys).chain(files) {
            let is_plain = Path::new(path)
                .components()
                .all(|part| !matches!(part, Component::ParentDir));
            let is_absolute = path.starts_with('/') && path.len() > 1;
            if !(path.is_empty() || is_absolute && is_plain) {
                return Err(refusal(
                    format!("{path:?} is not an absolute path below the host"),
                    "write it as the host sees it, from /, without \"..\"",
                ));
            }
        }
        Ok(())
    }

    fn check_faults(&self) -> Result<(), Finding> {
        let faults = &self.faults;
        let stems = [&faults.missing, &faults.dangling, &faults.truncated];
        for stem in stems.into_iter().flatten() {
            if !LIBRARIES.iter().any(|library| library.stem == stem) {
                return Err(refusal(
                    format!("faults name {stem:?}, which no driver has"),
                    "name a library by its stem, like \"libcuda\"",
                ));
            }
        }
        Ok(())
    }
}

/// A finding of this crate.
pub(crate) fn refusal(message: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding::new(Code::Sim, message, remedy)
}

/// The branch of a driver version: 550 of "550.163.01".
pub(crate) fn version_branch(version: &str) -> Result<u32, Finding> {
    let branch = version
        .split('.')
        .next()
        .and_then(|part| part.parse().ok())
        .filter(|_| is_dotted_number(version) && version.contains('.'));
    branch.ok_or_else(|| {
        refusal(
            format!("{version:?} is not a driver version"),
            "write it as \"550.163.01\"",
        )
    })
}

fn is_dotted_number(text: &str) -> bool {
    text.len() <= 32
        && text
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}
