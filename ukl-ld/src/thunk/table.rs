//! The thunk table: the positions of the thunks in the linked program.
//!
//! Each thunk object has a label at its first thunk and a known number of thunks ([`Block`]). The
//! table is made once, when the program is linked, by one pass over its symbols.

use std::collections::HashMap;

use object::Endianness;
use object::Object as _;
use object::ObjectSymbol as _;
use object::elf;
use object::read::elf::ElfFile64;
use object::read::elf::ProgramHeader as _;
use ukl_proto::ring3;

use crate::error::Error;
use crate::error::Result;
use crate::thunk::object::Block;

/// The thunks of a linked program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ThunkTable {
    /// Sorted by their offset in the file.
    blocks: Vec<(Block, Place)>,
}

/// A place in a linked program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The offset in the file.
    pub offset: u64,
    /// The address in memory.
    pub address: u64,
}

impl ThunkTable {
    /// Finds the thunks of these objects. The linker drops objects that nothing calls, by
    /// `--gc-sections` or because they are members of an archive.
    pub fn locate(program: &[u8], blocks: impl IntoIterator<Item = Block>) -> Result<ThunkTable> {
        let malformed = |error: object::Error| Error::Program(error.to_string());
        let file = ElfFile64::<Endianness>::parse(program).map_err(malformed)?;
        let mut wanted: HashMap<String, Block> = blocks
            .into_iter()
            .map(|block| (block.label.clone(), block))
            .collect();
        let mut found = Vec::new();
        for symbol in file.symbols() {
            if let Ok(name) = symbol.name()
                && let Some(block) = wanted.remove(name)
            {
                let place = place(&file, &block, symbol.address())?;
                found.push((block, place));
            }
        }
        found.sort_by_key(|(_, place)| place.offset);
        Ok(ThunkTable { blocks: found })
    }

    /// The place of a label. `None` if the linker dropped the object.
    pub fn label(&self, label: &str) -> Option<Place> {
        let block = self.blocks.iter().find(|(block, _)| block.label == label);
        block.map(|(_, place)| *place)
    }

    /// How many thunks there are.
    pub fn count(&self) -> u64 {
        self.blocks.iter().map(|(block, _)| block.count).sum()
    }

    /// The thunks in the form that the guest's init reads: adjacent thunks of the same kind make
    /// one table.
    pub fn tables(&self) -> Vec<ring3::ThunkTable> {
        let mut tables: Vec<ring3::ThunkTable> = Vec::new();
        for (block, place) in self.blocks.iter().filter(|(block, _)| block.count > 0) {
            let next = ring3::ThunkTable {
                offset: place.offset,
                count: block.count,
                stride: block.stride,
                ring3: block.ring3,
                entry: block.entry,
            };
            match tables.last_mut() {
                Some(last)
                    if last.offset + last.count * last.stride == next.offset
                        && (last.stride, last.ring3, last.entry)
                            == (next.stride, next.ring3, next.entry) =>
                {
                    last.count += next.count;
                }
                _ => tables.push(next),
            }
        }
        tables
    }

    /// The ring-3 variant of the program: not marked for ring 0, and with the ring-3 variants of
    /// the thunks.
    pub fn ring3(&self, program: &[u8]) -> Result<Vec<u8>> {
        let mut program = program.to_vec();
        ring3::make_ordinary(&mut program, &self.tables())
            .map_err(|_| Error::Program("a thunk is outside the file".into()))?;
        Ok(program)
    }
}

/// The place of a block at an address.
fn place(file: &ElfFile64<'_, Endianness>, block: &Block, address: u64) -> Result<Place> {
    let endian = file.endian();
    let size = block.count * block.stride;
    let loaded = file.elf_program_headers().iter().find(|segment| {
        let start = segment.p_vaddr(endian);
        segment.p_type(endian) == elf::PT_LOAD
            && start <= address
            && address + size <= start.saturating_add(segment.p_filesz(endian))
    });
    let segment = loaded.ok_or_else(|| {
        Error::Program(format!("the thunks at {} are in no segment", block.label))
    })?;
    Ok(Place {
        offset: segment.p_offset(endian) + (address - segment.p_vaddr(endian)),
        address,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(label: &str, count: u64, ring3: u64) -> Block {
        Block {
            label: label.into(),
            count,
            stride: 128,
            ring3,
            entry: 8,
        }
    }

    fn table(blocks: &[(&str, u64, u64, u64)]) -> ThunkTable {
        let blocks = blocks.iter().map(|&(label, count, ring3, offset)| {
            let address = 0x40_0000 + offset;
            (block(label, count, ring3), Place { offset, address })
        });
        ThunkTable {
            blocks: blocks.collect(),
        }
    }

    #[test]
    fn adjacent_thunks_of_a_kind_are_one_table() {
        let table = table(&[
            ("a", 2, 0, 0),
            ("b", 1, 112, 256),
            ("c", 3, 112, 384),
            ("d", 1, 112, 896),
            ("e", 0, 0, 1024),
        ]);
        let tables: Vec<String> = table.tables().iter().map(ToString::to_string).collect();
        assert_eq!(
            tables,
            ["0,2,128,0,8", "256,4,128,112,8", "896,1,128,112,8"]
        );
        assert_eq!(table.count(), 7);
        let address = 0x40_0180;
        let offset = 384;
        assert_eq!(table.label("c"), Some(Place { offset, address }));
        assert_eq!(table.label("f"), None);
    }

    #[test]
    fn thunks_outside_the_file_are_an_error() {
        let program = [0; 200];
        let error = table(&[("a", 2, 0, 0)]).ring3(&program).unwrap_err();
        assert!(error.to_string().contains("outside the file"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_program_is_an_error() {
        assert!(ThunkTable::locate(b"text", [block("a", 1, 0)]).is_err());
    }
}
