//! Rewrites sites in place: a call replaces the instructions that load the number.
//!
//! The thunk loads the number, so the site needs no load of its own. In the skip form the call must
//! fit into the space of the load, in the call form into the space of the load and the `syscall`.
//! Instructions between the load and the `syscall` move to lower addresses.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Mnemonic};

use crate::analysis::constants::Load;
use crate::decode::Node;
use crate::error::Result;
use crate::read::elf::{R_X86_64_PLT32, Reloc};
use crate::report::LeftSite;
use crate::rewrite::encoding::{CALL, CALL_SIZE, CS_PREFIX, JUMP, MANY_PREFIXES, NOP, SYSCALL};
use crate::rewrite::work::Work;
use crate::rewrite::{form, hole};
use crate::thunk::Thunk;
use crate::write::cfi::Script;

/// How many instructions there may be between the load of the number and the `syscall`.
const SLIDE_REACH: usize = 16;

/// Rewrites the sites that have room for the call. Returns those that need a trampoline.
pub(super) fn rewrite(work: &mut Work<'_, '_>, sites: Vec<Node>) -> Result<Vec<Node>> {
    let mut to_move = Vec::new();
    for site in sites {
        if let Some(reason) = form::reason_to_leave(work, site) {
            let where_ = work.name(site);
            work.report.left.push(LeftSite { where_, reason });
        } else if rewrite_site(work, site)? {
            work.report.in_place += 1;
        } else {
            to_move.push(site);
        }
    }
    Ok(to_move)
}

/// Puts a call in the place of the load, if that is possible.
fn rewrite_site(work: &mut Work<'_, '_>, site: Node) -> Result<bool> {
    let code = work.code;
    let Some(load) = work.numbers.load_for(code, site) else {
        return Ok(false);
    };
    if work.red_zone_of(site).in_use {
        return Ok(false);
    }
    let section = code.section_of(site);
    let (from, to) = (code.nodes[load.first].ip(), code.nodes[site].ip());
    let loaded = code.nodes[load.last].next_ip();
    let (thunk, skipped) = form::thunk_for(work, site, Some(load.number))?;
    let is_call_form = matches!(thunk, Thunk::Call { .. });
    let room = match is_call_form {
        true => loaded - from + SYSCALL.len() as u64,
        false => loaded - from,
    };
    // An unwinder looks up the frame at the return address of the call, less one. There the frame
    // must be that of the `syscall`.
    let is_covered = site == load.last + 1 && (load.first == load.last || is_call_form);
    let fits = room >= CALL_SIZE
        && code.relocs_in(section, from..loaded).is_empty()
        && (load.first..=site).all(|node| !work.changed.contains(&node))
        && site - load.last <= SLIDE_REACH
        && (load.last + 1..site).all(|node| {
            hole::is_movable(code, node) && code.nodes[node].flow_control() == FlowControl::Next
        })
        && !code.has_leader(section, from + 1..to)
        && (site == load.last + 1 || !work.jumps_anywhere(site))
        && (is_covered || keeps_frame(work, section, from, to)?);
    if fits && slide(work, section, load, site, thunk) {
        form::count(work, thunk, skipped);
        return Ok(true);
    }
    Ok(false)
}

/// Whether the frame description is the same at all addresses of a range.
fn keeps_frame(work: &Work<'_, '_>, section: usize, from: u64, to: u64) -> Result<bool> {
    let at_end = work.frames.at(section, to);
    let Some(frame) = work.frames.at(section, from) else {
        return Ok(work.frames_complete && at_end.is_none());
    };
    let unchanged = match Script::read(work.object, frame) {
        Ok(Some(script)) => !script.changes_in(from + 1..to + 1),
        _ => false,
    };
    Ok(unchanged && at_end.is_some_and(|other| other.start == frame.start))
}

/// Whether a return directly follows a site. Then the thunk's own return serves for both.
fn returns_after(work: &Work<'_, '_>, site: Node) -> bool {
    let (code, next) = (work.code, site + 1);
    let (section, end) = (code.section_of(site), code.nodes[site].next_ip());
    code.node_at((section, end)) == Some(next)
        && code.nodes[next].mnemonic() == Mnemonic::Ret
        && code.nodes[next].op_count() == 0
}

/// Drops the load, moves the instructions after it to its place, and puts the call at the site.
fn slide(work: &mut Work<'_, '_>, section: usize, load: Load, site: Node, thunk: Thunk) -> bool {
    let (code, object) = (work.code, work.object);
    let Some(relocs) = code.relocs_of(section) else {
        return false;
    };
    let is_call_form = matches!(thunk, Thunk::Call { .. });
    let jumps = form::jumps_to(thunk) || returns_after(work, site);
    let opcode = match is_call_form && jumps {
        true => JUMP,
        false => CALL,
    };
    let symbol = work.plan.thunk_symbol(object, thunk);
    let original = object.content(section);
    let content = work
        .plan
        .contents
        .entry(section)
        .or_insert_with(|| original.to_vec());
    let relocs = work
        .plan
        .relocs
        .entry(section)
        .or_insert_with(|| relocs.to_vec());

    let mut at = code.nodes[load.first].ip();
    for node in load.last + 1..site {
        let instruction = &code.nodes[node];
        let old = instruction.ip();
        let bytes = &original[old as usize..instruction.next_ip() as usize];
        let new = &mut content[at as usize..at as usize + bytes.len()];
        new.copy_from_slice(bytes);
        let own = old..instruction.next_ip();
        if instruction.is_ip_rel_memory_operand() && code.relocs_in(section, own.clone()).is_empty()
        {
            let mut decoder = Decoder::with_ip(64, bytes, old, DecoderOptions::NONE);
            let again = decoder.decode();
            let offset = decoder.get_constant_offsets(&again).displacement_offset();
            let field = &mut new[offset..offset + 4];
            let value = i32::from_le_bytes([field[0], field[1], field[2], field[3]]);
            let value = value.wrapping_add(old.wrapping_sub(at) as i32);
            field.copy_from_slice(&value.to_le_bytes());
        }
        // No relocation is moved twice: instructions move in order, so a moved relocation is below
        // the range of every later instruction.
        for reloc in relocs
            .iter_mut()
            .filter(|reloc| own.contains(&reloc.offset))
        {
            reloc.offset -= old - at;
        }
        at += bytes.len() as u64;
    }
    let end = match is_call_form {
        true => code.nodes[site].next_ip(),
        false => code.nodes[site].ip(),
    };
    let call = (end - CALL_SIZE) as usize;
    // Prefixes fill the space before a call without an instruction of their own.
    let filler = match is_call_form && call - at as usize <= MANY_PREFIXES {
        true => CS_PREFIX,
        false => NOP,
    };
    content[at as usize..call].fill(filler);
    content[call..end as usize].copy_from_slice(&[opcode, 0, 0, 0, 0]);
    relocs.push(Reloc {
        offset: call as u64 + 1,
        kind: R_X86_64_PLT32,
        symbol,
        addend: -4,
    });
    work.changed.extend(load.first..=site);
    true
}
