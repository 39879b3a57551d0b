//! Extracts the kernel and the guest's files from an image.

use object::elf;
use ukl_proto::image_conf::ImageConf;
use ukl_proto::names;

use crate::cpio;
use crate::elf::code;
use crate::elf::segments;
use crate::header::Header;
use crate::lz4;

/// A payload that claims to be larger is malformed: the kernel maps only 512 MiB of itself.
const LARGEST: usize = 1 << 30;

/// `n_type` of a build ID in a note (elf(5)).
const NT_GNU_BUILD_ID: u32 = 3;

/// The kernel of an image, decompressed, with the guest's files as its last segment.
#[derive(Debug)]
pub struct Payload(Vec<u8>);

impl Payload {
    /// Decompresses the kernel of an image.
    pub fn read(image: &[u8]) -> Option<Self> {
        let compressed = image.get(Header::of(image)?.payload())?;
        lz4::decompress(compressed, LARGEST).map(Payload)
    }

    /// The guest's files, a cpio archive.
    fn files(&self) -> Option<&[u8]> {
        segments(&self.0).ok()?.last()?.data(&self.0)
    }

    /// A file of the guest, by its absolute path.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        cpio::find(self.files()?, path.strip_prefix('/')?.as_bytes())
    }

    /// The image's configuration.
    pub fn conf(&self) -> Option<ImageConf> {
        let text = std::str::from_utf8(self.file(names::IMAGE_CONF)?).ok()?;
        ImageConf::decode(text).ok()
    }

    /// The program's name and the program.
    pub fn program(&self) -> Option<(String, &[u8])> {
        let path = self.conf()?.program;
        let name = path.rsplit('/').next()?.to_owned();
        Some((name, self.file(&path)?))
    }

    /// The kernel's build ID.
    pub fn build_id(&self) -> Option<&[u8]> {
        let segments = segments(&self.0).ok()?;
        let notes = segments
            .iter()
            .find(|segment| segment.kind == elf::PT_NOTE)?;
        let mut rest = notes.data(&self.0)?;
        loop {
            let (name_size, size) = (u32_at(rest, 0)? as usize, u32_at(rest, 4)? as usize);
            let at = name_size.checked_next_multiple_of(4)?.checked_add(12)?;
            let end = at.checked_add(size)?;
            if u32_at(rest, 8)? == NT_GNU_BUILD_ID && rest.get(12..16)? == b"GNU\0" {
                return rest.get(at..end);
            }
            rest = rest.get(end.checked_next_multiple_of(4)?..)?;
        }
    }

    /// The addresses of the kernel's code.
    pub fn code(&self) -> Vec<std::ops::Range<u64>> {
        code(&self.0)
    }
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*data.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_no_image() {
        for data in [vec![], vec![0xff; 0x300], vec![0; 0x10000]] {
            assert!(Payload::read(&data).is_none());
            assert!(code(&data).is_empty());
            let payload = Payload(data);
            assert!(payload.program().is_none());
            assert!(payload.build_id().is_none());
        }
    }

    #[test]
    fn a_build_id_is_found_among_notes() {
        let notes = [
            &[4, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0][..],
            b"Xen\0\x07\0\0\0",
            &[4, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0],
            b"GNU\0\xab\x01\0\0",
        ]
        .concat();
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(64, 0);
        elf[32] = 64; // e_phoff
        elf[54] = 56; // e_phentsize
        elf[56] = 1; // e_phnum
        let mut header = [0; 56];
        header[0] = elf::PT_NOTE.0 as u8;
        header[8] = 120;
        header[32] = notes.len() as u8;
        elf.extend(header);
        elf.extend(notes);
        assert_eq!(Payload(elf).build_id().unwrap(), [0xab, 1]);
    }
}
