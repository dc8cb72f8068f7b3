//! The container's state on stdin.

use std::io::{self, Read};

use oci_gpu::finding::{Code, Finding};
use oci_gpu::state::{STATE_LIMIT, State};

use crate::guard::Guard;

/// Reads it, within the deadline.
pub(crate) fn read(guard: &Guard) -> Result<State, Finding> {
    let mut stdin = io::stdin().lock();
    let mut text = Vec::with_capacity(4096);
    let mut part = [0; 16 << 10];
    // One part more than the limit is enough for the parser to see that it is too large.
    while text.len() <= STATE_LIMIT {
        guard.wait_for(&stdin)?;
        match stdin.read(&mut part) {
            Ok(0) => break,
            Ok(n) => text.extend_from_slice(part.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => {
                return Err(Finding::new(
                    Code::State,
                    format!("the container's state on stdin cannot be read: {e}"),
                    "let an OCI runtime call this hook; docs/hook.md tells how to register it",
                ));
            }
        }
    }
    State::parse(&text)
}
