//! A container's root file system, as far as discovery looks into it.

use std::fs::File;

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
