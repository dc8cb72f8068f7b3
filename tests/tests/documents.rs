//! The documents say what is so.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use oci_gpu::Code;
use oci_gpu_tests::platforms::PLATFORMS;

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

/// Each of the hundred hostile cases has one row, which names tests that there are and that speak of
/// it, or the reason why there is none.
#[test]
fn every_hostile_case_has_its_test_or_a_reason() {
    let text = fs::read_to_string(top().join("docs/hostile-cases.md")).unwrap();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter_map(|l| l.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|l| l.split(" | ").collect())
        .filter(|row: &Vec<&str>| row[0] != "number")
        .collect();
    let numbers: Vec<String> = rows.iter().map(|row| row[0].to_owned()).collect();
    let hundred: Vec<String> = (1..=100).map(|n| n.to_string()).collect();
    assert_eq!(numbers, hundred);
    for row in rows {
        let [number, _, _, cell] = row[..] else {
            panic!("{row:?}");
        };
        if cell.starts_with("not run: ") || cell == "no CDI yet" {
            continue;
        }
        for test in cell.split("; ") {
            let (file, name) = test.split_once(": ").unwrap_or((test, ""));
            let file = file.trim_matches('`');
            let path = match file.contains("src/") || file.starts_with("crates/") {
                true => top().join(file),
                false => top().join("tests/tests").join(file),
            };
            let code = fs::read_to_string(path).unwrap_or_else(|e| panic!("{row:?}: {file}: {e}"));
            let there = name.is_empty() || code.contains(&format!("fn {name}("));
            assert!(there, "{row:?}: {name}");
            // Tables and messages have the number.
            let words = code.split(|c: char| !c.is_ascii_digit());
            let speaks = !file.starts_with("hostile_") || words.into_iter().any(|w| w == number);
            assert!(speaks, "{row:?}: {file} does not speak of it");
        }
    }
}

/// Each platform has one row, and each row a platform that is tested, or a test of its own.
#[test]
fn every_platform_is_documented() {
    let text = fs::read_to_string(top().join("docs/platforms.md")).unwrap();
    let table = text.split("\n## ").next().unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter_map(|l| l.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|l| l.split(" | ").collect())
        .filter(|row: &Vec<&str>| row[0] != "platform")
        .collect();
    for platform in PLATFORMS {
        let host = format!("`{}`", platform.host);
        let row = rows.iter().filter(|row| row[0] == platform.name);
        let hosts: Vec<&str> = row.map(|row| row[3]).collect();
        assert_eq!(hosts, [host], "{}", platform.name);
    }
    for row in rows {
        let [name, looked_at, nodes, proof] = row[..] else {
            panic!("{row:?}");
        };
        assert!(!looked_at.is_empty() && !nodes.is_empty(), "{name}");
        if PLATFORMS.iter().any(|p| p.name == name) {
            continue;
        }
        let file = proof.split('`').nth(1).unwrap_or_default();
        let is_test = file.ends_with(".rs") && top().join("tests/tests").join(file).exists();
        assert!(is_test, "{name}: {proof} is no test");
    }
}

/// The threat model's claims point at tests that exist.
#[test]
fn the_threat_model_names_files_that_exist() {
    let text = fs::read_to_string(top().join("THREAT_MODEL.md")).unwrap();
    let mut named = 0;
    for word in
        text.split(|c: char| c.is_whitespace() || matches!(c, '`' | ',' | ';' | '|' | '(' | ')'))
    {
        let place = match word {
            w if w.starts_with("crates/") || w.starts_with("fixtures/") => {
                top().join(w.trim_end_matches('.'))
            }
            w if w.ends_with(".rs") => top().join("tests/tests").join(w),
            _ => continue,
        };
        named += 1;
        assert!(place.exists(), "{word}: {}", place.display());
    }
    assert!(named > 15, "{named}");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut documents: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md", "THREAT_MODEL.md"]
        .map(|name| top().join(name))
        .into();
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
