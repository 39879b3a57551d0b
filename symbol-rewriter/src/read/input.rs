//! The bytes of a file, without a copy of them where that can be helped.

use std::fs::File;
use std::io::Result;
use std::ops::Deref;
use std::path::Path;

/// The bytes of a file.
#[derive(Debug)]
pub struct Input(Bytes);

#[derive(Debug)]
enum Bytes {
    Read(Vec<u8>),
    Mapped(memmap2::Mmap),
}

impl Input {
    /// Reads a file, or maps it.
    pub fn read(path: &Path) -> Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.is_file() {
            // SAFETY: whoever cuts an input off while it is being linked, as all linkers map them,
            // has no use for the output either.
            if let Ok(map) = unsafe { memmap2::MmapOptions::new().populate().map(&file) } {
                return Ok(Input(Bytes::Mapped(map)));
            }
        }
        // Pipes, and files of file systems that cannot map.
        std::fs::read(path).map(|bytes| Input(Bytes::Read(bytes)))
    }
}

impl Deref for Input {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Read(bytes) => bytes,
            Bytes::Mapped(map) => map,
        }
    }
}
