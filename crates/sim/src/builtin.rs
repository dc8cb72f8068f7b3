//! The hosts that come with the crate.

use oci_gpu::finding::Finding;

use crate::check::refusal;
use crate::spec::HostSpec;

macro_rules! hosts {
    ($($name:literal),* $(,)?) => {
        const HOSTS: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("../hosts/", $name, ".toml"))),)*
        ];
    };
}

hosts! {
    "aarch64-1",
    "alpine-1",
    "bottlerocket-1",
    "cos-1",
    "cray-1",
    "debian-1",
    "debian-8",
    "debian-decoy",
    "dra-1",
    "driver-container-8",
    "driver-root-wrong",
    "flat-1",
    "flatcar-1",
    "flatcar-sysext-1",
    "gke-ubuntu-1",
    "half-upgraded",
    "jetson-orin",
    "kata-1",
    "lxc-1",
    "lxc-mismatch",
    "microvm-1",
    "missing-uvm",
    "nixos-1",
    "no-devices",
    "no-gpu",
    "rpm-8",
    "rpm-nvidia-1",
    "run-1",
    "run-16",
    "run-8",
    "run-8-mig",
    "talos-1",
    "talos-old-1",
    "ubuntu-core-1",
    "void-1",
    "vgpu-1",
    "wrong-major",
    "wsl-1",
    "wsl-decoys",
}

impl HostSpec {
    /// The names of the built-in hosts, in alphabetical order.
    pub fn names() -> impl Iterator<Item = &'static str> {
        HOSTS.iter().map(|(name, _)| *name)
    }

    /// The TOML text of a built-in host, to start a description of one's own from.
    ///
    /// # Errors
    /// [`Code::Sim`](oci_gpu::Code::Sim), with the names that there are.
    pub fn named_toml(name: &str) -> Result<&'static str, Finding> {
        HOSTS
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, text)| *text)
            .ok_or_else(|| {
                let names: Vec<&str> = HostSpec::names().collect();
                refusal(
                    format!("no built-in host {name:?}"),
                    format!("use one of {}", names.join(", ")),
                )
            })
    }

    /// The built-in host of that name.
    ///
    /// # Errors
    /// As [`HostSpec::named_toml`].
    pub fn named(name: &str) -> Result<HostSpec, Finding> {
        HostSpec::from_toml(HostSpec::named_toml(name)?)
    }
}
