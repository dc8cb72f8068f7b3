//! The grammar of glibc's argp, as far as nvidia-container-cli's users rely on it: options in
//! order, long names that may be cut short, short options in bundles, `-?`, `--usage`.

use std::ffi::OsString;
use std::fmt::Write;

use oci_gpu::finding::Code;

use super::fail::{Failure, Stage};
use super::options::COMMON;

const TOOL: &str = "nvidia-container-cli";

/// Whether an option takes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    Nothing,
    /// A value of that name.
    Value(&'static str),
    /// Perhaps a value, which is then part of the same word (`--user=0`, `-u0`).
    Perhaps(&'static str),
}

/// An option of the tool, or of one of its commands.
#[derive(Debug)]
pub(crate) struct Opt {
    pub(crate) long: &'static str,
    /// One letter, or nothing.
    pub(crate) short: &'static str,
    pub(crate) takes: Takes,
    /// What it does; empty for one that is not for users.
    pub(crate) help: &'static str,
}

/// A command's options, and the text around them.
pub(crate) struct Grammar {
    /// "configure", or nothing for the tool itself.
    pub(crate) command: &'static str,
    /// What follows the options.
    pub(crate) operands: &'static str,
    pub(crate) about: &'static str,
    pub(crate) options: &'static [Opt],
}

/// The next thing on the command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// An option by its long name, with its value.
    Option(&'static str, Option<OsString>),
    /// A word that is no option.
    Word(OsString),
}

impl Grammar {
    /// Reads one item; `None` at the end.
    pub(crate) fn next(&self, parser: &mut lexopt::Parser) -> Result<Option<Item>, Failure> {
        let found = match parser.next().map_err(|e| self.wrong(e.to_string()))? {
            None => return Ok(None),
            Some(lexopt::Arg::Value(word)) => return Ok(Some(Item::Word(word))),
            Some(lexopt::Arg::Long(name)) => self.long(name)?,
            Some(lexopt::Arg::Short(letter)) => {
                let same = |o: &&Opt| o.short.chars().eq([letter]);
                self.all()
                    .find(same)
                    .ok_or_else(|| self.wrong(format!("invalid option -- '{letter}'")))?
            }
        };
        let value = match found.takes {
            Takes::Nothing => None,
            Takes::Perhaps(_) => parser.optional_value(),
            Takes::Value(_) => Some(parser.value().map_err(|_| {
                self.wrong(format!("option '--{}' requires an argument", found.long))
            })?),
        };
        Ok(Some(Item::Option(found.long, value)))
    }

    /// A failure of the command line.
    pub(crate) fn wrong(&self, why: impl Into<String>) -> Failure {
        let see = match self.command {
            "" => format!("see {TOOL} --help"),
            command => format!("see {TOOL} {command} --help"),
        };
        Failure::new(Stage::Input, Code::Usage, why, see)
    }

    fn all(&self) -> impl Iterator<Item = &'static Opt> + use<> {
        self.options.iter().chain(COMMON.iter())
    }

    /// The option of that name, or the only one whose name begins so (getopt_long(3)).
    fn long(&self, name: &str) -> Result<&'static Opt, Failure> {
        if let Some(exact) = self.all().find(|o| o.long == name) {
            return Ok(exact);
        }
        let begins: Vec<_> = self.all().filter(|o| o.long.starts_with(name)).collect();
        match begins[..] {
            [one] => Ok(one),
            [] => Err(self.wrong(format!("unrecognized option '--{name}'"))),
            _ => {
                let names: Vec<_> = begins.iter().map(|o| format!("--{}", o.long)).collect();
                let names = names.join(", ");
                Err(self.wrong(format!("option '--{name}' is ambiguous: {names}")))
            }
        }
    }

    fn head(&self) -> String {
        let words = [TOOL, self.command, "[OPTION...]", self.operands];
        let words: Vec<_> = words.into_iter().filter(|w| !w.is_empty()).collect();
        format!("Usage: {}\n", words.join(" "))
    }

    /// The text of `--usage`.
    pub(crate) fn usage(&self) -> String {
        let mut text = self.head();
        for o in self.all().filter(|o| !o.help.is_empty()) {
            let _ = match o.takes {
                Takes::Nothing => writeln!(text, "  [--{}]", o.long),
                Takes::Value(name) => writeln!(text, "  [--{}={name}]", o.long),
                Takes::Perhaps(name) => writeln!(text, "  [--{}[={name}]]", o.long),
            };
        }
        text
    }

    /// The text of `--help`.
    pub(crate) fn help(&self) -> String {
        let mut text = self.head();
        let _ = writeln!(text, "{}\n", self.about);
        for o in self.all().filter(|o| !o.help.is_empty()) {
            let short = match o.short {
                "" => "   ".to_owned(),
                letter => format!("-{letter},"),
            };
            let long = match o.takes {
                Takes::Nothing => format!("--{}", o.long),
                Takes::Value(name) => format!("--{}={name}", o.long),
                Takes::Perhaps(name) => format!("--{}[={name}]", o.long),
            };
            let _ = writeln!(text, "  {short} {long:<27} {}", o.help);
        }
        text
    }
}
