//! The bytes of a file, mapped if possible.

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
            // SAFETY: the bytes must not change while they are mapped. Like every linker, this
            // relies on the inputs of a link not being changed.
            if let Ok(map) = unsafe { memmap2::MmapOptions::new().populate().map(&file) } {
                return Ok(Input(Bytes::Mapped(map)));
            }
        }
        // This is for pipes, and for file systems that do not support mapping.
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
