//! WSL2: a Windows host's GPUs behind one device, and its driver's files in the driver store.
//!
//! The only node is /dev/dxg. Windows mounts its driver store at /usr/lib/wsl/drivers, one directory
//! for each driver package; the directory with libcuda.so.1.1 is NVIDIA's. Its libraries find each
//! other by that path, which the device tells libdxcore, so a container has them at the same path.
//! No system call is needed to tell all this: microsoft/wslg and the toolkit's WSL mode ask the
//! device for the path, which names the same directory.

mod inf;

use std::cmp::Ordering;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Scope;
use super::nodes::Nodes;
use crate::capability::Capability::{Compute, Graphics, Utility, Video};
use crate::capability::CapabilitySet;
use crate::cuda_version::cuda_of_driver;
use crate::elf;
use crate::finding::{Code, Finding};
use crate::host::{Host, Root};
use crate::inventory::{
    Candidate, ControlNode, ControlRole, DeviceFileParams, Driver, DriverFile, FileKind, Inventory,
    Library, Platform, StoredState,
};

const DEVICE: &str = "/dev/dxg";
const STORES: &str = "/usr/lib/wsl/drivers";

/// The file that makes a store NVIDIA's.
const MARKER: &str = "libcuda.so.1.1";

/// Where Windows, or a distribution, puts the library that speaks to the device.
const DXCORE: [&str; 4] = [
    "/usr/lib/wsl/lib/libdxcore.so",
    "/usr/lib/x86_64-linux-gnu/libdxcore.so",
    "/usr/lib/aarch64-linux-gnu/libdxcore.so",
    "/usr/lib64/libdxcore.so",
];

/// Where a driver for Linux's own kernel module is sometimes installed by mistake.
const NATIVE: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/libcuda.so.1",
    "/usr/lib/aarch64-linux-gnu/libcuda.so.1",
    "/usr/lib64/libcuda.so.1",
];

/// How much of an INF file is read, in bytes: its section [Version] comes first.
const INF_LIMIT: u64 = 64 << 10;

/// Whether the host is WSL2 with a GPU.
pub(super) fn is_here(host: &Host) -> bool {
    let files = host.files();
    files.metadata_nofollow(Path::new(DEVICE)).is_ok() && files.exists(Path::new("/usr/lib/wsl"))
}

/// A driver package of NVIDIA's.
struct Store {
    path: PathBuf,
    /// "551.61", and the file that says so.
    version: Option<(String, PathBuf)>,
    modified: i64,
}

pub(super) fn discover(host: &Host, scope: &Scope) -> Result<Inventory, Finding> {
    let root = host.files();
    let mut candidates = Vec::new();
    let store = store(root, &mut candidates)?;
    for path in NATIVE {
        if root.exists(Path::new(path)) {
            let why =
                "it is of a driver for Linux's own kernel module; WSL's is in the driver store";
            candidates.push(refused(Path::new(path), why.to_owned()));
        }
    }
    let mut libraries = Vec::new();
    let mut files = Vec::new();
    let dxcore = DXCORE.iter().find_map(|p| root.resolve(Path::new(p)).ok());
    let Some(dxcore) = dxcore else {
        return Err(Finding::new(
            Code::Wsl,
            format!(
                "libdxcore.so, by which libraries speak to {DEVICE}, was not found in {}",
                DXCORE[0]
            ),
            "update WSL: wsl --update",
        ));
    };
    match read(root, &dxcore, CapabilitySet::all()) {
        Ok(library) => libraries.push(library),
        Err(why) => candidates.push(refused(&dxcore, why)),
    }
    for name in root.list(&store.path).unwrap_or_default() {
        let Ok(path) = root.resolve(&store.path.join(&name)) else {
            continue;
        };
        if !root.metadata(&path).is_ok_and(|m| m.is_file()) {
            continue;
        }
        let capabilities = capabilities_of(&name);
        if !capabilities.intersects(scope.capabilities) {
            continue;
        }
        let kind = match () {
            () if name == "nvidia-smi" => FileKind::Binary,
            () if name.contains(".so") => match read(root, &path, capabilities) {
                Ok(library) => {
                    libraries.push(library);
                    continue;
                }
                Err(why) => {
                    candidates.push(refused(&path, why));
                    continue;
                }
            },
            () if name.ends_with(".bin") => FileKind::Config,
            // Loaded as code, by libraries that bring Direct3D.
            () if name.ends_with(".dll") => FileKind::Module,
            () => continue,
        };
        let target = match kind {
            FileKind::Binary => Path::new("/usr/bin").join(&name),
            _ => path.clone(),
        };
        files.push(DriverFile::at(
            kind,
            root.host_path(&path),
            target,
            capabilities,
        ));
    }
    libraries.sort_by(|a, b| a.path.cmp(&b.path));
    let (version, version_source) = store
        .version
        .unwrap_or_else(|| ("unknown".to_owned(), store.path.clone()));
    let nodes = Nodes::of(host)?;
    let node = nodes.found(DEVICE).ok_or_else(|| {
        Finding::new(
            Code::NodeWrong,
            format!("{DEVICE} is no character device"),
            "restart WSL: wsl --shutdown",
        )
    })?;
    Ok(Inventory {
        platform: Platform::Wsl,
        stored: StoredState::NotRead,
        driver: Driver {
            cuda: cuda_of_driver(&version),
            version,
            version_source,
            flavour: None,
            root: PathBuf::from("/"),
            candidates,
            proc_files: Vec::new(),
            device_files: DeviceFileParams::default(),
        },
        gpus: Vec::new(),
        control: vec![ControlNode {
            role: ControlRole::Platform,
            node,
        }],
        mig_config: None,
        mig_monitor: None,
        imex_channels: Vec::new(),
        peripherals: Vec::new(),
        libraries,
        files,
        links: Vec::new(),
        findings: Vec::new(),
    })
}

/// NVIDIA's driver package of the newest version, or the one that was changed last. Windows leaves
/// old packages behind when it updates a driver.
fn store(root: &Root, candidates: &mut Vec<Candidate>) -> Result<Store, Finding> {
    let mut stores = Vec::new();
    for name in root.list(Path::new(STORES)).unwrap_or_default() {
        let path = Path::new(STORES).join(name);
        let Ok(path) = root.resolve(&path) else {
            continue;
        };
        match root.metadata(&path.join(MARKER)) {
            Ok(marker) if marker.is_file() => stores.push(Store {
                version: version(root, &path),
                modified: root.metadata(&path).map_or(0, |m| m.mtime()),
                path,
            }),
            _ => candidates.push(refused(
                &path,
                format!("it has no {MARKER}: another vendor's"),
            )),
        }
    }
    stores.sort_by(newest_last);
    let Some(newest) = stores.pop() else {
        return Err(Finding::new(
            Code::Wsl,
            format!(
                "{DEVICE} is there, but no directory of {STORES} has {MARKER}: Windows has no NVIDIA driver for WSL"
            ),
            "install NVIDIA's driver in Windows, and restart WSL: wsl --shutdown",
        ));
    };
    for older in stores {
        let why = match (&older.version, &newest.version) {
            (Some((old, _)), Some((new, _))) => {
                format!(
                    "its version is {old}, and {} has {new}",
                    newest.path.display()
                )
            }
            _ => format!("it is older than {}", newest.path.display()),
        };
        candidates.push(refused(&older.path, why));
    }
    let why = match &newest.version {
        Some((version, _)) => format!("it has {MARKER}, of driver {version}"),
        None => format!("it has {MARKER}"),
    };
    candidates.push(Candidate {
        path: newest.path.clone(),
        evidence: "driver store",
        accepted: true,
        why,
    });
    Ok(newest)
}

fn newest_last(a: &Store, b: &Store) -> Ordering {
    let numbers = |s: &Store| {
        let version = s.version.as_ref().map(|(v, _)| v.clone());
        let part = |p: &str| p.parse::<u32>().unwrap_or(0);
        version.map(|v| v.split('.').map(part).collect::<Vec<_>>())
    };
    // One without a version is older than one with.
    (numbers(a), a.modified, &a.path).cmp(&(numbers(b), b.modified, &b.path))
}

fn refused(path: &Path, why: String) -> Candidate {
    Candidate {
        path: path.to_path_buf(),
        evidence: "driver store",
        accepted: false,
        why,
    }
}

/// The driver's version, from the line `DriverVer` of the package's INF file.
fn version(root: &Root, store: &Path) -> Option<(String, PathBuf)> {
    let names = root.list(store).ok()?;
    names
        .iter()
        .filter(|n| n.ends_with(".inf"))
        .find_map(|name| {
            let path = store.join(name);
            let mut bytes = Vec::new();
            let file = root.open(&path).ok()?;
            file.take(INF_LIMIT).read_to_end(&mut bytes).ok()?;
            Some((inf::driver_version(&inf::text_of(&bytes))?, path))
        })
}

/// What a file of the store is for: the driver's libraries have a part of their names there.
fn capabilities_of(name: &str) -> CapabilitySet {
    let stem = name.split(".so").next().unwrap_or_default();
    let stem = stem.strip_suffix("_loader").unwrap_or(stem);
    match stem {
        "nvidia-smi" => [Utility].into_iter().collect(),
        // The video codecs run on CUDA.
        "libnvdxgdmal" | "nvcubins.bin" => [Compute, Video].into_iter().collect(),
        "libnvwgf2umx" => [Graphics].into_iter().collect(),
        _ => crate::driver_files::capabilities_of(stem),
    }
}

fn read(root: &Root, path: &Path, capabilities: CapabilitySet) -> Result<Library, String> {
    let file = root.open_resolved(path).map_err(|e| e.to_string())?;
    let facts = elf::read(&file).map_err(|e| format!("it is no usable ELF file: {e}"))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.split(".so").next().unwrap_or_default();
    // A loader that calls itself what it loads (libcuda_loader.so: libcuda.so.1) must not stand for
    // it in the loader's cache.
    let is_own = |soname: &String| soname.starts_with(&format!("{stem}.so"));
    Ok(Library {
        path: root.host_path(path),
        soname: facts.soname.filter(is_own),
        class: facts.class,
        machine: facts.machine,
        capabilities,
        stem: stem.to_owned(),
        evidence: "driver store of Windows".to_owned(),
        foreign: None,
    })
}
