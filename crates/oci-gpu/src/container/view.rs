//! A container's root file system, as far as discovery looks into it.

use std::fs::File;
use std::path::Path;

use crate::host::Root;

/// Answers about a container's root. Paths are absolute and in the container; links are followed
/// inside the root, whatever they hold.
///
/// What is behind these answers is the image's: every file may be hostile, and may change from one
/// question to the next.
pub trait RootView {
    /// Whether something is at `path`.
    fn exists(&self, path: &str) -> bool;

    /// The regular file at `path`, open for reading; `None` for anything else. Opening it must not
    /// wait, and must not wake a device.
    fn open(&self, path: &str) -> Option<File>;

    /// Up to `limit` names in the directory at `path`; none where there is no directory.
    fn list(&self, path: &str, limit: usize) -> Vec<String>;
}

/// A root file system in a directory, which no container runs in.
impl RootView for Root {
    fn exists(&self, path: &str) -> bool {
        Root::exists(self, Path::new(path))
    }

    fn open(&self, path: &str) -> Option<File> {
        let path = self.resolve(Path::new(path)).ok()?;
        let regular = self.metadata(&path).is_ok_and(|m| m.is_file());
        regular.then(|| self.open_resolved(&path).ok()).flatten()
    }

    fn list(&self, path: &str, limit: usize) -> Vec<String> {
        let mut names = Root::list(self, Path::new(path)).unwrap_or_default();
        names.truncate(limit);
        names
    }
}
