//! A TOML file and its values by type; errors name the file, the line and the key.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::capability::{CapabilitySet, CapabilityWords, VALID_WORDS, unknown_word};
use crate::finding::{Code, Finding};

/// A parsed configuration file.
pub(super) struct Document<'a> {
    pub(super) path: &'a Path,
    text: &'a str,
    pub(super) table: DeTable<'a>,
}

/// A value of a document, with the key that it belongs to.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    document: &'a Document<'a>,
    pub(super) key: &'a str,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Document<'a> {
    pub(super) fn parse(path: &'a Path, content: &'a [u8]) -> Result<Document<'a>, Finding> {
        let text = str::from_utf8(content).map_err(|e| {
            let valid = content.get(..e.valid_up_to()).unwrap_or_default();
            let line = 1 + valid.iter().filter(|b| **b == b'\n').count();
            let message = format!("{}:{line}: the text is not UTF-8", path.display());
            Finding::new(Code::Config, message, "correct the file")
        })?;
        let mut document = Document {
            path,
            text,
            table: DeTable::new(),
        };
        document.table = DeTable::parse(text)
            .map_err(|e| document.error(e.span(), e.message(), "correct the file"))?
            .into_inner();
        Ok(document)
    }

    /// The values of the top level.
    pub(super) fn values(&'a self) -> impl Iterator<Item = (Range<usize>, Value<'a>)> {
        self.table.iter().map(|(key, value)| {
            let at = key.span();
            let key = key.get_ref().as_ref();
            (
                at,
                Value {
                    document: self,
                    key,
                    value,
                },
            )
        })
    }

    /// A finding about the place `at` of the file.
    pub(super) fn error(&self, at: Option<Range<usize>>, what: &str, remedy: &str) -> Finding {
        let before = at.and_then(|at| self.text.as_bytes().get(..at.start));
        let line = before.map(|b| 1 + b.iter().filter(|b| **b == b'\n').count());
        let place = line.map(|line| format!(":{line}")).unwrap_or_default();
        let message = format!("{}{place}: {what}", self.path.display());
        Finding::new(Code::Config, message, remedy)
    }
}

impl<'a> Value<'a> {
    /// The values of a table.
    pub(super) fn table(self) -> Result<impl Iterator<Item = Value<'a>>, Finding> {
        let table = self.value.get_ref().as_table();
        let table = table.ok_or_else(|| self.wrong("a table"))?;
        Ok(table.iter().map(move |(key, value)| Value {
            key: key.get_ref().as_ref(),
            value,
            ..self
        }))
    }

    /// The value at `keys`, each a table's but the last; `None` where there is none.
    pub(super) fn below(self, keys: &[&str]) -> Result<Option<Value<'a>>, Finding> {
        let mut value = self;
        for key in keys {
            match value.table()?.find(|v| v.key == *key) {
                Some(found) => value = found,
                None => return Ok(None),
            }
        }
        Ok(Some(value))
    }

    pub(super) fn boolean(self) -> Result<bool, Finding> {
        let boolean = self.value.get_ref().as_bool();
        boolean.ok_or_else(|| self.wrong("true or false"))
    }

    pub(super) fn string(self) -> Result<&'a str, Finding> {
        let string = self.value.get_ref().as_str();
        string.ok_or_else(|| self.wrong("a string"))
    }

    /// An absolute path.
    pub(super) fn path(self) -> Result<PathBuf, Finding> {
        match self.string()? {
            path if path.starts_with('/') && !path.contains('\0') => Ok(PathBuf::from(path)),
            _ => Err(self.error("is not an absolute path", "an absolute path")),
        }
    }

    /// The words of a comma list or of an array of strings; empty ones count for nothing.
    pub(super) fn words(self) -> Result<Vec<&'a str>, Finding> {
        let expected = || self.wrong("a comma list or an array of strings");
        let words: Vec<&str> = match self.value.get_ref() {
            DeValue::String(list) => list.split(',').collect(),
            DeValue::Array(array) => {
                let strings = array.iter().map(|item| item.get_ref().as_str());
                strings.collect::<Option<_>>().ok_or_else(expected)?
            }
            _ => return Err(expected()),
        };
        let words = words.into_iter().map(str::trim);
        Ok(words.filter(|w| !w.is_empty()).collect())
    }

    /// A set of driver capabilities: their words, or `all`.
    pub(super) fn capabilities(self) -> Result<CapabilitySet, Finding> {
        let list = self.words()?.join(",");
        let words = CapabilityWords::read(&list);
        match (words.unknown, words.all) {
            (Some(word), _) => Err(self.error(&unknown_word(word), VALID_WORDS)),
            (None, true) => Ok(CapabilitySet::all()),
            (None, false) => Ok(words.named),
        }
    }

    fn wrong(self, expected: &str) -> Finding {
        let kind = self.value.get_ref().type_str();
        self.error(&format!("is not {expected} but of type {kind}"), expected)
    }

    fn error(self, what: &str, expected: &str) -> Finding {
        let what = format!("{} {what}", self.key);
        let remedy = format!("give it {expected}");
        self.document.error(Some(self.value.span()), &what, &remedy)
    }
}
