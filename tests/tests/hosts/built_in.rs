//! Every built-in host: the driver, the evidence, libraries and files.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use oci_gpu::capability::Capability;
use oci_gpu::elf::{Class, Machine};
use oci_gpu::inventory::{DeviceFileParams, FileKind, Inventory};
use oci_gpu::{CapabilitySet, discover};
use oci_gpu_sim::{
    Arch, FileVersion, Flavour, HostSpec, LIBRARIES, Layout, Library, Origin, Package, Place,
};
use oci_gpu_tests::sim::SimHost;

use crate::expected::Outcome::{Fails, Found as Finds};
use crate::expected::{Evidence, Found, Lib, expected};

#[test]
fn every_built_in_host_is_found_as_it_is_described() {
    for name in HostSpec::names() {
        let sim = SimHost::named(name).unwrap();
        if matches!(sim.spec.layout, Layout::Wsl | Layout::Tegra) {
            // No driver of the kernel: tests/tests/wsl.rs and tegra.rs.
            assert!(discover(&sim.host()).is_ok(), "{name}");
            continue;
        }
        match (expected(name), discover(&sim.host())) {
            (Finds(found), Ok(inventory)) => {
                let host = Checked {
                    name,
                    sim: &sim,
                    inventory: &inventory,
                };
                host.driver(&found);
                host.evidence(&found);
                host.libraries(&found);
                host.files(&found);
                host.gpus();
                host.control();
                host.mig_rights();
                host.imex_channels();
                assert_eq!(inventory.findings, [], "{name}");
            }
            (Fails(code, words), Err(finding)) => {
                assert_eq!(finding.code, code, "{name}: {finding}");
                let text = finding.to_string();
                for word in words {
                    assert!(text.contains(word), "{name}: '{word}' in {text}");
                }
            }
            (Finds(_), Err(e)) => panic!("{name}: {e}"),
            (Fails(code, _), Ok(i)) => panic!("{name}: {code} was expected, found {:?}", i.driver),
        }
    }
}

/// A host, its description, and what was found on it.
pub(crate) struct Checked<'a> {
    pub(crate) name: &'a str,
    pub(crate) sim: &'a SimHost,
    pub(crate) inventory: &'a Inventory,
}

impl Checked<'_> {
    fn version(&self) -> &str {
        &self.sim.spec.driver.as_ref().unwrap().version
    }

    fn driver(&self, found: &Found) {
        let (name, driver) = (self.name, &self.inventory.driver);
        let described = self.sim.spec.driver.as_ref().unwrap();
        assert_eq!(driver.version, described.version, "{name}");
        assert_eq!(
            driver.version_source,
            Path::new("/sys/module/nvidia/version"),
            "{name}"
        );
        let flavour = match described.flavour {
            Flavour::Open => "open",
            Flavour::Proprietary => "proprietary",
        };
        assert_eq!(driver.flavour, Some(flavour), "{name}");
        assert_eq!(driver.root, Path::new(found.root), "{name}");
        let cuda = match described.version.split('.').next().unwrap() {
            "535" => (12, 2),
            "550" => (12, 4),
            "560" => (12, 6),
            "565" => (12, 7),
            "570" => (12, 8),
            other => panic!("{name}: which CUDA has branch {other}?"),
        };
        assert_eq!(driver.cuda, Some(cuda), "{name}");
        let files: Vec<&str> = driver.proc_files.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(files, ["params", "version", "registry"], "{name}");
        for file in &driver.proc_files {
            let path = self.sim.on_disk("/proc/driver/nvidia").join(&file.name);
            let content = fs::read_to_string(path).unwrap();
            assert_eq!(file.content, content, "{name}: {}", file.name);
        }
        let default = DeviceFileParams {
            uid: 0,
            gid: 0,
            mode: 0o666,
        };
        assert_eq!(driver.device_files, default, "{name}");
    }

    fn evidence(&self, found: &Found) {
        let (name, version) = (self.name, self.version());
        let root = found.root.trim_end_matches('/');
        let libs = [Some(&found.lib), found.lib32.as_ref()];
        let libs = libs.into_iter().flatten();
        let mut accepted: BTreeSet<(&str, String)> = BTreeSet::new();
        match found.evidence {
            Evidence::Cache => {
                for lib in libs {
                    for marker in ["libcuda", "libnvidia-ml"] {
                        let file = format!("{root}{}/{marker}.so.{version}", lib.public);
                        accepted.insert(("ld.so.cache", file));
                    }
                }
            }
            Evidence::WellKnown => {
                let place = |l: &Lib| format!("{root}{}", l.public);
                accepted.extend(libs.map(|l| ("well-known directory", place(l))));
            }
            Evidence::Nix(directories) => {
                let directories = directories
                    .iter()
                    .map(|d| ("NixOS driver link", (*d).to_owned()));
                accepted.extend(directories);
            }
        }
        let candidates = &self.inventory.driver.candidates;
        let of = |verdict| {
            let chosen = candidates.iter().filter(move |c| c.accepted == verdict);
            chosen.map(|c| (c.evidence, c.path.display().to_string()))
        };
        assert_eq!(of(true).collect::<BTreeSet<_>>(), accepted, "{name}");
        for c in candidates.iter().filter(|c| c.accepted) {
            assert!(c.why.contains(version), "{name}: {c:?}");
        }
        let refused = found.refused.iter().map(|r| (r.0, r.1.to_owned()));
        assert_eq!(
            of(false).collect::<BTreeSet<_>>(),
            refused.collect(),
            "{name}"
        );
        for (_, path, why) in found.refused {
            let c = candidates.iter().find(|c| c.path == Path::new(path));
            let c = c.unwrap();
            assert!(c.why.contains(why), "{name}: '{why}' in {c:?}");
        }
    }

    /// Exactly the libraries that the description installs, each where it is, as it is.
    fn libraries(&self, found: &Found) {
        let (name, version) = (self.name, self.version());
        let spec = &self.sim.spec;
        let root = found.root.trim_end_matches('/');
        let native = match spec.arch {
            Arch::X86_64 => Machine::X86_64,
            Arch::Aarch64 => Machine::Aarch64,
        };
        let mut expected = BTreeSet::new();
        for library in LIBRARIES.iter().filter(|l| is_installed(spec, l)) {
            let mut expect = |lib: &Lib, class, machine| {
                let file = library.file_name(version);
                let directory = match library.place {
                    Place::Private | Place::UsrLib => lib.private,
                    Place::Vdpau => lib.vdpau,
                    _ => lib.public,
                };
                let path = PathBuf::from(format!("{root}{directory}/{file}"));
                expected.insert((path, library.soname(&file), class, machine));
            };
            expect(&found.lib, Class::Elf64, native);
            if let (Some(lib32), true) = (&found.lib32, library.compat32) {
                expect(lib32, Class::Elf32, Machine::X86);
            }
        }
        let libraries = &self.inventory.libraries;
        let seen: BTreeSet<_> = libraries
            .iter()
            .map(|l| (l.path.clone(), l.soname.clone(), l.class, l.machine))
            .collect();
        let missing: Vec<_> = expected.difference(&seen).collect();
        let excess: Vec<_> = seen.difference(&expected).collect();
        assert!(
            missing.is_empty() && excess.is_empty(),
            "{name}: missing {missing:#?}, too many {excess:#?}"
        );
        assert_eq!(libraries.len(), found.libraries, "{name}");
        assert_eq!(libraries.len(), seen.len(), "{name}: one is listed twice");
        let order = |l: &oci_gpu::inventory::Library| (l.class == Class::Elf32, l.path.clone());
        assert!(libraries.is_sorted_by_key(order), "{name}");
        for library in libraries {
            let file = library.path.file_name().unwrap().to_str().unwrap();
            let (stem, suffix) = file.split_once(".so.").unwrap();
            assert_eq!(library.stem, stem, "{name}");
            assert_eq!(
                library.foreign.is_none(),
                suffix == version,
                "{name}: {file}"
            );
            let directory = library.path.parent().unwrap().to_str().unwrap();
            assert!(
                library.evidence.contains(directory),
                "{name}: {}",
                library.evidence
            );
            let metadata = fs::symlink_metadata(self.sim.on_disk(&library.path)).unwrap();
            assert!(metadata.is_file(), "{name}: {}", library.path.display());
        }
        self.capabilities();
    }

    /// Each library has capabilities that its package is for.
    fn capabilities(&self) {
        use Capability::{Compute, Display, Graphics, Ngx, Utility, Video};
        for library in &self.inventory.libraries {
            let described = LIBRARIES.iter().find(|l| l.stem == library.stem).unwrap();
            let may: &[Capability] = match described.package {
                Package::Compute => &[Compute, Utility, Graphics, Video],
                Package::Video => &[Video],
                Package::Graphics => &[Graphics],
                Package::Ngx => &[Ngx],
                Package::Display => &[Display],
            };
            let may: CapabilitySet = may.iter().copied().collect();
            let has = library.capabilities;
            assert!(
                !has.is_empty() && has.without(may).is_empty(),
                "{}: {} is for {has}",
                self.name,
                library.stem
            );
        }
    }

    /// Programs, firmware, sockets and configuration: those that the description installs.
    fn files(&self, found: &Found) {
        let (name, spec) = (self.name, &self.sim.spec);
        let packages = &spec.driver.as_ref().unwrap().packages;
        let mut expected: BTreeSet<String> = BTreeSet::new();
        let mut expect = |when: bool, targets: &[&str]| {
            if when {
                expected.extend(targets.iter().map(|t| (*t).to_owned()));
            }
        };
        expect(
            packages.contains(&Package::Compute),
            &[
                "/usr/bin/nvidia-smi",
                "/usr/bin/nvidia-debugdump",
                "/usr/bin/nvidia-persistenced",
                "/usr/bin/nvidia-cuda-mps-control",
                "/usr/bin/nvidia-cuda-mps-server",
            ],
        );
        let services = spec.services;
        expect(services.fabricmanager, &["/usr/bin/nv-fabricmanager"]);
        let imex = ["/usr/bin/nvidia-imex", "/usr/bin/nvidia-imex-ctl"];
        expect(!spec.imex_channels.is_empty(), &imex);
        let persistenced = ["/run/nvidia-persistenced/socket"];
        expect(services.persistenced, &persistenced);
        let fabric = ["/run/nvidia-fabricmanager/socket"];
        expect(services.fabricmanager, &fabric);
        expect(services.mps, &["/tmp/nvidia-mps"]);
        let firmware = format!("/lib/firmware/nvidia/{}", self.version());
        let gsp = ["gsp_ga10x.bin", "gsp_tu10x.bin"].map(|f| format!("{firmware}/{f}"));
        expect(true, &gsp.each_ref().map(String::as_str));
        let has = |package| packages.contains(&package);
        let profile = format!(
            "/usr/share/nvidia/nvidia-application-profiles-{}-rc",
            self.version()
        );
        expect(
            has(Package::Compute),
            &["/etc/OpenCL/vendors/nvidia.icd", &profile],
        );
        let icd = match spec.layout {
            Layout::Rpm | Layout::Nixos => "/etc/vulkan/icd.d/nvidia_icd.x86_64.json",
            _ => "/etc/vulkan/icd.d/nvidia_icd.json",
        };
        expect(
            has(Package::Graphics),
            &[
                "/usr/share/glvnd/egl_vendor.d/10_nvidia.json",
                "/usr/share/egl/egl_external_platform.d/10_nvidia_wayland.json",
                "/usr/share/egl/egl_external_platform.d/15_nvidia_gbm.json",
                icd,
                "/etc/vulkan/implicit_layer.d/nvidia_layers.json",
                "/usr/share/nvidia/nvoptix.bin",
            ],
        );
        // Since 545.
        let x_windows = ["xcb", "xlib"]
            .map(|x| format!("/usr/share/egl/egl_external_platform.d/20_nvidia_{x}.json"));
        expect(
            has(Package::Graphics) && !self.version().starts_with("535."),
            &x_windows.each_ref().map(String::as_str),
        );
        let wine = ["nvidia/wine/_nvngx.dll", "nvidia/wine/nvngx.dll"];
        expect(has(Package::Ngx), &wine);
        let conf = match spec.layout {
            Layout::Rpm => "/usr/share/X11/xorg.conf.d/10-nvidia.conf",
            _ => "/usr/share/X11/xorg.conf.d/nvidia-drm-outputclass.conf",
        };
        let module = format!("extensions/libglxserver_nvidia.so.{}", self.version());
        expect(
            has(Package::Display),
            &["drivers/nvidia_drv.so", &module, conf],
        );
        let xconfig = has(Package::Display) && spec.layout != Layout::Debian;
        expect(xconfig, &["/usr/bin/nvidia-xconfig"]);
        let files = &self.inventory.files;
        let seen: BTreeSet<String> = files
            .iter()
            .map(|f| f.target.display().to_string())
            .collect();
        assert_eq!(seen, expected, "{name}");
        assert_eq!(files.len(), seen.len(), "{name}: two have one target");
        let root = found.root.trim_end_matches('/');
        for file in files {
            let path = file.path.display();
            let kind = fs::symlink_metadata(self.sim.on_disk(&file.path))
                .unwrap_or_else(|e| panic!("{name}: {path}: {e}"))
                .file_type();
            let fits = match file.kind {
                FileKind::Socket => kind.is_socket(),
                FileKind::Directory => kind.is_dir(),
                _ => kind.is_file(),
            };
            assert!(fits, "{name}: {path} is {kind:?}");
            let below = file.kind == FileKind::Firmware || file.path.starts_with(found.root);
            assert!(below, "{name}: {path}");
        }
        let path_of = |target: &str| {
            let file = files.iter().find(|f| f.target == Path::new(target));
            file.map(|f| f.path.clone())
        };
        if packages.contains(&Package::Compute) {
            let smi = PathBuf::from(format!("{root}{}", found.smi));
            assert_eq!(path_of("/usr/bin/nvidia-smi"), Some(smi), "{name}");
        }
        let gsp_path = format!("{root}{}/{}/gsp_ga10x.bin", found.firmware, self.version());
        assert_eq!(path_of(&gsp[0]), Some(PathBuf::from(gsp_path)), "{name}");
    }
}

/// Whether the driver of `spec` has the library, in a place where containers' libraries lie.
fn is_installed(spec: &HostSpec, library: &Library) -> bool {
    let driver = spec.driver.as_ref().unwrap();
    let branch = driver.version.split('.').next().unwrap().parse().unwrap();
    // Debian keeps the parts of nvidia-settings in /usr/lib.
    let settings = library.place == Place::UsrLib && spec.layout == Layout::Debian;
    let of_xorg = matches!(library.place, Place::XorgDriver | Place::XorgExtension);
    library.version != FileVersion::None
        && library.in_branch(branch)
        && driver.packages.contains(&library.package)
        && (library.origin == Origin::All || spec.layout != Layout::Debian)
        && !(settings || of_xorg)
}
