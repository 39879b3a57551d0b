//! Finds system calls that may free the stack, and sites without a stack.

use iced_x86::FlowControl;

use crate::analysis::constants::Numbers;
use crate::decode::instructions::{is_site, uses_stack};
use crate::decode::{Code, Node, Target};
use crate::syscalls::MUNMAP;

/// How many instructions after a `munmap` are followed.
const REACH: usize = 64;

/// Whether a site follows a `munmap`, and no instruction in between needs a stack.
///
/// This is how a thread frees its own stack before it exits. The next call has no stack to push to.
pub(crate) fn may_be_gone(code: &Code, numbers: &Numbers, site: Node) -> bool {
    let mut node = site;
    while let Some(previous) = code.preceding(node) {
        node = previous;
        let instruction = &code.nodes[node];
        if is_site(instruction) {
            match numbers.at(node) {
                Some(MUNMAP) => return true,
                _ => continue,
            }
        }
        if uses_stack(instruction) || !code.next(node).falls {
            return false;
        }
    }
    false
}

/// Whether a `munmap` may free the stack, because no instruction up to the next system call needs
/// one.
pub(crate) fn may_be_freed(code: &Code, site: Node) -> bool {
    let mut node = site;
    for _ in 0..REACH {
        let next = code.next(node);
        let on = match next.branch {
            _ if next.falls => code.following(node),
            Some(Target::Node(to)) => Some(to),
            // A tail call needs the stack.
            Some(Target::Outside) => return false,
            _ => return code.nodes[node].flow_control() != FlowControl::Return,
        };
        node = match on {
            Some(on) if !is_site(&code.nodes[on]) => on,
            _ => return true,
        };
        if uses_stack(&code.nodes[node]) {
            return false;
        }
    }
    true
}
