//! The documents say what is so.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use oci_gpu::Code;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

#[test]
fn every_code_is_documented_once() {
    let text = fs::read_to_string(top().join("docs/findings.md")).unwrap();
    let documented: Vec<&str> = text
        .lines()
        .filter_map(|l| l.strip_prefix("| OG"))
        .collect();
    let codes: Vec<String> = Code::ALL.iter().map(ToString::to_string).collect();
    let documented: Vec<String> = documented
        .iter()
        .map(|l| format!("OG{}", &l[..4]))
        .collect();
    assert_eq!(documented, codes);
}

/// A row of the support table names a test file, and the test in it if it names one.
#[test]
fn every_row_of_the_support_table_names_a_test() {
    let readme = fs::read_to_string(top().join("README.md")).unwrap();
    let table = readme.split("## Support").nth(1).unwrap();
    let rows: Vec<&str> = table
        .lines()
        .filter(|l| l.starts_with("| ") && !l.starts_with("| what"))
        .collect();
    assert!(rows.len() > 5, "{rows:?}");
    for row in rows {
        let cell = row.trim_end_matches('|').rsplit('|').next().unwrap().trim();
        let file = cell
            .split('`')
            .nth(1)
            .unwrap()
            .trim_start_matches("tests/tests/");
        let code = fs::read_to_string(top().join("tests/tests").join(file))
            .unwrap_or_else(|e| panic!("{row}: {e}"));
        if let Some((_, name)) = cell.split_once(": ") {
            assert!(code.contains(&format!("fn {name}(")), "{row}");
        }
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut documents = vec![top().join("README.md"), top().join("CONTRIBUTING.md")];
    documents.extend(
        fs::read_dir(top().join("docs"))
            .unwrap()
            .map(|e| e.unwrap().path()),
    );
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap();
            if target.is_empty() || target.starts_with("http") {
                continue;
            }
            let path = document.parent().unwrap().join(target);
            assert!(path.exists(), "{} links to {target}", document.display());
        }
    }
}
