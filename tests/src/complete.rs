//! Everything that a driver has: all of Debian's packages of a branch, 64-bit and 32-bit, in the
//! three layouts. About 600 MB a branch, which is unpacked once; the layouts share the files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::alternatives::{Alternative, install_from_script};
use crate::cache;
use crate::debs::{Arch, Debs};
use crate::driver::{Branch, DriverTree, Layout};
use crate::error::{Context, Error, Result, run};
use crate::rootfs::{Kind, image, ldconfig, merge_usr};

const RECIPE: u32 = 1;
const AMD64: &str = "usr/lib/x86_64-linux-gnu";
const I386: &str = "usr/lib/i386-linux-gnu";

/// Packages that both word sizes have.
const BOTH: &[&str] = &[
    "libcuda1",
    "libegl-nvidia0",
    "libgles-nvidia1",
    "libgles-nvidia2",
    "libglx-nvidia0",
    "libnvcuvid1",
    "libnvidia-allocator1",
    "libnvidia-eglcore",
    "libnvidia-encode1",
    "libnvidia-fbc1",
    "libnvidia-glcore",
    "libnvidia-glvkspirv",
    "libnvidia-ml1",
    "libnvidia-opticalflow1",
    "libnvidia-ptxjitcompiler1",
    "nvidia-opencl-icd",
    "nvidia-vdpau-driver",
];

/// Packages of 64-bit systems.
const ONLY_64: &[&str] = &[
    "libcudadebugger1",
    "libnvidia-api1",
    "libnvidia-cfg1",
    "libnvidia-ngx1",
    "libnvidia-nvvm4",
    "libnvidia-pkcs11-openssl3",
    "libnvidia-rtcore",
    "libnvoptix1",
    "nvidia-alternative",
    "nvidia-cuda-mps",
    "nvidia-driver-bin",
    "nvidia-egl-common",
    "nvidia-opencl-common",
    "nvidia-powerd",
    "nvidia-smi",
    "nvidia-vulkan-common",
    "xserver-xorg-video-nvidia",
];

const SINCE_545: &[&str] = &["libnvidia-gpucomp"];

const CONTRIB: &[&str] = &[
    "glx-alternative-nvidia",
    "libnvidia-egl-gbm1",
    "nvidia-modprobe",
    "nvidia-persistenced",
    "nvidia-settings",
];

/// What a distribution builds from NVIDIA's sources, besides libnvidia-egl-gbm1 of contrib. Those
/// for X11, of later drivers, are in no release yet.
const MAIN: &[&str] = &["libnvidia-egl-wayland1"];

/// A host root with everything of `branch`: to be read, never changed.
///
/// # Errors
/// Where the packages are not to be had, or are no longer laid out as expected.
pub fn complete_root(debs: &Debs, branch: Branch, layout: Layout) -> Result<DriverTree> {
    let packages = fetch(debs, branch)?;
    let named = |deb: &&PathBuf| {
        let name = deb.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libcuda1_") && name.ends_with("_amd64.deb")
    };
    let cuda = packages.iter().find(named);
    let cuda = cuda
        .and_then(|deb| deb.file_stem()?.to_str())
        .ok_or_else(|| Error::new("libcuda1 was not fetched"))?;
    let version = cuda
        .split('_')
        .nth(1)
        .and_then(|v| v.split('-').next())
        .ok_or_else(|| Error::new(format!("{cuda} has no version")))?
        .to_owned();
    let name = format!("{layout:?}-complete-{RECIPE}-{cuda}");
    let dir = cache::directory()?.join("driver").join(name);
    cache::once(&dir, |root| match layout {
        Layout::Debian => debian(debs, branch, &packages, root),
        Layout::Run | Layout::Rpm => {
            let from = complete_root(debs, branch, Layout::Debian)?;
            flat(debs, &from, layout, root)
        }
    })?;
    Ok(DriverTree {
        version,
        dir,
        layout,
    })
}

fn fetch(debs: &Debs, branch: Branch) -> Result<Vec<PathBuf>> {
    let new = branch == Branch::R550;
    let pick = |old: &'static [&str], since: &'static [&str]| if new { since } else { old };
    let suite = branch.suite();
    let mut all = Vec::new();
    let mut get = |arch, component: &str, packages: &[&[&str]]| -> Result<()> {
        let packages = packages.concat();
        all.extend(debs.fetch_for(arch, suite, component, &packages)?);
        Ok(())
    };
    let cut = pick(&[], SINCE_545);
    get(Arch::Amd64, "non-free", &[BOTH, ONLY_64, cut])?;
    get(Arch::I386, "non-free", &[BOTH, pick(&[], SINCE_545)])?;
    get(
        Arch::Amd64,
        "non-free-firmware",
        &[&["firmware-nvidia-gsp"]],
    )?;
    get(Arch::Amd64, "contrib", &[CONTRIB])?;
    get(Arch::Amd64, "main", &[MAIN])?;
    Ok(all)
}

fn debian(debs: &Debs, branch: Branch, packages: &[PathBuf], root: &Path) -> Result<()> {
    let unpacked = root.join("unpacked");
    for package in packages {
        debs.unpack(package, &unpacked)?;
    }
    merge_usr(&unpacked)?;
    copy(&image(debs, branch.host())?, root)?;
    share(&unpacked, root)?;
    fs::remove_dir_all(&unpacked).during(format_args!("remove {}", unpacked.display()))?;
    for unused in ["bug", "doc", "lintian", "man"].map(|dir| root.join("usr/share").join(dir)) {
        if unused.exists() {
            fs::remove_dir_all(&unused).during(format_args!("remove {}", unused.display()))?;
        }
    }
    loader32(root)?;
    for directory in ["usr/share/X11/xorg.conf.d", "usr/lib/xorg/modules/drivers"]
        .into_iter()
        .chain(["usr/lib/xorg/modules/extensions"])
        .map(str::to_owned)
        .chain([AMD64, I386].map(|lib| format!("{lib}/gbm")))
        .chain([AMD64, I386].map(|lib| format!("{lib}/vdpau")))
        .chain([AMD64, I386].map(|lib| format!("{lib}/nvidia")))
    {
        fs::create_dir_all(root.join(&directory)).during(format_args!("create {directory}"))?;
    }
    let script = |package: &str| -> Result<String> {
        let prefix = format!("{package}_");
        let named = |deb: &&PathBuf| {
            let name = deb.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&prefix)
        };
        let deb = packages.iter().find(named);
        let deb = deb.ok_or_else(|| Error::new(format!("{package} was not fetched")))?;
        debs.script(deb, "postinst")
    };
    let lists = ["slaves", "conf_slaves"];
    install_from_script(&script("nvidia-alternative")?, &lists, root)?;
    let glx = script("glx-alternative-nvidia")?;
    install_from_script(&glx, &["misc_slaves"], root)?;
    // Lists of the same script that name the other vendors' files too.
    for (link, source) in [
        (
            "/usr/lib/xorg/modules/drivers/nvidia_drv.so",
            "/usr/lib/nvidia/nvidia_drv.so",
        ),
        (
            "/usr/lib/xorg/modules/extensions/libglxserver_nvidia.so",
            "/usr/lib/nvidia/libglxserver_nvidia.so",
        ),
        (
            "/usr/share/X11/xorg.conf.d/nvidia-drm-outputclass.conf",
            "/etc/nvidia/nvidia-drm-outputclass.conf",
        ),
    ] {
        let name = link.rsplit('/').next().unwrap_or_default();
        Alternative::new(link, &format!("glx--{name}"), source).install(root)?;
    }
    let current = "/usr/lib/nvidia/current";
    Alternative::new("/usr/lib/nvidia/nvidia", "nvidia", current).install(root)?;
    Alternative::new("/usr/lib/glx", "glx", "/usr/lib/nvidia").install(root)?;
    ldconfig(root)
}

/// What the package libc6 for i386 tells the loader.
fn loader32(root: &Path) -> Result<()> {
    let directories = format!("/{I386}\n/lib/i386-linux-gnu\n");
    let conf = root.join("etc/ld.so.conf.d/i386-linux-gnu.conf");
    fs::write(conf, directories).during("write the loader's configuration")
}

/// Puts the files of a Debian host where NVIDIA's installer, or RPM packages, put them.
fn flat(debs: &Debs, from: &DriverTree, layout: Layout, root: &Path) -> Result<()> {
    let (base, lib, lib32, xorg, vulkan, icd, output_class) = match layout {
        Layout::Rpm => (
            Kind::Lib64,
            "usr/lib64",
            "usr/lib",
            "usr/lib64/xorg/modules",
            "usr/share/vulkan",
            "nvidia_icd.x86_64.json",
            "10-nvidia.conf",
        ),
        _ => (
            Kind::Bookworm,
            AMD64,
            I386,
            "usr/lib/xorg/modules",
            "etc/vulkan",
            "nvidia_icd.json",
            "nvidia-drm-outputclass.conf",
        ),
    };
    copy(&image(debs, base)?, root)?;
    if layout == Layout::Run {
        loader32(root)?;
    }
    let version = &from.version;
    for (source, target) in [(AMD64, lib), (I386, lib32)] {
        let source = from.dir.join(source);
        for directory in [source.join("nvidia/current"), source] {
            for file in files_in(&directory)? {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                let below = match () {
                    () if name.starts_with("libvdpau_nvidia") => "vdpau/",
                    () if name.contains("nvidia") || name.ends_with(version.as_str()) => "",
                    () => continue,
                };
                if name.contains(".so.") {
                    share(&file, &root.join(format!("{target}/{below}{name}")))?;
                }
            }
        }
        let gbm = root.join(target).join("gbm");
        fs::create_dir_all(&gbm).during(format_args!("create {}", gbm.display()))?;
        let link = gbm.join("nvidia-drm_gbm.so");
        symlink("../libnvidia-allocator.so.1", &link).during("link the GBM backend")?;
    }
    let one = |source: &str, target: String| share(&from.dir.join(source), &root.join(target));
    let current = format!("{AMD64}/nvidia/current");
    for name in ["_nvngx.dll", "nvngx.dll"] {
        one(
            &format!("{current}/nvidia/wine/{name}"),
            format!("{lib}/nvidia/wine/{name}"),
        )?;
    }
    one(
        &format!("{current}/nvoptix.bin"),
        "usr/share/nvidia/nvoptix.bin".to_owned(),
    )?;
    let private = "usr/lib/nvidia/current";
    one(
        &format!("{private}/nvidia_drv.so"),
        format!("{xorg}/drivers/nvidia_drv.so"),
    )?;
    let module = format!("libglxserver_nvidia.so.{version}");
    one(
        &format!("{private}/{module}"),
        format!("{xorg}/extensions/{module}"),
    )?;
    let link = root.join(format!("{xorg}/extensions/libglxserver_nvidia.so"));
    symlink(&module, &link).during("link the X server's module")?;
    one(
        "etc/nvidia/current/nvidia-drm-outputclass.conf",
        format!("usr/share/X11/xorg.conf.d/{output_class}"),
    )?;
    for name in [
        "icd.d/nvidia_icd.json",
        "implicit_layer.d/nvidia_layers.json",
    ] {
        let target = name.replace("nvidia_icd.json", icd);
        one(
            &format!("usr/share/vulkan/{name}"),
            format!("{vulkan}/{target}"),
        )?;
    }
    let icd = "etc/OpenCL/vendors/nvidia.icd";
    one(icd, icd.to_owned())?;
    for directory in [
        "usr/share/glvnd/egl_vendor.d",
        "usr/share/egl/egl_external_platform.d",
        "usr/share/nvidia",
    ] {
        for file in files_in(&from.dir.join(directory))? {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            share(&file, &root.join(format!("{directory}/{name}")))?;
        }
    }
    let firmware = format!("usr/lib/firmware/nvidia/{version}");
    for file in files_in(&from.dir.join(&firmware))? {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        share(&file, &root.join(format!("{firmware}/{name}")))?;
    }
    for directory in ["usr/bin", "usr/sbin", private] {
        for file in files_in(&from.dir.join(directory))? {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let is_program = fs::read(&file).is_ok_and(|b| b.starts_with(b"\x7fELF"));
            if is_program && name.starts_with("nvidia-") {
                share(&file, &root.join(format!("usr/bin/{name}")))?;
            }
        }
    }
    ldconfig(root)
}

/// The regular files in `dir`.
fn files_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).during(format_args!("list {}", dir.display()))? {
        let entry = entry.during(format_args!("list {}", dir.display()))?;
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    run(Command::new("cp").args(["-a", "-T"]).args([from, to])).map(drop)
}

/// The same file under another name; nothing in these trees is changed.
fn share(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).during(format_args!("create {}", parent.display()))?;
    }
    run(Command::new("cp").args(["-al", "-T"]).args([from, to])).map(drop)
}
