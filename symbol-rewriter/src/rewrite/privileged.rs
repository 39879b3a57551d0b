//! Privileged instructions: makes instructions that are a fault at ring 3 a fault at ring 0, too.
//!
//! C libraries kill a program by `hlt` if nothing else is left, for instance when musl finds its
//! heap corrupted. At ring 3 `hlt` is a general protection fault, and the signal is SIGSEGV. At
//! ring 0 the processor would wait for an interrupt and continue. `int $0x80` is a fault at ring 3
//! on a kernel without 32-bit system calls, and enters an interrupt handler at ring 0. `cli` would
//! stop the machine. So these instructions become a store to a non-canonical address, which causes
//! the same fault with the same signal at any ring, and changes no register. The store has nine
//! bytes. It is placed as follows:
//!
//! - The code that follows, up to the next entry, is unreachable. If it leaves enough room, or if the
//!   section ends there and can grow, the store replaces both.
//! - Otherwise the store moves into a trampoline, with as many of the preceding instructions as a jump
//!   needs.
//! - If neither is possible, an undefined instruction of one byte replaces the instruction. The
//!   signal is then SIGILL instead of SIGSEGV, but control never continues.
//!
//! An instruction that is undefined at ring 3 is replaced by the undefined instruction at once.

use crate::analysis::flow;
use crate::decode::Node;
use crate::decode::instructions::{Fault, fault_at_ring3, is_site};
use crate::error::Result;
use crate::rewrite::encoding::{INT3, JUMP_SIZE, STORE, UNDEFINED};
use crate::rewrite::hole::{self, Hole};
use crate::rewrite::trampoline::{self, Body};
use crate::rewrite::work::Work;

/// Finds the privileged instructions. Adds those that are not certainly code to the report, and
/// returns the others.
pub(super) fn find(work: &mut Work<'_, '_>) -> Vec<Node> {
    let code = work.code;
    let mut found = Vec::new();
    for node in 0..code.nodes.len() {
        if fault_at_ring3(&code.nodes[node]).is_none() {
            continue;
        }
        work.report.privileged.found += 1;
        if work.is_certain(node) {
            found.push(node);
        } else {
            let name = work.name(node);
            work.report.privileged.left.push(name);
        }
    }
    found
}

/// Replaces the instructions that have room for the store. Returns the others.
///
/// This must run before anything is added to the end of a section.
pub(super) fn rewrite_in_place(work: &mut Work<'_, '_>, privileged: Vec<Node>) -> Vec<Node> {
    let mut left = Vec::new();
    for node in privileged {
        // It may have been overwritten as part of the unreachable code after another one.
        if work.changed.contains(&node) || replace(work, node) {
            work.report.privileged.in_place += 1;
        } else {
            left.push(node);
        }
    }
    left
}

/// Replaces the other instructions. Returns those that have moved.
pub(super) fn rewrite_by_trampoline(
    work: &mut Work<'_, '_>,
    privileged: Vec<Node>,
) -> Result<Vec<Node>> {
    let mut moved = Vec::new();
    for node in privileged {
        // It may have been overwritten with another one.
        if work.changed.contains(&node) {
            work.report.privileged.trampoline += 1;
            continue;
        }
        match move_out(work, node)? {
            Some(is_described) => {
                moved.push(node);
                work.report.privileged.trampoline += 1;
                work.report.undescribed += usize::from(!is_described);
            }
            None => {
                write(work, node, node, &[UNDEFINED]);
                work.report.privileged.one_byte += 1;
            }
        }
    }
    Ok(moved)
}

/// The last instruction of the unreachable code after `node`, as far as `size` bytes need it.
fn last_unreachable(work: &Work<'_, '_>, node: Node, size: u64) -> Node {
    let code = work.code;
    let section = code.section_of(node);
    let start = code.nodes[node].ip();
    let mut last = node;
    if !knows_all_entries(work, node) {
        return last;
    }
    while code.nodes[last].next_ip() - start < size {
        let next = code.following(last).filter(|&node| {
            let bytes = code.nodes[node].ip()..code.nodes[node].next_ip();
            !code.has_leader(section, bytes.clone())
                && !code
                    .relocs_in(section, bytes)
                    .iter()
                    .any(hole::is_tls_sequence)
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

/// Whether all entries of an instruction's function are known.
fn knows_all_entries(work: &Work<'_, '_>, node: Node) -> bool {
    let (code, functions) = (work.code, work.functions);
    let function = work.function_of(node);
    work.frames_complete
        && code.relocs_of(code.section_of(node)).is_some()
        && !flow::jumps_anywhere(code, functions, function)
        && !flow::has_landing_pads(code, functions, work.frames, function)
}

/// Replaces an instruction in its place, if there is room.
fn replace(work: &mut Work<'_, '_>, node: Node) -> bool {
    let (object, code) = (work.object, work.code);
    if fault_at_ring3(&code.nodes[node]) == Some(Fault::Undefined) {
        write(work, node, node, &[UNDEFINED]);
        return true;
    }
    let section = code.section_of(node);
    let start = code.nodes[node].ip();
    let size = STORE.len() as u64;
    let last = last_unreachable(work, node, size);
    let end = code.nodes[last].next_ip();
    let can_grow = object.image.is_none()
        && end == object.sections[section].size
        && !flow::falls_through(object, code, section)
        && !code.has_leader(section, end..start + size);
    if end - start < size && !can_grow {
        return false;
    }
    write(work, node, last, &STORE);
    true
}

/// Overwrites the instructions from `node` to `last`. The bytes may extend the section.
fn write(work: &mut Work<'_, '_>, node: Node, last: Node, bytes: &[u8]) {
    let (object, code) = (work.object, work.code);
    let section = code.section_of(node);
    let (start, end) = (
        code.nodes[node].ip() as usize,
        code.nodes[last].next_ip() as usize,
    );
    let content = work.plan.contents.entry(section);
    let content = content.or_insert_with(|| object.content(section).to_vec());
    content.resize(content.len().max(start + bytes.len()), INT3);
    content[start..end].fill(INT3);
    content[start..start + bytes.len()].copy_from_slice(bytes);
    drop_relocs(work, node, last);
    work.changed.extend(node..=last);
}

/// Drops the relocations of the instructions from `node` to `last`, which were overwritten.
fn drop_relocs(work: &mut Work<'_, '_>, node: Node, last: Node) {
    let code = work.code;
    let section = code.section_of(node);
    let bytes = code.nodes[node].ip()..code.nodes[last].next_ip();
    if code.relocs_in(section, bytes.clone()).is_empty() {
        return;
    }
    let relocs = work.plan.relocs.entry(section);
    let relocs = relocs.or_insert_with(|| code.relocs_of(section).unwrap_or_default().to_vec());
    relocs.retain(|reloc| !bytes.contains(&reloc.offset));
}

/// Replaces an instruction by a trampoline, if that is possible. Returns whether the trampoline has
/// a frame description.
fn move_out(work: &mut Work<'_, '_>, node: Node) -> Result<Option<bool>> {
    let (object, code) = (work.object, work.code);
    let section = code.section_of(node);
    if !work.cancellation_ranges.is_empty()
        || flow::falls_through(object, code, section)
        || !knows_all_entries(work, node)
    {
        return Ok(None);
    }
    let last = last_unreachable(work, node, JUMP_SIZE);
    let is_taken = |node| work.changed.contains(&node);
    let Some(hole) = hole::before_unreachable(code, node, last, is_taken) else {
        return Ok(None);
    };
    // What follows the instruction is unreachable. It may be padding behind the end of the function,
    // where no frame description applies.
    let reachable = Hole { last: node, ..hole };
    let Ok(description) = work.description(section, reachable)? else {
        return Ok(None);
    };
    drop_relocs(work, node, hole.last);
    work.changed.extend(hole.first..=hole.last);
    trampoline::build(
        object,
        code,
        work.plan,
        (node, hole, Body::Fault),
        description
            .as_ref()
            .map(|(frame, script)| (*frame, script, None)),
    )?;
    Ok(Some(description.is_some()))
}
