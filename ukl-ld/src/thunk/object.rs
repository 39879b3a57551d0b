//! Object files of thunks: the code of the thunks, and the unwind information of each.

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
use crate::kernel::Kernel;
use crate::thunk::code::ThunkCode;

/// The section of the code.
const SECTION: &[u8] = b".text.unlikely.ukl_thunks";

/// The thunks in an object: consecutive thunks of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The symbol at the first thunk.
    pub label: String,
    /// How many thunks there are.
    pub count: u64,
    /// The size of a thunk.
    pub stride: u64,
    /// The offset, in each thunk, of the bytes for ring 3.
    pub ring3: u64,
    /// The offset, in each thunk, of its entry.
    pub entry: u64,
}

/// An object file to which thunks are added.
pub struct ThunkObject {
    object: Object<'static>,
    text: SectionId,
    frames: SectionId,
    block: Block,
}

impl ThunkObject {
    /// Makes an object without thunks, with this label.
    pub fn new(label: &str, kernel: &Kernel) -> ThunkObject {
        let stride = kernel.abi.thunk.size as u64;
        let mut object = elf_writer::new();
        let text = object.add_section(vec![], SECTION.to_vec(), SectionKind::Text);
        // The kernel takes the position in a thunk from the low bits of an instruction's address.
        object.append_section_data(text, &[], stride);
        let frames = object.add_section(vec![], b".eh_frame".to_vec(), SectionKind::ReadOnlyData);
        object.append_section_data(frames, &cie(), 8);
        let mut this = ThunkObject {
            object,
            text,
            frames,
            block: Block {
                label: label.into(),
                count: 0,
                stride,
                ring3: 0,
                entry: 0,
            },
        };
        let (kind, linkage) = (SymbolKind::Label, SymbolScope::Linkage);
        let here = SymbolSection::Section(text);
        this.symbol(label.as_bytes(), 0, 0, kind, here, linkage);
        this
    }

    /// Adds a thunk whose entry has a name. Returns the thunk's offset from the label. The code
    /// before the entry gets the name as a local symbol.
    pub fn add(&mut self, thunk: &ThunkCode, name: &[u8]) -> Result<u64> {
        let offset = self.add_unnamed(thunk)?;
        let here = SymbolSection::Section(self.text);
        let (kind, entry) = (SymbolKind::Text, thunk.entry as u64);
        let (linkage, local) = (SymbolScope::Linkage, SymbolScope::Compilation);
        let rest = self.block.stride - entry;
        self.symbol(name, offset + entry, rest, kind, here, linkage);
        self.symbol(name, offset, entry, kind, here, local);
        Ok(offset)
    }

    /// Adds a thunk to which only the thunk before it jumps. Returns its offset from the label.
    pub fn add_unnamed(&mut self, thunk: &ThunkCode) -> Result<u64> {
        let stride = self.block.stride;
        let offset = self
            .object
            .append_section_data(self.text, &thunk.code, stride);
        self.block.count += 1;
        self.block.ring3 = thunk.ring3 as u64;
        self.block.entry = thunk.entry as u64;
        let local = SymbolScope::Compilation;
        for operand in &thunk.operands {
            let (label, absolute) = (SymbolKind::Label, SymbolSection::Absolute);
            let target = self.symbol(b"", operand.target, 0, label, absolute, local);
            let place = offset + operand.offset as u64;
            self.relocate(self.text, place, target, -4)?;
        }
        let place = self
            .object
            .append_section_data(self.frames, &fde(&thunk.frame, stride), 1);
        // The distance back to the CIE, relative to this field.
        let back = u32::try_from(place + 4)
            .map_err(|_| Error::Program("it has too many thunks".into()))?;
        let at = place as usize + 4;
        let frames = self.object.section_mut(self.frames).data_mut();
        frames[at..at + 4].copy_from_slice(&back.to_le_bytes());
        let start = self.object.section_symbol(self.text);
        self.relocate(self.frames, place + 8, start, offset as i64)?;
        Ok(offset)
    }

    /// Makes a thunk that [`ThunkCode::function`] wrote jump to this symbol at ring 3.
    pub fn jump_at_ring3(&mut self, offset: u64, name: &str) -> Result<()> {
        let (kind, undefined) = (SymbolKind::Text, SymbolSection::Undefined);
        let symbol = self.symbol(name.as_bytes(), 0, 0, kind, undefined, SymbolScope::Linkage);
        let operand = offset + self.block.ring3 + 1;
        // The jump runs at the entry, to which it is copied.
        let moved = self.block.ring3 as i64 - self.block.entry as i64;
        self.relocate(self.text, operand, symbol, moved - 4)
    }

    /// The object file, and a description of its thunks.
    pub fn finish(self) -> Result<(Vec<u8>, Block)> {
        let object = elf_writer::finish(self.object).map_err(malformed)?;
        Ok((object, self.block))
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
    Error::Program(format!("its thunks: {error}"))
}

/// The CIE: a return address at cfa-8, a CFA of rsp+8, addresses relative to the pc.
fn cie() -> Vec<u8> {
    record(&[
        &[0, 0, 0, 0], // the mark of a CIE
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

/// The FDE of one thunk, without the distance to the CIE and the address.
fn fde(frame: &[u8], size: u64) -> Vec<u8> {
    record(&[
        &[0; 4], // the CIE
        &[0; 4], // the thunk's address, relocated
        &(size as u32).to_le_bytes(),
        &[0],
        frame,
    ])
}

/// Puts the length in front and pads with DW_CFA_nop.
fn record(parts: &[&[u8]]) -> Vec<u8> {
    let mut body = parts.concat();
    body.resize((body.len() + 4).next_multiple_of(8) - 4, 0);
    [&(body.len() as u32).to_le_bytes()[..], &body].concat()
}
