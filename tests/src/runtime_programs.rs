//! Where the programs of the runtimes come from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache;
use crate::debs::Debs;
use crate::error::{Context, Error, Result, run};
use crate::rootfs::trim;
use crate::runtime::Engine;

/// The installed program of `engine`, in the usual directories, whatever PATH says.
pub(crate) fn installed(engine: Engine) -> Result<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"]
        .map(|dir| Path::new(dir).join(engine.name()))
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| {
            Error::new(format!(
                "{0} is not installed: apt-get install {0}",
                engine.name()
            ))
        })
}

/// The runtime of another release, made to use that release's loader and libraries by patchelf(1):
/// it starts itself again inside namespaces, so a wrapper that names the loader would not do.
pub(crate) fn unpacked(debs: &Debs, engine: Engine, suite: &str) -> Result<PathBuf> {
    let packages: &[&str] = match (engine, suite) {
        (Engine::Crun, "sid") => &["crun", "libblake3-0", "libjson-c5"],
        (Engine::Crun, _) => &["crun", "libyajl2"],
        (Engine::Runc, _) => &["runc"],
    };
    let mut fetched = debs.fetch(suite, "main", packages)?;
    let name = fetched
        .first()
        .and_then(|deb| deb.file_stem())
        .unwrap_or_default();
    let dir = cache::directory()?.join("runtimes").join(name);
    // Debian 13's C library serves the runtimes of unstable too: they need 2.38.
    fetched.extend(debs.fetch("trixie", "main", &["libc6"])?);
    cache::once(&dir, |unfinished| {
        let files = unfinished.join("files");
        for deb in &fetched {
            debs.unpack(deb, &files)?;
        }
        let program = unfinished.join(engine.name());
        let source = ["usr/sbin", "usr/bin"].map(|bin| files.join(bin).join(engine.name()));
        let source = source.iter().find(|path| path.is_file());
        let source = source
            .ok_or_else(|| Error::new(format!("the {suite} package has no {}", engine.name())))?;
        fs::copy(source, &program).during(format_args!("copy {}", source.display()))?;
        trim(&files)?;
        let programs = files.join("usr/sbin");
        if programs.is_dir() {
            fs::remove_dir_all(&programs).during(format_args!("remove {}", programs.display()))?;
        }
        let libraries = dir.join("files/usr/lib/x86_64-linux-gnu");
        run(Command::new("patchelf")
            .arg("--set-interpreter")
            .arg(libraries.join("ld-linux-x86-64.so.2"))
            .arg("--force-rpath")
            .arg("--set-rpath")
            .arg(&libraries)
            .arg(&program))
        .map(drop)
    })?;
    Ok(dir.join(engine.name()))
}
