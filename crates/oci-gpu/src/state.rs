//! The state of a container, which a runtime writes to a hook's stdin as JSON (runtime
//! specification, "State").

use std::path::PathBuf;

use serde::Deserialize;

use crate::finding::{Code, Finding, quote};
use crate::json::{Named, Object};

/// Largest state that is read, in bytes: engines put all annotations in it.
pub const STATE_LIMIT: usize = 4 << 20;

/// What a hook needs of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct State {
    /// The container's name; empty where the runtime tells none.
    #[serde(default)]
    pub id: String,
    /// The container's first process as the runtime's process namespace numbers it; zero where the
    /// runtime tells none. Of no meaning in stage createContainer, where runc says 1 and crun 0.
    #[serde(default)]
    pub pid: i32,
    /// The bundle's directory, an absolute path. "bundlePath" before version 1.0 of the
    /// specification.
    #[serde(alias = "bundlePath")]
    pub bundle: PathBuf,
}

impl Named for State {
    const NAME: &'static str = "the container's state";
}

impl State {
    /// Parses a state. Lenient: members that are unknown, versions and statuses do not matter.
    ///
    /// # Errors
    /// A finding [`Code::State`]: nothing at all, more than [`STATE_LIMIT`] bytes, no JSON object,
    /// a member of the wrong type or given twice, a bundle that is no absolute path.
    pub fn parse(bytes: &[u8]) -> Result<State, Finding> {
        if bytes.is_empty() {
            return Err(refused("is empty"));
        }
        if bytes.len() > STATE_LIMIT {
            return Err(refused(format!("is larger than {STATE_LIMIT} bytes")));
        }
        let Object(state): Object<State> = serde_json::from_slice(bytes)
            .map_err(|e| refused(format!("is not understood: {e}")))?;
        if !state.bundle.is_absolute() {
            let bundle = quote(&state.bundle.to_string_lossy());
            return Err(refused(format!(
                "names the bundle {bundle}, which is no absolute path"
            )));
        }
        Ok(state)
    }
}

fn refused(why: impl AsRef<str>) -> Finding {
    Finding::new(
        Code::State,
        format!("the container's state on stdin {}", why.as_ref()),
        "let an OCI runtime call this hook; docs/hook.md tells how to register it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        let finding = State::parse(bytes).unwrap_err();
        assert_eq!(finding.code, Code::State);
        finding.message
    }

    #[test]
    fn states_of_runtimes_old_and_new() {
        let runc = br#"{"ociVersion":"1.2.0","id":"c1","status":"creating","pid":4711,
            "bundle":"/run/b","annotations":{"a":"b"}}"#;
        let state = State::parse(runc).unwrap();
        assert_eq!((state.id.as_str(), state.pid), ("c1", 4711));
        assert_eq!(state.bundle, PathBuf::from("/run/b"));
        let old = br#"{"version":"0.2.0","id":"c1","pid":1,"bundlePath":"/b"}"#;
        assert_eq!(State::parse(old).unwrap().bundle, PathBuf::from("/b"));
        let bare = State::parse(br#"{"bundle":"/b"}"#).unwrap();
        assert_eq!((bare.id.as_str(), bare.pid), ("", 0));
    }

    #[test]
    fn other_texts_are_refused_with_what_is_wrong() {
        let rows: [(&[u8], &str); 9] = [
            (b"", "is empty"),
            (b"{", "EOF"),
            (b"{}", "missing field `bundle`"),
            (br#"["c1",1,"/b"]"#, "as an object"),
            (br#"{"bundle":"b"}"#, "\"b\", which is no absolute path"),
            (br#"{"bundle":""}"#, "no absolute path"),
            (br#"{"bundle":"/b","bundlePath":"/c"}"#, "duplicate field"),
            (br#"{"bundle":"/b","pid":2147483648}"#, "expected i32"),
            (b"{\"bundle\":\"/\xff\"}", "unicode"),
        ];
        for (bytes, what) in rows {
            let message = refusal(bytes);
            assert!(message.contains(what), "{message}");
        }
    }

    #[test]
    fn size_and_depth_are_bounded() {
        let mut large = br#"{"bundle":"/b","annotations":{"a":""#.to_vec();
        large.resize(STATE_LIMIT + 1, b'x');
        assert!(refusal(&large).contains("larger than 4194304 bytes"));
        // Members that are not looked at are passed over without recursion.
        let deep = format!(
            r#"{{"bundle":"/b","x":{}{}}}"#,
            "[".repeat(1 << 20),
            "]".repeat(1 << 20)
        );
        assert!(State::parse(deep.as_bytes()).is_ok());
    }
}
