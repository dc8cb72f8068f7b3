//! The container's state on a hook's stdin.

use oci_gpu::finding::Code;
use oci_gpu::state::State;
use serde_json::Value;

use crate::findings::presentable;

/// A state is refused with a presentable finding, or is what a general JSON decoder sees.
pub fn check(data: &[u8]) {
    let state = match State::parse(data) {
        Ok(state) => state,
        Err(finding) => {
            assert_eq!(finding.code, Code::State);
            return presentable(&finding);
        }
    };
    assert!(state.bundle.is_absolute());
    // The general decoder refuses deep nesting and huge numbers in members that decide nothing.
    let Ok(value) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let members = value.as_object().unwrap();
    let bundle = members.get("bundle").or(members.get("bundlePath"));
    assert_eq!(bundle.and_then(Value::as_str), state.bundle.to_str());
    let id = members.get("id").map_or(Some(""), Value::as_str);
    assert_eq!(id, Some(state.id.as_str()));
    let pid = members.get("pid").map_or(Some(0), Value::as_i64);
    assert_eq!(pid, Some(i64::from(state.pid)));
}
