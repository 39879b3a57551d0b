//! Decoding: the machine code of an object as instructions, and every address that control may
//! reach by other means than from the preceding instruction.
//!
//! | module | what it does |
//! |---|---|
//! | `instructions` | classifies instructions |
//! | `code` | holds the decoded code and answers questions about it |
//! | `sweep` | decodes linearly, and restarts at each symbol |
//! | `entries` | finds branch targets, jump tables and other addresses that something refers to |
//! | `tables` | finds the jump tables of a linked file, which no relocations name |

use std::collections::BTreeMap;

use iced_x86::Mnemonic;

use crate::error::Result;
use crate::read::elf::Object;
use crate::read::frames::Frames;

mod code;
mod entries;
pub(crate) mod instructions;
mod sweep;
mod tables;

pub(crate) use code::{Code, Node, Place, Target};
pub(crate) use sweep::has_sites;

use code::Region;
use sweep::Start;

/// Decodes all code of `object`.
pub(crate) fn decode(object: &Object<'_>, frames: &Frames) -> Result<Code> {
    let mut code = sweep::sections(object)?;
    for section in &mut code.sections {
        match object.relocs_for(section.index)? {
            Some(relocs) => section.relocs = relocs,
            None => section.relocs_known = false,
        }
        section.relocs.sort_by_key(|reloc| reloc.offset);
    }
    let mut starts = sweep::starts(&mut code, object, frames)?;
    for (position, starts) in starts.iter().enumerate() {
        sweep::decode_section(&mut code, object, position, starts);
    }
    entries::find(&mut code, object, &mut starts)?;
    if object.image.is_some() {
        find_entries(&code, frames, &mut starts);
    }
    cut_regions(&mut code, object, &starts);
    Ok(code)
}

/// Decides which frame descriptions of a linked file are those of functions.
///
/// A part of a function has a frame description, too, and only jumps lead there. A function is
/// called, or its address is taken, or it has a symbol. What has none of these is treated as a
/// part of the functions that jump to it.
fn find_entries(code: &Code, frames: &Frames, starts: &mut [BTreeMap<u64, Start>]) {
    for frame in frames.iter() {
        let place = (frame.code, frame.start);
        let Some(start) = code
            .position(frame.code)
            .and_then(|position| starts[position].get_mut(&frame.start))
        else {
            continue;
        };
        start.entry |= code.is_address_taken(place);
        start.function |= start.entry;
    }
    // A function without a symbol and without a frame description, to which a pointer is formed.
    let position = code.position(Object::IMAGE);
    let Some(starts) = position.and_then(|position| starts.get_mut(position)) else {
        return;
    };
    let formed = code.nodes.iter().filter(|node| {
        node.mnemonic() == Mnemonic::Lea
            && node.is_ip_rel_memory_operand()
            && node.ip_rel_memory_address().is_multiple_of(FUNCTION_ALIGN)
    });
    for node in formed {
        let addr = node.ip_rel_memory_address();
        let is_unknown = code.node_at((Object::IMAGE, addr)).is_some()
            && !code.in_function(Object::IMAGE, addr)
            && frames.at(Object::IMAGE, addr).is_none();
        if is_unknown {
            starts.entry(addr).or_default().entry = true;
        }
    }
}

/// How compilers align functions.
const FUNCTION_ALIGN: u64 = 16;

/// Divides the decoded code into regions, each from one start to the next.
fn cut_regions(code: &mut Code, object: &Object<'_>, starts: &[BTreeMap<u64, Start>]) {
    for (section, starts) in code.sections.iter().zip(starts) {
        let size = object.sections[section.index].size;
        let ends = starts.keys().copied().skip(1).chain([size]);
        for ((&start, kind), end) in starts.iter().zip(ends) {
            let nodes = section.nodes.clone();
            let find =
                |addr| nodes.start + code.nodes[nodes.clone()].partition_point(|n| n.ip() < addr);
            code.regions.push(Region {
                section: section.index,
                start,
                end,
                nodes: find(start)..find(end),
                is_entry: kind.entry,
                is_function: kind.function,
            });
        }
    }
}
