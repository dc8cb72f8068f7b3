//! The Debian packages that the tests need on the machine.

/// Installed by `cargo xtask test` where they are missing. What comes from other Debian releases
/// (C libraries, newer runtimes, driver files) is not here: [`crate::debs`] unpacks that beside
/// the system.
pub const NEEDED: &[&str] = &[
    "apt",        // other packages
    "binutils",   // strip and readelf for the stand-in libraries
    "crun",       // runtime under test
    "dpkg",       // unpacks packages
    "gcc",        // the probe
    "libc6-dev",  // the probe's headers
    "patchelf",   // runtimes of newer releases with the C library of theirs
    "runc",       // runtime under test
    "util-linux", // unshare
];
