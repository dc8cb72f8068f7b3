//! The kernel's texts about the driver: /proc/driver/nvidia and /proc/devices.

use oci_gpu::discover::Majors;
use oci_gpu::discover::proc_driver::{
    Information, VersionFile, capability_minor, imex_channel_count, is_version,
};
use oci_gpu::inventory::DeviceFileParams;
use oci_gpu::request::DeviceId;

/// Each text is taken for each of the files. What becomes part of a file's name or of an answer has
/// the form that it must have.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let found = VersionFile::parse(&text).version;
    let whole = Some(text.trim()).filter(|w| is_version(w));
    for word in found.as_deref().into_iter().chain(whole) {
        let fits = |b: u8| b.is_ascii_digit() || b == b'.';
        assert!(word.len() <= 32 && word.bytes().all(fits), "{word:?}");
        assert!(!word.contains("..") && !word.starts_with('.'), "{word:?}");
        assert!((1..=2).contains(&word.matches('.').count()), "{word:?}");
        assert!(text.contains(word));
    }
    let gpu = Information::parse(&text);
    if let Some(uuid) = gpu.uuid {
        assert_eq!(uuid.parse(), Ok(DeviceId::Uuid(uuid.clone())));
        assert_eq!(uuid.len(), 40);
    }
    if let Some(model) = gpu.model {
        assert!(!model.contains('\n') && text.contains(&model));
    }
    let params = DeviceFileParams::parse(&text);
    assert_eq!(params.mode & !0o777, 0);
    let majors = Majors::parse(&text);
    let numbers = [
        majors.nvidia,
        majors.uvm,
        majors.caps,
        majors.imex,
        gpu.minor,
    ];
    for number in numbers
        .into_iter()
        .chain([capability_minor(&text), imex_channel_count(&text)])
        .flatten()
    {
        assert!(text.contains(&number.to_string()), "{number}");
    }
    // The same name among block devices is another driver's.
    let block = format!("Block devices:\n{text}");
    assert_eq!(Majors::parse(&block), Majors::default());
}
