//! Text files: what loaders and vendor-neutral libraries read to find the driver.

use oci_gpu::finding::Finding;

use crate::check::version_branch;
use crate::debian;
use crate::driver::{Driver, Package};
use crate::layout::{Directories, TRIPLET32, triplet};
use crate::libraries::{LIBRARIES, Library};
use crate::spec::{Decoy, HostSpec, Layout};
use crate::tree::Tree;

/// Writes the loader's configuration, /etc/ld.so.conf and the files that it includes.
pub(crate) fn loader(
    spec: &HostSpec,
    directories: &Directories,
    tree: &mut Tree,
) -> Result<(), Finding> {
    let etc = format!("{}/etc", directories.root);
    tree.file(
        &format!("{etc}/ld.so.conf"),
        "include /etc/ld.so.conf.d/*.conf\n",
    )?;
    let conf_d = format!("{etc}/ld.so.conf.d");
    tree.directory(&conf_d)?;
    let is_compat32 = spec.driver.as_ref().is_some_and(|driver| driver.compat32);
    if spec.layout != Layout::Rpm {
        let mut triplets = vec![triplet(spec.arch)];
        if is_compat32 {
            triplets.push(TRIPLET32);
        }
        for triplet in triplets {
            let text = format!("/usr/local/lib/{triplet}\n/lib/{triplet}\n/usr/lib/{triplet}\n");
            tree.file(&format!("{conf_d}/{triplet}.conf"), text)?;
        }
    }
    Ok(())
}

/// Writes the loader's configuration for directories that the description names.
pub(crate) fn driver_loader(
    spec: &HostSpec,
    driver: &Driver,
    directories: &Directories,
    tree: &mut Tree,
) -> Result<(), Finding> {
    let conf_d = format!("{}/etc/ld.so.conf.d", directories.root);
    // A directory that is searched first has a name that sorts first.
    let beside = |decoy: &&Decoy| decoy.preferred && decoy.root.is_none();
    for decoy in spec.decoy.iter().filter(beside) {
        if let Some(directory) = &decoy.directory {
            let name = decoy.version.replace('.', "-");
            let path = format!("{conf_d}/00-nvidia-{name}.conf");
            tree.file(&path, format!("{directory}\n"))?;
        }
    }
    let mut named: Vec<&String> = spec.paths.lib.iter().collect();
    if driver.compat32 {
        named.extend(&spec.paths.lib32);
    }
    if !named.is_empty() {
        let text: String = named.iter().map(|path| format!("{path}\n")).collect();
        tree.file(&format!("{conf_d}/nvidia.conf"), text)?;
    }
    Ok(())
}

/// Writes the driver's configuration and data files.
pub(crate) fn create(
    spec: &HostSpec,
    driver: &Driver,
    directories: &Directories,
    tree: &mut Tree,
) -> Result<(), Finding> {
    let root = &directories.root;
    let share = format!("{root}{}", directories.share);
    let etc = format!("{root}{}", directories.etc);
    let has = |package| driver.packages.contains(&package);
    if has(Package::Compute) {
        tree.file(
            &format!("{etc}/OpenCL/vendors/nvidia.icd"),
            "libnvidia-opencl.so.1\n",
        )?;
        profiles(spec, &share, tree)?;
    }
    if has(Package::Graphics) {
        graphics(spec, directories, tree)?;
    }
    if has(Package::Ngx) {
        let lib = match spec.layout {
            Layout::Debian => format!("{}/nvidia/current", directories.lib),
            _ => directories.lib.clone(),
        };
        for name in ["_nvngx.dll", "nvngx.dll"] {
            tree.file(&format!("{root}{lib}/nvidia/wine/{name}"), "MZ simulated")?;
        }
    }
    if has(Package::Display) {
        let (directory, name) = match spec.layout {
            Layout::Rpm => ("X11/xorg.conf.d", "10-nvidia.conf"),
            _ => ("X11/xorg.conf.d", "nvidia-drm-outputclass.conf"),
        };
        let path = format!("{share}/{directory}/{name}");
        if spec.layout == Layout::Debian {
            let current = format!("/etc/nvidia/current/{name}");
            tree.file(&current, OUTPUT_CLASS)?;
            let middle = format!("/etc/nvidia/{name}");
            debian::link(tree, &middle, &format!("nvidia--{name}"), &current)?;
            debian::link(tree, &path, &format!("glx--{name}"), &middle)?;
        } else {
            tree.file(&path, OUTPUT_CLASS)?;
        }
    }
    Ok(())
}

/// Application profiles, whose names carry the driver's version.
fn profiles(spec: &HostSpec, share: &str, tree: &mut Tree) -> Result<(), Finding> {
    let version = spec.userland_version().unwrap_or_default();
    let path = format!("{share}/nvidia/nvidia-application-profiles-{version}");
    tree.file(
        &format!("{path}-rc"),
        "{ \"rules\": [], \"profiles\": [] }\n",
    )?;
    tree.file(
        &format!("{path}-key-documentation"),
        "Simulated application profiles have no keys.\n",
    )
}

fn graphics(spec: &HostSpec, directories: &Directories, tree: &mut Tree) -> Result<(), Finding> {
    let root = &directories.root;
    let share = format!("{root}{}", directories.share);
    let arch = spec.arch.as_str();
    let (vulkan, icd) = match spec.layout {
        Layout::Run | Layout::DriverContainer => (
            format!("{root}{}/vulkan", directories.etc),
            "nvidia_icd.json".to_owned(),
        ),
        Layout::Rpm | Layout::Nixos => {
            (format!("{share}/vulkan"), format!("nvidia_icd.{arch}.json"))
        }
        Layout::Debian | Layout::Microvm | Layout::Wsl | Layout::Tegra => {
            (format!("{share}/vulkan"), "nvidia_icd.json".to_owned())
        }
    };
    // NixOS has no directory that every loader searches: its packages write store paths.
    let named = |soname: &str| match spec.layout {
        Layout::Nixos => format!("{}/{soname}", directories.lib),
        _ => soname.to_owned(),
    };
    let glx = named("libGLX_nvidia.so.0");
    let vulkan_icd = VULKAN_ICD.replace("libGLX_nvidia.so.0", &glx);
    tree.file(&format!("{vulkan}/icd.d/{icd}"), vulkan_icd)?;
    let layers = format!("{vulkan}/implicit_layer.d/nvidia_layers.json");
    tree.file(&layers, VULKAN_LAYERS.replace("libGLX_nvidia.so.0", &glx))?;
    tree.file(
        &format!("{share}/glvnd/egl_vendor.d/10_nvidia.json"),
        library_json(&named("libEGL_nvidia.so.0")),
    )?;
    let branch = version_branch(spec.userland_version().unwrap_or_default())?;
    for (name, stem) in [
        ("10_nvidia_wayland", "libnvidia-egl-wayland"),
        ("15_nvidia_gbm", "libnvidia-egl-gbm"),
        ("20_nvidia_xcb", "libnvidia-egl-xcb"),
        ("20_nvidia_xlib", "libnvidia-egl-xlib"),
    ] {
        let is_shipped = |library: &Library| library.stem == stem && library.in_branch(branch);
        if LIBRARIES.iter().any(is_shipped) {
            tree.file(
                &format!("{share}/egl/egl_external_platform.d/{name}.json"),
                library_json(&named(&format!("{stem}.so.1"))),
            )?;
        }
    }
    let data = "simulated OptiX data\n";
    let nvoptix = format!("{share}/nvidia/nvoptix.bin");
    if spec.layout == Layout::Debian {
        let current = format!("{}/nvidia/current/nvoptix.bin", directories.lib);
        tree.file(&current, data)?;
        debian::link(tree, &nvoptix, "nvidia--nvoptix.bin", &current)
    } else {
        tree.file(&nvoptix, data)
    }
}

/// A GLVND or EGL platform configuration (glvnd's and eglexternalplatform's format 1.0.0).
fn library_json(library: &str) -> String {
    format!(
        "{{\n    \"file_format_version\": \"1.0.0\",\n    \"ICD\": {{ \"library_path\": \
         \"{library}\" }}\n}}\n"
    )
}

const VULKAN_ICD: &str = r#"{
    "file_format_version": "1.0.0",
    "ICD": { "library_path": "libGLX_nvidia.so.0", "api_version": "1.3.277" }
}
"#;

const VULKAN_LAYERS: &str = r#"{
    "file_format_version": "1.0.0",
    "layer": {
        "name": "VK_LAYER_NV_optimus",
        "type": "INSTANCE",
        "library_path": "libGLX_nvidia.so.0",
        "api_version": "1.3.277",
        "implementation_version": "1",
        "description": "NVIDIA Optimus layer (simulated)",
        "enable_environment": { "__NV_PRIME_RENDER_OFFLOAD": "1" },
        "disable_environment": { "DISABLE_LAYER_NV_OPTIMUS_1": "" }
    }
}
"#;

const OUTPUT_CLASS: &str = r#"Section "OutputClass"
    Identifier "nvidia"
    MatchDriver "nvidia-drm"
    Driver "nvidia"
EndSection
"#;
