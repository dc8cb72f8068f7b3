//! The questions, in the order in which they are asked.

use std::error::Error;
use std::path::Path;

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use oci_gpu::nvml::{Answer, GpuAnswer, InstanceAnswer};

use crate::{brand, raw};

/// Most GPUs that are asked about; a driver counts 32.
const GPU_LIMIT: u32 = 64;

/// Most MIG instances of a GPU; NVML names 7 at this time.
const MIG_LIMIT: u32 = 64;

/// Loads the NVML at `library`, exactly that file, and asks it.
///
/// What is not told is absent, with a note that says why; a GPU that cannot be opened is a note.
///
/// # Errors
/// Where the library cannot be loaded or NVML not be started, or the GPUs not be counted.
pub fn ask(library: &Path) -> Result<Answer, NvmlError> {
    let nvml = Nvml::builder().lib_path(library.as_os_str()).init()?;
    let mut notes = Notes::default();
    let mut answer = Answer {
        driver_version: notes.told("the driver's version", nvml.sys_driver_version()),
        cuda: notes
            .told("the CUDA version", nvml.sys_cuda_driver_version())
            .and_then(cuda_version),
        ..Answer::default()
    };
    for index in 0..nvml.device_count()?.min(GPU_LIMIT) {
        let device = notes.told(&format!("GPU {index}"), nvml.device_by_index(index));
        let gpu = device.and_then(|device| gpu(&nvml, &device, index, &mut notes));
        answer.gpus.extend(gpu);
    }
    answer.notes = notes.0;
    Ok(answer)
}

/// NVML's number of a CUDA version: 12040 is 12.4.
fn cuda_version(number: i32) -> Option<(u32, u32)> {
    let number = u32::try_from(number).ok()?;
    Some((number / 1000, number % 1000 / 10))
}

fn gpu(nvml: &Nvml, device: &Device<'_>, index: u32, notes: &mut Notes) -> Option<GpuAnswer> {
    let what = |which: &str| format!("the {which} of GPU {index}");
    // Without an address the GPU cannot be matched with the kernel's.
    let pci = notes.told(&what("PCI address"), device.pci_info())?;
    let capability = device.cuda_compute_capability();
    let mig_mode = notes.told(&what("MIG mode"), device.mig_mode());
    let is_split = mig_mode.is_some_and(|mode| mode.current == 1);
    Some(GpuAnswer {
        index,
        uuid: notes.told(&what("UUID"), device.uuid()),
        bus_id: format!("{:04x}:{:02x}:{:02x}.0", pci.domain, pci.bus, pci.device),
        minor: notes.told(&what("minor number"), device.minor_number()),
        brand: notes
            .told(&what("brand"), raw::brand(nvml, device))
            .and_then(brand::name)
            .map(str::to_owned),
        arch: notes
            .told(&what("compute capability"), capability)
            .and_then(|c| Some((c.major.try_into().ok()?, c.minor.try_into().ok()?))),
        mig: match is_split {
            true => instances(nvml, device, index, notes),
            false => Vec::new(),
        },
    })
}

/// The MIG instances. NVML has a number of places for them, of which any may be empty.
fn instances(
    nvml: &Nvml,
    device: &Device<'_>,
    index: u32,
    notes: &mut Notes,
) -> Vec<InstanceAnswer> {
    let what = format!("the number of MIG instances of GPU {index}");
    let places = notes.told(&what, device.mig_device_count()).unwrap_or(0);
    let mut found = Vec::new();
    for place in 0..places.min(MIG_LIMIT) {
        let what = |which: &str| format!("{which} of MIG instance {place} of GPU {index}");
        let instance = match device.mig_device_by_index(place) {
            Err(NvmlError::NotFound) => continue,
            other => notes.told(&what("the handle"), other),
        };
        let told = instance.and_then(|instance| {
            let gi = raw::gpu_instance(nvml, &instance);
            let ci = raw::compute_instance(nvml, &instance);
            Some(InstanceAnswer {
                gi: notes.told(&what("the GPU instance"), gi)?,
                ci: notes.told(&what("the compute instance"), ci)?,
                uuid: notes.told(&what("the UUID"), instance.uuid())?,
            })
        });
        found.extend(told);
    }
    found
}

/// What was not told.
#[derive(Default)]
struct Notes(Vec<String>);

impl Notes {
    /// What was asked for, or nothing and a note. A GPU that does not have it is worth no note.
    fn told<T>(&mut self, what: &str, answer: Result<T, NvmlError>) -> Option<T> {
        match answer {
            Ok(told) => Some(told),
            Err(NvmlError::NotSupported) => None,
            Err(e) => {
                self.0.push(format!("{what}: {}", error_line(&e)));
                None
            }
        }
    }
}

/// An error of NVML with what it comes from, for a message.
pub fn error_line(error: &NvmlError) -> String {
    let mut line = match error {
        // nvml-wrapper's words for a number that it does not know: new errors are among them.
        NvmlError::UnexpectedVariant(number) => format!("an unknown value or error, {number}"),
        known => known.to_string(),
    };
    let mut cause = error.source();
    while let Some(e) = cause {
        let text = e.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = e.source();
    }
    line
}
