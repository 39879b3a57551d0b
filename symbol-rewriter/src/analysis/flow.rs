//! Control flow: groups regions of code into functions, and finds where a function may be entered
//! or left.

use iced_x86::{Mnemonic, Register};

use crate::decode::instructions::{fault_at_ring3, is_call, is_nop};
use crate::decode::{Code, Node, Target};
use crate::read::elf::Object;
use crate::read::frames::Frames;

/// The regions of an object, grouped into functions.
///
/// A function may consist of several regions with a symbol each: compilers move cold parts to another
/// section. A question about a function has to be asked of all its regions.
pub(crate) struct Functions {
    of_region: Vec<usize>,
}

impl Functions {
    /// Groups the regions of `code`.
    pub fn group(code: &Code) -> Functions {
        let mut parents: Vec<usize> = (0..code.regions.len()).collect();
        for (index, region) in code.regions.iter().enumerate() {
            for node in region.nodes.clone() {
                let next = code.next(node);
                if let Some(Target::Node(to)) = next.branch {
                    let other = code.region_of(to);
                    let start = &code.regions[other];
                    // A jump to the beginning of a function is a tail call.
                    let tail_call = start.is_entry && code.nodes[to].ip() == start.start;
                    if other != index && !tail_call {
                        join(&mut parents, index, other);
                    }
                }
            }
            if let Some(last) = region.nodes.clone().next_back()
                && region_falls_through(code, region.nodes.clone(), last)
                && let Some(next) = code.following(last)
            {
                join(&mut parents, index, code.region_of(next));
            }
        }
        let of_region = (0..parents.len())
            .map(|region| root(&mut parents, region))
            .collect();
        Functions { of_region }
    }

    /// The function that a region belongs to.
    pub fn of_region(&self, region: usize) -> usize {
        self.of_region[region]
    }

    /// The regions of a function.
    pub fn regions(&self, function: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.of_region.len()).filter(move |&region| self.of_region[region] == function)
    }
}

/// Whether control falls through from a region to the next one.
fn region_falls_through(code: &Code, nodes: std::ops::Range<Node>, last: Node) -> bool {
    if !code.next(last).falls {
        return false;
    }
    // Padding may follow a call that does not return.
    let before = nodes.rev().find(|&node| !is_nop(&code.nodes[node]));
    match before {
        Some(node) => {
            let next_is_function = code
                .following(last)
                .is_some_and(|next| code.regions[code.region_of(next)].is_function);
            code.next(node).falls && !(is_call(&code.nodes[node]) && next_is_function)
        }
        None => true,
    }
}

fn root(parents: &mut [usize], mut at: usize) -> usize {
    while parents[at] != at {
        parents[at] = parents[parents[at]];
        at = parents[at];
    }
    at
}

fn join(parents: &mut [usize], a: usize, b: usize) {
    let (a, b) = (root(parents, a), root(parents, b));
    parents[a.max(b)] = a.min(b);
}

/// Whether control may fall through the end of a section into what the linker places after it, as
/// in `.init`. Nothing can be added at the end of such a section.
pub(crate) fn falls_through(object: &Object<'_>, code: &Code, section: usize) -> bool {
    if object.image.is_some() {
        // It is linked already.
        return false;
    }
    let name = object.sections[section].name;
    if matches!(name, b".init" | b".fini") {
        return true;
    }
    let Some(last) = code
        .regions
        .iter()
        .filter(|region| region.section == section)
        .filter_map(|region| region.nodes.clone().next_back())
        .max()
    else {
        return true;
    };
    // Skips padding at the end.
    let mut node = last;
    while is_nop(&code.nodes[node]) {
        match code.preceding(node) {
            Some(previous) => node = previous,
            None => return true,
        }
    }
    let instruction = &code.nodes[node];
    code.next(node).falls && !is_call(instruction) && fault_at_ring3(instruction).is_none()
}

/// Whether a function jumps to computed addresses that no relocation names. Then any instruction may
/// be a target, and none may move.
pub(crate) fn jumps_anywhere(code: &Code, functions: &Functions, function: usize) -> bool {
    functions.regions(function).any(|region| {
        let region = &code.regions[region];
        region
            .nodes
            .clone()
            .any(|node| code.next(node).indirect && !is_tail_call(code, node))
            && !code.has_reference_in_data(region.section, region.start + 1..region.end)
    })
}

/// Whether a function has landing pads. No instruction branches to a landing pad.
pub(crate) fn has_landing_pads(
    code: &Code,
    functions: &Functions,
    frames: &Frames,
    function: usize,
) -> bool {
    functions.regions(function).any(|region| {
        let region = &code.regions[region];
        frames
            .at(region.section, region.start)
            .is_some_and(|frame| frame.has_tables)
    })
}

/// Whether a jump to a computed address leaves the function: it directly follows the instruction that
/// releases the function's stack frame.
fn is_tail_call(code: &Code, jump: Node) -> bool {
    code.preceding(jump)
        .is_some_and(|previous| match code.nodes[previous].mnemonic() {
            Mnemonic::Pop | Mnemonic::Leave => true,
            Mnemonic::Add => code.nodes[previous].op0_register() == Register::RSP,
            _ => false,
        })
}
