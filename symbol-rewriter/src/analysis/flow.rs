//! Flow: which stretches of code belong to one function, and whether the flags are used behind a
//! site.

use std::collections::HashSet;

use iced_x86::{FlowControl, Instruction, Mnemonic, RflagsBits};

use crate::decode::{Code, Node, Target};

/// The regions of an object, grouped into functions.
///
/// A function may lie in several pieces, with symbols on each: what the compiler thinks is seldom
/// run goes to another section. What holds for the function has to be asked of all of them.
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
                    // A jump to the beginning of a function is a call in its last action.
                    let tail_call = start.is_entry && code.nodes[to].ip() == start.start;
                    if other != index && !tail_call {
                        join(&mut parents, index, other);
                    }
                }
            }
            if let Some(last) = region.nodes.clone().next_back()
                && falls_through(code, region.nodes.clone(), last)
                && let Some(behind) = code.behind(last)
            {
                join(&mut parents, index, code.region_of(behind));
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

/// Whether the code of a region goes on into the next one.
fn falls_through(code: &Code, nodes: std::ops::Range<Node>, last: Node) -> bool {
    if !code.next(last).falls {
        return false;
    }
    // The filling between functions, behind a call that does not return.
    let before = nodes.rev().find(|&node| !is_filling(&code.nodes[node]));
    match before {
        Some(node) => {
            let next_is_function = code
                .behind(last)
                .is_some_and(|behind| code.regions[code.region_of(behind)].is_function);
            code.next(node).falls && !(is_call(&code.nodes[node]) && next_is_function)
        }
        None => true,
    }
}

/// Whether an instruction calls a function.
pub(crate) fn is_call(instruction: &Instruction) -> bool {
    // The decoder counts system calls and their like among the calls.
    matches!(instruction.mnemonic(), Mnemonic::Call)
}

/// Whether an instruction does nothing.
pub(crate) fn is_filling(instruction: &Instruction) -> bool {
    match instruction.mnemonic() {
        Mnemonic::Nop => true,
        // `xchg %ax,%ax`
        Mnemonic::Xchg => {
            instruction.op0_register() == instruction.op1_register()
                && instruction.op0_register() == iced_x86::Register::AX
        }
        _ => false,
    }
}

/// Whether an instruction may stand between functions, where nothing comes to it.
pub(crate) fn is_padding(instruction: &Instruction) -> bool {
    is_filling(instruction) || instruction.mnemonic() == Mnemonic::Int3
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

const ARITHMETIC: u32 = RflagsBits::OF
    | RflagsBits::SF
    | RflagsBits::ZF
    | RflagsBits::AF
    | RflagsBits::CF
    | RflagsBits::PF;

/// How many instructions behind a site are looked at.
const FLAGS_BUDGET: usize = 256;

/// Whether the arithmetic flags that a thunk destroys are of no use behind `site`.
///
/// A `syscall` instruction preserves the flags, so code may rely on that, and the answer is only yes
/// where every way on overwrites them or leaves the function before it reads any.
pub(crate) fn flags_dead_behind(code: &Code, site: Node) -> bool {
    let Some(first) = code.behind(site) else {
        // Nothing behind it: a call that does not return, or the end of what is known.
        return false;
    };
    let mut seen = HashSet::new();
    let mut work = vec![(first, ARITHMETIC)];
    while let Some((node, live)) = work.pop() {
        if !seen.insert((node, live)) {
            continue;
        }
        if seen.len() > FLAGS_BUDGET {
            return false;
        }
        let instruction = &code.nodes[node];
        let is_site = instruction.mnemonic() == Mnemonic::Syscall;
        // A system call does not look at them, and preserves them.
        if !is_site && instruction.rflags_read() & live != 0 {
            return false;
        }
        let live = if is_site {
            live
        } else {
            live & !overwritten(instruction)
        };
        if live == 0 {
            continue;
        }
        match instruction.flow_control() {
            _ if is_site => {}
            // No calling convention carries flags into or out of a function.
            _ if is_call(instruction) => continue,
            FlowControl::Return | FlowControl::Exception => continue,
            FlowControl::Next
            | FlowControl::UnconditionalBranch
            | FlowControl::ConditionalBranch => {}
            _ => return false,
        }
        let next = code.next(node);
        if next.falls {
            match code.behind(node) {
                Some(behind) => work.push((behind, live)),
                None => return false,
            }
        }
        match next.branch {
            Some(Target::Node(to)) => work.push((to, live)),
            // Another function.
            Some(Target::Outside) => {}
            Some(Target::Unknown) => return false,
            None => {}
        }
    }
    true
}

/// The arithmetic flags that an instruction certainly overwrites.
fn overwritten(instruction: &Instruction) -> u32 {
    use Mnemonic::*;
    match instruction.mnemonic() {
        // With a count of zero they leave the flags as they are.
        Rol | Ror | Rcl | Rcr | Shl | Shr | Sal | Sar | Shld | Shrd => 0,
        Cmpsb | Cmpsw | Cmpsd | Cmpsq | Scasb | Scasw | Scasd | Scasq => 0,
        // What is called undefined may well be left as it was, and is on some processors; only the
        // auxiliary carry of logic instructions is of interest to nobody.
        _ => {
            let defined = instruction.rflags_written()
                | instruction.rflags_cleared()
                | instruction.rflags_set();
            (defined | instruction.rflags_undefined() & RflagsBits::AF) & ARITHMETIC
        }
    }
}
