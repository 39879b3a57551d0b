//! Finds the sites of an object: its `syscall` instructions.

use crate::decode::instructions::{is_call, is_site};
use crate::decode::{Code, Node, Place};
use crate::error::Result;
use crate::read::elf::Object;

/// Symbols that delimit code with whose addresses a signal handler compares. glibc and musl use
/// them for thread cancellation.
const CANCELLATION_RANGES: [&[u8]; 2] = [b"__syscall_cancel_arch_start", b"__cp_begin"];

/// Finds the sites that have not been rewritten before.
pub(super) fn find(object: &Object<'_>, code: &Code) -> Vec<Node> {
    (0..code.nodes.len())
        .filter(|&node| is_site(&code.nodes[node]))
        .filter(|&node| !is_rewritten(object, code, node))
        .collect()
}

/// Whether a `syscall` is the second half of a site in skip form.
fn is_rewritten(object: &Object<'_>, code: &Code, site: Node) -> bool {
    let Some(previous) = code
        .preceding(site)
        .filter(|&node| is_call(&code.nodes[node]))
    else {
        return false;
    };
    let bytes = code.nodes[previous].ip()..code.nodes[previous].next_ip();
    code.relocs_in(code.section_of(previous), bytes)
        .iter()
        .any(|reloc| {
            object
                .symbol(reloc.symbol as usize)
                .and_then(|symbol| object.symbol_name(&symbol))
                .is_ok_and(|name| name.starts_with(b"__ukl_sys"))
        })
}

/// The starts of code that a signal handler recognises by its address.
pub(super) fn cancellation_ranges(object: &Object<'_>) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    for symbol in object.symbols() {
        let symbol = symbol?;
        if let Some(section) = symbol.section
            && CANCELLATION_RANGES.contains(&object.symbol_name(&symbol)?)
        {
            places.push((section, symbol.value));
        }
    }
    Ok(places)
}
