//! How the tool fails: the stage, in the reference's words, and our finding.

use std::fmt;

use oci_gpu::finding::{Code, Finding, one_line};

/// Where a run failed: the word before "error:" that scripts and people know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Input,
    Permission,
    Initialization,
    Container,
    Detection,
    Device,
    MigConfig,
    MigMonitor,
    Requirement,
    Mount,
    LdCache,
}

impl Stage {
    fn as_str(self) -> &'static str {
        match self {
            Stage::Input => "input",
            Stage::Permission => "permission",
            Stage::Initialization => "initialization",
            Stage::Container => "container",
            Stage::Detection => "detection",
            Stage::Device => "device",
            Stage::MigConfig => "mig-config",
            Stage::MigMonitor => "mig-monitor",
            Stage::Requirement => "requirement",
            Stage::Mount => "mount",
            Stage::LdCache => "ldcache",
        }
    }

    /// The stage in which the reference reports what this code stands for; `otherwise` where the
    /// code can come from several.
    fn of(code: Code, otherwise: Stage) -> Stage {
        match code {
            Code::NoDriver | Code::NoUserland | Code::VersionDisagree => Stage::Initialization,
            Code::Requirement => Stage::Requirement,
            Code::Enter => Stage::Container,
            Code::LdCache => Stage::LdCache,
            Code::Privilege => Stage::Permission,
            Code::UnknownDevice | Code::AmbiguousDevice | Code::ImexChannel => Stage::Device,
            _ => otherwise,
        }
    }
}

/// Why the tool failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) stage: Stage,
    pub(crate) finding: Finding,
}

impl Failure {
    pub(crate) fn new(
        stage: Stage,
        code: Code,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Failure {
        let finding = Finding::new(code, message, remedy);
        Failure { stage, finding }
    }
}

impl fmt::Display for Failure {
    /// One line. The code comes last, so that what the reference's users search for comes first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding {
            code,
            message,
            remedy,
        } = &self.finding;
        write!(f, "{} error: {}", self.stage.as_str(), one_line(message))?;
        if !remedy.is_empty() {
            write!(f, "; {}", one_line(remedy))?;
        }
        write!(f, " [{code}]")
    }
}

/// Adds the stage to a finding.
pub(crate) trait At<T> {
    /// The stage is that of the finding's code, or `otherwise`.
    fn at(self, otherwise: Stage) -> Result<T, Failure>;
}

impl<T> At<T> for Result<T, Finding> {
    fn at(self, otherwise: Stage) -> Result<T, Failure> {
        self.map_err(|finding| Failure {
            stage: Stage::of(finding.code, otherwise),
            finding,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_with_stage_remedy_and_code() {
        let failure = Failure::new(Stage::Mount, Code::Mount, "no\nway", "do this");
        assert_eq!(
            failure.to_string(),
            "mount error: no\\nway; do this [OG0603]"
        );
        let failure = Failure::new(Stage::MigConfig, Code::Mig, "no", "");
        assert_eq!(failure.to_string(), "mig-config error: no [OG0403]");
    }
}
