//! The values of options: what can be said of them without a host.

use std::ffi::OsString;
use std::path::{Component, PathBuf};

use oci_gpu::finding::Code;

use super::fail::{Failure, Stage};
use super::options::{CONFIGURE, TOOL};

pub(super) fn string(option: &str, value: OsString) -> Result<String, Failure> {
    value.into_string().map_err(|value| {
        let why = format!("--{option}: '{}' is no UTF-8 text", value.display());
        TOOL.wrong(why)
    })
}

/// The items of a comma list; empty ones count for nothing.
pub(super) fn items(option: &str, value: OsString) -> Result<Vec<String>, Failure> {
    let value = string(option, value)?;
    let items = value.split(',').filter(|item| !item.is_empty());
    Ok(items.map(str::to_owned).collect())
}

pub(super) fn absolute(option: &str, value: OsString) -> Result<PathBuf, Failure> {
    let path = PathBuf::from(value);
    match path.is_absolute() {
        true => Ok(path),
        false => Err(TOOL.wrong(format!(
            "{option}: '{}' is not an absolute path",
            path.display()
        ))),
    }
}

pub(super) fn pid(value: OsString) -> Result<i32, Failure> {
    let value = string("pid", value)?;
    let digits = value.bytes().all(|b| b.is_ascii_digit());
    match value.parse() {
        Ok(pid) if digits && pid > 0 => Ok(pid),
        _ => Err(CONFIGURE.wrong(format!("parse pid failed: '{value}' is no process number"))),
    }
}

/// UID[:GID], numbers or names. Names are not looked up, for nobody's identity is taken.
pub(super) fn user(value: &OsString) -> Result<(), Failure> {
    let text = value.to_str().unwrap_or(":");
    let parts: Vec<_> = text.split(':').collect();
    let empty = parts.iter().any(|part| part.is_empty());
    match text.is_empty() || parts.len() <= 2 && !empty {
        true => Ok(()),
        false => Err(TOOL.wrong(format!(
            "parse user/group failed: '{}' is not UID[:GID]",
            value.display()
        ))),
    }
}

pub(super) fn root_directory(word: OsString) -> Result<PathBuf, Failure> {
    let path = PathBuf::from(word);
    let named = path
        .components()
        .any(|part| matches!(part, Component::Normal(_)));
    match path.is_absolute() && named {
        true => Ok(path),
        false => Err(Failure::new(
            Stage::Input,
            Code::Usage,
            format!("invalid rootfs directory: '{}'", path.display()),
            "ROOTFS is an absolute path and not /",
        )),
    }
}
