//! Reads the segments of a 64-bit ELF file (elf(5)): a kernel or a program.

use std::ops::Range;

use object::LittleEndian as LE;
use object::elf;
use object::read::elf::FileHeader as _;
use object::read::elf::ProgramHeader as _;

/// A segment.
#[derive(Debug, Clone, Copy)]
pub struct Segment {
    /// `p_type`.
    pub kind: elf::ProgramType,
    /// `p_flags`.
    pub flags: elf::ProgramFlags,
    /// The offset in the file.
    pub offset: u64,
    /// The virtual address.
    pub vaddr: u64,
    /// The physical address.
    pub paddr: u64,
    /// The size in the file.
    pub filesz: u64,
    /// The size in memory.
    pub memsz: u64,
}

impl Segment {
    /// The segment's content in the file.
    pub fn data<'e>(&self, elf: &'e [u8]) -> Option<&'e [u8]> {
        let start = usize::try_from(self.offset).ok()?;
        let size = usize::try_from(self.filesz).ok()?;
        elf.get(start..start.checked_add(size)?)
    }
}

/// The segments of a file, in the order of its program headers.
pub fn segments(elf: &[u8]) -> object::read::Result<Vec<Segment>> {
    let header = elf::FileHeader64::<LE>::parse(elf)?;
    let endian = header.endian()?;
    let headers = header.program_headers(endian, elf)?;
    let segments = headers.iter().map(|segment| Segment {
        kind: segment.p_type(endian),
        flags: segment.p_flags(endian),
        offset: segment.p_offset(endian),
        vaddr: segment.p_vaddr(endian),
        paddr: segment.p_paddr(endian),
        filesz: segment.p_filesz(endian),
        memsz: segment.p_memsz(endian),
    });
    Ok(segments.collect())
}

/// The addresses of a file's code. Empty if the file cannot be read.
pub fn code(elf: &[u8]) -> Vec<Range<u64>> {
    let segments = segments(elf).unwrap_or_default().into_iter();
    segments
        .filter(|segment| segment.kind == elf::PT_LOAD && segment.flags.contains(elf::PF_X))
        .map(|segment| segment.vaddr..segment.vaddr.saturating_add(segment.filesz))
        .collect()
}
