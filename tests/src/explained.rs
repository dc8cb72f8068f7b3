//! The JSON of `oci-gpu explain`, whose shape others rely on.

use serde_json::Value;

use crate::error::{Error, Result};

/// Every word that `kind` can be.
pub const KINDS: [&str; 12] = [
    "device", "library", "binary", "file", "dir", "socket", "firmware", "symlink", "env", "proc",
    "ldcache", "group",
];

/// What a member of an object may be.
#[derive(Clone, Copy)]
enum Is {
    Text,
    TextOrNull,
    Number,
    Flag,
    Texts,
    Numbers,
}

/// Checks that `value` has exactly the documented members, each of its type.
///
/// # Errors
/// The first member that is not as it should be, by its path.
pub fn check_shape(value: &Value) -> Result<()> {
    members(
        value,
        "",
        &["request", "gpus", "items", "skipped", "errors"],
    )?;
    if !value["request"].is_null() {
        object(
            &value["request"],
            "request",
            &[
                ("devices", Is::Texts),
                ("capabilities", Is::Texts),
                ("requirements", Is::Texts),
                ("imexChannels", Is::Numbers),
                ("source", Is::Text),
            ],
        )?;
    }
    list(
        value,
        "gpus",
        &[
            ("index", Is::Number),
            ("uuid", Is::TextOrNull),
            ("minor", Is::Number),
            ("busId", Is::Text),
            ("model", Is::Text),
        ],
    )?;
    list(
        value,
        "items",
        &[
            ("kind", Is::Text),
            ("source", Is::TextOrNull),
            ("target", Is::Text),
            ("required", Is::Flag),
            ("why", Is::Text),
        ],
    )?;
    list(value, "skipped", &[("what", Is::Text), ("why", Is::Text)])?;
    list(
        value,
        "errors",
        &[("code", Is::Text), ("message", Is::Text)],
    )?;
    for item in value["items"].as_array().into_iter().flatten() {
        if !KINDS.iter().any(|kind| item["kind"] == *kind) {
            return Err(Error::new(format!("items: the kind of {item}")));
        }
        // What has no place on the host has no source: groups, files that are made in memory.
        let may_lack = ["proc", "file", "group"].map(Value::from);
        if item["source"].is_null() && !may_lack.contains(&item["kind"]) {
            return Err(Error::new(format!("items: no source in {item}")));
        }
    }
    Ok(())
}

fn list(value: &Value, name: &str, expected: &[(&str, Is)]) -> Result<()> {
    let Some(items) = value[name].as_array() else {
        return Err(Error::new(format!("{name} is no list")));
    };
    items
        .iter()
        .try_for_each(|item| object(item, name, expected))
}

fn object(value: &Value, path: &str, expected: &[(&str, Is)]) -> Result<()> {
    let names: Vec<&str> = expected.iter().map(|(name, _)| *name).collect();
    members(value, path, &names)?;
    for (name, is) in expected {
        let member = &value[*name];
        let all = |of: fn(&Value) -> bool| member.as_array().is_some_and(|l| l.iter().all(of));
        // A text that says nothing is of no use to anybody.
        let text = member.as_str().is_some_and(|t| !t.trim().is_empty());
        let fits = match is {
            Is::Text => text,
            Is::TextOrNull => text || member.is_null(),
            Is::Number => member.is_u64(),
            Is::Flag => member.is_boolean(),
            Is::Texts => all(Value::is_string),
            Is::Numbers => all(Value::is_u64),
        };
        if !fits {
            return Err(Error::new(format!("{path}.{name} is {member}")));
        }
    }
    Ok(())
}

fn members(value: &Value, path: &str, expected: &[&str]) -> Result<()> {
    let Some(object) = value.as_object() else {
        return Err(Error::new(format!("{path} is no object: {value}")));
    };
    let mut names: Vec<&str> = object.keys().map(String::as_str).collect();
    let mut expected = expected.to_vec();
    names.sort_unstable();
    expected.sort_unstable();
    match names == expected {
        true => Ok(()),
        false => Err(Error::new(format!(
            "'{path}' has {names:?}, not {expected:?}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_documented_is_refused() {
        let good = json!({
            "request": null,
            "gpus": [{"index": 0, "uuid": null, "minor": 0, "busId": "b", "model": "m"}],
            "items": [{"kind": "device", "source": "/dev/a", "target": "/dev/a", "required": true, "why": "w"}],
            "skipped": [{"what": "a", "why": "b"}],
            "errors": [{"code": "OG0001", "message": "m"}],
        });
        check_shape(&good).unwrap();
        let spoil: [fn(&mut Value); 8] = [
            |v| v["more"] = json!(1),
            |v| v["request"] = json!({}),
            |v| v["gpus"][0]["minor"] = json!("0"),
            |v| v["gpus"][0]["bus_id"] = json!("b"),
            |v| v["items"][0]["kind"] = json!("node"),
            |v| v["items"][0]["source"] = json!(null),
            |v| v["items"][0]["why"] = json!(" "),
            |v| v["errors"] = json!(null),
        ];
        for spoil in spoil {
            let mut bad = good.clone();
            spoil(&mut bad);
            check_shape(&bad).unwrap_err();
        }
    }
}
