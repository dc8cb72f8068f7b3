//! NVML's answer to what the kernel's files do not tell.
//!
//! [`ask`] loads a library and runs the driver's code in the calling process: that may take tens of
//! seconds without persistence mode, hang, or end the process. The program `oci-gpu-nvml` is made
//! to be ended then; others had better run it than link this.
#![deny(unsafe_code)]

mod ask;
mod brand;
#[allow(unsafe_code, reason = "functions of C")]
mod raw;

pub use ask::{ask, error_line};
pub use nvml_wrapper::error::NvmlError;
