//! The headers of a linked ELF file, checked.
//!
//! The segments are what counts: a stripped file need not have section headers. If it has them, they
//! tell code from data more precisely. The constants are those of the gABI.

use std::ops::Range;

use crate::error::{Result, malformed, unsupported};

pub(super) const PT_LOAD: u32 = 1;
pub(super) const PT_DYNAMIC: u32 = 2;
pub(super) const PT_NOTE: u32 = 4;
pub(super) const PT_PHDR: u32 = 6;
pub(super) const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
pub(super) const PF_X: u32 = 1;
pub(super) const PF_R: u32 = 4;
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const EM_X86_64: u16 = 62;

/// The size of a program header.
pub(super) const SEGMENT_SIZE: usize = 56;

/// The size of a section header.
const SECTION_SIZE: usize = 64;

/// The size of a page.
pub(super) const PAGE: u64 = 4096;

/// How far the addresses of a file's contents may lie above its length. An executable begins at
/// 4 MiB, and segments may be apart by 2 MiB each.
const MANY_ZEROS: u64 = 64 << 20;

/// A program header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub kind: u32,
    pub flags: u32,
    pub offset: u64,
    pub addr: u64,
    pub file_size: u64,
    pub memory_size: u64,
    pub align: u64,
}

impl Segment {
    /// The header in the format of a file. The physical address is the virtual one.
    pub fn to_bytes(self) -> [u8; SEGMENT_SIZE] {
        let mut bytes = [0; SEGMENT_SIZE];
        bytes[0..4].copy_from_slice(&self.kind.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.flags.to_le_bytes());
        let words = [
            self.offset,
            self.addr,
            self.addr,
            self.file_size,
            self.memory_size,
            self.align,
        ];
        for (place, word) in bytes[8..].chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The addresses of what the file contains of it.
    pub fn range(&self) -> Range<u64> {
        self.addr..self.addr + self.file_size
    }
}

/// A section header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Section<'d> {
    pub name: &'d [u8],
    pub kind: u32,
    pub flags: u64,
    pub addr: u64,
    pub offset: u64,
    pub size: u64,
    pub link: usize,
}

/// A linked file.
pub(super) struct File<'d> {
    pub data: &'d [u8],
    pub is_fixed: bool,
    pub entry: u64,
    pub segments: Vec<Segment>,
    pub sections: Vec<Section<'d>>,
}

/// Reads a number of `N` bytes.
fn field<const N: usize>(data: &[u8], at: u64) -> Result<[u8; N]> {
    usize::try_from(at)
        .ok()
        .and_then(|at| data.get(at..)?.first_chunk().copied())
        .ok_or_else(|| malformed("a header is outside the file"))
}

pub(super) fn half(data: &[u8], at: u64) -> Result<u16> {
    field(data, at).map(u16::from_le_bytes)
}

pub(super) fn word(data: &[u8], at: u64) -> Result<u32> {
    field(data, at).map(u32::from_le_bytes)
}

pub(super) fn long(data: &[u8], at: u64) -> Result<u64> {
    field(data, at).map(u64::from_le_bytes)
}

/// Whether `data` is a linked ELF file: an executable or a shared library.
pub fn is_linked(data: &[u8]) -> bool {
    data.starts_with(b"\x7fELF") && matches!(half(data, 16), Ok(ET_EXEC | ET_DYN))
}

impl<'d> File<'d> {
    /// Reads and checks the headers.
    pub fn parse(data: &'d [u8]) -> Result<File<'d>> {
        if !is_linked(data) {
            return Err(unsupported("not a linked ELF file"));
        }
        if data.get(4..6) != Some(&[2, 1]) || half(data, 18)? != EM_X86_64 {
            return Err(unsupported(
                "a file for another machine; use one for x86-64",
            ));
        }
        let mut file = File {
            data,
            is_fixed: half(data, 16)? == ET_EXEC,
            entry: long(data, 24)?,
            segments: Vec::new(),
            sections: Vec::new(),
        };
        let (at, count) = (long(data, 32)?, half(data, 56)?);
        if count == 0 || usize::from(half(data, 54)?) != SEGMENT_SIZE {
            return Err(malformed("it has no program headers of the usual size"));
        }
        for index in 0..u64::from(count) {
            let at = at.saturating_add(index * SEGMENT_SIZE as u64);
            file.segments.push(Segment {
                kind: word(data, at)?,
                flags: word(data, at.saturating_add(4))?,
                offset: long(data, at.saturating_add(8))?,
                addr: long(data, at.saturating_add(16))?,
                file_size: long(data, at.saturating_add(32))?,
                memory_size: long(data, at.saturating_add(40))?,
                align: long(data, at.saturating_add(48))?,
            });
        }
        file.check_segments()?;
        // A file whose section headers cannot be read runs all the same.
        file.sections = file.read_sections().unwrap_or_default();
        Ok(file)
    }

    fn check_segments(&self) -> Result<()> {
        let length = self.data.len() as u64;
        let limit = length.saturating_add(MANY_ZEROS);
        for segment in &self.segments {
            let in_file = segment.offset.checked_add(segment.file_size);
            if in_file.is_none_or(|end| end > length) {
                return Err(malformed("a segment reaches past the end of the file"));
            }
            let in_memory = segment
                .addr
                .checked_add(segment.memory_size.max(segment.file_size));
            // A call reaches no more than 2 GiB.
            if in_memory.is_none_or(|end| end > 1 << 30) {
                return Err(unsupported(
                    "it has segments above 1 GiB, from which calls do not reach the thunks",
                ));
            }
            if segment.kind == PT_LOAD
                && segment.file_size > 0
                && segment.addr + segment.file_size > limit
            {
                return Err(unsupported("its segments are far apart"));
            }
        }
        let loaded: Vec<&Segment> = self.loaded().collect();
        if loaded.is_empty() {
            return Err(malformed("it has no loadable segment"));
        }
        let apart = |a: &Segment, b: &Segment| {
            let memory = a.addr + a.memory_size.max(a.file_size) <= b.addr;
            // Code must be changed in one place only.
            let is_code = (a.flags | b.flags) & PF_X != 0;
            let a_file = a.offset..a.offset + a.file_size;
            let b_file = b.offset..b.offset + b.file_size;
            let file = a_file.end <= b_file.start || b_file.end <= a_file.start;
            memory && (file || !is_code || a_file.is_empty() || b_file.is_empty())
        };
        if !loaded.windows(2).all(|pair| apart(pair[0], pair[1])) {
            return Err(malformed(
                "its loadable segments overlap or are not in the order of their addresses",
            ));
        }
        Ok(())
    }

    fn read_sections(&self) -> Result<Vec<Section<'d>>> {
        let data = self.data;
        let (at, count) = (long(data, 40)?, u64::from(half(data, 60)?));
        let names = usize::from(half(data, 62)?);
        let mut sections = Vec::new();
        let mut name_offsets = Vec::new();
        for index in 0..count {
            let at = at.saturating_add(index * SECTION_SIZE as u64);
            name_offsets.push(word(data, at)?);
            sections.push(Section {
                name: b"",
                kind: word(data, at.saturating_add(4))?,
                flags: long(data, at.saturating_add(8))?,
                addr: long(data, at.saturating_add(16))?,
                offset: long(data, at.saturating_add(24))?,
                size: long(data, at.saturating_add(32))?,
                link: word(data, at.saturating_add(40))? as usize,
            });
        }
        let table = sections.get(names).map_or(&[][..], |s| self.content(s));
        for (section, at) in sections.iter_mut().zip(name_offsets) {
            let name = table.get(at as usize..).unwrap_or_default();
            section.name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        }
        Ok(sections)
    }

    /// The bytes of a section, or none if they are not in the file.
    pub fn content(&self, section: &Section<'_>) -> &'d [u8] {
        const SHT_NOBITS: u32 = 8;
        let range = section.offset..section.offset.saturating_add(section.size);
        match section.kind {
            SHT_NOBITS => &[],
            _ => self.bytes(range).unwrap_or_default(),
        }
    }

    /// A range of the file.
    pub fn bytes(&self, range: Range<u64>) -> Option<&'d [u8]> {
        let (start, end) = (usize::try_from(range.start), usize::try_from(range.end));
        self.data.get(start.ok()?..end.ok()?)
    }

    /// The section with this name.
    pub fn section(&self, name: &[u8]) -> Option<&Section<'d>> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// The loadable segments.
    pub fn loaded(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|s| s.kind == PT_LOAD)
    }

    /// The first segment of a kind.
    pub fn segment(&self, kind: u32) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.kind == kind)
    }

    /// What the loadable segments put into memory, from address 0 on.
    pub fn memory(&self) -> Vec<u8> {
        let size = self.loaded().map(|s| s.range().end).max().unwrap_or(0);
        let mut memory = vec![0; size as usize];
        for segment in self.loaded() {
            let bytes = self.bytes(segment.offset..segment.offset + segment.file_size);
            let range = segment.range();
            memory[range.start as usize..range.end as usize]
                .copy_from_slice(bytes.unwrap_or_default());
        }
        memory
    }
}
