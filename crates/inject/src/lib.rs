//! Carries out a plan in a live container.
#![forbid(unsafe_code)]
