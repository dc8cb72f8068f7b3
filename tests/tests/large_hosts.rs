//! Discovery's work grows with a host as its GPUs, instances and channels do, and not faster. Counted
//! in system calls: time is for the benchmark.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use oci_gpu_sim::HostSpec;
use oci_gpu_tests::binaries;
use oci_gpu_tests::large::{channels, gpus, mig};
use oci_gpu_tests::scratch::Scratch;
use oci_gpu_tests::strace::calls_below;

fn calls(spec: &HostSpec) -> usize {
    let scratch = Scratch::new().unwrap();
    spec.create(scratch.path()).unwrap();
    let program = binaries::discover().unwrap();
    calls_below(scratch.path(), &program, &["1"]).unwrap()
}

/// How a host of that size is described.
type Describe = fn(u32) -> HostSpec;

/// Each of three sizes is twice the one before. The second step may cost twice what the first one
/// did, and what each unit costs has a limit; a directory's listing takes a call more every some
/// hundred names.
#[test]
fn system_calls_grow_with_the_host_and_no_faster() {
    let rows: [(&str, Describe, [u32; 3], usize); 3] = [
        ("GPUs", |n| gpus(n).unwrap(), [16, 32, 64], 40),
        (
            "GPUs with seven MIG instances",
            |n| mig(n).unwrap(),
            [4, 8, 16],
            250,
        ),
        (
            "IMEX channels",
            |n| channels(n).unwrap(),
            [512, 1024, 2048],
            2,
        ),
    ];
    for (what, describe, sizes, most) in rows {
        let counts = sizes.map(|size| calls(&describe(size)));
        let steps = [counts[1] - counts[0], counts[2] - counts[1]];
        let told = format!("{what}: {sizes:?} take {counts:?} calls");
        assert!(steps[1] <= 2 * steps[0] + 4, "{told}");
        let units = (sizes[2] - sizes[1]) as usize;
        assert!(steps[1] <= units * most, "{told}");
        assert!(steps[1] >= units, "each is looked at: {told}");
        println!("{told}");
    }
}
