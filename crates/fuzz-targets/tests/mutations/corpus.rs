//! The committed corpus and dictionaries, which libFuzzer and this run share.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use oci_gpu_fuzz_targets::TARGETS;

/// `fuzz/` at the top of the repository.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// What a target begins with: whole inputs, and words that matter to its parser.
pub(crate) struct Corpus {
    files: Vec<(PathBuf, Vec<u8>)>,
    /// Words of the dictionary.
    pub(crate) words: Vec<Vec<u8>>,
}

impl Corpus {
    pub(crate) fn of(target: &str) -> Corpus {
        let directory = directory();
        let mut files: Vec<(PathBuf, Vec<u8>)> =
            fs::read_dir(directory.join("corpus").join(target))
                .unwrap_or_else(|e| panic!("fuzz/corpus/{target}: {e}"))
                .map(|entry| entry.unwrap().path())
                // What libFuzzer finds it names by a hash; that stays with who ran it.
                .filter(|path| path.file_name().is_some_and(|n| n.len() != 40))
                .map(|path| {
                    let content = fs::read(&path).unwrap();
                    (path, content)
                })
                .collect();
        files.sort();
        assert!(!files.is_empty(), "fuzz/corpus/{target} is empty");
        let dictionary = directory.join(format!("dictionaries/{target}.dict"));
        let text = fs::read_to_string(&dictionary)
            .unwrap_or_else(|e| panic!("{}: {e}", dictionary.display()));
        Corpus {
            files,
            words: text.lines().filter_map(word).collect(),
        }
    }

    /// Every file with its content, by name.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        self.files
            .iter()
            .map(|(path, bytes)| (path.as_path(), bytes.as_slice()))
    }

    /// The contents.
    pub(crate) fn inputs(&self) -> Vec<&[u8]> {
        self.files
            .iter()
            .map(|(_, bytes)| bytes.as_slice())
            .collect()
    }
}

/// The word of a line `NAME="WORD"` or `"WORD"` of a dictionary, in which `\\`, `\"` and `\xNN` are
/// escapes (libFuzzer's documentation, "Dictionaries"). `None` for a comment or an empty line.
fn word(line: &str) -> Option<Vec<u8>> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let quoted = line
        .split_once('"')
        .and_then(|(_, rest)| rest.strip_suffix('"'));
    let quoted = quoted.unwrap_or_else(|| panic!("no dictionary line: {line}"));
    let mut bytes = quoted.bytes();
    let mut word = Vec::new();
    while let Some(byte) = bytes.next() {
        word.push(match (byte, byte == b'\\') {
            (_, false) => byte,
            (_, true) => match bytes.next() {
                Some(b'x') => {
                    let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                Some(escaped @ (b'\\' | b'"')) => escaped,
                _ => panic!("no escape that libFuzzer knows: {line}"),
            },
        });
    }
    Some(word)
}

#[test]
fn words_are_read_as_libfuzzer_reads_them() {
    assert_eq!(word(r#"a="x\x00\\\"y""#).unwrap(), b"x\0\\\"y");
    assert_eq!(word(r#"  "\xff" "#).unwrap(), b"\xff");
    assert_eq!((word("# \"x\""), word(" ")), (None, None));
}

/// A target that only one of the two programs runs would go unnoticed.
#[test]
fn every_target_has_its_libfuzzer_program_and_nothing_else_has() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let fuzz = directory();
    let stems = |below: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(fuzz.join(below)).unwrap();
        let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        entries.map(|entry| stem(entry.unwrap().path())).collect()
    };
    for below in ["corpus", "dictionaries", "fuzz_targets"] {
        assert_eq!(stems(below), targets, "fuzz/{below}");
    }
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    let programs = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("path = \"fuzz_targets/"));
    let programs = programs.filter_map(|rest| rest.strip_suffix(".rs\""));
    assert_eq!(
        programs.map(str::to_owned).collect::<BTreeSet<_>>(),
        targets
    );
    for name in &targets {
        let program = fs::read_to_string(fuzz.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(program.contains(&format!("oci_gpu_fuzz_targets::{name}::check(data)")));
    }
}
