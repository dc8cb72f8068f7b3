//! One name of a device.

use oci_gpu::request::{DeviceId, NAME_LIMIT};

/// What is read is written in one spelling, which reads back, is an item of a list, and has nothing
/// in it that a path or a terminal could trip over.
pub fn check(data: &[u8]) {
    let name = String::from_utf8_lossy(data);
    let id = match name.parse::<DeviceId>() {
        Ok(id) => id,
        Err(why) => return assert!(!why.to_string().is_empty()),
    };
    assert!(name.len() <= NAME_LIMIT);
    let kept = id.to_string();
    assert_eq!(kept.parse(), Ok(id), "{name:?}");
    assert!(kept.len() <= NAME_LIMIT, "{kept}");
    assert!(
        kept.bytes().all(|b| b.is_ascii_graphic() && b != b','),
        "{kept:?}"
    );
    assert!(!kept.contains("..") || kept.contains('='), "{kept}");
    assert!(!["all", "none", "void"].contains(&kept.as_str()));
}
