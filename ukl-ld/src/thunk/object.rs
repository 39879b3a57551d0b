//! An object of slots: their code one behind the other, and the unwind information of each.

use object::write::Object;
use object::write::Relocation;
use object::write::SectionId;
use object::write::Symbol;
use object::write::SymbolId;
use object::write::SymbolSection;
use object::{SectionKind, SymbolFlags, SymbolKind, SymbolScope};

use crate::elf_writer;
use crate::error::Error;
use crate::error::Result;
use crate::thunk::code;
use crate::thunk::code::Slot;

const SIZE: u64 = code::SIZE as u64;

/// The object while slots are added.
pub struct Slots {
    object: Object<'static>,
    text: SectionId,
    frames: SectionId,
    count: u64,
}

impl Slots {
    /// Begins it, with the section's name.
    pub fn new(section: &str) -> Slots {
        let mut object = elf_writer::new();
        let text = object.add_section(vec![], section.into(), SectionKind::Text);
        // The kernel knows the place of an instruction by the low bits of its address.
        object.append_section_data(text, &[], SIZE);
        let frames = object.add_section(vec![], b".eh_frame".to_vec(), SectionKind::ReadOnlyData);
        object.append_section_data(frames, &cie(), 8);
        Slots {
            object,
            text,
            frames,
            count: 0,
        }
    }

    /// Puts a symbol behind the slots that are there.
    pub fn label(&mut self, name: &str) {
        let kind = SymbolKind::Label;
        let here = SymbolSection::Section(self.text);
        let at = self.count * SIZE;
        self.symbol(name.as_bytes(), at, 0, kind, here, SymbolScope::Linkage);
    }

    /// Adds a slot, whose name means the place where it is entered. What is in front of that is run
    /// as well and has the name in this object only. Returns the slot's offset.
    pub fn add(&mut self, slot: &Slot, name: &[u8]) -> Result<u64> {
        let offset = self.add_behind(slot)?;
        let here = SymbolSection::Section(self.text);
        let (kind, entry) = (SymbolKind::Text, code::ENTRY as u64);
        let (linkage, local) = (SymbolScope::Linkage, SymbolScope::Compilation);
        self.symbol(name, offset + entry, SIZE - entry, kind, here, linkage);
        self.symbol(name, offset, entry, kind, here, local);
        Ok(offset)
    }

    /// Adds a slot that only the one before it goes to. Returns its offset.
    pub fn add_behind(&mut self, slot: &Slot) -> Result<u64> {
        let offset = self.object.append_section_data(self.text, &slot.code, SIZE);
        self.count += 1;
        let local = SymbolScope::Compilation;
        for operand in &slot.operands {
            let (label, absolute) = (SymbolKind::Label, SymbolSection::Absolute);
            let target = self.symbol(b"", operand.target, 0, label, absolute, local);
            let place = offset + operand.offset as u64;
            self.relocate(self.text, place, target, -4)?;
        }
        let place = self
            .object
            .append_section_data(self.frames, &fde(&slot.frame), 1);
        // The distance back to the CIE, counted from the field itself.
        let back = u32::try_from(place + 4).map_err(|_| Error::Program("too many slots".into()))?;
        let at = place as usize + 4;
        let frames = self.object.section_mut(self.frames).data_mut();
        frames[at..at + 4].copy_from_slice(&back.to_le_bytes());
        let start = self.object.section_symbol(self.text);
        self.relocate(self.frames, place + 8, start, offset as i64)?;
        Ok(offset)
    }

    /// Has the slot of kernel code at this offset jump to a symbol of another object at ring 3.
    pub fn at_ring3(&mut self, offset: u64, name: &str) -> Result<()> {
        let (kind, open) = (SymbolKind::Text, SymbolSection::Undefined);
        let symbol = self.symbol(name.as_bytes(), 0, 0, kind, open, SymbolScope::Linkage);
        let operand = offset + code::CODE_RING3 as u64 + 1;
        // The jump is relative to where it is put then.
        let moved = (code::CODE_RING3 - code::ENTRY) as i64;
        self.relocate(self.text, operand, symbol, moved - 4)
    }

    /// Ends it.
    pub fn finish(self) -> Result<Vec<u8>> {
        elf_writer::finish(self.object).map_err(malformed)
    }

    fn symbol(
        &mut self,
        name: &[u8],
        value: u64,
        size: u64,
        kind: SymbolKind,
        section: SymbolSection,
        scope: SymbolScope,
    ) -> SymbolId {
        self.object.add_symbol(Symbol {
            name: name.into(),
            value,
            size,
            kind,
            scope,
            weak: false,
            section,
            flags: SymbolFlags::None,
        })
    }

    fn relocate(
        &mut self,
        at: SectionId,
        offset: u64,
        symbol: SymbolId,
        addend: i64,
    ) -> Result<()> {
        let relocation = Relocation {
            offset,
            symbol,
            addend,
            flags: object::RelocationFlags::Elf {
                r_type: object::elf::R_X86_64_PC32,
            },
        };
        let added = self.object.add_relocation(at, relocation);
        added.map_err(malformed)
    }
}

fn malformed(error: object::write::Error) -> Error {
    Error::Program(format!("its slots: {error}"))
}

/// The CIE: a return address at cfa-8, a CFA of rsp+8, addresses relative to the pc.
fn cie() -> Vec<u8> {
    record(&[
        &[0, 0, 0, 0], // This is a CIE.
        &[1],          // version
        b"zR\0",
        &[1],            // code alignment
        &[0x78],         // data alignment: -8
        &[16],           // the return address' register
        &[1, 0x1b],      // augmentation: DW_EH_PE_pcrel | DW_EH_PE_sdata4
        &[0x0c, 7, 8],   // DW_CFA_def_cfa rsp, 8
        &[0x80 | 16, 1], // DW_CFA_offset r16, -8
    ])
}

/// An FDE of one slot, but for the CIE's distance and its address.
fn fde(frame: &[u8]) -> Vec<u8> {
    record(&[
        &[0; 4], // the CIE
        &[0; 4], // the slot's address, relocated
        &(code::SIZE as u32).to_le_bytes(),
        &[0],
        frame,
    ])
}

/// Puts a length in front and DW_CFA_nop behind.
fn record(parts: &[&[u8]]) -> Vec<u8> {
    let mut body = parts.concat();
    body.resize((body.len() + 4).next_multiple_of(8) - 4, 0);
    [&(body.len() as u32).to_le_bytes()[..], &body].concat()
}
