//! The inventory that `oci-gpu refresh` keeps: /run/oci-gpu/inventory.json.

use std::collections::HashSet;

use oci_gpu::discover::stored::{FORMAT, Stored};
use oci_gpu::request::DeviceId;
use serde_json::Value;

/// What is taken is JSON to a general decoder too, names of MIG instances have their one spelling
/// and are there once, and what is written from it reads as the same. A refusal is one reason.
pub fn check(data: &[u8]) {
    let stored = match Stored::parse(data) {
        Ok(stored) => stored,
        Err(why) => {
            assert!(why.starts_with("it ") && why.len() < 2100, "{why:?}");
            assert!(!why.contains('\n'), "{why:?}");
            return;
        }
    };
    assert_eq!(stored.format, FORMAT);
    let general: Value = serde_json::from_slice(data).unwrap();
    assert!(general.is_object() || general.is_array());
    let instances = || stored.gpus.iter().flat_map(|g| &g.mig);
    let uuids: Vec<&str> = instances().filter_map(|m| m.uuid.as_deref()).collect();
    for uuid in &uuids {
        let id: DeviceId = uuid.parse().unwrap();
        assert_eq!(id.to_string(), *uuid);
    }
    let unique: HashSet<&&str> = uuids.iter().collect();
    assert_eq!(unique.len(), uuids.len());
    assert_eq!(Stored::parse(stored.to_text().as_bytes()), Ok(stored));
}
