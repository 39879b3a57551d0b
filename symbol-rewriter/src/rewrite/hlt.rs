//! Privileged: `hlt`, which only a processor at ring 3 refuses to execute.
//!
//! C libraries end a program by it where all else has failed, or where it must go no further: musl
//! when it finds its heap corrupted. It is a general protection fault there, and SIGSEGV. At ring 0
//! the processor waits for an interrupt and goes on behind it, so it has to be made a fault again: by
//! a store to an address that no processor has, which is the same fault at any ring, with the same
//! signal, and changes no register. That takes nine bytes, and so in this order:
//!
//! - What follows up to the next place that something may branch to is never reached. Where that is
//!   room enough, or where the section ends and can grow, the store takes its place.
//! - Elsewhere the trap moves into a trampoline, with as many instructions in front of it as a jump
//!   needs.
//! - What neither suits becomes an instruction of one byte that no processor knows: SIGILL, but never
//!   a way on.

use crate::decode::{Code, Node, is_site, is_trap};
use crate::error::Result;
use crate::report::Report;
use crate::rewrite::sites::{self, Work, falls_through_section, jumps_anywhere};
use crate::rewrite::trampoline::{self, Body, Hole, JUMP_SIZE, REACH};

/// `movabs %al,0x8000000000000000`
pub(crate) const STORE: [u8; 9] = [0xa2, 0, 0, 0, 0, 0, 0, 0, 0x80];

/// `udb`: undefined in 64-bit mode, and reserved to stay so.
const UNDEFINED: u8 = 0xd6;

/// What is behind a trap is never reached.
const FILLING: u8 = 0xcc;

/// The traps of `code`, but for those that are not certainly code.
pub(crate) fn find(work: &mut Work<'_, '_>, place: &str, report: &mut Report) -> Vec<Node> {
    let code = work.code;
    let mut traps = Vec::new();
    for node in (0..code.nodes.len()).filter(|&node| is_trap(&code.nodes[node])) {
        report.privileged.found += 1;
        if work.is_certain(node) {
            traps.push(node);
        } else {
            report.privileged.left.push(work.name(place, node));
        }
    }
    traps
}

/// Makes those traps faults that have the room, and returns the others.
///
/// To be done before anything else adds to the end of a section.
pub(crate) fn rewrite_in_place(
    work: &mut Work<'_, '_>,
    traps: Vec<Node>,
    report: &mut Report,
) -> Vec<Node> {
    let mut left = Vec::new();
    for trap in traps {
        // It may be what is never reached behind another one.
        if work.changed.contains(&trap) || store(work, trap) {
            report.privileged.in_place += 1;
        } else {
            left.push(trap);
        }
    }
    left
}

/// Makes the others faults; returns those that have moved.
pub(crate) fn rewrite_by_trampoline(
    work: &mut Work<'_, '_>,
    traps: Vec<Node>,
    report: &mut Report,
) -> Result<Vec<Node>> {
    let mut moved = Vec::new();
    for trap in traps {
        // As above: it went with the one in front.
        if work.changed.contains(&trap) {
            report.privileged.trampoline += 1;
            continue;
        }
        match move_out(work, trap)? {
            Some(described) => {
                moved.push(trap);
                report.privileged.trampoline += 1;
                report.undescribed += usize::from(!described);
            }
            None => {
                write(work, trap, trap, &[UNDEFINED]);
                report.privileged.one_byte += 1;
            }
        }
    }
    Ok(moved)
}

/// The last instruction of those that are only there to be reached by way of the trap, as far as
/// `size` bytes need it.
fn last_dead(work: &Work<'_, '_>, trap: Node, size: u64) -> Node {
    let code = work.code;
    let section = code.section_of(trap);
    let start = code.nodes[trap].ip();
    let mut last = trap;
    if !knows_all_ways(work, trap) {
        return last;
    }
    while code.nodes[last].next_ip() - start < size {
        let next = code.behind(last).filter(|&node| {
            let bytes = code.nodes[node].ip()..code.nodes[node].next_ip();
            !code.has_leader(section, bytes.clone())
                && !code
                    .relocs_in(section, bytes)
                    .iter()
                    .any(trampoline::is_tls_sequence)
                && !is_site(&code.nodes[node])
                && !work.changed.contains(&node)
        });
        match next {
            Some(node) => last = node,
            None => break,
        }
    }
    last
}

/// Whether all places where the function may be entered are known.
fn knows_all_ways(work: &Work<'_, '_>, trap: Node) -> bool {
    let (code, functions) = (work.code, work.functions);
    let function = work.function_of(trap);
    work.frames_complete
        && code.relocs_of(code.section_of(trap)).is_some()
        && !jumps_anywhere(code, functions, function)
        && !sites::has_landing_pads(code, functions, work.frames, function)
}

/// Puts the store where the trap is, if there is room.
fn store(work: &mut Work<'_, '_>, trap: Node) -> bool {
    let (object, code) = (work.object, work.code);
    let section = code.section_of(trap);
    let start = code.nodes[trap].ip();
    let size = STORE.len() as u64;
    let last = last_dead(work, trap, size);
    let end = code.nodes[last].next_ip();
    let can_grow = end == object.sections[section].size
        && !falls_through_section(object, code, section)
        && !code.has_leader(section, end..start + size);
    if end - start < size && !can_grow {
        return false;
    }
    write(work, trap, last, &STORE);
    true
}

/// Writes over the instructions from `trap` to `last`, or beyond the section's end.
fn write(work: &mut Work<'_, '_>, trap: Node, last: Node, bytes: &[u8]) {
    let (object, code) = (work.object, work.code);
    let section = code.section_of(trap);
    let (start, end) = (
        code.nodes[trap].ip() as usize,
        code.nodes[last].next_ip() as usize,
    );
    let content = work.plan.contents.entry(section);
    let content = content.or_insert_with(|| object.content(section).to_vec());
    content.resize(content.len().max(start + bytes.len()), FILLING);
    content[start..end].fill(FILLING);
    content[start..start + bytes.len()].copy_from_slice(bytes);
    drop_relocs(work, trap, last);
    work.changed.extend(trap..=last);
}

/// Takes the relocations out of what is never reached.
fn drop_relocs(work: &mut Work<'_, '_>, trap: Node, last: Node) {
    let code = work.code;
    let section = code.section_of(trap);
    let bytes = code.nodes[trap].ip()..code.nodes[last].next_ip();
    if code.relocs_in(section, bytes.clone()).is_empty() {
        return;
    }
    let relocs = work.plan.relocs.entry(section);
    let relocs = relocs.or_insert_with(|| code.relocs_of(section).unwrap_or_default().to_vec());
    relocs.retain(|reloc| !bytes.contains(&reloc.offset));
}

/// Moves a trap into a trampoline, if that can be done; tells whether it got a frame description.
fn move_out(work: &mut Work<'_, '_>, trap: Node) -> Result<Option<bool>> {
    let (object, code) = (work.object, work.code);
    let section = code.section_of(trap);
    if !work.cancellation_ranges.is_empty()
        || falls_through_section(object, code, section)
        || !knows_all_ways(work, trap)
    {
        return Ok(None);
    }
    let last = last_dead(work, trap, JUMP_SIZE);
    let Some(hole) = find_hole(code, trap, last, |node| work.changed.contains(&node)) else {
        return Ok(None);
    };
    let Ok(description) = work.description(section, hole)? else {
        return Ok(None);
    };
    drop_relocs(work, trap, hole.last);
    work.changed.extend(hole.first..=hole.last);
    trampoline::build(
        object,
        code,
        work.plan,
        (trap, hole, Body::Trap),
        description
            .as_ref()
            .map(|(frame, script)| (*frame, script, None)),
    )?;
    Ok(Some(description.is_some()))
}

/// Finds what may move so that a jump fits: as little as possible.
fn find_hole(code: &Code, trap: Node, last: Node, is_taken: impl Fn(Node) -> bool) -> Option<Hole> {
    let section = code.section_of(trap);
    let end = code.nodes[last].next_ip();
    let mut first = trap;
    for _ in 0..REACH {
        if end - code.nodes[first].ip() >= JUMP_SIZE {
            return Some(Hole { first, last });
        }
        // What is entered from elsewhere may only be the first to move.
        if code.is_leader((section, code.nodes[first].ip())) {
            return None;
        }
        first = code.front(first).filter(|&node| {
            !is_taken(node) && trampoline::is_movable(code, node) && code.next(node).falls
        })?;
        let inside = code.nodes[first].ip() + 1..code.nodes[first].next_ip();
        if code.has_leader(section, inside) {
            return None;
        }
    }
    None
}
