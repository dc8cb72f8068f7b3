//! `cargo run --example create -- HOST DIR`: makes a built-in or a described host in DIR.
use std::path::Path;

use oci_gpu_sim::HostSpec;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [host, directory] = arguments.as_slice() else {
        let names: Vec<&str> = HostSpec::names().collect();
        return Err(format!(
            "usage: create HOST|FILE.toml DIR; hosts: {}",
            names.join(" ")
        )
        .into());
    };
    let spec = if host.ends_with(".toml") {
        HostSpec::from_toml(&std::fs::read_to_string(host)?)?
    } else {
        HostSpec::named(host)?
    };
    let created = spec.create(Path::new(directory))?;
    println!(
        "{}: {} files, {} device nodes",
        created.root.display(),
        created.files,
        created.nodes
    );
    Ok(())
}
