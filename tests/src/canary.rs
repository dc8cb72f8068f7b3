//! A library that leaves a mark wherever it is loaded. See probe/canary.c.

use std::path::PathBuf;
use std::process::Command;

use crate::cache;
use crate::error::{Context, Result, run};

const SOURCE: &str = include_str!("../probe/canary.c");

/// The canary, compiled.
#[derive(Clone, Debug)]
pub struct Canary {
    /// The shared object: makes the file that the variable CANARY names.
    pub library: PathBuf,
    /// Runs the program that its first argument names with an empty argument list.
    pub nameless: PathBuf,
}

impl Canary {
    /// Compiles it, or takes what was compiled before from the same source.
    ///
    /// # Errors
    /// Where there is no C compiler.
    pub fn build() -> Result<Canary> {
        let name = format!("canary-{:016x}", crate::hash(SOURCE.as_bytes()));
        let dir = cache::directory()?.join(name);
        cache::once(&dir, |dir| {
            let source = dir.join("canary.c");
            std::fs::write(&source, SOURCE).during("write canary.c")?;
            let compile = |options: &[&str], name: &str| {
                let output = dir.join(name);
                let mut command = Command::new("cc");
                command
                    .args(["-O1", "-Wall", "-Wextra", "-Werror"])
                    .args(options);
                run(command.arg("-o").arg(output).arg(&source))
            };
            compile(&["-DCANARY_LIBRARY", "-shared", "-fPIC"], "canary.so")?;
            compile(&[], "nameless").map(drop)
        })?;
        Ok(Canary {
            library: dir.join("canary.so"),
            nameless: dir.join("nameless"),
        })
    }
}
