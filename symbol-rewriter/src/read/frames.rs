//! The call frame information of an object, by the code that it describes.
//!
//! `gimli` parses the entries of `.eh_frame`. In an object, the address that an entry describes is
//! given by a relocation. In a linked file it is in the entry.

use gimli::{BaseAddresses, CieOrFde, EhFrame, LittleEndian, UnwindContext, UnwindSection as _};

use crate::error::Result;
use crate::read::elf::{Object, Reloc, SHT_PROGBITS, SHT_X86_64_UNWIND};

/// One frame description entry.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// The `.eh_frame` section that holds it.
    pub section: usize,
    /// Its offset there.
    pub offset: usize,
    /// The offset of the common information entry it refers to.
    pub cie: usize,
    /// The section of the code it describes.
    pub code: usize,
    /// The first address of that code.
    pub start: u64,
    /// The length of that code.
    pub len: u64,
    /// The relocation of the field that holds `start`. `None` in a linked file.
    pub reloc: Option<Reloc>,
    /// Whether it describes the code that returns from a signal handler. Only known of linked files.
    pub is_signal: bool,
    /// Whether it refers to a language-specific data area, which lists landing pads.
    pub has_tables: bool,
}

/// How the canonical frame address is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cfa {
    /// The stack pointer plus an offset.
    StackPointer(i64),
    /// Another register plus an offset.
    Other(u16, i64),
    /// An expression.
    Expression,
}

const DWARF_RSP: u16 = 7;

/// All entries of an object that describe code in it.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    frames: Vec<Frame>,
}

fn bases(object: &Object<'_>, section: usize) -> BaseAddresses {
    BaseAddresses::default()
        .set_eh_frame(object.sections[section].addr)
        .set_text(0)
        .set_got(0)
}

type Slice<'d> = gimli::EndianSlice<'d, LittleEndian>;

fn eh_frame(data: &[u8]) -> EhFrame<Slice<'_>> {
    let mut section = EhFrame::new(data, LittleEndian);
    section.set_address_size(8);
    section
}

/// The next frame description entry, if there is one more.
fn next_fde<'d>(
    entries: &mut gimli::CfiEntriesIter<'_, EhFrame<Slice<'d>>, Slice<'d>>,
) -> gimli::Result<Option<gimli::FrameDescriptionEntry<Slice<'d>>>> {
    while let Some(entry) = entries.next()? {
        if let CieOrFde::Fde(partial) = entry {
            return partial.parse(EhFrame::cie_from_offset).map(Some);
        }
    }
    Ok(None)
}

impl Frames {
    /// Reads the entries. The second result says whether all of them could be read. If entries are
    /// missing, sites do not move.
    pub fn read(object: &Object<'_>) -> Result<(Frames, bool)> {
        let mut frames = Vec::new();
        let mut complete = true;
        let reloc_sections = object.reloc_sections();
        for (index, section) in object.sections.iter().enumerate() {
            if section.name != b".eh_frame"
                || !matches!(section.kind, SHT_PROGBITS | SHT_X86_64_UNWIND)
            {
                continue;
            }
            if object.image.is_some() {
                complete &= read_linked(object, index, &mut frames);
                continue;
            }
            let mut relocs = Vec::new();
            for &(_, reloc_section) in reloc_sections.iter().filter(|(of, _)| *of == index) {
                match object.relocs(reloc_section)? {
                    Some(more) => relocs.extend(more),
                    None => complete = false,
                }
            }
            relocs.sort_by_key(|reloc| reloc.offset);
            complete &= read_section(object, index, &relocs, &mut frames)?;
        }
        frames.sort_by_key(|frame| (frame.code, frame.start));
        Ok((Frames { frames }, complete))
    }

    /// The entry that describes the code at an address.
    pub fn at(&self, code: usize, addr: u64) -> Option<&Frame> {
        let behind = self
            .frames
            .partition_point(|f| (f.code, f.start) <= (code, addr));
        let frame = self.frames.get(behind.checked_sub(1)?)?;
        (frame.code == code && addr - frame.start < frame.len).then_some(frame)
    }

    /// All entries, in the order of what they describe.
    pub fn iter(&self) -> impl Iterator<Item = &Frame> {
        self.frames.iter()
    }
}

fn read_section(
    object: &Object<'_>,
    index: usize,
    relocs: &[Reloc],
    frames: &mut Vec<Frame>,
) -> Result<bool> {
    let section = eh_frame(object.content(index));
    let bases = bases(object, index);
    let mut entries = section.entries(&bases);
    loop {
        let fde = match next_fde(&mut entries) {
            Ok(Some(fde)) => fde,
            Ok(None) => return Ok(true),
            Err(_) => return Ok(false),
        };
        let offset = fde.offset();
        let end = (offset + 4 + fde.entry_len()) as u64;
        let first = relocs.partition_point(|reloc| reloc.offset < offset as u64);
        let mut own = relocs[first..]
            .iter()
            .take_while(|reloc| reloc.offset < end);
        let Some(reloc) = own.next() else { continue };
        if reloc.offset != offset as u64 + 8 {
            return Ok(false);
        }
        let symbol = object.symbol(reloc.symbol as usize)?;
        let Some(code) = symbol.section else { continue };
        frames.push(Frame {
            section: index,
            offset,
            cie: fde.cie().offset(),
            code,
            start: symbol.value.wrapping_add_signed(reloc.addend),
            len: fde.len(),
            reloc: Some(*reloc),
            is_signal: false,
            has_tables: own.next().is_some(),
        });
    }
}

/// Reads the entries of a linked file. Returns whether all of them could be read.
fn read_linked(object: &Object<'_>, index: usize, frames: &mut Vec<Frame>) -> bool {
    let section = eh_frame(object.content(index));
    let bases = bases(object, index);
    let mut entries = section.entries(&bases);
    loop {
        let fde = match next_fde(&mut entries) {
            Ok(Some(fde)) => fde,
            Ok(None) => return true,
            Err(_) => return false,
        };
        let size = object.sections[Object::IMAGE].size;
        let is_inside = fde
            .initial_address()
            .checked_add(fde.len())
            .is_some_and(|end| end <= size);
        // The linker leaves entries of discarded functions, with the address 0.
        if fde.initial_address() == 0 || fde.len() == 0 || !is_inside {
            continue;
        }
        frames.push(Frame {
            section: index,
            offset: fde.offset(),
            cie: fde.cie().offset(),
            code: Object::IMAGE,
            start: fde.initial_address(),
            len: fde.len(),
            reloc: None,
            is_signal: fde.is_signal_trampoline(),
            has_tables: fde.lsda().is_some_and(|at| at != gimli::Pointer::Direct(0)),
        });
    }
}

impl Frame {
    /// How the canonical frame address is computed at an address that the entry describes.
    pub fn cfa(&self, object: &Object<'_>, addr: u64) -> Option<Cfa> {
        let section = eh_frame(object.content(self.section));
        let bases = bases(object, self.section);
        let fde = section
            .fde_from_offset(&bases, self.offset.into(), EhFrame::cie_from_offset)
            .ok()?;
        let mut context = UnwindContext::new();
        // The address field of the entry, before relocation.
        let addr = fde.initial_address().wrapping_add(addr - self.start);
        let row = fde
            .unwind_info_for_address(&section, &bases, &mut context, addr)
            .ok()?;
        Some(match row.cfa() {
            gimli::CfaRule::RegisterAndOffset { register, offset } if register.0 == DWARF_RSP => {
                Cfa::StackPointer(*offset)
            }
            gimli::CfaRule::RegisterAndOffset { register, offset } => {
                Cfa::Other(register.0, *offset)
            }
            gimli::CfaRule::Expression(_) => Cfa::Expression,
        })
    }
}
