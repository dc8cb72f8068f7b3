//! `cargo xtask bench`: what discovery costs, and the hook, beside a program that does the same from
//! a list.
//!
//! Wall time from spawn to exit of one process, median of many runs that take turns, so that both
//! see the same machine. The container is a process in a mount namespace of its own, whose root is
//! an overlay over a Debian 12 image, as an engine makes it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use oci_gpu_sim::HostSpec;
use oci_gpu_tests::binaries;
use oci_gpu_tests::debs::Debs;
use oci_gpu_tests::error::{Context, Error, Result};
use oci_gpu_tests::large;
use oci_gpu_tests::packages::CONTAINERS;
use oci_gpu_tests::rootfs::{Kind, image};
use oci_gpu_tests::scratch::Scratch;
use oci_gpu_tests::standin::{Ground, StandIn};

use crate::discovery;
use crate::floor;
use crate::packages;

/// Runs of each program in each case.
pub(crate) const RUNS: usize = 101;

/// (name, request, capabilities), on a host with eight GPUs and everything.
const CASES: &[(&str, &str, &str)] = &[
    ("no request", "void", ""),
    ("1 GPU, compute,utility", "0", ""),
    ("8 GPUs, compute,utility", "all", ""),
    ("1 GPU, all capabilities", "0", "all"),
    ("8 GPUs, all capabilities", "all", "all"),
];

pub(crate) fn run() -> Result<()> {
    packages::need_root("the benchmark")?;
    packages::install(CONTAINERS)?;
    discovery::table(&binaries::discover()?)?;
    let image = image(&Debs::new()?, Kind::Bookworm)?;
    let empty = time(RUNS, || Ok(Command::new("/bin/true")))?;
    println!("a process that does nothing (/bin/true): {}", shown(empty));
    println!(
        "{:<26} {:>9} {:>9} {:>6}",
        "median of wall time", "hook", "floor", "ratio"
    );
    let usual = Host::new(HostSpec::named("debian-8").during("describe a host")?)?;
    for (name, devices, capabilities) in CASES {
        let capabilities = format!("NVIDIA_DRIVER_CAPABILITIES={capabilities}");
        usual.case(name, devices, &[&capabilities], &image)?;
    }
    Host::new(large::gpus(64)?)?.case("64 GPUs", "all", &[], &image)?;
    Host::new(large::mig(8)?)?.case("56 MIG instances", "all", &[], &image)?;
    let channels = format!(
        "NVIDIA_IMEX_CHANNELS={}",
        large::channel_list(large::CHANNELS)
    );
    let host = Host::new(large::channels(large::CHANNELS)?)?;
    host.case("2,048 IMEX channels", "0", &[&channels], &image)
}

/// A simulated host, and the programs that are measured on it.
struct Host {
    scratch: Scratch,
    root: PathBuf,
    hook: PathBuf,
    floor: PathBuf,
}

impl Host {
    fn new(spec: HostSpec) -> Result<Host> {
        let scratch = Scratch::new()?;
        let root = scratch.path().join("host");
        spec.create(&root).during("simulate a host")?;
        Ok(Host {
            scratch,
            root,
            hook: binaries::hook()?,
            floor: binaries::floor()?,
        })
    }

    /// Measures both programs for a container that asks for `devices` and with `more` variables.
    fn case(&self, name: &str, devices: &str, more: &[&str], image: &Path) -> Result<()> {
        let (scratch, host) = (&self.scratch, &self.root);
        let (hook, floor_program) = (&self.hook, &self.floor);
        let devices = format!("NVIDIA_VISIBLE_DEVICES={devices}");
        let env = [&["PATH=/bin", &devices], more].concat();
        let ground = Ground::new(&scratch.path().join("bundle"), image, &env)?;
        let list = scratch.path().join("list");
        floor::write(&list, host, &ground)?;
        let (mut of_hook, mut of_floor) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            let container = StandIn::new(&ground)?;
            let mut command = Command::new(hook);
            command.arg("--host-root").arg(host).arg("createRuntime");
            of_hook.push(measure(command, &container)?);
            drop(container);
            let container = StandIn::new(&ground)?;
            let mut command = Command::new(floor_program);
            command
                .arg(floor::for_container(&list, &container)?)
                .arg(ground.bundle.join("config.json"));
            of_floor.push(measure(command, &container)?);
        }
        let (hook, floor) = (median(of_hook), median(of_floor));
        let ratio = hook.as_secs_f64() / floor.as_secs_f64();
        println!(
            "{name:<26} {:>9} {:>9} {ratio:>6.2}",
            shown(hook),
            shown(floor)
        );
        Ok(())
    }
}

/// How long `command` takes with the container's state on its standard input.
fn measure(mut command: Command, container: &StandIn) -> Result<Duration> {
    let state = container.state();
    let begin = Instant::now();
    let mut child = command
        .stdin(Stdio::piped())
        .spawn()
        .during("start a program")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin
            .write_all(state.as_bytes())
            .during("write the state")?;
    }
    let status = child.wait().during("wait for a program")?;
    let time = begin.elapsed();
    match status.success() {
        true => Ok(time),
        false => Err(Error::new(format!("{command:?} failed: {status}"))),
    }
}

fn time(runs: usize, command: impl Fn() -> Result<Command>) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..runs {
        let mut command = command()?;
        let begin = Instant::now();
        let status = command
            .stdin(Stdio::null())
            .status()
            .during("run a program")?;
        times.push(begin.elapsed());
        if !status.success() {
            return Err(Error::new(format!("{command:?} failed")));
        }
    }
    Ok(median(times))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn shown(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

/// The path of `name` beside `path`.
pub(crate) fn beside(path: &Path, name: &str) -> PathBuf {
    path.with_file_name(name)
}
