//! The container's state on stdin (runtime specification, "State").

use std::io::{self, Read};
use std::path::PathBuf;

use oci_gpu::finding::{Code, Finding};
use serde::Deserialize;

use crate::guard::Guard;

/// Largest state that is read, in bytes: engines put all annotations in it.
const LIMIT: usize = 4 << 20;

/// What the hook needs of it. Lenient: members that are unknown, and statuses, do not matter.
#[derive(Debug, Deserialize)]
pub(crate) struct State {
    #[serde(default)]
    pub(crate) id: String,
    /// The container's first process as the runtime's process namespace numbers it. Of no meaning
    /// in stage createContainer, where runc says 1 and crun 0.
    #[serde(default)]
    pub(crate) pid: i32,
    /// "bundlePath" before version 1.0 of the specification.
    #[serde(alias = "bundlePath")]
    pub(crate) bundle: PathBuf,
}

/// Reads it, within the deadline.
pub(crate) fn read(guard: &Guard) -> Result<State, Finding> {
    let refused = |why: String| {
        Finding::new(
            Code::State,
            format!("the container's state on stdin {why}"),
            "let an OCI runtime call this hook; docs/hook.md tells how to register it",
        )
    };
    let mut stdin = io::stdin().lock();
    let mut text = Vec::with_capacity(4096);
    let mut part = [0; 16 << 10];
    loop {
        guard.wait_for(&stdin)?;
        match stdin.read(&mut part) {
            Ok(0) => break,
            Ok(n) => text.extend_from_slice(&part[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(refused(format!("cannot be read: {e}"))),
        }
        if text.len() > LIMIT {
            return Err(refused(format!("is larger than {LIMIT} bytes")));
        }
    }
    if text.is_empty() {
        return Err(refused("is empty".to_owned()));
    }
    let state: State =
        serde_json::from_slice(&text).map_err(|e| refused(format!("is not understood: {e}")))?;
    if !state.bundle.is_absolute() {
        return Err(refused(format!(
            "names the bundle '{}', which is no absolute path",
            state.bundle.display()
        )));
    }
    Ok(state)
}
