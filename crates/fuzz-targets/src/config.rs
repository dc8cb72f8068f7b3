//! The administrator's configuration, ours or NVIDIA's.

use std::path::Path;

use oci_gpu::config::Config;
use oci_gpu::finding::Code;

use crate::findings::presentable;

/// A configuration names usable paths, and a comment at its end changes nothing; a refusal names
/// the file.
pub fn check(data: &[u8]) {
    let path = Path::new("/etc/x.toml");
    let config = match Config::parse(path, data) {
        Ok(config) => config,
        Err(finding) => {
            assert_eq!(finding.code, Code::Config);
            assert!(finding.message.contains("/etc/x.toml"), "{finding}");
            return presentable(&finding);
        }
    };
    assert_eq!(config.source.as_deref(), Some(path));
    for path in [&config.driver_root, &config.dev_root, &config.log] {
        let usable = |p: &Path| p.is_absolute() && !p.as_os_str().as_encoded_bytes().contains(&0);
        assert!(path.as_deref().is_none_or(usable), "{path:?}");
    }
    let swarm = &config.policy.swarm_resources;
    assert!(swarm.iter().all(|n| !n.is_empty() && n.trim() == n));
    let commented = [data, b"\n# the end\n"].concat();
    assert_eq!(Config::parse(path, &commented), Ok(config));
}
