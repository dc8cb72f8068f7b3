//! Simulated GPU hosts.
#![forbid(unsafe_code)]
