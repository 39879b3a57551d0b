//! Liveness of the arithmetic flags after a site.

use std::collections::HashSet;

use iced_x86::{FlowControl, Instruction, Mnemonic, RflagsBits};

use crate::decode::instructions::is_call;
use crate::decode::{Code, Node, Target};

const ARITHMETIC: u32 = RflagsBits::OF
    | RflagsBits::SF
    | RflagsBits::ZF
    | RflagsBits::AF
    | RflagsBits::CF
    | RflagsBits::PF;

/// How many instructions after a site are followed.
const FLAGS_BUDGET: usize = 256;

/// Whether the arithmetic flags are dead after `site`. A thunk destroys them.
///
/// A `syscall` instruction preserves the flags, and code may rely on that. So the flags are dead
/// only if every path overwrites them, or leaves the function, before it reads any.
pub(crate) fn flags_dead_after(code: &Code, site: Node) -> bool {
    let Some(first) = code.following(site) else {
        // This is a call that does not return, or the end of the decoded code.
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
        // A system call neither reads nor changes them.
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
            // No calling convention passes flags into or out of a function.
            _ if is_call(instruction) => continue,
            FlowControl::Return | FlowControl::Exception => continue,
            FlowControl::Next
            | FlowControl::UnconditionalBranch
            | FlowControl::ConditionalBranch => {}
            _ => return false,
        }
        let next = code.next(node);
        if next.falls {
            match code.following(node) {
                Some(next) => work.push((next, live)),
                None => return false,
            }
        }
        match next.branch {
            Some(Target::Node(to)) => work.push((to, live)),
            // The branch leads to another function.
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
        // With a count of zero these instructions change no flag.
        Rol | Ror | Rcl | Rcr | Shl | Shr | Sal | Sar | Shld | Shrd => 0,
        Cmpsb | Cmpsw | Cmpsd | Cmpsq | Scasb | Scasw | Scasd | Scasq => 0,
        // An instruction may leave a flag unchanged that the manual calls undefined, and does so on
        // some processors. The exception is the auxiliary carry of logic instructions, which no
        // code uses.
        _ => {
            let defined = instruction.rflags_written()
                | instruction.rflags_cleared()
                | instruction.rflags_set();
            (defined | instruction.rflags_undefined() & RflagsBits::AF) & ARITHMETIC
        }
    }
}
