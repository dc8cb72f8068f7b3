//! The command line.

use std::path::PathBuf;

use lexopt::prelude::*;
use oci_gpu::finding::{Code, Finding};

/// When the hook runs (runtime specification, "POSIX-platform Hooks").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Prestart,
    CreateRuntime,
    CreateContainer,
    /// createContainer, for a container that a CDI specification gave nodes and files.
    Cdi,
    Poststop,
}

/// What was typed.
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) stage: Stage,
    pub(crate) config: Option<PathBuf>,
    pub(crate) host_root: PathBuf,
}

const USAGE: &str = "usage: oci-gpu-hook [--config FILE] [--host-root DIR] \
                     prestart|createRuntime|createContainer|cdi|poststop";

impl Args {
    pub(crate) fn parse() -> Result<Args, Finding> {
        Args::from(lexopt::Parser::from_env())
    }

    fn from(mut parser: lexopt::Parser) -> Result<Args, Finding> {
        let usage = |why: String| Finding::new(Code::Usage, why, USAGE);
        let (mut stage, mut config, mut host_root) = (None, None, PathBuf::from("/"));
        while let Some(arg) = parser.next().map_err(|e| usage(e.to_string()))? {
            let value = |p: &mut lexopt::Parser| p.value().map_err(|e| usage(e.to_string()));
            match arg {
                Long("config") => config = Some(PathBuf::from(value(&mut parser)?)),
                Long("host-root") => host_root = PathBuf::from(value(&mut parser)?),
                Value(word) if stage.is_none() => {
                    stage = Some(match word.to_str() {
                        Some("prestart") => Stage::Prestart,
                        Some("createRuntime") => Stage::CreateRuntime,
                        Some("createContainer") => Stage::CreateContainer,
                        Some("cdi") => Stage::Cdi,
                        Some("poststop") => Stage::Poststop,
                        _ => {
                            return Err(usage(format!(
                                "'{}' is no hook stage",
                                word.to_string_lossy()
                            )));
                        }
                    });
                }
                other => return Err(usage(other.unexpected().to_string())),
            }
        }
        for path in config.iter().chain([&host_root]) {
            if !path.is_absolute() {
                return Err(usage(format!(
                    "'{}' is not an absolute path",
                    path.display()
                )));
            }
        }
        let stage = stage.ok_or_else(|| usage("no hook stage was given".to_owned()))?;
        Ok(Args {
            stage,
            config,
            host_root,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Args, Finding> {
        Args::from(lexopt::Parser::from_args(words))
    }

    #[test]
    fn stages_and_options() {
        let args = parse(&["--host-root", "/sim", "createRuntime"]).unwrap();
        assert_eq!(
            (args.stage, args.host_root),
            (Stage::CreateRuntime, "/sim".into())
        );
        assert_eq!(
            parse(&["prestart", "--config=/c"]).unwrap().config,
            Some("/c".into())
        );
    }

    #[test]
    fn wrong_words_are_named() {
        for (words, named) in [
            (&["createruntime"][..], "'createruntime' is no hook stage"),
            (&[], "no hook stage"),
            (
                &["prestart", "prestart"],
                "unexpected argument \"prestart\"",
            ),
            (&["--frob", "prestart"], "--frob"),
            (
                &["--config", "rel", "prestart"],
                "'rel' is not an absolute path",
            ),
            (&["--config"], "missing argument"),
        ] {
            let e = parse(words).unwrap_err();
            assert_eq!(e.code, Code::Usage);
            assert!(e.message.contains(named), "{words:?}: {e}");
        }
    }
}
