//! Whose a file is, before its code is run: what others can change is theirs.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::Uid;
use oci_gpu::host::Host;

/// Whether nobody but root and the caller can have put the file at `real` of `host` there, else who
/// can: the file and every directory above it, up to this process' root, is root's or the caller's,
/// and no group or other user writes it. Group and others may write a directory whose sticky bit is
/// set, as /tmp or /nix/store: there nobody replaces what is not his own. `real` has no links, as
/// [`oci_gpu::host::Root::resolve`] returns it.
pub(crate) fn owned(host: &Host, real: &Path) -> Result<(), String> {
    let root = host.on_disk(Path::new("/"));
    let root = fs::canonicalize(&root).map_err(told(&root))?;
    let inner = real.strip_prefix("/").unwrap_or(real);
    let file = root.join(inner);
    let ours = [0, Uid::effective().as_raw()];
    for part in file.ancestors() {
        let found = fs::symlink_metadata(part).map_err(told(part))?;
        let is_sticky = found.is_dir() && found.mode() & 0o1000 != 0;
        let others_write = found.mode() & 0o022 != 0 && !is_sticky;
        if !ours.contains(&found.uid()) || others_write {
            return Err(format!(
                "others than root can change {} (owner {}, mode {:04o})",
                part.display(),
                found.uid(),
                found.mode() & 0o7777
            ));
        }
    }
    Ok(())
}

fn told(path: &Path) -> impl Fn(io::Error) -> String {
    move |e| format!("{}: {e}", path.display())
}
