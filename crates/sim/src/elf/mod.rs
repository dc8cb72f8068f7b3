//! ELF files without a compiler: shared objects that a real loader takes, and static programs.

mod program;
mod shared_object;
mod writer;

pub use program::static_program;
pub use shared_object::{SharedObject, VERSION_SYMBOL};

/// The processor that a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// x86-64, 64-bit.
    X86_64,
    /// i386, 32-bit.
    I386,
    /// AArch64, 64-bit, little-endian.
    Aarch64,
}

impl Target {
    fn is_64(self) -> bool {
        self != Target::I386
    }

    fn machine(self) -> u16 {
        match self {
            Target::X86_64 => 62,
            Target::I386 => 3,
            Target::Aarch64 => 183,
        }
    }

    /// The largest page that a kernel of the architecture may use: segments are aligned to it.
    fn page(self) -> usize {
        match self {
            Target::X86_64 | Target::I386 => 0x1000,
            Target::Aarch64 => 0x1_0000,
        }
    }

    /// The oldest symbol version of that architecture's libc.so.6, without "GLIBC_".
    pub fn oldest_glibc(self) -> &'static str {
        match self {
            Target::X86_64 => "2.2.5",
            Target::I386 => "2.0",
            Target::Aarch64 => "2.17",
        }
    }

    fn word(self) -> usize {
        if self.is_64() { 8 } else { 4 }
    }

    fn header(self) -> usize {
        if self.is_64() { 64 } else { 52 }
    }

    fn program_header(self) -> usize {
        if self.is_64() { 56 } else { 32 }
    }

    fn section_header(self) -> usize {
        if self.is_64() { 64 } else { 40 }
    }

    fn symbol(self) -> usize {
        if self.is_64() { 24 } else { 16 }
    }
}
