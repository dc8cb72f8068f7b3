//! Discovery alone, for the benchmark and for the count of its system calls:
//! `oci-gpu-discover HOST-ROOT RUNS` prints the median of RUNS discoveries in nanoseconds.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Instant;

use oci_gpu::{Host, discover};

fn main() -> ExitCode {
    match run() {
        Ok(median) => {
            println!("{median}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("oci-gpu-discover: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<u128, String> {
    let mut words = std::env::args().skip(1);
    let (Some(root), Some(runs)) = (words.next(), words.next()) else {
        return Err("usage: oci-gpu-discover HOST-ROOT RUNS".to_owned());
    };
    let runs: usize = runs.parse().map_err(|e| format!("{runs}: {e}"))?;
    let mut times = Vec::new();
    for _ in 0..runs {
        // A new host each time: nothing that was looked up before is known.
        let begin = Instant::now();
        let host = Host::at(&root);
        let inventory = discover(&host).map_err(|e| e.to_string())?;
        times.push(begin.elapsed().as_nanos());
        drop(inventory);
    }
    times.sort_unstable();
    times
        .get(runs / 2)
        .copied()
        .ok_or_else(|| "no runs".to_owned())
}
