//! Adds a segment to a linked file.
//!
//! The segment is readable and executable, and lies above all others. It begins with a copy of the
//! program headers, because the original table has no room for one more. An interpreter finds its
//! own program headers by their offset in the file, counted from the address of its ELF header
//! (`rtld_setup_phdr()` in glibc, `__dls2()` in musl). So the distance between the address and the
//! offset of the segment is that of the file's beginning.

use std::ops::Range;

use crate::error::{Result, unsupported};
use crate::linked::file::{
    File, PAGE, PF_R, PF_X, PT_GNU_EH_FRAME, PT_LOAD, PT_PHDR, SEGMENT_SIZE, Segment,
};

/// Follows the program headers in the segment, so that a rewritten file can be recognised.
const MARK: &[u8; 16] = b"UKL linked file\0";

/// The largest amount of zeros that are added in front of the segment to give it the offset that
/// an interpreter needs.
const MANY_ZEROS: u64 = 16 << 20;

/// Where the segment goes.
pub(super) struct Place {
    pub addr: u64,
    offset: u64,
}

/// Whether the file has such a segment already.
pub(super) fn is_rewritten(file: &File<'_>) -> bool {
    let Some(last) = file.loaded().last() else {
        return false;
    };
    let mark = last.offset + (file.segments.len() * SEGMENT_SIZE) as u64;
    file.bytes(mark..mark + MARK.len() as u64) == Some(MARK)
}

/// Where the segment goes.
pub(super) fn place(file: &File<'_>) -> Place {
    let ends = file
        .loaded()
        .map(|s| s.addr + s.memory_size.max(s.file_size));
    let end = ends.max().unwrap_or(0);
    let length = file.data.len() as u64;
    // The address at which the file's first byte is loaded.
    let base = file
        .loaded()
        .next()
        .map_or(0, |first| first.addr.saturating_sub(first.offset));
    let base = base - base % PAGE;
    let addr = end.max(base + length).next_multiple_of(PAGE);
    let offset = match addr - base - length <= MANY_ZEROS {
        true => addr - base,
        // Variables without initial values take much memory. This is no interpreter.
        false => length.next_multiple_of(PAGE),
    };
    Place { addr, offset }
}

/// The size of what is in front of the trampolines.
pub(super) fn front_size(file: &File<'_>) -> u64 {
    // The new segment and, if there is none, the search table of frame descriptions.
    let headers = (file.segments.len() + 2) * SEGMENT_SIZE;
    ((headers + MARK.len()) as u64).next_multiple_of(16)
}

/// Appends the segment. `body` is its content, with room for the program headers. `table` is the
/// range of the search table of frame descriptions.
pub(super) fn append(
    file: &File<'_>,
    out: &mut Vec<u8>,
    mut body: Vec<u8>,
    table: Range<u64>,
) -> Result<()> {
    let Place { addr, offset } = place(file);
    let size = body.len() as u64;
    let mut segments = file.segments.clone();
    let last = segments.iter().rposition(|s| s.kind == PT_LOAD);
    let new = Segment {
        kind: PT_LOAD,
        flags: PF_R | PF_X,
        offset,
        addr,
        file_size: size,
        memory_size: size,
        align: PAGE,
    };
    segments.insert(last.map_or(0, |last| last + 1), new);
    let unwind = Segment {
        kind: PT_GNU_EH_FRAME,
        flags: PF_R,
        offset: offset + (table.start - addr),
        addr: table.start,
        file_size: table.end - table.start,
        memory_size: table.end - table.start,
        align: 4,
    };
    match segments.iter_mut().find(|s| s.kind == PT_GNU_EH_FRAME) {
        Some(segment) => *segment = unwind,
        None => segments.push(unwind),
    }
    let headers = (segments.len() * SEGMENT_SIZE) as u64;
    for segment in segments.iter_mut().filter(|s| s.kind == PT_PHDR) {
        segment.offset = offset;
        segment.addr = addr;
        segment.file_size = headers;
        segment.memory_size = headers;
    }
    let count = u16::try_from(segments.len())
        .ok()
        .filter(|&count| count < u16::MAX)
        .ok_or_else(|| unsupported("it has too many program headers"))?;
    let front: Vec<u8> = segments
        .iter()
        .flat_map(|segment| segment.to_bytes())
        .chain(*MARK)
        .collect();
    body[..front.len()].copy_from_slice(&front);
    out.resize(offset as usize, 0);
    out.extend_from_slice(&body);
    out[32..40].copy_from_slice(&offset.to_le_bytes());
    out[56..58].copy_from_slice(&count.to_le_bytes());
    Ok(())
}
