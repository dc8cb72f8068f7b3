//! The properties of every parser on the corpus and on mutations of it, with a stable toolchain.
//!
//! The run is the same each time: mutation N of a target depends on the seed, the target's name, N
//! and the committed corpus. It is bounded by number, not by time. What breaks a property is named
//! with the command that does it again, and kept in the target directory.
//!
//! | variable | value | default |
//! |---|---|---|
//! | `OCI_GPU_FUZZ_TARGET` | the only target to run | all |
//! | `OCI_GPU_FUZZ_COUNT` | mutations of each target | some 20 seconds' worth on two processors |
//! | `OCI_GPU_FUZZ_SEED` | another series of mutations | 0 |
//! | `OCI_GPU_FUZZ_FIRST` | number of the first mutation | 0 |
//! | `OCI_GPU_FUZZ_TRACE` | set: each number on stderr, for what ends the process | unset |

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod corpus;
mod mutator;
mod random;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread;

use oci_gpu_fuzz_targets::{Check, TARGETS};

use corpus::Corpus;
use mutator::Mutator;

/// Mutations of each target unless told otherwise.
const COUNT: u64 = 60_000;

/// Targets whose inputs take ten times as long as the others': they get a tenth of [`COUNT`].
const SLOW: [&str; 2] = ["request", "require"];

/// Stack of the thread that a parser runs in. The main thread of a hook has 8 MiB; what needs a
/// fraction of this recurses with its input.
const STACK: usize = 512 << 10;

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    let value = std::env::var(name).ok()?;
    let parsed = value.parse();
    Some(parsed.unwrap_or_else(|_| panic!("{name}={value} is no value for it")))
}

/// Runs `work` for each target (or the one asked for) side by side; fails with all that failed.
fn each_target(work: impl Fn(&'static str, Check) -> Result<(), String> + Sync) {
    let only: Option<String> = variable("OCI_GPU_FUZZ_TARGET");
    let chosen = |name: &str| only.as_deref().is_none_or(|only| only == name);
    assert!(
        TARGETS.iter().any(|(name, _)| chosen(name)),
        "no target {only:?}"
    );
    let work = &work;
    let failures: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = TARGETS
            .iter()
            .filter(|(name, _)| chosen(name))
            .map(|(name, check)| {
                let thread = thread::Builder::new().name((*name).to_owned());
                let started = thread
                    .stack_size(STACK)
                    .spawn_scoped(scope, || work(name, *check));
                started.unwrap()
            })
            .collect();
        let results = threads.into_iter().map(|thread| thread.join().unwrap());
        results.filter_map(Result::err).collect()
    });
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// The property on one input: what is wrong where it does not hold.
fn run(check: Check, input: &[u8]) -> Result<(), &'static str> {
    let held = catch_unwind(AssertUnwindSafe(|| check(input)));
    held.map_err(|_| "breaks a property (the panic is above)")
}

#[test]
fn the_corpus_holds() {
    each_target(|name, check| {
        for (file, input) in Corpus::of(name).files() {
            run(check, input).map_err(|why| format!("{}: {why}", file.display()))?;
        }
        run(check, b"").map_err(|why| format!("{name}: no bytes: {why}"))
    });
}

#[test]
fn mutations_of_the_corpus_hold() {
    let seed: u64 = variable("OCI_GPU_FUZZ_SEED").unwrap_or(0);
    let first: u64 = variable("OCI_GPU_FUZZ_FIRST").unwrap_or(0);
    let count: Option<u64> = variable("OCI_GPU_FUZZ_COUNT");
    let trace = std::env::var_os("OCI_GPU_FUZZ_TRACE").is_some();
    each_target(|name, check| {
        let corpus = Corpus::of(name);
        let mutator = Mutator::new(name, &corpus, seed);
        let usual = if SLOW.contains(&name) {
            COUNT / 10
        } else {
            COUNT
        };
        for number in first..first.saturating_add(count.unwrap_or(usual)) {
            if trace {
                // Not by eprintln!, which the test harness holds back until a test ends.
                writeln!(std::io::stderr(), "{name} {number}").unwrap();
            }
            let input = mutator.mutation(number);
            run(check, &input).map_err(|why| {
                let kept = keep(name, seed, number, &input);
                format!(
                    "mutation {number} of {name} {why}. Again: \
                     OCI_GPU_FUZZ_TARGET={name} OCI_GPU_FUZZ_SEED={seed} \
                     OCI_GPU_FUZZ_FIRST={number} OCI_GPU_FUZZ_COUNT=1 \
                     cargo test -p oci-gpu-fuzz-targets; the input: {kept}"
                )
            })?;
        }
        Ok(())
    });
}

/// Writes an input into the target directory, to be made a regression case.
fn keep(name: &str, seed: u64, number: u64, input: &[u8]) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{seed}-{number}"));
    match std::fs::write(&path, input) {
        Ok(()) => path.display().to_string(),
        Err(error) => format!("{}: {error}", path.display()),
    }
}
