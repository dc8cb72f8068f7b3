//! The table of driver files: which library, program, socket or file belongs to which capability.
//!
//! Names and groups are those of libnvidia-container's component lists (nvc_info.c) and of the
//! toolkit's discovery, with what was seen in the packages of drivers 535 and 550. A file has every
//! capability whose code loads it: libnvidia-gpucomp compiles for CUDA and for Vulkan.
//!
//! | table | what | found |
//! |---|---|---|
//! | [`libraries`] | shared libraries and the links beside them | in the directories that hold the driver's libraries |
//! | [`others`] | programs, sockets, configuration, data, X.Org modules | in the driver root, and beside libraries that lie in a directory of their own |

mod libraries;
mod others;

pub(crate) use libraries::{
    BELOW, LINKS, LinkTarget, REQUIRED, capabilities_of, has_development_link, own_version,
};
pub(crate) use others::{
    BINARIES, Config, DATA, DIRECTORIES, MPS_DIRECTORY, PERIPHERAL_FILES, SOCKETS, XORG_MODULES,
};
