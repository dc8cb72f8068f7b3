//! System calls that nix lacks. The only crate of the workspace with unsafe code.
