//! The setup header at the beginning of a bzImage (Documentation/arch/x86/boot.rst), and the image's
//! stamp.

use std::fs::File;
use std::io;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use ukl_proto::stamp;
use ukl_proto::stamp::Stamp;

/// The size of a sector, in which the length of the real-mode code is counted.
const SECTOR: usize = 512;

/// Offsets in the setup header.
pub(crate) mod field {
    pub const SETUP_SECTS: usize = 0x1f1;
    pub const SYSSIZE: usize = 0x1f4;
    pub const BOOT_FLAG: usize = 0x1fe;
    pub const HEADER: usize = 0x202;
    pub const VERSION: usize = 0x206;
    pub const RELOCATABLE_KERNEL: usize = 0x234;
    pub const PAYLOAD_OFFSET: usize = 0x248;
    pub const PAYLOAD_LENGTH: usize = 0x24c;
    pub const PREF_ADDRESS: usize = 0x258;
    pub const INIT_SIZE: usize = 0x260;
    pub const KERNEL_INFO_OFFSET: usize = 0x268;
    pub const END: usize = 0x26c;
}

/// The header of an image.
#[derive(Debug, Clone)]
pub struct Header([u8; field::END]);

impl Header {
    /// Reads the header at the beginning of an image. `None` if it is not a bzImage.
    pub fn of(image: &[u8]) -> Option<Header> {
        let header = Header(*image.first_chunk()?);
        (header.0[field::HEADER..].starts_with(b"HdrS")).then_some(header)
    }

    /// Reads the header of a file. `None` if it is not a bzImage.
    pub fn read(path: &Path) -> io::Result<Option<Header>> {
        let mut start = Vec::new();
        let end = field::END as u64;
        File::open(path)?.take(end).read_to_end(&mut start)?;
        Ok(Header::of(&start))
    }

    fn number(&self, at: usize) -> u32 {
        let bytes = self.0[at..].first_chunk().copied();
        // Every field is inside the header.
        bytes.map_or(0, u32::from_le_bytes)
    }

    /// The physical address at which the kernel is loaded.
    pub fn load_address(&self) -> u64 {
        let (low, high) = (
            self.number(field::PREF_ADDRESS),
            self.number(field::PREF_ADDRESS + 4),
        );
        u64::from(high) << 32 | u64::from(low)
    }

    /// How much memory the kernel needs after the load address before it runs.
    pub fn init_size(&self) -> u64 {
        self.number(field::INIT_SIZE).into()
    }

    /// The offset of the end of the real-mode code in the file.
    pub(crate) fn setup_end(&self) -> usize {
        (usize::from(self.0[field::SETUP_SECTS]) + 1) * SECTOR
    }

    /// The range of the compressed kernel in the file.
    pub(crate) fn payload(&self) -> std::ops::Range<usize> {
        let start = self.setup_end() + self.number(field::PAYLOAD_OFFSET) as usize;
        start..start + self.number(field::PAYLOAD_LENGTH) as usize
    }
}

/// The length of real-mode code of this size, followed by the stamp. It is a multiple of 4096,
/// because the decompressor must be page-aligned.
pub(crate) fn setup_size(code: usize) -> usize {
    (code + stamp::SIZE).next_multiple_of(4096)
}

/// Puts a stamp at the end of the real-mode code.
pub(crate) fn put_stamp(setup: &mut [u8], stamp: &Stamp) {
    if let Some(place) = setup.last_chunk_mut() {
        *place = stamp.encode();
    }
}

/// Reads the stamp of an image. `None` if the file is not an image, or has no stamp because its
/// protocol version is 0.
pub fn read_stamp(path: &Path) -> io::Result<Option<Stamp>> {
    let Some(header) = Header::read(path)? else {
        return Ok(None);
    };
    let at = header.setup_end() - stamp::SIZE;
    let mut bytes = [0; stamp::SIZE];
    match File::open(path)?.read_exact_at(&mut bytes, at as u64) {
        Ok(()) => Ok(Stamp::decode(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stamp_is_at_the_end_of_the_setup() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        for code in [0x300, 4096 - stamp::SIZE, 4096 - stamp::SIZE + 1, 4096] {
            let size = setup_size(code);
            assert!(size >= code + stamp::SIZE);
            let mut setup = vec![0xaa; size];
            setup[field::HEADER..field::HEADER + 4].copy_from_slice(b"HdrS");
            setup[field::SETUP_SECTS] = (size / SECTOR - 1) as u8;
            std::fs::write(&path, &setup).unwrap();
            assert_eq!(read_stamp(&path).unwrap(), None);
            let stamp = Stamp::new(&[1, 2, 3]);
            put_stamp(&mut setup, &stamp);
            assert_eq!(setup[code - 1], 0xaa);
            setup.extend_from_slice(b"the rest");
            std::fs::write(&path, &setup).unwrap();
            assert_eq!(read_stamp(&path).unwrap(), Some(stamp));
            std::fs::write(&path, &setup[..size - 1]).unwrap();
            assert_eq!(read_stamp(&path).unwrap(), None);
        }
        assert!(read_stamp(&dir.path().join("none")).is_err());
    }
}
