//! `cargo xtask dist`: the files of a release.

use std::fs;
use std::path::Path;

use oci_gpu_tests::error::{Context, Result};
use oci_gpu_tests::{binaries, cache};

pub(crate) fn run() -> Result<()> {
    let directory = cache::target_directory()?.join("dist");
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).during("make the directory")?;
    for program in [binaries::hook()?, binaries::cli()?, binaries::nvml()?] {
        let name = program.file_name().unwrap_or_default();
        let to = directory.join(name);
        let size = fs::copy(&program, &to).during(format_args!("copy {}", program.display()))?;
        println!("{} {} KiB", to.display(), size / 1024);
    }
    println!("nvidia-container-cli is a link of that name to oci-gpu");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for document in ["LICENSE", "README.md", "CHANGELOG.md"] {
        fs::copy(workspace.join(document), directory.join(document))
            .during(format_args!("copy {document}"))?;
    }
    Ok(())
}
