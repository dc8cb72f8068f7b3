//! Genuine driver files: the user-space half of NVIDIA's driver as Debian packages it (about 5 MB
//! a branch), in a host root of its own. The kernel half is simulated elsewhere.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::alternatives::{Alternative, install_from_script};
use crate::cache;
use crate::debs::Debs;
use crate::error::{Context, Error, Result, run};
use crate::rootfs::{Kind, image, ldconfig, merge_usr};

const RECIPE: u32 = 1;
const TRIPLET: &str = "x86_64-linux-gnu";

/// Compute and utility: what a container gets by default, without the large compilers.
const NON_FREE: &[&str] = &[
    "libcuda1",
    "libnvidia-ml1",
    "libnvidia-cfg1",
    "libnvidia-allocator1",
    "libnvidia-pkcs11-openssl3",
    "nvidia-alternative",
    "nvidia-cuda-mps",
    "nvidia-smi",
];
const CONTRIB: &[&str] = &[
    "glx-alternative-nvidia",
    "nvidia-modprobe",
    "nvidia-persistenced",
];

/// A release branch of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Branch {
    /// 535, in Debian 12.
    R535,
    /// 550, in Debian 13.
    R550,
}

impl Branch {
    /// Both.
    pub const ALL: [Branch; 2] = [Branch::R535, Branch::R550];

    pub(crate) fn suite(self) -> &'static str {
        match self {
            Branch::R535 => "bookworm",
            Branch::R550 => "trixie",
        }
    }

    pub(crate) fn host(self) -> Kind {
        match self {
            Branch::R535 => Kind::Bookworm,
            Branch::R550 => Kind::Trixie,
        }
    }
}

/// Who put the files on the host, and so where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Debian's packages: versioned files in `nvidia/current`, links by way of /etc/alternatives.
    Debian,
    /// NVIDIA's own installer, and Ubuntu: all libraries in `/usr/lib/x86_64-linux-gnu`.
    Run,
    /// RPM packages: all libraries in `/usr/lib64`.
    Rpm,
}

impl Layout {
    /// All three.
    pub const ALL: [Layout; 3] = [Layout::Debian, Layout::Run, Layout::Rpm];

    /// Where the ld.so.cache finds libcuda.so.1.
    pub fn library_directory(self) -> &'static str {
        match self {
            Layout::Debian | Layout::Run => "/usr/lib/x86_64-linux-gnu",
            Layout::Rpm => "/usr/lib64",
        }
    }
}

/// A host root with a C library, the driver's user-space files and an ld.so.cache.
#[derive(Clone, Debug)]
pub struct DriverTree {
    /// `550.163.01`.
    pub version: String,
    /// The host root.
    pub dir: PathBuf,
    /// Where the files in it are.
    pub layout: Layout,
}

/// Copies a host root with the driver of `branch` to `dir`, which may hold files already (a
/// simulated host's).
///
/// # Errors
/// Where the packages are not to be had, or are no longer laid out as expected.
pub fn driver_root(debs: &Debs, branch: Branch, layout: Layout, dir: &Path) -> Result<DriverTree> {
    let tree = kept_driver_root(debs, branch, layout)?;
    run(Command::new("cp")
        .args(["-a", "--reflink=auto", "-T"])
        .args([&tree.dir, dir]))?;
    Ok(DriverTree {
        dir: dir.to_owned(),
        ..tree
    })
}

/// The host root that [`driver_root`] copies: to be read, never changed.
///
/// # Errors
/// As [`driver_root`].
pub fn kept_driver_root(debs: &Debs, branch: Branch, layout: Layout) -> Result<DriverTree> {
    let mut packages = debs.fetch(branch.suite(), "non-free", NON_FREE)?;
    packages.extend(debs.fetch(branch.suite(), "contrib", CONTRIB)?);
    let cuda = packages
        .first()
        .and_then(|deb| deb.file_stem())
        .unwrap_or_default();
    // libcuda1_550.163.01-2_amd64
    let version = cuda
        .to_str()
        .and_then(|name| name.split('_').nth(1)?.split('-').next())
        .ok_or_else(|| Error::new(format!("{} has no version", cuda.display())))?
        .to_owned();
    let name = format!("{layout:?}-{RECIPE}-{}", cuda.display());
    let dir = cache::directory()?.join("driver").join(name);
    cache::once(&dir, |root| match layout {
        Layout::Debian => build_debian(debs, branch, &packages, root),
        Layout::Run | Layout::Rpm => {
            let debian = kept_driver_root(debs, branch, Layout::Debian)?;
            let base = match layout {
                Layout::Rpm => Kind::Lib64,
                _ => branch.host(),
            };
            copy(&image(debs, base)?, root)?;
            lay_out_flat(&debian, layout, root)
        }
    })?;
    Ok(DriverTree {
        version,
        dir,
        layout,
    })
}

fn build_debian(debs: &Debs, branch: Branch, packages: &[PathBuf], root: &Path) -> Result<()> {
    // Not straight into the root: unpacking there would put a directory `lib`, where a package
    // has one, in the place of the link.
    let unpacked = root.join("unpacked");
    for package in packages {
        debs.unpack(package, &unpacked)?;
    }
    merge_usr(&unpacked)?;
    copy(&image(debs, branch.host())?, root)?;
    copy(&unpacked, root)?;
    fs::remove_dir_all(&unpacked).during(format_args!("remove {}", unpacked.display()))?;
    for unused in ["bug", "doc", "lintian", "man"].map(|dir| root.join("usr/share").join(dir)) {
        fs::remove_dir_all(&unused).during(format_args!("remove {}", unused.display()))?;
    }
    let script = |package: &str| -> Result<String> {
        let prefix = format!("{package}_");
        let named = |deb: &&PathBuf| {
            deb.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
        };
        let deb = packages.iter().find(named);
        let deb = deb.ok_or_else(|| Error::new(format!("{package} was not fetched")))?;
        debs.script(deb, "postinst")
    };
    install_from_script(
        &script("nvidia-alternative")?,
        &["slaves", "conf_slaves"],
        root,
    )?;
    install_from_script(&script("glx-alternative-nvidia")?, &["misc_slaves"], root)?;
    // The two masters, which the lists above are slaves of.
    Alternative::new(
        "/usr/lib/nvidia/nvidia",
        "nvidia",
        "/usr/lib/nvidia/current",
    )
    .install(root)?;
    Alternative::new("/usr/lib/glx", "glx", "/usr/lib/nvidia").install(root)?;
    ldconfig(root)
}

/// Puts the files of a Debian host where NVIDIA's installer puts them, with its links.
fn lay_out_flat(debian: &DriverTree, layout: Layout, root: &Path) -> Result<()> {
    let libraries = root.join(layout.library_directory().trim_start_matches('/'));
    let from = debian.dir.join("usr/lib").join(TRIPLET);
    let suffix = format!(".so.{}", debian.version);
    for dir in [from.join("nvidia/current"), from] {
        for file in files_in(&dir)? {
            let name = file.file_name().unwrap_or_default();
            if name.to_string_lossy().ends_with(&suffix) {
                copy(&file, &libraries.join(name))?;
            }
        }
    }
    // Links for linking against; ldconfig makes those for loading.
    for name in [
        "libcuda.so",
        "libnvidia-ml.so",
        "libnvidia-cfg.so",
        "libnvidia-allocator.so",
    ] {
        link(Path::new(&format!("{name}.1")), &libraries.join(name))?;
    }
    let gbm = libraries.join("gbm");
    fs::create_dir_all(&gbm).during(format_args!("create {}", gbm.display()))?;
    link(
        Path::new("../libnvidia-allocator.so.1"),
        &gbm.join("nvidia-drm_gbm.so"),
    )?;

    let programs = root.join("usr/bin");
    fs::create_dir_all(&programs).during(format_args!("create {}", programs.display()))?;
    let is_ours = |file: &PathBuf| {
        let name = file.file_name().and_then(OsStr::to_str);
        name.is_some_and(|name| name.starts_with("nvidia-") && !name.ends_with(".gz"))
    };
    for dir in ["usr/bin", "usr/sbin", "usr/lib/nvidia/current"] {
        for file in files_in(&debian.dir.join(dir))?
            .iter()
            .filter(|file| is_ours(file))
        {
            copy(file, &programs.join(file.file_name().unwrap_or_default()))?;
        }
    }
    ldconfig(root)
}

/// The regular files in `dir`; links are not among them.
fn files_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).during(format_args!("list {}", dir.display()))? {
        let entry = entry.during(format_args!("list {}", dir.display()))?;
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            files.push(entry.path());
        }
    }
    Ok(files)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    run(Command::new("cp").args(["-a", "-T"]).args([from, to])).map(drop)
}

fn link(target: &Path, link: &Path) -> Result<()> {
    symlink(target, link).during(format_args!("link {}", link.display()))
}
