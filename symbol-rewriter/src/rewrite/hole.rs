//! Finds the instructions that move to a trampoline to make room for a jump.

use std::ops::RangeInclusive;

use iced_x86::{FlowControl, Mnemonic};

use crate::decode::instructions::{fault_at_ring3, has_near_target, is_site};
use crate::decode::{Code, Node};
use crate::read::elf::Reloc;
use crate::rewrite::encoding::JUMP_SIZE;

/// How many instructions before and after a site may move.
const REACH: usize = 6;

/// The instructions that move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hole {
    pub first: Node,
    pub last: Node,
}

/// Finds the instructions that must move with `site` to make room for a jump. `taken` says which
/// have been changed already, `load` which ones only load the number.
pub(super) fn around_site(
    code: &Code,
    site: Node,
    load: Option<&RangeInclusive<Node>>,
    taken: impl Fn(Node) -> bool,
) -> Option<Hole> {
    let movable = |node: Node| !taken(node) && is_movable(code, node);
    let is_site = |node: Node| is_site(&code.nodes[node]);
    let mut best: Option<((usize, usize, u64), Hole)> = None;
    let mut first = site;
    for before in 0..=REACH {
        if before > 0 {
            // An entry may only be the first instruction that moves.
            if code.is_leader((code.section_of(first), code.nodes[first].ip())) {
                break;
            }
            match code.preceding(first) {
                Some(node) if movable(node) && code.next(node).falls => first = node,
                _ => break,
            }
        }
        let mut last = site;
        let mut is_enough = false;
        for after in 0..=REACH {
            if after > 0 {
                let next = code.following(last).filter(|&node| {
                    movable(node)
                        && code.next(last).falls
                        && !code.is_leader((code.section_of(node), code.nodes[node].ip()))
                });
                match next {
                    Some(node) => last = node,
                    None => break,
                }
            }
            let size = code.nodes[last].next_ip() - code.nodes[first].ip();
            let comes_back = code.next(last).falls;
            // Once there is room, further instructions move only if that saves the jump back, and
            // if no other site nearby needs them.
            let is_greedy = (last + 1..(last + REACH).min(code.nodes.len())).any(is_site)
                || (first.saturating_sub(REACH)..first).any(is_site);
            if size >= JUMP_SIZE && (!is_enough || !comes_back && !is_greedy) {
                is_enough = true;
                let branches = (first..=last)
                    .filter(|&node| code.nodes[node].flow_control() != FlowControl::Next)
                    .count();
                let loads = load.is_some_and(|load| first > *load.start());
                let cost = usize::from(comes_back) + usize::from(loads);
                let key = (cost, branches, size);
                if best.is_none_or(|(other, _)| key < other) {
                    best = Some((key, Hole { first, last }));
                }
            }
        }
    }
    best.map(|(_, hole)| hole).filter(|hole| {
        let section = code.section_of(site);
        let inside = code.nodes[hole.first].ip() + 1..code.nodes[hole.last].next_ip();
        !code.has_leader(section, inside)
    })
}

/// Finds the fewest instructions that make room for a jump at `node` to `last`, of which only
/// `node` is reachable.
pub(super) fn before_unreachable(
    code: &Code,
    node: Node,
    last: Node,
    is_taken: impl Fn(Node) -> bool,
) -> Option<Hole> {
    let section = code.section_of(node);
    let end = code.nodes[last].next_ip();
    let mut first = node;
    for _ in 0..REACH {
        if end - code.nodes[first].ip() >= JUMP_SIZE {
            return Some(Hole { first, last });
        }
        // An entry may only be the first instruction that moves.
        if code.is_leader((section, code.nodes[first].ip())) {
            return None;
        }
        first = code
            .preceding(first)
            .filter(|&node| !is_taken(node) && is_movable(code, node) && code.next(node).falls)?;
        let inside = code.nodes[first].ip() + 1..code.nodes[first].next_ip();
        if code.has_leader(section, inside) {
            return None;
        }
    }
    None
}

/// Whether an instruction has the same effect at another address.
pub(super) fn is_movable(code: &Code, node: Node) -> bool {
    let instruction = &code.nodes[node];
    let section = code.section_of(node);
    let relocs = code.relocs_in(section, instruction.ip()..instruction.next_ip());
    const NARROW: [u32; 4] = [12, 13, 14, 15];
    if relocs
        .iter()
        .any(|reloc| is_tls_sequence(reloc) || NARROW.contains(&reloc.kind))
    {
        return false;
    }
    if fault_at_ring3(instruction).is_some() {
        return false;
    }
    match instruction.flow_control() {
        // The kernel sees the address of a `syscall`, and `endbr64` marks its own address.
        FlowControl::Next => !matches!(
            instruction.mnemonic(),
            Mnemonic::Syscall | Mnemonic::Sysenter | Mnemonic::Endbr64
        ),
        FlowControl::Return => true,
        FlowControl::UnconditionalBranch => has_near_target(instruction),
        FlowControl::ConditionalBranch => {
            has_near_target(instruction)
                && (instruction.is_jcc_short() || instruction.is_jcc_near())
        }
        _ => false,
    }
}

/// Whether a relocation belongs to a TLS sequence, whose instructions the linker rewrites together.
pub(super) fn is_tls_sequence(reloc: &Reloc) -> bool {
    const TLSGD: u32 = 19;
    const TLSLD: u32 = 20;
    const GOTPC32_TLSDESC: u32 = 34;
    const TLSDESC_CALL: u32 = 35;
    matches!(reloc.kind, TLSGD | TLSLD | GOTPC32_TLSDESC | TLSDESC_CALL)
}
