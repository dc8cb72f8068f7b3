//! What is planned for a root file system, without a container.

use std::path::Path;

use oci_gpu::container::Container;
use oci_gpu::finding::Finding;
use oci_gpu::{Host, Plan, Policy, Request, discover, select};
use oci_gpu_inject::facts_of;
use serde_json::json;

use crate::error::{Error, Result};

/// The plan for a container with the environment `env` in `rootfs` on the host at `host`.
///
/// # Errors
/// Where the container asks for nothing, or cannot be given what it asks for.
pub fn planned(host: &Path, rootfs: &Path, env: &[&str]) -> Result<Plan> {
    let refused = |e: Finding| Error::new(e.to_string());
    let config = json!({"root": {"path": "/r"}, "process": {"env": env}}).to_string();
    let container = Container::parse(config.as_bytes()).map_err(refused)?;
    let asked = Request::read(&container, &Policy::default()).map_err(refused)?;
    let request = asked
        .request
        .ok_or_else(|| Error::new("no GPU is asked for"))?;
    let inventory = discover(&Host::at(host)).map_err(refused)?;
    let grant = select(&inventory, &request).map_err(refused)?;
    let facts = facts_of(rootfs, &inventory, true).map_err(refused)?;
    Plan::new(&inventory, &grant, &facts).map_err(refused)
}
