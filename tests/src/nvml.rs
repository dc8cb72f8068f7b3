//! NVML on simulated hosts: a library of our own in place of libnvidia-ml, told what the host has.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use oci_gpu::discover;
use oci_gpu_sim::{Gpu, HostSpec};

use crate::binaries;
use crate::error::{Context, Error, Result};

/// The library's file, beside it.
const CONF: &str = "nvml-stub.conf";

/// What NVML says of a model: brand by number, compute capability.
const TRAITS: &[(&str, u32, &str)] = &[
    ("h100", 14, "9.0"),
    ("a100", 14, "8.0"),
    ("t4", 2, "7.5"),
    ("l40s", 14, "8.9"),
    ("geforce-rtx-4090", 5, "8.9"),
];

/// NVML in place of a host's libnvidia-ml.
pub struct StubNvml {
    /// The library.
    pub library: PathBuf,
    /// What it answers: the lines of its file, see the crate oci-gpu-nvml-stub.
    pub lines: Vec<String>,
}

impl StubNvml {
    /// Puts it into the host in `root`, that `spec` describes. It tells the truth about it.
    ///
    /// # Errors
    /// Where it cannot be built, or the host has no libnvidia-ml.
    pub fn install(root: &Path, spec: &HostSpec) -> Result<StubNvml> {
        let host = oci_gpu::Host::at(root);
        let inventory = discover(&host).during("look at the host")?;
        let own = inventory.libraries.iter();
        let mut own = own.filter(|l| l.stem == "libnvidia-ml");
        let place = own.next().ok_or_else(|| Error::new("no libnvidia-ml"))?;
        let real = host.files().resolve(&place.path);
        let library = host.on_disk(&real.during("find libnvidia-ml")?);
        let stub = binaries::nvml_stub()?;
        fs::copy(&stub, &library).during(format_args!("copy {}", stub.display()))?;
        let lines = truth(spec)?;
        let stub = StubNvml { library, lines };
        stub.write()?;
        Ok(stub)
    }

    /// Tells the library what `lines` say.
    ///
    /// # Errors
    /// Where its file cannot be written.
    pub fn write(&self) -> Result<()> {
        let file = self.library.with_file_name(CONF);
        fs::write(&file, self.lines.join("\n")).during(format_args!("write {}", file.display()))
    }

    /// Adds a line, at the end or after those of the GPU with that index.
    ///
    /// # Errors
    /// As [`StubNvml::write`], and where there is no such GPU.
    pub fn say(&mut self, gpu: Option<usize>, line: &str) -> Result<()> {
        let at = match gpu {
            None => self.lines.len(),
            Some(index) => {
                let lines = self.lines.iter().enumerate();
                let mut gpus = lines.filter(|(_, l)| l.starts_with("gpu "));
                let (at, _) = gpus.nth(index).ok_or_else(|| Error::new("no such GPU"))?;
                at + 1
            }
        };
        self.lines.insert(at, line.to_owned());
        self.write()
    }

    /// Takes a function away from the library: another name of the same length is in its place.
    ///
    /// # Errors
    /// Where there is no such function.
    pub fn forget(&self, function: &str) -> Result<()> {
        let mut bytes = fs::read(&self.library).during("read the library")?;
        let name = [b"\0", function.as_bytes(), b"\0"].concat();
        let found = bytes.windows(name.len()).position(|w| w == name);
        let at = found.ok_or_else(|| Error::new(format!("no {function}")))?;
        bytes[at + 1] = b'x';
        fs::write(&self.library, bytes).during("write the library")
    }
}

/// The UUID that NVML gives an instance here.
pub fn mig_uuid(gpu: u32, gi: u32, ci: u32) -> String {
    format!("MIG-5ca1ab1e-{gpu:04x}-5{gi:03x}-8{ci:03x}-0000000000ff")
}

/// What NVML says on a host that is as described.
fn truth(spec: &HostSpec) -> Result<Vec<String>> {
    let version = spec.driver.as_ref().map_or("", |d| d.version.as_str());
    let mut lines = vec![format!("driver {version}"), "cuda 12040".to_owned()];
    for gpu in spec.gpu_list().during("list the GPUs")? {
        let traits = TRAITS.iter().find(|(key, _, _)| *key == gpu.model.key);
        let (_, brand, arch) = traits.ok_or_else(|| Error::new(gpu.model.key))?;
        let mut line = String::new();
        let _ = write!(
            line,
            "gpu {} {} {} {brand} {arch} {}",
            gpu.uuid,
            gpu.bus_id,
            gpu.minor,
            mode(&gpu)
        );
        lines.push(line);
        for instance in &gpu.mig {
            for ci in &instance.ci {
                let uuid = mig_uuid(gpu.index, instance.gi, *ci);
                lines.push(format!("mig {} {ci} {uuid}", instance.gi));
            }
        }
    }
    Ok(lines)
}

fn mode(gpu: &Gpu) -> &'static str {
    match (gpu.model.mig, gpu.mig.is_empty()) {
        (false, _) => "-",
        (true, true) => "off",
        (true, false) => "on",
    }
}
