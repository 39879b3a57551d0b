//! Entries: every address that control may reach other than from the preceding instruction.
//!
//! It is safe to find too many. An address that is wrongly taken for an entry only prevents its
//! neighbours from moving.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{FlowControl, Instruction, OpKind};

use crate::decode::code::{Code, Place};
use crate::decode::sweep::Start;
use crate::decode::tables;
use crate::error::Result;
use crate::read::elf::{Image, Object, Reloc, SHF_ALLOC, SHT_NOTE, STT_SECTION, is_pc_relative};

/// The relocations of instructions that load an address from the GOT: `R_X86_64_GOTPCREL`,
/// `R_X86_64_GOTPCRELX` and `R_X86_64_REX_GOTPCRELX`.
const GOT_ENTRIES: [u32; 3] = [9, 41, 42];

/// Finds the entries, and adds the targets of calls to `starts`.
pub(super) fn find(
    code: &mut Code,
    object: &Object<'_>,
    starts: &mut [BTreeMap<u64, Start>],
) -> Result<()> {
    let mut finder = Finder {
        code,
        tables: BTreeSet::new(),
    };
    for position in 0..finder.code.sections.len() {
        finder.visit_instructions(object, position, starts);
        finder.visit_relocs(position);
    }
    finder.visit_symbols();
    if let Some(image) = &object.image {
        finder.visit_pointers(image);
        return match starts.first() {
            Some(starts) => tables::find(finder.code, object, starts),
            None => Ok(()),
        };
    }
    finder.visit_data(object)
}

/// The immediate operands and displacements of an instruction that may be absolute addresses.
fn absolute_addresses(instruction: &Instruction) -> impl Iterator<Item = u64> {
    let operand = |operand: u32| match instruction.op_kind(operand) {
        OpKind::Immediate32 | OpKind::Immediate32to64 | OpKind::Immediate64 => {
            Some(instruction.immediate(operand))
        }
        OpKind::Memory if !instruction.is_ip_rel_memory_operand() => {
            Some(instruction.memory_displacement64())
        }
        _ => None,
    };
    (0..instruction.op_count()).filter_map(operand)
}

struct Finder<'c> {
    code: &'c mut Code,
    /// Places outside of code to which code and symbols refer: jump tables may begin there.
    tables: BTreeSet<Place>,
}

impl Finder<'_> {
    /// The targets of branches and calls, and the addresses that instructions form.
    fn visit_instructions(
        &mut self,
        object: &Object<'_>,
        position: usize,
        starts: &mut [BTreeMap<u64, Start>],
    ) {
        let code = &mut *self.code;
        let index = code.sections[position].index;
        for node in code.sections[position].nodes.clone() {
            let instruction = code.nodes[node];
            let bytes = instruction.ip()..instruction.next_ip();
            if instruction.is_ip_rel_memory_operand() && code.relocs_in(index, bytes).is_empty() {
                let place = (index, instruction.ip_rel_memory_address());
                code.address_taken.insert(place);
                if let Some(image) = &object.image
                    && image.has_code_at(place.1)
                {
                    code.leaders.insert(place);
                }
            }
            if let Some(image) = &object.image
                && image.is_fixed
            {
                let taken = absolute_addresses(&instruction).filter(|&at| image.has_code_at(at));
                for addr in taken {
                    code.leaders.insert((index, addr));
                    code.address_taken.insert((index, addr));
                }
            }
            if let Ok(Some(place)) = code.branch_place(index, &instruction) {
                code.leaders.insert(place);
                if instruction.flow_control() == FlowControl::Call
                    && let Some(position) = code.position(place.0)
                    && place.1 < object.sections[place.0].size
                {
                    starts[position].entry(place.1).or_default().entry = true;
                }
            }
        }
    }

    /// The places to which relocations of code refer.
    fn visit_relocs(&mut self, position: usize) {
        let index = self.code.sections[position].index;
        for at in 0..self.code.sections[position].relocs.len() {
            let code = &mut *self.code;
            let reloc = code.sections[position].relocs[at];
            let symbol = code.symbols[reloc.symbol as usize];
            let Some(section) = symbol.section else {
                continue;
            };
            let mut place = symbol.value.wrapping_add_signed(reloc.addend);
            if is_pc_relative(reloc.kind) || GOT_ENTRIES.contains(&reloc.kind) {
                // The operand is relative to the end of the instruction.
                let end = code
                    .containing(index, reloc.offset)
                    .map_or(4, |node| code.nodes[node].next_ip() - reloc.offset);
                place = place.wrapping_add(end);
            }
            if code.position(section).is_some() {
                code.leaders.insert((section, place));
                code.address_taken.insert((section, place));
            } else {
                self.tables.insert((section, place));
            }
        }
    }

    /// The addresses of code in the data of a linked file.
    fn visit_pointers(&mut self, image: &Image) {
        let pointers = image.pointers.iter().filter(|&&at| image.has_code_at(at));
        for &addr in pointers {
            let place = (Object::IMAGE, addr);
            self.code.leaders.insert(place);
            self.code.in_data.insert(place);
            self.code.address_taken.insert(place);
        }
    }

    fn visit_symbols(&mut self) {
        for symbol in &self.code.symbols {
            if let Some(section) = symbol.section
                && symbol.kind != STT_SECTION
            {
                self.tables.insert((section, symbol.value));
            }
        }
    }

    /// The places to which relocations of data refer, in jump tables and pointers to functions.
    fn visit_data(&mut self, object: &Object<'_>) -> Result<()> {
        for (target, reloc_section) in object.reloc_sections() {
            let section = &object.sections[target];
            let is_loaded = section.flags & SHF_ALLOC != 0 || section.kind == SHT_NOTE;
            if section.is_code() || !is_loaded || section.name == b".eh_frame" {
                continue;
            }
            let Some(mut relocs) = object.relocs(reloc_section)? else {
                continue;
            };
            relocs.sort_by_key(|reloc| reloc.offset);
            // The entries of one table are contiguous.
            for table in relocs.chunk_by(|a, b| {
                b.offset - a.offset == 4 && is_pc_relative(a.kind) && is_pc_relative(b.kind)
            }) {
                self.visit_table(target, table);
            }
        }
        Ok(())
    }

    /// The targets of contiguous relocations of data.
    ///
    /// An entry of a table may be relative to itself or to the beginning of the table. In the
    /// second case its addend includes the distance from the beginning. The beginning is the
    /// nearest place before the entry that something refers to, or the first entry. The object does
    /// not say which of the three is right, so all are tried.
    fn visit_table(&mut self, section: usize, table: &[Reloc]) {
        let code = &mut *self.code;
        let nearest = |offset| {
            let mut before = self.tables.range((section, 0)..=(section, offset));
            before.next_back().map_or(0, |&(_, place)| place)
        };
        let distances: [&dyn Fn(u64) -> u64; 3] =
            [&|_| 0, &|offset| offset - nearest(offset), &|offset| {
                offset - table[0].offset
            }];
        let readings = distances.map(|distance| {
            let places: Vec<Place> = table
                .iter()
                .filter_map(|reloc| {
                    let symbol = code.symbols[reloc.symbol as usize];
                    let target = symbol.section.filter(|&s| code.position(s).is_some())?;
                    let distance = match is_pc_relative(reloc.kind) {
                        true => distance(reloc.offset),
                        false => 0,
                    };
                    let place = symbol.value.wrapping_add_signed(reloc.addend);
                    Some((target, place.wrapping_sub(distance)))
                })
                .collect();
            // With the right one, all entries lead to the beginnings of instructions.
            let is_likely = places.iter().all(|&place| code.node_at(place).is_some());
            (is_likely, places)
        });
        let any_likely = readings.iter().any(|(is_likely, _)| *is_likely);
        for (is_likely, places) in readings {
            if is_likely || !any_likely {
                code.leaders.extend(&places);
                code.in_data.extend(&places);
                code.address_taken.extend(&places);
            }
        }
    }
}
