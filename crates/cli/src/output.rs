//! What the command prints.

use std::io::{self, Write};

use clap::ValueEnum;
use oci_gpu::finding::{Code, Finding};
use serde::Serialize;

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
}

/// Standard output and error.
pub(crate) struct Output {
    pub(crate) format: Format,
    pub(crate) verbose: bool,
    quiet: bool,
}

impl Output {
    pub(crate) fn new(format: Format, verbose: bool, quiet: bool) -> Output {
        Output {
            format,
            verbose,
            quiet,
        }
    }

    /// Prints `data`, which reads as `text` for people.
    pub(crate) fn data<T: Serialize>(
        &self,
        data: &T,
        text: impl FnOnce() -> String,
    ) -> Result<(), Finding> {
        if self.quiet {
            return Ok(());
        }
        let broken = |e: String| Finding::new(Code::Config, format!("print the result: {e}"), "");
        let text = match self.format {
            Format::Text => text(),
            Format::Json => {
                serde_json::to_string_pretty(data).map_err(|e| broken(e.to_string()))? + "\n"
            }
            Format::Yaml => serde_yaml_ng::to_string(data).map_err(|e| broken(e.to_string()))?,
        };
        match io::stdout().write_all(text.as_bytes()) {
            // Whoever reads has seen enough ("| head").
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(broken(e.to_string())),
            _ => Ok(()),
        }
    }

    /// A line about what was done.
    pub(crate) fn say(&self, line: &str) {
        if !self.quiet {
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    /// What went wrong.
    pub(crate) fn error(&self, finding: &Finding) {
        let _ = writeln!(io::stderr(), "oci-gpu: {finding}");
    }
}

/// Rows as columns that line up; the last column is not padded.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (i, cell) in row.iter().enumerate() {
            match widths.get_mut(i) {
                Some(width) => *width = (*width).max(cell.chars().count()),
                None => widths.push(cell.chars().count()),
            }
        }
    }
    let mut text = String::new();
    for row in rows {
        let last = row.len().saturating_sub(1);
        for (i, cell) in row.iter().enumerate() {
            let width = if i == last { 0 } else { widths[i] + 2 };
            text.push_str(&format!("{cell:<width$}"));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [
            vec!["a".to_owned(), "bb".to_owned()],
            vec!["ccc".to_owned(), "d".to_owned()],
        ];
        assert_eq!(table(&rows), "a    bb\nccc  d\n");
    }
}
