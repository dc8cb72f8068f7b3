//! WSL2: the driver store that Windows mounts, and the libraries of Microsoft's.
//!
//! Names are those of the toolkit's WSL mode and of driver packages 5xx for Windows.

use oci_gpu::finding::Finding;

use crate::elf::{self, SharedObject, Target};
use crate::spec::HostSpec;
use crate::tree::{Node, Tree};

const LIB: &str = "/usr/lib/wsl/lib";
const DRIVERS: &str = "/usr/lib/wsl/drivers";

/// Libraries of a driver package: file name and soname.
const LIBRARIES: &[(&str, &str)] = &[
    ("libcuda.so.1.1", "libcuda.so.1"),
    // The loaders call themselves what they load.
    ("libcuda_loader.so", "libcuda.so.1"),
    ("libnvdxgdmal.so.1", "libnvdxgdmal.so.1"),
    ("libnvidia-encode.so.1", "libnvidia-encode.so.1"),
    ("libnvidia-ml.so.1", "libnvidia-ml.so.1"),
    ("libnvidia-ml_loader.so", "libnvidia-ml.so.1"),
    (
        "libnvidia-ptxjitcompiler.so.1",
        "libnvidia-ptxjitcompiler.so.1",
    ),
    ("libnvwgf2umx.so", "libnvwgf2umx.so"),
];

/// The device.
pub(crate) fn node() -> Node {
    Node {
        path: "/dev/dxg".to_owned(),
        major: 10,
        minor: 63,
        mode: 0o666,
        gid: 0,
    }
}

/// Makes Microsoft's libraries, an Intel driver's package as every laptop has it, the packages of
/// the driver and of decoys without a directory, and Linux drivers where decoys have one. Directories
/// and names of those that the loader's cache has are returned.
pub(crate) fn create(spec: &HostSpec, tree: &mut Tree) -> Result<Vec<(String, String)>, Finding> {
    let mut cached = Vec::new();
    for name in ["libdxcore.so", "libd3d12.so", "libd3d12core.so"] {
        library(spec, tree, LIB, name, name, "Windows")?;
    }
    let intel = format!("{DRIVERS}/iigd_dch.inf_amd64_0sim1gpu2intel34");
    library(
        spec,
        tree,
        &intel,
        "libigd12um64xel.so",
        "libigd12um64xel.so",
        "Intel",
    )?;
    inf(tree, &intel, "iigd_dch", "31.0.101.5186")?;
    let Some(version) = spec.userland_version() else {
        return Ok(cached);
    };
    package(spec, tree, "nv_dispi.inf_amd64_9sim1gpu2nvidia3", version)?;
    for (number, decoy) in spec.decoy.iter().enumerate() {
        match &decoy.directory {
            None => {
                let name = format!("nv_dispi.inf_amd64_{number}sim1gpu2nvidia3");
                package(spec, tree, &name, &decoy.version)?;
            }
            Some(directory) => {
                for stem in ["libcuda", "libnvidia-ml"] {
                    let file = format!("{stem}.so.{}", decoy.version);
                    let soname = format!("{stem}.so.1");
                    library(spec, tree, directory, &file, &soname, &decoy.version)?;
                    tree.link(&format!("{directory}/{soname}"), &file)?;
                    cached.push((directory.clone(), soname));
                }
            }
        }
    }
    Ok(cached)
}

fn package(spec: &HostSpec, tree: &mut Tree, name: &str, version: &str) -> Result<(), Finding> {
    let store = format!("{DRIVERS}/{name}");
    for (file, soname) in LIBRARIES {
        library(spec, tree, &store, file, soname, version)?;
    }
    tree.file(&format!("{store}/nvcubins.bin"), "simulated\n")?;
    tree.file(&format!("{store}/nvcuda64.dll"), "MZ simulated")?;
    tree.file(&format!("{store}/license.txt"), "simulated\n")?;
    let smi = elf::static_program(spec.arch, &format!("nvidia-smi {version} (simulated)"));
    tree.program(&format!("{store}/nvidia-smi"), &smi)?;
    // 551.61 is 31.0.15.5161 in Windows.
    let digits = version.replace('.', "");
    let (first, last) = digits.split_at(1.min(digits.len()));
    inf(tree, &store, "nv_dispi", &format!("31.0.1{first}.{last}"))
}

/// An INF file as Windows has it: UTF-16 with a byte-order mark.
fn inf(tree: &mut Tree, store: &str, name: &str, version: &str) -> Result<(), Finding> {
    let text = format!("[Version]\r\nClass=Display\r\nDriverVer = 02/19/2024, {version}\r\n");
    let words = [0xfeff].into_iter().chain(text.encode_utf16());
    let bytes: Vec<u8> = words.flat_map(u16::to_le_bytes).collect();
    tree.file(&format!("{store}/{name}.inf"), bytes)
}

fn library(
    spec: &HostSpec,
    tree: &mut Tree,
    directory: &str,
    file: &str,
    soname: &str,
    version: &str,
) -> Result<(), Finding> {
    let target: Target = spec.arch.target();
    let stem = file.split(".so").next().unwrap_or(file);
    let bytes = SharedObject {
        target,
        soname: Some(soname),
        needed: &[],
        glibc: target.oldest_glibc(),
        text: &format!("{stem} {version}"),
    };
    tree.file(&format!("{directory}/{file}"), bytes.to_bytes())
}
