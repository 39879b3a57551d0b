//! Decides whether a site is rewritten, and to which form.
//!
//! The *call form* replaces the `syscall` and the load of its number by a call of a thunk. The
//! *skip form* puts a call before the `syscall`, whose thunk loads the number.
//! This form is for sites whose `syscall` must stay, because a branch leads to it, or a signal
//! handler compares its address.

use crate::analysis::flags::flags_dead_after;
use crate::analysis::stack;
use crate::decode::Node;
use crate::decode::instructions::changes_direction;
use crate::error::Result;
use crate::report::{Reason, SkipReason};
use crate::rewrite::work::Work;
use crate::syscalls::{EXIT, EXITS, MUNMAP, RT_SIGRETURN, WHOLE_FRAME};
use crate::thunk::Thunk;

/// Why a site cannot be rewritten. `None` if it can.
pub(super) fn reason_to_leave(work: &mut Work<'_, '_>, site: Node) -> Option<Reason> {
    let code = work.code;
    let section = code.section_of(site);
    let bytes = code.nodes[site].ip()..code.nodes[site].next_ip();
    let number = work.numbers.at(site);
    let returns = number.is_none_or(|number| !EXITS.contains(&number));
    if !work.is_certain(site) {
        Some(Reason::NotCode)
    } else if number == Some(RT_SIGRETURN) || work.in_signal_frame(site) {
        Some(Reason::SignalReturn)
    } else if code.relocs_of(section).is_none() || !code.relocs_in(section, bytes).is_empty() {
        Some(Reason::Relocations)
    } else if returns && !flags_dead_after(code, site) {
        Some(Reason::FlagsLive)
    } else if number == Some(EXIT) && can_jump(work, site) {
        None
    } else if stack::may_be_gone(code, work.numbers, site) {
        Some(Reason::StackGone)
    } else if number == Some(EXIT) {
        Some(Reason::ThreadExit)
    } else {
        None
    }
}

/// Whether the end of a thread can be a jump to a thunk, which needs no stack.
///
/// An object keeps its `syscall`, because the thunk of its program need not take the full path.
fn can_jump(work: &Work<'_, '_>, site: Node) -> bool {
    work.object.image.is_some() && reason_to_skip(work, site, EXIT).is_none()
}

/// Whether a site jumps to its thunk instead of calling it. The stack of a thread that ends may
/// already belong to another one.
pub(super) fn jumps_to(thunk: Thunk) -> bool {
    matches!(thunk, Thunk::Call { number: EXIT, .. })
}

/// The thunk that a site calls, and why the site does not take the call form, if that was
/// requested.
pub(super) fn thunk_for(
    work: &mut Work<'_, '_>,
    site: Node,
    number: Option<u32>,
) -> Result<(Thunk, Option<SkipReason>)> {
    let skip_form = number.map_or(Thunk::Generic, Thunk::Number);
    let skipped = match number {
        _ if work.liveness.is_none() => None,
        None => Some(SkipReason::UnknownNumber),
        Some(number) => reason_to_skip(work, site, number),
    };
    Ok(match (&mut work.liveness, number, skipped) {
        (Some(liveness), Some(number), None) => {
            let preserved = match EXITS.contains(&number) {
                true => 0,
                false => liveness.live_after(site)?,
            };
            (Thunk::Call { number, preserved }, None)
        }
        (_, _, skipped) => (skip_form, skipped),
    })
}

/// Why the `syscall` of a site must stay. `None` if it need not.
fn reason_to_skip(work: &Work<'_, '_>, site: Node, number: u32) -> Option<SkipReason> {
    let code = work.code;
    let section = code.section_of(site);
    if WHOLE_FRAME.contains(&number) {
        return Some(SkipReason::WholeFrame);
    }
    if number == MUNMAP && stack::may_be_freed(code, site) {
        return Some(SkipReason::StackGone);
    }
    if code.is_leader((section, code.nodes[site].ip())) || work.jumps_anywhere(site) {
        return Some(SkipReason::Entered);
    }
    let function = work.function_of(site);
    let has_range = work.cancellation_ranges.iter().any(|&place| {
        code.node_at(place)
            .is_some_and(|node| work.function_of(node) == function)
    });
    let is_address_taken =
        !EXITS.contains(&number) && code.is_address_taken((section, code.nodes[site].next_ip()));
    if has_range || is_address_taken {
        return Some(SkipReason::AddressTaken);
    }
    let changes_flags = work.functions.regions(function).any(|region| {
        let mut nodes = code.regions[region].nodes.clone();
        nodes.any(|node| changes_direction(&code.nodes[node]))
    });
    changes_flags.then_some(SkipReason::Direction)
}

/// Counts a site that has been rewritten.
pub(super) fn count(work: &mut Work<'_, '_>, thunk: Thunk, skipped: Option<SkipReason>) {
    if let Thunk::Call { preserved, .. } = thunk {
        *work.report.preserved.entry(preserved).or_default() += 1;
    } else if let Some(reason) = skipped {
        *work.report.skipped.entry(reason).or_default() += 1;
    }
}
