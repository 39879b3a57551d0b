//! An image taken apart again: the kernel in it, and the guest's files behind that.

/// The kernel's log tells nothing of a file larger than that.
const MAX_PAYLOAD: usize = 1 << 30;
/// How much an LZ4 block of the kernel's holds.
const BLOCK: usize = 8 << 20;
const LZ4_LEGACY_MAGIC: u32 = 0x184c_2102;

const PROGRAM_HEADER: usize = 56;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const PF_X: u32 = 1;
const NT_GNU_BUILD_ID: u32 = 3;

/// The kernel of an image, decompressed, with the guest's files as its last segment.
#[derive(Debug)]
pub struct Payload(Vec<u8>);

impl Payload {
    /// Decompresses it.
    pub fn read(image: &[u8]) -> Option<Self> {
        let setup = (usize::from(*image.get(0x1f1)?) + 1) * 512;
        let start = setup.checked_add(u32_at(image, 0x248)? as usize)?;
        let end = start.checked_add(u32_at(image, 0x24c)? as usize)?;
        let compressed = image.get(start..end)?;
        // The last four bytes are the length of it all.
        let body = compressed.len().checked_sub(4)?;
        let size = u32_at(compressed, body)? as usize;
        let mut rest = compressed.get(..body)?;
        if u32_at(rest, 0)? != LZ4_LEGACY_MAGIC || size > MAX_PAYLOAD {
            return None;
        }
        rest = &rest[4..];
        let mut out = Vec::with_capacity(size);
        while !rest.is_empty() {
            let length = u32_at(rest, 0)? as usize;
            let block = rest.get(4..length.checked_add(4)?)?;
            let room = BLOCK.min(size.checked_sub(out.len())?);
            out.extend(lz4_flex::block::decompress(block, room).ok()?);
            rest = &rest[4 + length..];
        }
        Some(Payload(out))
    }

    /// The program's name and the program.
    pub fn program(&self) -> Option<(&str, &[u8])> {
        let files = segments(&self.0)?.pop()?.data;
        let conf = std::str::from_utf8(file(files, b"ukl/image.conf")?).ok()?;
        let path = conf
            .lines()
            .find_map(|line| line.strip_prefix("program=/"))?;
        let name = path.rsplit('/').next()?;
        Some((name, file(files, path.as_bytes())?))
    }

    /// The kernel's build ID, in hexadecimal.
    pub fn build_id(&self) -> Option<String> {
        let segments = segments(&self.0)?;
        let notes = segments.iter().find(|segment| segment.kind == PT_NOTE)?;
        let mut rest = notes.data;
        loop {
            let (name_size, size) = (u32_at(rest, 0)? as usize, u32_at(rest, 4)? as usize);
            let at = name_size.checked_next_multiple_of(4)?.checked_add(12)?;
            let end = at.checked_add(size)?;
            if u32_at(rest, 8)? == NT_GNU_BUILD_ID && rest.get(12..16)? == b"GNU\0" {
                let id = rest.get(at..end)?;
                return Some(id.iter().map(|byte| format!("{byte:02x}")).collect());
            }
            rest = rest.get(end.checked_next_multiple_of(4)?..)?;
        }
    }

    /// Where the kernel's code lies.
    pub fn code(&self) -> Vec<std::ops::Range<u64>> {
        code(&self.0)
    }
}

/// The addresses of an ELF file's code.
pub fn code(elf: &[u8]) -> Vec<std::ops::Range<u64>> {
    let code = segments(elf).into_iter().flatten();
    code.filter(|segment| segment.kind == PT_LOAD && segment.flags & PF_X != 0)
        .map(|segment| segment.address..segment.address.saturating_add(segment.data.len() as u64))
        .collect()
}

struct Segment<'a> {
    kind: u32,
    flags: u32,
    address: u64,
    data: &'a [u8],
}

fn segments(elf: &[u8]) -> Option<Vec<Segment<'_>>> {
    let table = usize::try_from(u64_at(elf, 32)?).ok()?;
    let count = usize::from(u16::from_le_bytes([*elf.get(56)?, *elf.get(57)?]));
    let segment = |number: usize| {
        let header = elf.get(table.checked_add(number * PROGRAM_HEADER)?..)?;
        let offset = usize::try_from(u64_at(header, 8)?).ok()?;
        let size = usize::try_from(u64_at(header, 32)?).ok()?;
        Some(Segment {
            kind: u32_at(header, 0)?,
            flags: u32_at(header, 4)?,
            address: u64_at(header, 16)?,
            data: elf.get(offset..offset.checked_add(size)?)?,
        })
    };
    (0..count).map(segment).collect()
}

/// A file in a newc cpio archive.
fn file<'a>(mut archive: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    loop {
        let header = archive.get(..110)?;
        let field = |number: usize| {
            let text = std::str::from_utf8(header.get(6 + number * 8..14 + number * 8)?).ok()?;
            usize::from_str_radix(text, 16).ok()
        };
        let (size, name_size) = (field(6)?, field(11)?);
        let name = archive.get(110..110 + name_size.checked_sub(1)?)?;
        if &header[..6] != b"070701" || name == b"TRAILER!!!" {
            return None;
        }
        let data = (110 + name_size).next_multiple_of(4);
        let end = data.checked_add(size)?;
        if name == wanted {
            return archive.get(data..end);
        }
        archive = archive.get(end.next_multiple_of(4)..)?;
    }
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn u64_at(data: &[u8], at: usize) -> Option<u64> {
    let bytes = data.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
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
        assert!(file(&[b'0'; 200], b"x").is_none());
    }

    #[test]
    fn a_build_id_is_found_among_notes() {
        let mut elf = vec![0; 64];
        elf[32] = 64;
        elf[56] = 1;
        let notes = [
            &[4, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0][..],
            b"Xen\0\x07\0\0\0",
            &[4, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0],
            b"GNU\0\xab\x01\0\0",
        ]
        .concat();
        let mut header = [0; PROGRAM_HEADER];
        header[0] = PT_NOTE as u8;
        header[8] = 120;
        header[32] = notes.len() as u8;
        elf.extend(header);
        elf.extend(notes);
        assert_eq!(Payload(elf).build_id().unwrap(), "ab01");
    }
}
