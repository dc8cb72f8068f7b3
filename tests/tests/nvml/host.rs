//! A simulated host with an NVML, and the command on it.

use std::fs;
use std::path::PathBuf;

use oci_gpu::discover::stored::FILE;
use oci_gpu_tests::binaries;
use oci_gpu_tests::nvml::StubNvml;
use oci_gpu_tests::sim::SimHost;
use serde_json::Value;

use crate::ran::{Ran, run_on};

/// A built-in host whose libnvidia-ml answers.
pub(crate) struct NvmlHost {
    pub(crate) sim: SimHost,
    pub(crate) nvml: StubNvml,
}

impl NvmlHost {
    pub(crate) fn named(name: &str) -> NvmlHost {
        let sim = SimHost::named(name).unwrap();
        let nvml = StubNvml::install(sim.root(), &sim.spec).unwrap();
        NvmlHost { sim, nvml }
    }

    /// The command with the program that asks NVML.
    pub(crate) fn with_nvml(&self, args: &[&str]) -> Ran {
        let helper = binaries::nvml().unwrap();
        let helper = ["--nvml-helper", helper.to_str().unwrap()];
        run_on(self.sim.root(), &[args, &helper].concat())
    }

    /// The command without it.
    pub(crate) fn without(&self, args: &[&str]) -> Ran {
        run_on(self.sim.root(), args)
    }

    pub(crate) fn list(&self) -> Value {
        self.with_nvml(&["list", "--format", "json"]).json("list")
    }

    /// `refresh`, which says this.
    pub(crate) fn refresh(&self) -> Value {
        self.with_nvml(&["refresh", "--format", "json"])
            .json("refresh")
    }

    /// The stored inventory.
    pub(crate) fn file(&self) -> PathBuf {
        self.sim.on_disk(FILE)
    }

    /// Writes a file of the host.
    pub(crate) fn write(&self, path: &str, text: &str) {
        fs::write(self.sim.on_disk(path), text).unwrap();
    }
}

/// The codes of `findings` of a JSON document, and their messages.
pub(crate) fn findings(document: &Value) -> Vec<(String, String)> {
    let text = |f: &Value, member: &str| f[member].as_str().unwrap().to_owned();
    let all = document["findings"].as_array().unwrap();
    all.iter()
        .map(|f| (text(f, "code"), text(f, "message")))
        .collect()
}
