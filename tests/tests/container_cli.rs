//! The program under the name `nvidia-container-cli`: arguments, output, exit statuses, containers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "container_cli/arguments.rs"]
mod arguments;
#[path = "container_cli/callers.rs"]
mod callers;
#[path = "container_cli/configure.rs"]
mod configure;
#[path = "container_cli/info.rs"]
mod info;
#[path = "container_cli/list.rs"]
mod list;
#[path = "container_cli/lxc.rs"]
mod lxc;
#[path = "container_cli/tool.rs"]
mod tool;
