//! Large hosts: as many GPUs, MIG instances and IMEX channels as there can be.

use oci_gpu_sim::HostSpec;

use crate::error::{Context, Result};

/// The most IMEX channels that a driver makes (ImexChannelCount of nv-reg.h).
pub const CHANNELS: u32 = 2048;

/// A host with that many GPUs, and nothing that grows beside them. Minor numbers run against the
/// order of PCI addresses.
///
/// # Errors
/// For more than 64 GPUs.
pub fn gpus(count: u32) -> Result<HostSpec> {
    let text = format!(
        "[driver]\nversion = \"550.163.01\"\npackages = [\"compute\"]\n[gpus]\ncount = {count}\n\
         model = \"a100\"\nminors = \"reversed\"\n"
    );
    HostSpec::from_toml(&text).during("describe a host with many GPUs")
}

/// A host with that many GPUs, each split into the seven smallest instances.
///
/// # Errors
/// For more than 32 GPUs, which a driver cannot split.
pub fn mig(count: u32) -> Result<HostSpec> {
    let instances: Vec<String> = (7..14).map(|gi| format!("{{ gi = {gi} }}")).collect();
    let instances = instances.join(", ");
    let mut text = format!(
        "[driver]\nversion = \"550.163.01\"\npackages = [\"compute\"]\n[gpus]\ncount = {count}\n\
         model = \"h100\"\n"
    );
    for gpu in 0..count {
        text.push_str(&format!("[[gpu]]\nindex = {gpu}\nmig = [{instances}]\n"));
    }
    HostSpec::from_toml(&text).during("describe a host with many MIG instances")
}

/// A host with eight GPUs and the first `count` IMEX channels.
///
/// # Errors
/// None is known.
pub fn channels(count: u32) -> Result<HostSpec> {
    let mut spec = gpus(8)?;
    spec.imex_channels = (0..count).collect();
    Ok(spec)
}

/// The value of NVIDIA_IMEX_CHANNELS that asks for the first `count` channels.
pub fn channel_list(count: u32) -> String {
    let ids: Vec<String> = (0..count).map(|id| id.to_string()).collect();
    ids.join(",")
}
