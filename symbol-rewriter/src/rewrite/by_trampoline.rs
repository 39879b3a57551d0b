//! Rewrites sites without room for a call: the site and its neighbours move to a trampoline.

use iced_x86::Mnemonic;

use crate::analysis::flow;
use crate::decode::Node;
use crate::error::Result;
use crate::read::frames::Cfa;
use crate::report::{LeftSite, Reason};
use crate::rewrite::trampoline::{self, Body, Call};
use crate::rewrite::work::Work;
use crate::rewrite::{form, hole};
use crate::syscalls::STACK_NUMBERS;

/// Rewrites sites by trampolines. Returns those that have moved.
pub(super) fn rewrite(work: &mut Work<'_, '_>, sites: Vec<Node>) -> Result<Vec<Node>> {
    let mut moved = Vec::new();
    for site in sites {
        match move_out(work, site)? {
            Err(reason) => {
                let where_ = work.name(site);
                work.report.left.push(LeftSite { where_, reason });
            }
            Ok(is_described) => {
                moved.push(site);
                work.report.trampoline += 1;
                work.report.undescribed += usize::from(!is_described);
            }
        }
    }
    Ok(moved)
}

/// Whether a signal handler may compare addresses with those of the code around a site.
///
/// An object with such code consists of little else. In a linked file, such code is known by the
/// symbols in its function or, without symbols, by the handler that forms the address of its end.
fn in_cancellation_range(work: &Work<'_, '_>, site: Node) -> bool {
    let code = work.code;
    if work.object.image.is_none() {
        return !work.cancellation_ranges.is_empty();
    }
    let end = (code.section_of(site), code.nodes[site].next_ip());
    let function = work.function_of(site);
    code.is_address_taken(end)
        || work.cancellation_ranges.iter().any(|&place| {
            code.node_at(place)
                .is_some_and(|node| work.function_of(node) == function)
        })
}

/// Moves a site into a trampoline. Returns whether the trampoline has a frame description.
fn move_out(work: &mut Work<'_, '_>, site: Node) -> Result<std::result::Result<bool, Reason>> {
    let (code, object) = (work.code, work.object);
    let section = code.section_of(site);
    if in_cancellation_range(work, site) {
        return Ok(Err(Reason::CancellationRange));
    }
    if flow::falls_through(object, code, section) {
        return Ok(Err(Reason::FallsOnward));
    }
    let number = work.numbers.at(site);
    let red_zone = work.red_zone_of(site).in_use;
    if red_zone && number.is_some_and(|number| STACK_NUMBERS.contains(&number)) {
        return Ok(Err(Reason::RedZone));
    }
    // The thunk loads the number, so the load is dropped. A `xor` may also be needed for its flags.
    let load = work
        .numbers
        .load_for(code, site)
        .filter(|_| number.is_some())
        .filter(|load| {
            code.nodes[load.last].mnemonic() != Mnemonic::Xor
                || (load.last + 1..site).all(|node| code.nodes[node].rflags_read() == 0)
        })
        .map(|load| load.first..=load.last);
    let is_taken = |node| work.changed.contains(&node);
    let Some(hole) = hole::around_site(code, site, load.as_ref(), is_taken) else {
        return Ok(Err(Reason::NoRoom));
    };
    if work.jumps_anywhere(site) && hole.first != hole.last {
        return Ok(Err(Reason::ComputedJump));
    }

    let description = match work.description(section, hole)? {
        Ok(description) => description,
        Err(reason) => return Ok(Err(reason)),
    };
    let mut cfa = None;
    if let Some((frame, _)) = &description {
        cfa = frame.cfa(object, code.nodes[site].ip());
        if red_zone && matches!(cfa, None | Some(Cfa::Expression)) {
            return Ok(Err(Reason::Frame));
        }
    }
    let (thunk, skipped) = form::thunk_for(work, site, number)?;
    let call = Call {
        thunk,
        replaced: load.filter(|load| hole.first <= *load.start()),
        red_zone,
    };
    work.changed.extend(hole.first..=hole.last);
    trampoline::build(
        object,
        code,
        work.plan,
        (site, hole, Body::Call(call)),
        description
            .as_ref()
            .map(|(frame, script)| (*frame, script, cfa)),
    )?;
    form::count(work, thunk, skipped);
    Ok(Ok(description.is_some()))
}
