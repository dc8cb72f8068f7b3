//! GPUs for OCI containers: read the host, read what the container asks for, decide what it gets.
//!
//! Data flows one way, through five types:
//!
//! ```text
//!        host (real or simulated)            container (config.json: env, mounts, process)
//!              │ discover                              │ read
//!              ▼                                       ▼
//!          Inventory ───────► select ◄───────────── Request
//!                               │
//!                             Grant  +  ContainerFacts
//!                               │
//!                             Plan   ordered actions, each with its reason
//! ```
//!
//! The crate is pure: it reads files through [`Host`] and makes no other system call. What carries
//! a [`Plan`] out in a live container is the crate `oci-gpu-inject`.
#![forbid(unsafe_code)]

pub mod capability;
pub mod cdi;
pub mod cgroup;
pub mod config;
pub mod container;
pub mod cuda_version;
pub mod discover;
pub mod driver_files;
pub mod elf;
pub mod explain;
pub mod finding;
pub mod host;
pub mod inventory;
mod json;
pub mod ldcache;
pub mod nvml;
pub mod peripheral;
pub mod plan;
pub mod request;
pub mod select;
pub mod state;

pub use capability::{Capability, CapabilitySet};
pub use config::Config;
pub use container::{Container, ContainerFacts, Libc};
pub use discover::{DiscoverError, Scope, discover, discover_within};
pub use finding::{Code, Finding};
pub use host::{Host, Root};
pub use inventory::Inventory;
pub use plan::{Action, Operation, Plan};
pub use request::{Policy, Request};
pub use select::{Grant, SelectError, select};
