//! NVML's answer to what the kernel's files do not tell.
//!
//! [`ask`] loads a library and runs the driver's code in the calling process: that may take tens of
//! seconds without persistence mode, hang, or end the process. The program `oci-gpu-nvml` is made
//! to be ended then; others had better run it than link this.

mod ask;
mod brand;
mod raw;

pub use ask::{ask, error_line};
pub use nvml_wrapper::error::NvmlError;
