//! One name of a device.

use oci_gpu::request::{DeviceId, NAME_LIMIT};

/// What is read is the name in one spelling, which reads back, is an item of a list, and has nothing
/// in it that a path or a terminal could trip over.
pub fn check(data: &[u8]) {
    let name = String::from_utf8_lossy(data);
    let id = match name.parse::<DeviceId>() {
        Ok(id) => id,
        Err(why) => return assert!(!why.to_string().is_empty()),
    };
    assert!(name.len() <= NAME_LIMIT);
    let kept = id.to_string();
    assert!(is_spelling_of(&name, &kept, &id), "{name:?} is no {id:?}");
    assert_eq!(kept.parse(), Ok(id), "{name:?}");
    assert!(kept.len() <= NAME_LIMIT, "{kept}");
    let fits = |b: u8| b.is_ascii_graphic() && b != b',';
    assert!(kept.bytes().all(fits), "{kept:?}");
    assert!(!kept.contains("..") || kept.contains('='), "{kept}");
    assert!(!["all", "none", "void"].contains(&kept.as_str()));
}

/// Whether `name` says the same as `kept`, by what may differ: the case of letters, zeros before a
/// number, the domain of a PCI address.
fn is_spelling_of(name: &str, kept: &str, id: &DeviceId) -> bool {
    let numbers = |text: &str, radix| -> Vec<u64> {
        let parts = text.split([':', '.', '/']);
        parts
            .map(|n| u64::from_str_radix(n, radix).unwrap())
            .collect()
    };
    match id {
        DeviceId::Cdi(_) => name == kept,
        DeviceId::Index(_) | DeviceId::MigIndex(..) => numbers(name, 10) == numbers(kept, 10),
        DeviceId::BusId(_) => {
            let (name, kept) = (numbers(name, 16), numbers(kept, 16));
            kept.ends_with(&name) && (kept.len() == name.len() || kept[0] == 0)
        }
        DeviceId::MigNumbers { gpu, .. } => {
            // "MIG-", the GPU's UUID, "/1/0".
            let (name_gpu, places) = name.split_at("MIG-".len() + gpu.len());
            let (kept_gpu, kept_places) = kept.split_at(name_gpu.len());
            name_gpu.eq_ignore_ascii_case(kept_gpu)
                && numbers(&places[1..], 10) == numbers(&kept_places[1..], 10)
        }
        _ => name.eq_ignore_ascii_case(kept),
    }
}
