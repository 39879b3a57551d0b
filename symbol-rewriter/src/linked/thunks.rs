//! Puts the thunks of a linked file into pages.
//!
//! A page starts with the addresses that its thunks read, and the thunks follow, aligned to their
//! size.

use std::collections::BTreeMap;

use crate::error::{Result, unsupported};
use crate::linked::file::PAGE;
use crate::thunk::Thunk;

/// The code of a thunk for a linked file.
#[derive(Debug, Clone)]
pub struct LinkedThunk {
    /// The code. Its length is the thunk's alignment, a power of two.
    pub code: Vec<u8>,
    /// The offset at which calls enter.
    pub entry: usize,
    /// The operands that refer to addresses: the offset of each, and the address. An operand has 32
    /// bits, and gets the distance from its end to a word on the thunk's page that holds the
    /// address.
    pub literals: Vec<(usize, u64)>,
    /// DWARF call frame instructions. They follow those of a common information entry with the CFA
    /// at rsp+8 and the return address at CFA-8.
    pub frame: Vec<u8>,
}

/// Makes the thunks for a linked file. The code depends on the kernel, which this crate does not
/// know.
pub trait ThunkSource {
    /// Makes a thunk. The error says what is wrong, and what to do.
    fn make(&self, thunk: Thunk) -> std::result::Result<LinkedThunk, String>;
}

/// A thunk in its place.
pub(super) struct Placed {
    pub addr: u64,
    pub size: u64,
    pub frame: Vec<u8>,
}

/// The pages.
pub(super) struct Pages {
    pub bytes: Vec<u8>,
    pub thunks: Vec<Placed>,
    /// The addresses at which calls enter.
    pub entries: BTreeMap<Thunk, u64>,
}

/// Lays out the pages of these thunks, from the address `base` on.
pub(super) fn lay_out(
    thunks: impl Iterator<Item = Thunk>,
    base: u64,
    source: &dyn ThunkSource,
) -> Result<Pages> {
    let mut pages = Pages {
        bytes: Vec::new(),
        thunks: Vec::new(),
        entries: BTreeMap::new(),
    };
    let mut waiting: Vec<(Thunk, LinkedThunk)> = Vec::new();
    for thunk in thunks {
        let made = source.make(thunk).map_err(unsupported)?;
        waiting.push((thunk, made));
        if size(&waiting) > PAGE {
            let last = waiting.pop();
            page(&mut pages, base, &waiting)?;
            waiting = last.into_iter().collect();
        }
    }
    page(&mut pages, base, &waiting)?;
    Ok(pages)
}

/// The addresses that thunks refer to, each once.
fn literals(thunks: &[(Thunk, LinkedThunk)]) -> Vec<u64> {
    let mut all: Vec<u64> = thunks
        .iter()
        .flat_map(|(_, thunk)| thunk.literals.iter().map(|(_, target)| *target))
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The size that thunks and their literals take.
fn size(thunks: &[(Thunk, LinkedThunk)]) -> u64 {
    let mut at = 8 * literals(thunks).len() as u64;
    for (_, thunk) in thunks {
        let size = thunk.code.len() as u64;
        at = at.next_multiple_of(size.max(1)) + size;
    }
    at
}

/// Adds a page.
fn page(pages: &mut Pages, base: u64, thunks: &[(Thunk, LinkedThunk)]) -> Result<()> {
    if thunks.is_empty() {
        return Ok(());
    }
    if size(thunks) > PAGE {
        return Err(unsupported("a thunk is larger than a page"));
    }
    let start = pages.bytes.len().next_multiple_of(PAGE as usize);
    pages.bytes.resize(start, INT3);
    let literals = literals(thunks);
    for literal in &literals {
        pages.bytes.extend_from_slice(&literal.to_le_bytes());
    }
    for (thunk, made) in thunks {
        let at = pages.bytes.len().next_multiple_of(made.code.len().max(1));
        pages.bytes.resize(at, INT3);
        pages.bytes.extend_from_slice(&made.code);
        for (offset, target) in &made.literals {
            let index = literals.binary_search(target).unwrap_or_default();
            let end = at + offset + 4;
            let distance = (start + 8 * index) as i64 - end as i64;
            pages
                .bytes
                .get_mut(at + offset..end)
                .ok_or_else(|| unsupported("an operand is outside its thunk"))?
                .copy_from_slice(&(distance as i32).to_le_bytes());
        }
        let addr = base + at as u64;
        pages.entries.insert(*thunk, addr + made.entry as u64);
        pages.thunks.push(Placed {
            addr,
            size: made.code.len() as u64,
            frame: made.frame.clone(),
        });
    }
    Ok(())
}

/// `int3`, between thunks.
const INT3: u8 = 0xcc;

#[cfg(test)]
mod tests {
    use super::*;

    struct Source;

    impl ThunkSource for Source {
        fn make(&self, thunk: Thunk) -> std::result::Result<LinkedThunk, String> {
            let Thunk::Number(number) = thunk else {
                return Err("no such thunk".into());
            };
            Ok(LinkedThunk {
                code: vec![0x90; 128],
                entry: 8,
                literals: vec![(20, u64::from(number)), (40, u64::MAX)],
                frame: Vec::new(),
            })
        }
    }

    #[test]
    fn a_thunk_finds_its_addresses_on_its_own_page() {
        let base = 0x20_0000;
        let pages = lay_out((0..100).map(Thunk::Number), base, &Source).unwrap();
        assert_eq!(pages.thunks.len(), 100);
        for (number, entry) in &pages.entries {
            let Thunk::Number(number) = *number else {
                panic!()
            };
            let addr = entry - 8;
            assert_eq!(addr % 128, 0);
            for (operand, target) in [(20, u64::from(number)), (40, u64::MAX)] {
                let end = addr + operand + 4;
                let at = (end - 4 - base) as usize;
                let distance = i32::from_le_bytes(pages.bytes[at..at + 4].try_into().unwrap());
                let literal = end.wrapping_add_signed(distance.into());
                assert_eq!(literal / PAGE, addr / PAGE);
                let at = (literal - base) as usize;
                let value = u64::from_le_bytes(pages.bytes[at..at + 8].try_into().unwrap());
                assert_eq!(value, target);
            }
        }
    }

    #[test]
    fn an_error_of_the_source_is_reported() {
        assert!(lay_out([Thunk::Generic].into_iter(), 0, &Source).is_err());
    }
}
