//! LZ4 in the form that the kernel uses: the legacy format of `lz4 -l`, followed by the length of
//! the original (`scripts/Makefile.lib` appends it).

use rayon::prelude::*;

/// The magic number of the format.
const LEGACY_MAGIC: u32 = 0x184c_2102;

/// The size of a block before compression.
const BLOCK: usize = 8 << 20;

/// A file in compressed form.
#[derive(Debug)]
pub struct Compressed {
    blocks: Vec<Vec<u8>>,
    original: u32,
}

impl Compressed {
    /// Compresses a file.
    pub fn of(data: &[u8]) -> Self {
        Compressed {
            blocks: data
                .par_chunks(BLOCK)
                .map(lz4_flex::block::compress)
                .collect(),
            original: data.len() as u32,
        }
    }

    /// The length in compressed form.
    pub fn len(&self) -> usize {
        let blocks: usize = self.blocks.iter().map(|block| 4 + block.len()).sum();
        4 + blocks + 4
    }

    /// Whether there are no blocks.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Copies the compressed file to a buffer of exactly its length.
    pub fn put(&self, mut place: &mut [u8]) {
        let mut write = |bytes: &[u8]| {
            let (here, rest) = std::mem::take(&mut place).split_at_mut(bytes.len());
            here.copy_from_slice(bytes);
            place = rest;
        };
        write(&LEGACY_MAGIC.to_le_bytes());
        for block in &self.blocks {
            write(&(block.len() as u32).to_le_bytes());
            write(block);
        }
        write(&self.original.to_le_bytes());
    }
}

/// An upper bound of the size of a file, for each byte of its compressed form: a byte of a length
/// adds at most 255 (LZ4 block format).
const LARGEST_RATIO: usize = 256;

/// Decompresses a file that is at most `limit` bytes long. `None` if it is longer or malformed.
pub fn decompress(compressed: &[u8], limit: usize) -> Option<Vec<u8>> {
    let (body, size) = compressed.split_last_chunk()?;
    let size = u32::from_le_bytes(*size) as usize;
    let (magic, mut rest) = body.split_first_chunk()?;
    // The size is not to be trusted: a short malformed file must not make this allocate gigabytes.
    let limit = limit.min(compressed.len().saturating_mul(LARGEST_RATIO));
    if u32::from_le_bytes(*magic) != LEGACY_MAGIC || size > limit {
        return None;
    }
    let mut out = Vec::with_capacity(size);
    while !rest.is_empty() {
        let (length, blocks) = rest.split_first_chunk()?;
        let length = u32::from_le_bytes(*length) as usize;
        let (block, blocks) = blocks.split_at_checked(length)?;
        let room = BLOCK.min(size.checked_sub(out.len())?);
        out.extend(lz4_flex::block::decompress(block, room).ok()?);
        rest = blocks;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    #[test]
    fn compressed_data_comes_back() {
        let mut data: Vec<u8> = (0..BLOCK as u32 / 2)
            .flat_map(|i| (i as u16).to_le_bytes())
            .collect();
        data.resize(BLOCK + 12_345, 7);
        let compressed = Compressed::of(&data);
        let mut bytes = vec![0; compressed.len()];
        compressed.put(&mut bytes);
        assert!(decompress(&bytes, data.len()).unwrap() == data);
        assert_eq!(decompress(&bytes, data.len() - 1), None);
        for length in [0, 3, 4, 8, 11, 12, 100, bytes.len() - 1] {
            assert_eq!(decompress(&bytes[..length], data.len()), None, "{length}");
        }

        // The lz4 command reads the same data.
        let (frame, size) = bytes.split_at(bytes.len() - 4);
        assert_eq!(
            u32::from_le_bytes(size.try_into().unwrap()) as usize,
            data.len()
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data.lz4");
        fs::write(&path, frame).unwrap();
        let out = Command::new("lz4")
            .arg("-dc")
            .arg(&path)
            .output()
            .expect("lz4 is needed");
        assert!(out.status.success());
        assert!(out.stdout == data);
    }

    #[test]
    fn a_short_file_cannot_claim_to_be_large() {
        // Found by fuzzing: the reader allocated as much memory as the file claimed to need.
        let mut bytes = LEGACY_MAGIC.to_le_bytes().to_vec();
        bytes.extend((1_u32 << 30).to_le_bytes());
        assert_eq!(decompress(&bytes, 1 << 30), None);
    }
}
