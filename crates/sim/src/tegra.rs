//! Tegra (Jetson): nodes of the processor's own GPU, L4T's files, and the lists that name them.

use oci_gpu::finding::Finding;

use crate::check::refusal;
use crate::elf::{SharedObject, Target};
use crate::layout::triplet;
use crate::spec::HostSpec;
use crate::tree::{Node, Tree};

const LISTS: &str = "/etc/nvidia-container-runtime/host-files-for-container.d";

/// Nodes of an Orin, as its lists name them. Numbers are given out at boot.
const NODES: [(&str, u32, u32); 7] = [
    ("/dev/nvmap", 10, 120),
    ("/dev/nvhost-ctrl-gpu", 501, 1),
    ("/dev/nvhost-as-gpu", 501, 2),
    ("/dev/nvgpu/igpu0/ctrl", 502, 0),
    ("/dev/nvgpu/igpu0/channel", 502, 1),
    ("/dev/nvsciipc", 503, 0),
    ("/dev/host1x-fence", 10, 121),
];

/// Libraries of L4T: file name, soname.
const LIBRARIES: [(&str, &str); 6] = [
    ("libcuda.so.1.1", "libcuda.so.1"),
    ("libnvidia-ml.so.1", "libnvidia-ml.so.1"),
    (
        "libnvidia-ptxjitcompiler.so.{v}",
        "libnvidia-ptxjitcompiler.so.1",
    ),
    ("libnvrm_gpu.so", "libnvrm_gpu.so"),
    ("libnvrm_mem.so", "libnvrm_mem.so"),
    ("libnvbufsurface.so.1.0.0", "libnvbufsurface.so.1.0.0"),
];

/// The nodes of the processor's GPU.
pub(crate) fn nodes() -> impl Iterator<Item = Node> {
    NODES.iter().map(|(path, major, minor)| Node {
        path: (*path).to_owned(),
        major: *major,
        minor: *minor,
        mode: 0o660,
        gid: 44,
    })
}

/// Makes L4T's files and lists. The driver's version is that of the release: "36.4.3" is R36,
/// revision 4.3. Decoys are libcudas of other versions, which no list names.
///
/// Directories and names of what the loader's cache has are returned.
pub(crate) fn create(spec: &HostSpec, tree: &mut Tree) -> Result<Vec<(String, String)>, Finding> {
    let version = spec.userland_version().unwrap_or_default();
    let Some((major, revision)) = version.split_once('.') else {
        return Err(refusal(
            format!("{version:?} is no release of L4T"),
            "write version = \"36.4.3\" in [driver]",
        ));
    };
    tree.file(
        "/etc/nv_tegra_release",
        format!(
            "# R{major} (release), REVISION: {revision}, GCID: 1, BOARD: simulated, EABI: aarch64\n"
        ),
    )?;
    tree.file("/sys/devices/soc0/family", "Tegra\n")?;
    let lib = format!("/usr/lib/{}/nvidia", triplet(spec.arch));
    let mut drivers = String::from("# L4T's libraries\n");
    for (file, soname) in LIBRARIES {
        let file = file.replace("{v}", version);
        library(spec, tree, &format!("{lib}/{file}"), soname, version)?;
        drivers.push_str(&format!("lib, {lib}/{file}\n"));
        if soname != file {
            tree.link(&format!("{lib}/{soname}"), &file)?;
            drivers.push_str(&format!("sym, {lib}/{soname}\n"));
        }
    }
    let icd = "/usr/share/glvnd/egl_vendor.d/10_nvidia.json";
    tree.file(
        icd,
        "{ \"ICD\": { \"library_path\": \"libEGL_nvidia.so.0\" } }\n",
    )?;
    tree.file("/opt/nvidia/vpi3/lib/libnvvpi.so.3", "simulated\n")?;
    tree.link("/opt/nvidia/vpi", "vpi3")?;
    drivers.push_str(&format!(
        "lib, {icd}\ndir, /opt/nvidia/vpi3\nsym, /opt/nvidia/vpi\n"
    ));
    // A line of every release names something that some boards lack.
    drivers.push_str("lib, /usr/lib/aarch64-linux-gnu/tegra-egl/nvidia.json\n");
    tree.file(&format!("{LISTS}/drivers.csv"), drivers)?;
    let devices = "dev, /dev/nvhost-*\ndev, /dev/nvmap\ndev, /dev/nvgpu/igpu0/*\n\
                   dev, /dev/nvsciipc\ndev, /dev/host1x-fence\ndev, /dev/v4l2-nvdec\n";
    tree.file(&format!("{LISTS}/devices.csv"), devices)?;
    // Of an old release: for containers that ask for it.
    let system = format!("/usr/lib/{}", triplet(spec.arch));
    let cudnn = "libcudnn.so.8";
    library(spec, tree, &format!("{system}/{cudnn}"), cudnn, version)?;
    tree.file(
        &format!("{LISTS}/cudnn.csv"),
        format!("lib, {system}/{cudnn}\n"),
    )?;
    let mut cached = vec![(system, cudnn.to_owned())];
    for decoy in &spec.decoy {
        let directory = decoy.directory.as_deref().unwrap_or("/usr/local/lib");
        let file = format!("libcuda.so.{}", decoy.version);
        let soname = "libcuda.so.1";
        library(
            spec,
            tree,
            &format!("{directory}/{file}"),
            soname,
            &decoy.version,
        )?;
        tree.link(&format!("{directory}/{soname}"), &file)?;
        cached.push((directory.to_owned(), soname.to_owned()));
    }
    Ok(cached)
}

fn library(
    spec: &HostSpec,
    tree: &mut Tree,
    path: &str,
    soname: &str,
    version: &str,
) -> Result<(), Finding> {
    let target: Target = spec.arch.target();
    let name = path.rsplit('/').next().unwrap_or(path);
    let stem = name.split(".so").next().unwrap_or(name);
    let bytes = SharedObject {
        target,
        soname: Some(soname),
        needed: &[],
        glibc: target.oldest_glibc(),
        text: &format!("{stem} {version}"),
    };
    tree.file(path, bytes.to_bytes())
}
