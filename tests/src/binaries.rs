//! Our own programs, as they are shipped: optimised, and the hook static.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::error::{Error, Result, run};

/// The target that a static hook is built for with an ordinary toolchain: glibc's own, whose
/// libraries rustup installs with the compiler.
const TARGET: &str = match () {
    () if cfg!(target_arch = "aarch64") => "aarch64-unknown-linux-gnu",
    () => "x86_64-unknown-linux-gnu",
};

/// The hook: static, optimised, stripped. Built by cargo where it is missing or older than its
/// sources, once in a process.
///
/// # Errors
/// Where cargo fails, with what it printed.
pub fn hook() -> Result<PathBuf> {
    static HOOK: OnceLock<Result<PathBuf>> = OnceLock::new();
    once(&HOOK, "oci-gpu-hook", "oci-gpu-hook")
}

/// The command `oci-gpu`, built in the same way.
///
/// # Errors
/// As [`hook`].
pub fn cli() -> Result<PathBuf> {
    static CLI: OnceLock<Result<PathBuf>> = OnceLock::new();
    once(&CLI, "oci-gpu-cli", "oci-gpu")
}

/// The benchmark's floor: a program that makes the hook's system calls from a list.
///
/// # Errors
/// As [`hook`].
pub fn floor() -> Result<PathBuf> {
    static FLOOR: OnceLock<Result<PathBuf>> = OnceLock::new();
    once(&FLOOR, "xtask", "oci-gpu-floor")
}

/// Discovery alone, so often, with its time.
///
/// # Errors
/// As [`hook`].
pub fn discover() -> Result<PathBuf> {
    static DISCOVER: OnceLock<Result<PathBuf>> = OnceLock::new();
    once(&DISCOVER, "xtask", "oci-gpu-discover")
}

/// A program that runs another under a filter that fails some system calls.
///
/// # Errors
/// As [`hook`].
pub fn deny() -> Result<PathBuf> {
    static DENY: OnceLock<Result<PathBuf>> = OnceLock::new();
    once(&DENY, "oci-gpu-tests", "oci-gpu-deny")
}

/// The program that asks NVML, which is dynamic: a static one loads no library.
///
/// # Errors
/// As [`hook`].
pub fn nvml() -> Result<PathBuf> {
    static NVML: OnceLock<Result<PathBuf>> = OnceLock::new();
    let built = NVML.get_or_init(|| dynamic("oci-gpu-nvml", &["--bin", "oci-gpu-nvml"]));
    Ok(copied(built)?.join("oci-gpu-nvml"))
}

/// The library with NVML's functions that answers from a file.
///
/// # Errors
/// As [`hook`].
pub fn nvml_stub() -> Result<PathBuf> {
    static STUB: OnceLock<Result<PathBuf>> = OnceLock::new();
    let built = STUB.get_or_init(|| dynamic("oci-gpu-nvml-stub", &["--lib"]));
    Ok(copied(built)?.join("liboci_gpu_nvml_stub.so"))
}

fn once(cell: &OnceLock<Result<PathBuf>>, package: &str, program: &str) -> Result<PathBuf> {
    copied(cell.get_or_init(|| build(package, program)))
}

fn copied(built: &Result<PathBuf>) -> Result<PathBuf> {
    match built {
        Ok(path) => Ok(path.clone()),
        Err(e) => Err(Error::new(e.to_string())),
    }
}

fn build(package: &str, program: &str) -> Result<PathBuf> {
    let target_dir = crate::cache::target_directory()?;
    let what = ["--package", package, "--bin", program];
    // `--target` keeps the flags away from build scripts and procedural macros.
    cargo(
        &target_dir,
        &[&what[..], &["--target", TARGET]].concat(),
        "-C target-feature=+crt-static",
    )?;
    Ok(target_dir.join(TARGET).join("release").join(program))
}

/// The directory of what is built for the machine's own loader: apart from what is static, so that
/// neither makes cargo build the other anew.
fn dynamic(package: &str, what: &[&str]) -> Result<PathBuf> {
    let target_dir = crate::cache::target_directory()?.join("dynamic");
    cargo(&target_dir, &[&["--package", package], what].concat(), "")?;
    Ok(target_dir.join("release"))
}

fn cargo(target_dir: &Path, what: &[&str], flags: &str) -> Result<()> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."));
    run(
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--quiet", "--release"])
            .args(what)
            .arg("--target-dir")
            .arg(target_dir)
            .env("RUSTFLAGS", flags)
            .current_dir(workspace),
    )
    .map(drop)
}
