//! What holds of every refusal.

use oci_gpu::finding::Finding;

/// Most bytes that a finding's line may have, message and remedy together: input decides parts of
/// it, and it ends up in logs.
const LINE_LIMIT: usize = 4200;

/// A finding is one line of bounded length that a terminal may show, with a remedy.
pub(crate) fn presentable(finding: &Finding) {
    let line = finding.to_string();
    assert!(!line.chars().any(char::is_control), "{line:?}");
    assert!(line.len() <= LINE_LIMIT, "{} bytes", line.len());
    assert!(!finding.message.is_empty() && !finding.remedy.is_empty());
}
