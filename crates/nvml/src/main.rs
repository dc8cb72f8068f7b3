//! `oci-gpu-nvml --library PATH`: asks the NVML at PATH, and prints its answer as one JSON document.
//!
//! Exit codes: 0 with an answer, 1 with one line on standard error, 2 for a wrong command line.
//! `oci-gpu` runs it and ends it when it takes too long; it is not for hooks.
#![forbid(unsafe_code)]

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use oci_gpu_nvml::{ask, error_line};

const USAGE: &str = "usage: oci-gpu-nvml --library PATH";

fn main() -> ExitCode {
    let Some(library) = library() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let answer = match ask(&library) {
        Ok(answer) => answer,
        Err(e) => {
            eprintln!("{}: {}", library.display(), error_line(&e));
            return ExitCode::FAILURE;
        }
    };
    let printed = serde_json::to_string_pretty(&answer)
        .map_err(|e| e.to_string())
        .and_then(|text| writeln!(std::io::stdout(), "{text}").map_err(|e| e.to_string()));
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("print the answer: {e}");
            ExitCode::FAILURE
        }
    }
}

/// The library of the command line; none where the line is wrong. A path without a slash would be
/// looked for by the loader, in places that nobody named.
fn library() -> Option<PathBuf> {
    use lexopt::Arg::Long;
    let mut arguments = lexopt::Parser::from_env();
    let mut library = None;
    while let Some(argument) = arguments.next().ok()? {
        match argument {
            Long("library") => library = Some(PathBuf::from(arguments.value().ok()?)),
            _ => return None,
        }
    }
    library.filter(|path: &PathBuf| path.is_absolute())
}
