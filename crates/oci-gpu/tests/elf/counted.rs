//! A source of bytes that counts what is read of it.

use std::cell::Cell;
use std::io;

use oci_gpu::elf::ReadAt;

pub struct Counted<T> {
    pub source: T,
    pub reads: Cell<usize>,
    pub bytes: Cell<usize>,
}

impl<T> Counted<T> {
    pub fn new(source: T) -> Counted<T> {
        Counted {
            source,
            reads: Cell::new(0),
            bytes: Cell::new(0),
        }
    }
}

impl<T: ReadAt> ReadAt for Counted<T> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let count = self.source.read_at(buf, offset)?;
        self.reads.set(self.reads.get() + 1);
        self.bytes.set(self.bytes.get() + count);
        Ok(count)
    }
}

/// A file in memory.
pub struct Memory(pub Vec<u8>);

impl ReadAt for Memory {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.0.get(offset..));
        let rest = rest.unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}
