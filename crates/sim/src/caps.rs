//! The driver's capabilities (/proc/driver/nvidia/capabilities) and their minor numbers.
//!
//! The kernel counts them through in one table, nv-caps.c: the fabric manager's first, then the two
//! that belong to no GPU, then 15 GPU instances with 8 compute instances each for 32 GPUs, then
//! that of IMEX.

use std::fmt::Write;

use crate::gpu::Gpu;

/// GPUs that the table has, by their minor numbers.
pub(crate) const MIG_GPUS: u32 = 32;

/// Compute instances that the table has per GPU instance, and GPU instances per GPU.
const CI_PER_GI: u32 = 8;
const GI_PER_GPU: u32 = 15;

/// Minor of the fabric manager's capability.
pub(crate) const FABRIC_MANAGEMENT: u32 = 0;
const MIG_CONFIG: u32 = 1;
const MIG_MONITOR: u32 = 2;
const FIRST_INSTANCE: u32 = 3;

/// Minor of IMEX's capability, and the first driver branch that has it.
pub(crate) const IMEX_MANAGEMENT: u32 = FIRST_INSTANCE + MIG_GPUS * GI_PER_GPU * (1 + CI_PER_GI);
pub(crate) const IMEX_BRANCH: u32 = 550;

/// A capability that exists on a host.
pub(crate) struct Capability {
    /// Its access file.
    pub(crate) proc_path: String,
    /// The minor number of its node, /dev/nvidia-caps/nvidia-capN.
    pub(crate) minor: u32,
    /// The permission bits that the driver wants the node to have.
    pub(crate) mode: u32,
}

/// Minor of a GPU instance's capability. `gpu` is the GPU's minor number.
pub(crate) fn gi_minor(gpu: u32, gi: u32) -> u32 {
    FIRST_INSTANCE + (gpu * GI_PER_GPU + gi) * (1 + CI_PER_GI)
}

/// Minor of a compute instance's capability.
pub(crate) fn ci_minor(gpu: u32, gi: u32, ci: u32) -> u32 {
    gi_minor(gpu, gi) + 1 + ci
}

/// The capabilities of a driver of that branch with those GPUs.
pub(crate) fn present(branch: u32, gpus: &[Gpu]) -> Vec<Capability> {
    let nvidia = "/proc/driver/nvidia/capabilities";
    let capability = |proc_path, minor, mode| Capability {
        proc_path,
        minor,
        mode,
    };
    let mut all = vec![
        capability(
            "/proc/driver/nvidia-nvlink/capabilities/fabric-mgmt".to_owned(),
            FABRIC_MANAGEMENT,
            0o400,
        ),
        capability(format!("{nvidia}/mig/config"), MIG_CONFIG, 0o400),
        capability(format!("{nvidia}/mig/monitor"), MIG_MONITOR, 0o444),
    ];
    if branch >= IMEX_BRANCH {
        let path = format!("{nvidia}/fabric-imex-mgmt");
        all.push(capability(path, IMEX_MANAGEMENT, 0o400));
    }
    for gpu in gpus {
        let mig = format!("{nvidia}/gpu{}/mig", gpu.minor);
        for instance in &gpu.mig {
            let gi = instance.gi;
            let directory = format!("{mig}/gi{gi}");
            let minor = gi_minor(gpu.minor, gi);
            all.push(capability(format!("{directory}/access"), minor, 0o444));
            for ci in &instance.ci {
                let path = format!("{directory}/ci{ci}/access");
                all.push(capability(path, ci_minor(gpu.minor, gi, *ci), 0o444));
            }
        }
    }
    all
}

/// /proc/driver/nvidia-caps/mig-minors: the whole table, whatever exists.
pub(crate) fn mig_minors() -> String {
    let mut text = format!("config {MIG_CONFIG}\nmonitor {MIG_MONITOR}\n");
    for gpu in 0..MIG_GPUS {
        for gi in 0..GI_PER_GPU {
            let _ = writeln!(text, "gpu{gpu}/gi{gi}/access {}", gi_minor(gpu, gi));
            for ci in 0..CI_PER_GI {
                let minor = ci_minor(gpu, gi, ci);
                let _ = writeln!(text, "gpu{gpu}/gi{gi}/ci{ci}/access {minor}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that were read from real drivers' files.
    #[test]
    fn minors_are_those_of_the_kernel_table() {
        assert_eq!(gi_minor(0, 0), 3);
        assert_eq!(ci_minor(0, 0, 0), 4);
        assert_eq!(gi_minor(0, 1), 12);
        assert_eq!(gi_minor(1, 0), 138);
        assert_eq!(IMEX_MANAGEMENT, 4323);
        let text = mig_minors();
        assert_eq!(text.lines().count(), 2 + 32 * 15 * 9);
        assert!(
            text.ends_with("gpu31/gi14/ci7/access 4322\n"),
            "{text:.100}"
        );
    }
}
