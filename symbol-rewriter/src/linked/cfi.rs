//! Frame descriptions for the code that is added to a linked file.
//!
//! The added segment has an `.eh_frame` with the entries of the added code, and a search table
//! (`.eh_frame_hdr`, Linux Standard Base, 10.6.2) with all entries of the file, old and new. The old
//! entries stay where they are. The program header `PT_GNU_EH_FRAME` refers to the new table, in
//! which unwinders look up an address. The table names the old `.eh_frame` as its section, because
//! tools parse that one from its beginning.

use std::collections::BTreeMap;

use crate::error::{Result, malformed, unsupported};
use crate::read::elf::Object;
use crate::read::frames::Frames;
use crate::write::emit::AddedFrame;

/// DW_EH_PE_pcrel | DW_EH_PE_sdata4: the encoding of addresses in the added entries.
const ENCODING: u8 = 0x1b;

/// The initial call frame instructions of thunks: the CFA is rsp+8, the return address at CFA-8.
const THUNK_CIE: (&[u8], &[u8]) = (&[1, 0x78, 16], &[0x0c, 7, 8, 0x90, 1]);

/// Writes the entries and the table.
pub(super) struct Writer {
    /// The address of `.eh_frame`.
    addr: u64,
    bytes: Vec<u8>,
    /// The offsets of the common information entries, by the offset of the original.
    cies: BTreeMap<Option<usize>, usize>,
    /// The addresses of code and entry.
    table: Vec<(u64, u64)>,
}

/// The written bytes.
pub(super) struct Unwind {
    pub bytes: Vec<u8>,
    /// The address of the search table.
    pub table_at: u64,
    pub table_size: u64,
}

impl Writer {
    /// Starts an `.eh_frame` at this address.
    pub fn new(addr: u64) -> Writer {
        Writer {
            addr,
            bytes: Vec::new(),
            cies: BTreeMap::new(),
            table: Vec::new(),
        }
    }

    /// Describes a thunk.
    pub fn thunk(&mut self, start: u64, len: u64, frame: &[u8]) -> Result<()> {
        let cie = match self.cies.get(&None) {
            Some(cie) => *cie,
            None => self.cie(None, b"zR\0", THUNK_CIE.0, THUNK_CIE.1),
        };
        self.fde(cie, start, len, frame)
    }

    /// Describes a trampoline.
    pub fn moved(&mut self, object: &Object<'_>, frame: &AddedFrame) -> Result<()> {
        let cie = match self.cies.get(&Some(frame.cie)) {
            Some(cie) => *cie,
            None => {
                let content = object
                    .sections
                    .iter()
                    .position(|section| section.name == b".eh_frame")
                    .map_or(&[][..], |index| object.content(index));
                let original = read_cie(content, frame.cie)
                    .ok_or_else(|| malformed("a common information entry cannot be read"))?;
                let augmentation: &[u8] = match original.is_signal {
                    true => b"zRS\0",
                    false => b"zR\0",
                };
                self.cie(
                    Some(frame.cie),
                    augmentation,
                    original.factors,
                    original.instructions,
                )
            }
        };
        self.fde(cie, frame.start, frame.len, &frame.script)
    }

    /// Adds a common information entry. Without descriptions of exception tables, it needs no
    /// personality function.
    fn cie(
        &mut self,
        original: Option<usize>,
        augmentation: &[u8],
        factors: &[u8],
        instructions: &[u8],
    ) -> usize {
        let at = self.bytes.len();
        let parts = [
            &[0, 0, 0, 0, 1][..],
            augmentation,
            factors,
            &[1, ENCODING],
            instructions,
        ];
        self.record(&parts.concat());
        self.cies.insert(original, at);
        at
    }

    fn fde(&mut self, cie: usize, start: u64, len: u64, frame: &[u8]) -> Result<()> {
        let at = self.bytes.len();
        let field = self.addr + at as u64 + 8;
        let mut body = ((at + 4 - cie) as u32).to_le_bytes().to_vec();
        body.extend_from_slice(&near(start, field)?);
        body.extend_from_slice(&(len as u32).to_le_bytes());
        body.push(0);
        body.extend_from_slice(frame);
        self.record(&body);
        self.table.push((start, self.addr + at as u64));
        Ok(())
    }

    /// Adds an entry with its length, padded by DW_CFA_nop.
    fn record(&mut self, body: &[u8]) {
        let size = (body.len() + 4).next_multiple_of(8) - 4;
        self.bytes.extend_from_slice(&(size as u32).to_le_bytes());
        self.bytes.extend_from_slice(body);
        self.bytes.resize(self.bytes.len() + size - body.len(), 0);
    }

    /// Ends `.eh_frame`, and adds the search table with these entries and those of the file.
    pub fn finish(mut self, object: &Object<'_>, frames: &Frames) -> Result<Unwind> {
        self.bytes.extend_from_slice(&[0; 8]);
        let mut section = self.addr;
        for frame in frames.iter() {
            section = object.sections[frame.section].addr;
            self.table
                .push((frame.start, section + frame.offset as u64));
        }
        self.table.sort_unstable();
        self.table.dedup_by_key(|entry| entry.0);
        let mut out = self.bytes;
        let at = self.addr + out.len() as u64;
        let count = u32::try_from(self.table.len())
            .map_err(|_| unsupported("it has too many functions"))?;
        // The version, and the encodings of the pointer, the count and the entries, which are
        // relative to the table.
        out.extend_from_slice(&[1, ENCODING, 0x03, 0x3b]);
        out.extend_from_slice(&near(section, at + 4)?);
        out.extend_from_slice(&count.to_le_bytes());
        for (start, entry) in self.table {
            out.extend_from_slice(&near(start, at)?);
            out.extend_from_slice(&near(entry, at)?);
        }
        Ok(Unwind {
            table_at: at,
            table_size: self.addr + out.len() as u64 - at,
            bytes: out,
        })
    }
}

/// The distance of an address from another, as 32 bits.
fn near(to: u64, from: u64) -> Result<[u8; 4]> {
    i32::try_from(to.wrapping_sub(from) as i64)
        .map(i32::to_le_bytes)
        .map_err(|_| unsupported("its frame descriptions are too far from the thunks"))
}

/// What is kept of a common information entry.
struct Cie<'d> {
    is_signal: bool,
    /// The alignment factors and the return address' register.
    factors: &'d [u8],
    instructions: &'d [u8],
}

/// Reads the common information entry at an offset (LSB, 10.6.1).
fn read_cie(content: &[u8], at: usize) -> Option<Cie<'_>> {
    let length = u32::from_le_bytes(*content.get(at..)?.first_chunk()?) as usize;
    let body = content.get(at + 4..(at + 4).checked_add(length)?)?;
    let version = *body.get(4)?;
    let rest = body.get(5..)?;
    let end = rest.iter().position(|&byte| byte == 0)?;
    let (augmentation, rest) = (&rest[..end], &rest[end + 1..]);
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .position(|byte| byte & 0x80 == 0)
            .map(|n| n + 1)
    };
    let mut size = number(rest)?;
    size += number(rest.get(size..)?)?;
    size += match version {
        1 => 1,
        _ => number(rest.get(size..)?)?,
    };
    // The register's number fits into one byte in either format.
    let (factors, mut instructions) = rest.split_at_checked(size)?;
    if augmentation.first() == Some(&b'z') {
        let size = *instructions.first()? as usize;
        if size >= 0x80 {
            return None;
        }
        instructions = instructions.get(1 + size..)?;
    } else if !augmentation.is_empty() {
        return None;
    }
    Some(Cie {
        is_signal: augmentation.contains(&b'S'),
        factors,
        instructions,
    })
}
