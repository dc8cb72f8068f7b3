//! A library with NVML's functions, for tests: it stands in place of libnvidia-ml.so of a
//! simulated host, and answers from a file beside itself.
//!
//! Functions, structures and return codes are those of NVIDIA's nvml.h. The file is
//! `nvml-stub.conf` in the library's own directory, one word and its values a line:
//!
//! | line | meaning |
//! |---|---|
//! | `driver VERSION` | the driver's version |
//! | `cuda NUMBER` | the CUDA version as NVML numbers it: 12040 |
//! | `gpu UUID BUS_ID MINOR BRAND MAJOR.MINOR MIG` | a GPU; BRAND is a number, MIG is `on`, `off` or `-` for none |
//! | `mig GI CI UUID` | a MIG instance of the GPU before |
//! | `lost` | the GPU before has fallen off the bus |
//! | `init CODE` | nvmlInit fails with that return code |
//! | `init hang` | nvmlInit does not return |
//! | `init flood` | nvmlInit prints two MiB |
//! | `starts FROM TO` | nvmlInit renames a file, as the driver's tell more of a GPU once it has started it |
//! | `abort FUNCTION` | the process ends in that function |
//!
//! A symbol that is missing is made by a test, which renames it in a copy of the library.
//!
//! What the C side must see to, for every function: pointers are valid for writes of their type,
//! buffers for as many bytes as the call says, and strings end with a NUL byte, as in nvml.h.

mod abi;
mod device;
mod host;
mod mig;
mod system;
