//! What discovery finds on every built-in simulated host, held against the host's description: the
//! driver and where it lies, each library, GPUs, nodes, MIG, IMEX channels, and the evidence.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use oci_gpu::capability::Capability;
use oci_gpu::elf::{Class, Machine};
use oci_gpu::finding::Code;
use oci_gpu::inventory::{
    ControlRole, DeviceFileParams, DeviceNode, FileKind, Inventory, MigAccess, NodeState,
};
use oci_gpu::{CapabilitySet, discover};
use oci_gpu_sim::{
    Arch, FileVersion, Flavour, Gpu, HostSpec, LIBRARIES, Layout, Library, Module, Origin, Package,
    Place,
};
use oci_gpu_tests::sim::SimHost;

/// What is expected of a host beyond what its description says by itself.
enum Outcome {
    Found(Found),
    /// The code, and words of the message and the remedy.
    Fails(Code, &'static [&'static str]),
}
use Outcome::{Fails, Found as Finds};

struct Found {
    /// The driver root, which the paths below begin with.
    root: &'static str,
    lib: Lib,
    lib32: Option<Lib>,
    /// How many libraries of the driver's version.
    libraries: usize,
    /// nvidia-smi, every link followed.
    smi: &'static str,
    /// The directory of the GSP firmware, without the version.
    firmware: &'static str,
    /// What led to the libraries.
    evidence: Evidence,
    /// What was looked at and refused: evidence, path, words of the reason.
    refused: &'static [(&'static str, &'static str, &'static str)],
}

/// Directories of one word size, links followed.
struct Lib {
    /// Libraries that programs load by soname.
    public: &'static str,
    /// Libraries that the driver's own load by file name.
    private: &'static str,
    /// VDPAU's driver.
    vdpau: &'static str,
}

#[derive(Clone, Copy)]
enum Evidence {
    /// ld.so.cache leads to libcuda and libnvidia-ml.
    Cache,
    /// The directories of the libraries are well-known.
    WellKnown,
    /// Directories of links that NixOS publishes.
    Nix(&'static [&'static str]),
}

const NO_CACHE: (&str, &str, &str) = ("ld.so.cache", "/etc/ld.so.cache", "it does not exist");

/// NVIDIA's installer on Ubuntu: what most rows differ from.
const RUN: Found = Found {
    root: "/",
    lib: Lib {
        public: "/usr/lib/x86_64-linux-gnu",
        private: "/usr/lib/x86_64-linux-gnu",
        vdpau: "/usr/lib/x86_64-linux-gnu/vdpau",
    },
    lib32: None,
    libraries: 0,
    smi: "/usr/bin/nvidia-smi",
    firmware: "/usr/lib/firmware/nvidia",
    evidence: Evidence::Cache,
    refused: &[],
};

/// Debian's packages.
const DEBIAN: Found = Found {
    lib: Lib {
        public: "/usr/lib/x86_64-linux-gnu/nvidia/current",
        private: "/usr/lib/x86_64-linux-gnu",
        vdpau: "/usr/lib/x86_64-linux-gnu/nvidia/current",
    },
    smi: "/usr/lib/nvidia/current/nvidia-smi",
    ..RUN
};

/// The outcome for each built-in host. A host without a row fails the test.
fn expected(host: &str) -> Outcome {
    match host {
        "run-1" => Finds(Found {
            libraries: 14,
            ..RUN
        }),
        "run-16" | "run-8-mig" => Finds(Found {
            libraries: 16,
            ..RUN
        }),
        "missing-uvm" | "wrong-major" => Finds(Found {
            libraries: 10,
            ..RUN
        }),
        "no-devices" => Finds(Found {
            libraries: 31,
            ..RUN
        }),
        "run-8" => Finds(Found {
            lib32: Some(Lib {
                public: "/usr/lib/i386-linux-gnu",
                private: "/usr/lib/i386-linux-gnu",
                vdpau: "/usr/lib/i386-linux-gnu/vdpau",
            }),
            libraries: 52,
            ..RUN
        }),
        "debian-1" => Finds(Found {
            libraries: 10,
            ..DEBIAN
        }),
        "debian-8" => Finds(Found {
            lib32: Some(Lib {
                public: "/usr/lib/i386-linux-gnu/nvidia/current",
                private: "/usr/lib/i386-linux-gnu",
                vdpau: "/usr/lib/i386-linux-gnu/nvidia/current",
            }),
            libraries: 48,
            ..DEBIAN
        }),
        "debian-decoy" => Finds(Found {
            libraries: 10,
            evidence: Evidence::WellKnown,
            refused: &[
                (
                    "ld.so.cache",
                    "/usr/lib/x86_64-linux-gnu/nvidia/tesla-535/libcuda.so.535.261.03",
                    "its version is 535.261.03, the kernel's is 550.163.01",
                ),
                (
                    "ld.so.cache",
                    "/usr/lib/x86_64-linux-gnu/nvidia/tesla-535/libnvidia-ml.so.535.261.03",
                    "its version is 535.261.03, the kernel's is 550.163.01",
                ),
            ],
            ..DEBIAN
        }),
        "rpm-8" => Finds(Found {
            lib: Lib {
                public: "/usr/lib64",
                private: "/usr/lib64",
                vdpau: "/usr/lib64/vdpau",
            },
            lib32: Some(Lib {
                public: "/usr/lib",
                private: "/usr/lib",
                vdpau: "/usr/lib/vdpau",
            }),
            libraries: 53,
            ..RUN
        }),
        "driver-container-8" => Finds(Found {
            root: "/run/nvidia/driver",
            libraries: 28,
            ..RUN
        }),
        "microvm-1" => Finds(Found {
            lib: Lib {
                public: "/usr/local/nvidia/lib64",
                private: "/usr/local/nvidia/lib64",
                vdpau: "/usr/local/nvidia/lib64/vdpau",
            },
            libraries: 14,
            smi: "/usr/local/nvidia/bin/nvidia-smi",
            firmware: "/lib/firmware/nvidia",
            evidence: Evidence::WellKnown,
            refused: &[NO_CACHE],
            ..RUN
        }),
        "nixos-1" => Finds(Found {
            lib: Lib {
                public: "/nix/store/0sim1gpu2host3of4oci5gpu6hash7x8-nvidia-x11-565.77/lib",
                private: "/nix/store/0sim1gpu2host3of4oci5gpu6hash7x8-nvidia-x11-565.77/lib",
                vdpau: "/nix/store/0sim1gpu2host3of4oci5gpu6hash7x8-nvidia-x11-565.77/lib/vdpau",
            },
            lib32: Some(Lib {
                public: "/nix/store/0sim1gpu2host3of4oci5gpu6hash7x8-nvidia-x11-565.77-lib32/lib",
                private: "/nix/store/0sim1gpu2host3of4oci5gpu6hash7x8-nvidia-x11-565.77-lib32/lib",
                vdpau: "/nix/store/0sim1gpu2host3of4oci5gpu6hash7x8-nvidia-x11-565.77-lib32/lib/vdpau",
            }),
            libraries: 53,
            smi: "/nix/store/0sim1gpu2host3of4oci5gpu6hash7x8-nvidia-x11-565.77-bin/bin/nvidia-smi",
            firmware: "/run/current-system/firmware/nvidia",
            evidence: Evidence::Nix(&[
                "/nix/store/0sim1gpu2host3of4oci5gpu6link7x8-graphics-drivers/lib",
                "/nix/store/0sim1gpu2host3of4oci5gpu6link7x8-graphics-drivers-32/lib",
            ]),
            ..RUN
        }),
        "cos-1" => Finds(Found {
            lib: Lib {
                public: "/home/kubernetes/bin/nvidia/lib64",
                private: "/home/kubernetes/bin/nvidia/lib64",
                vdpau: "/home/kubernetes/bin/nvidia/lib64/vdpau",
            },
            libraries: 10,
            smi: "/home/kubernetes/bin/nvidia/bin/nvidia-smi",
            evidence: Evidence::WellKnown,
            refused: &[NO_CACHE],
            ..RUN
        }),
        "flat-1" => Finds(Found {
            lib: Lib {
                public: "/usr/lib",
                private: "/usr/lib",
                vdpau: "/usr/lib/vdpau",
            },
            lib32: Some(Lib {
                public: "/usr/lib32",
                private: "/usr/lib32",
                vdpau: "/usr/lib32/vdpau",
            }),
            libraries: 53,
            ..RUN
        }),
        "aarch64-1" => Finds(Found {
            lib: Lib {
                public: "/usr/lib/aarch64-linux-gnu",
                private: "/usr/lib/aarch64-linux-gnu",
                vdpau: "/usr/lib/aarch64-linux-gnu/vdpau",
            },
            libraries: 16,
            ..RUN
        }),
        "no-gpu" => Fails(
            Code::NoDriver,
            &[
                "no NVIDIA driver is loaded",
                "the PCI bus has no NVIDIA GPU",
                "machine with a GPU",
            ],
        ),
        "half-upgraded" => Fails(
            Code::NoUserland,
            &[
                "kernel runs driver 550.163.01",
                "user-space files are of 560.35.03",
                "upgraded by half",
                "reboot",
            ],
        ),
        other => panic!("the built-in host {other} has no row here"),
    }
}

#[test]
fn every_built_in_host_is_found_as_it_is_described() {
    for name in HostSpec::names() {
        let sim = SimHost::named(name).unwrap();
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
struct Checked<'a> {
    name: &'a str,
    sim: &'a SimHost,
    inventory: &'a Inventory,
}

impl Checked<'_> {
    fn version(&self) -> &str {
        &self.sim.spec.driver.as_ref().unwrap().version
    }

    fn has_module(&self, module: Module) -> bool {
        let driver = self.sim.spec.driver.as_ref().unwrap();
        driver.modules.contains(&module)
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
                accepted.extend(libs.map(|l| ("well-known directory", l.public.to_owned())));
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
            let stem = library.path.file_name().unwrap().to_str().unwrap();
            let stem = stem.strip_suffix(&format!(".so.{version}"));
            assert_eq!(Some(library.stem.as_str()), stem, "{name}");
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
                Package::Compute => &[Compute, Utility, Graphics],
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
        // The configuration of NixOS names libraries by their place in the store.
        let usable = spec.layout != Layout::Nixos;
        expect(
            usable && packages.contains(&Package::Compute),
            &["/etc/OpenCL/vendors/nvidia.icd"],
        );
        let icd = match spec.layout {
            Layout::Rpm => "/etc/vulkan/icd.d/nvidia_icd.x86_64.json",
            _ => "/etc/vulkan/icd.d/nvidia_icd.json",
        };
        expect(
            usable && packages.contains(&Package::Graphics),
            &[
                "/usr/share/glvnd/egl_vendor.d/10_nvidia.json",
                icd,
                "/etc/vulkan/implicit_layer.d/nvidia_layers.json",
                "/usr/share/nvidia/nvoptix.bin",
            ],
        );
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

    /// GPUs in PCI order, their nodes, DRM nodes and MIG instances.
    fn gpus(&self) {
        let name = self.name;
        let described = self.sim.spec.gpu_list().unwrap();
        assert_eq!(self.inventory.gpus.len(), described.len(), "{name}");
        assert!(
            self.inventory.gpus.is_sorted_by_key(|g| g.bus_id.clone()),
            "{name}"
        );
        for (gpu, described) in self.inventory.gpus.iter().zip(&described) {
            let what = format!("{name}: GPU {}", described.index);
            assert_eq!(gpu.index, described.index, "{what}");
            assert_eq!(gpu.uuid.as_ref(), Some(&described.uuid), "{what}");
            assert_eq!(gpu.minor, described.minor, "{what}");
            assert_eq!(gpu.bus_id, described.bus_id, "{what}");
            assert_eq!(gpu.model, described.model.name, "{what}");
            let proc = format!("/proc/driver/nvidia/gpus/{}", described.bus_id);
            assert_eq!(gpu.proc_dir, Path::new(&proc), "{what}");
            let path = format!("/dev/nvidia{}", described.minor);
            self.node(&gpu.node, &path, 195, described.minor, 0o666);
            self.drm(gpu, described);
            self.mig(gpu, described);
        }
    }

    fn drm(&self, gpu: &oci_gpu::inventory::Gpu, described: &Gpu) {
        let mut expected = Vec::new();
        let link = |kind| format!("/dev/dri/by-path/pci-{}-{kind}", described.bus_id);
        let card = described
            .card
            .map(|n| (format!("/dev/dri/card{n}"), n, link("card")));
        let render = described
            .render
            .map(|n| (format!("/dev/dri/renderD{n}"), n, link("render")));
        expected.extend(card.into_iter().chain(render));
        assert_eq!(gpu.drm.len(), expected.len(), "{}", self.name);
        for (drm, (path, minor, link)) in gpu.drm.iter().zip(&expected) {
            self.node(&drm.node, path, 226, *minor, 0o660);
            let has_nodes = drm.node.state == NodeState::Present;
            assert_eq!(
                drm.by_path.as_deref(),
                has_nodes.then_some(Path::new(link)),
                "{}",
                self.name
            );
        }
    }

    /// Every compute instance, with the nodes that the kernel's table has for it (nv-caps.c).
    fn mig(&self, gpu: &oci_gpu::inventory::Gpu, described: &Gpu) {
        let name = self.name;
        let mut expected = Vec::new();
        for gi in &described.mig {
            expected.extend(gi.ci.iter().map(|ci| (gi.gi, *ci)));
        }
        expected.sort_unstable();
        let seen: Vec<(u32, u32)> = gpu.mig.iter().map(|m| (m.gi, m.ci)).collect();
        assert_eq!(seen, expected, "{name}: GPU {}", gpu.index);
        assert_eq!(gpu.mig_enabled, !expected.is_empty(), "{name}");
        for instance in &gpu.mig {
            let gi_minor = 3 + (gpu.minor * 15 + instance.gi) * 9;
            let directory = format!("capabilities/gpu{}/mig/gi{}", gpu.minor, instance.gi);
            self.access(
                &instance.gi_access,
                &format!("{directory}/access"),
                gi_minor,
                0o444,
            );
            let file = format!("{directory}/ci{}/access", instance.ci);
            self.access(
                &instance.ci_access,
                &file,
                gi_minor + 1 + instance.ci,
                0o444,
            );
            assert_eq!(instance.uuid, None, "{name}");
        }
    }

    fn access(&self, access: &MigAccess, proc: &str, minor: u32, mode: u32) {
        let proc = Path::new("/proc/driver/nvidia").join(proc);
        assert_eq!(access.proc_file, proc, "{}", self.name);
        let path = format!("/dev/nvidia-caps/nvidia-cap{minor}");
        self.node(&access.node, &path, self.sim.spec.majors.caps, minor, mode);
    }

    fn mig_rights(&self) {
        let rights = [
            (
                &self.inventory.mig_config,
                "capabilities/mig/config",
                1,
                0o400,
            ),
            (
                &self.inventory.mig_monitor,
                "capabilities/mig/monitor",
                2,
                0o444,
            ),
        ];
        for (right, proc, minor, mode) in rights {
            let right = right
                .as_ref()
                .unwrap_or_else(|| panic!("{}: {proc}", self.name));
            self.access(right, proc, minor, mode);
        }
    }

    /// The nodes of the modules that are loaded, no others.
    fn control(&self) {
        let uvm = self.sim.spec.majors.uvm;
        let mut expected = vec![(ControlRole::Control, "/dev/nvidiactl", 195, 255)];
        if self.has_module(Module::Modeset) {
            expected.push((ControlRole::Modeset, "/dev/nvidia-modeset", 195, 254));
        }
        if self.has_module(Module::Uvm) {
            expected.push((ControlRole::Uvm, "/dev/nvidia-uvm", uvm, 0));
            expected.push((ControlRole::UvmTools, "/dev/nvidia-uvm-tools", uvm, 1));
        }
        let roles: Vec<ControlRole> = self.inventory.control.iter().map(|c| c.role).collect();
        let expected_roles: Vec<ControlRole> = expected.iter().map(|e| e.0).collect();
        assert_eq!(roles, expected_roles, "{}", self.name);
        for (control, (_, path, major, minor)) in self.inventory.control.iter().zip(expected) {
            self.node(&control.node, path, major, minor, 0o666);
        }
    }

    fn imex_channels(&self) {
        let channels = &self.inventory.imex_channels;
        let ids: Vec<u32> = channels.iter().map(|c| c.id).collect();
        assert_eq!(ids, self.sim.spec.imex_channels, "{}", self.name);
        for channel in channels {
            let path = format!("/dev/nvidia-caps-imex-channels/channel{}", channel.id);
            let major = self.sim.spec.majors.imex;
            self.node(&channel.node, &path, major, channel.id, 0o666);
        }
    }

    /// A node: where it is on the host and in a container, its numbers, and what was found there.
    fn node(&self, node: &DeviceNode, path: &str, major: u32, minor: u32, mode: u32) {
        let (name, spec) = (self.name, &self.sim.spec);
        // A driver container makes its nodes in its own /dev.
        let dev_root = match spec.layout {
            Layout::DriverContainer => "/run/nvidia/driver",
            _ => "",
        };
        assert_eq!(node.path, Path::new(&format!("{dev_root}{path}")), "{name}");
        assert_eq!(node.target, Path::new(path), "{name}");
        assert_eq!((node.major, node.minor), (major, minor), "{name}: {path}");
        let is = |list: &[String]| list.iter().any(|p| p == path);
        let state = match () {
            () if spec.layout == Layout::Microvm || is(&spec.faults.missing_nodes) => {
                NodeState::Missing
            }
            () if is(&spec.faults.regular_nodes) => {
                NodeState::Wrong("it is not a character device".to_owned())
            }
            () if is(&spec.faults.wrong_nodes) => NodeState::Wrong(format!(
                "it is device {}:{minor}, and the kernel says {major}:{minor}",
                major + 1
            )),
            // Nobody makes the nodes of MIG where no GPU can be split.
            () if path.contains("nvidia-caps/") && !can_split(spec) => NodeState::Missing,
            () => NodeState::Present,
        };
        assert_eq!(node.state, state, "{name}: {path}");
        if node.state == NodeState::Present {
            assert_eq!(node.owner.unwrap().mode, mode, "{name}: {path}");
        }
    }
}

fn can_split(spec: &HostSpec) -> bool {
    spec.gpu_list().unwrap().iter().any(|g| g.model.mig)
}

/// Whether the driver of `spec` has the library, in a place where containers' libraries lie.
fn is_installed(spec: &HostSpec, library: &Library) -> bool {
    let driver = spec.driver.as_ref().unwrap();
    let branch = driver.version.split('.').next().unwrap().parse().unwrap();
    // Debian keeps the parts of nvidia-settings in /usr/lib.
    let settings = library.place == Place::UsrLib && spec.layout == Layout::Debian;
    let of_xorg = matches!(library.place, Place::XorgDriver | Place::XorgExtension);
    library.version == FileVersion::Driver
        && library.in_branch(branch)
        && driver.packages.contains(&library.package)
        && (library.origin == Origin::All || spec.layout != Layout::Debian)
        && !(settings || of_xorg)
}
