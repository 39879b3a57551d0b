//! Decoding: the machine code of an object as instructions, and every address that control may
//! reach by other means than from the preceding instruction.
//!
//! | module | what it does |
//! |---|---|
//! | `instructions` | classifies instructions |
//! | `code` | holds the decoded code and answers questions about it |
//! | `sweep` | decodes linearly, and restarts at each symbol |
//! | `entries` | finds branch targets, jump tables and other addresses that something refers to |

use std::collections::BTreeMap;

use crate::error::Result;
use crate::read::elf::Object;
use crate::read::frames::Frames;

mod code;
mod entries;
pub(crate) mod instructions;
mod sweep;

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
    cut_regions(&mut code, object, &starts);
    Ok(code)
}

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
