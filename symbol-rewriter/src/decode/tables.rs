//! Jump tables of a linked file.
//!
//! Position-independent code forms the address of a table by a `lea` and adds an entry of 32 bits,
//! which is the distance of the target from the table. No relocation names the table. So every
//! address outside the code that an instruction forms is read as the beginning of a table, up to
//! the first entry that does not lead to an instruction. Tables of absolute addresses are among the
//! pointers of the image.

use std::collections::BTreeMap;

use iced_x86::Mnemonic;

use crate::decode::code::Code;
use crate::decode::sweep::Start;
use crate::error::{Result, unsupported};
use crate::read::elf::Object;

/// How many entries are read at most. A table that is formed at many of its own entries would
/// otherwise take quadratic time.
const MANY_ENTRIES: usize = 1 << 24;

/// Finds the tables of a linked file, and adds their targets to the entries.
pub(super) fn find(
    code: &mut Code,
    object: &Object<'_>,
    starts: &BTreeMap<u64, Start>,
) -> Result<()> {
    let Some(image) = &object.image else {
        return Ok(());
    };
    let memory = object.content(Object::IMAGE);
    let mut formed: Vec<(u64, u64)> = code
        .nodes
        .iter()
        .filter(|node| node.mnemonic() == Mnemonic::Lea && node.is_ip_rel_memory_operand())
        .map(|node| (node.ip_rel_memory_address(), node.ip()))
        .filter(|&(table, _)| !image.has_code_at(table))
        .collect();
    formed.sort_unstable();
    let mut read = 0usize;
    let mut last: Option<(u64, Vec<u64>)> = None;
    for (table, user) in formed {
        let targets = match last.take() {
            Some((other, targets)) if other == table => targets,
            _ => {
                let targets = targets(code, object, memory, table);
                read += targets.len();
                targets
            }
        };
        if read > MANY_ENTRIES {
            return Err(unsupported(
                "its code has too many jump tables; use the file without rewriting it",
            ));
        }
        // A table is used by the function that contains its targets. What was read behind the end
        // of a table leads elsewhere.
        let start = starts.range(..=user).next_back().map_or(0, |(&at, _)| at);
        let end = starts
            .range(user + 1..)
            .next()
            .map_or(u64::MAX, |(&at, _)| at);
        for &target in &targets {
            let place = (Object::IMAGE, target);
            code.leaders.insert(place);
            code.address_taken.insert(place);
            if (start..end).contains(&target) {
                code.in_data.insert(place);
            }
        }
        last = Some((table, targets));
    }
    Ok(())
}

/// The targets of the entries of a table, up to the first that is not one.
fn targets(code: &Code, object: &Object<'_>, memory: &[u8], table: u64) -> Vec<u64> {
    let Some(image) = &object.image else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut rest = usize::try_from(table)
        .ok()
        .and_then(|at| memory.get(at..))
        .unwrap_or_default();
    while let Some((entry, more)) = rest.split_first_chunk::<4>() {
        let target = table.wrapping_add_signed(i32::from_le_bytes(*entry).into());
        if !image.has_code_at(target) || code.node_at((Object::IMAGE, target)).is_none() {
            break;
        }
        found.push(target);
        rest = more;
    }
    found
}
