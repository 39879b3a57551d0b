//! Trampolines: code that moves to the end of its section to make room for a call.
//!
//! A `syscall` has two bytes, a call five. So the site moves together with its neighbours, and a
//! jump replaces all of them. The trampoline is at the end of the same section, not in a section of
//! its own. Therefore the jumps need no symbols and no relocations, and COMDAT deduplication and
//! garbage collection treat the trampoline like the function.

use std::ops::RangeInclusive;

use iced_x86::{ConditionCode, Decoder, DecoderOptions};

use crate::decode::instructions::has_near_target;
use crate::decode::{Code, Node};
use crate::error::Result;
use crate::read::elf::{Object, R_X86_64_PLT32, Reloc};
use crate::read::frames::{Cfa, Frame};
use crate::rewrite::encoding::{
    CALL, INT3, JUMP, JUMP_SIZE, LOWER, RAISE, RED_ZONE, STORE, SYSCALL,
};
use crate::rewrite::form;
use crate::rewrite::hole::Hole;
use crate::syscalls::STACK_NUMBERS;
use crate::thunk::Thunk;
use crate::write::cfi::{Moved, Script};
use crate::write::emit::Plan;

/// Alignment of a trampoline.
const ALIGN: usize = 16;

/// The call of a moved site.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub thunk: Thunk,
    /// The instructions before the site that only load the number. The thunk loads it.
    pub replaced: Option<RangeInclusive<Node>>,
    /// Whether the call must preserve the red zone.
    pub red_zone: bool,
}

/// What replaces the instruction that needs the room.
pub(super) enum Body {
    /// A call of a thunk.
    Call(Call),
    /// A store that faults. The rest of the hole is unreachable and dropped.
    Fault,
}

/// A trampoline under construction.
struct Assembly<'c> {
    code: &'c Code,
    section: usize,
    /// Address of the trampoline in its section.
    start: u64,
    bytes: Vec<u8>,
    /// The frames that its parts run with.
    parts: Vec<Moved>,
    /// The relocations of moved instructions: old and new offset.
    moved_relocs: Vec<(u64, u64)>,
    /// The offsets of the operands of calls of the thunk.
    calls: Vec<u64>,
    /// The distance of the stack pointer below the function's.
    lowered: i64,
}

impl Assembly<'_> {
    fn here(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Records that the following bytes run with the frame of address `from`.
    fn frame_of(&mut self, from: u64) {
        let at = self.bytes.len() as u64;
        self.parts.push(Moved {
            from,
            at,
            lowered: self.lowered,
        });
    }

    fn jump_to(&mut self, opcode: &[u8], target: u64) {
        let end = self.here() + opcode.len() as u64 + 4;
        self.bytes.extend_from_slice(opcode);
        self.bytes
            .extend_from_slice(&(target.wrapping_sub(end) as i32).to_le_bytes());
    }

    fn call(&mut self, thunk: Thunk) {
        self.calls.push(self.here() + 1);
        let opcode = match form::jumps_to(thunk) {
            true => JUMP,
            false => CALL,
        };
        self.bytes.extend_from_slice(&[opcode, 0, 0, 0, 0]);
        if !matches!(thunk, Thunk::Call { .. }) {
            self.bytes.extend_from_slice(&SYSCALL);
        }
    }

    /// Writes a call that preserves the red zone.
    fn guarded_call(&mut self, site: u64, thunk: Thunk) {
        let generic = thunk == Thunk::Generic;
        // If the number is unknown, the system call may be one that returns with another stack
        // pointer or takes this one as an argument. Those are made by a plain `syscall`.
        let mut to_plain = Vec::new();
        if generic {
            for number in STACK_NUMBERS {
                self.bytes.push(0x3d); // cmp $number,%eax
                self.bytes.extend_from_slice(&number.to_le_bytes());
                self.bytes.extend_from_slice(&[0x74, 0]); // je plain
                to_plain.push(self.bytes.len());
            }
        }
        self.bytes.extend_from_slice(&LOWER);
        self.lowered = RED_ZONE;
        self.frame_of(site);
        self.call(thunk);
        self.bytes.extend_from_slice(&RAISE);
        self.lowered = 0;
        self.frame_of(site);
        if generic {
            self.bytes.extend_from_slice(&[0xeb, 2]); // jmp over
            for at in to_plain {
                self.bytes[at - 1] = (self.bytes.len() - at) as u8;
            }
            self.bytes.extend_from_slice(&SYSCALL);
        }
    }

    /// Writes an instruction at its new address.
    fn moved(&mut self, content: &[u8], node: Node) {
        let instruction = &self.code.nodes[node];
        let old = instruction.ip();
        let bytes = &content[old as usize..instruction.next_ip() as usize];
        let new = self.here();
        let relocs = self
            .code
            .relocs_in(self.section, old..instruction.next_ip());
        if relocs.is_empty() && has_near_target(instruction) {
            let target = instruction.near_branch_target();
            return match instruction.condition_code() {
                ConditionCode::None => self.jump_to(&[JUMP], target),
                condition => self.jump_to(&[0x0f, condition_opcode(condition)], target),
            };
        }
        for reloc in relocs {
            self.moved_relocs
                .push((reloc.offset, new + (reloc.offset - old)));
        }
        let from = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        if instruction.is_ip_rel_memory_operand() {
            let mut decoder = Decoder::with_ip(64, bytes, old, DecoderOptions::NONE);
            let again = decoder.decode();
            let offset = decoder.get_constant_offsets(&again).displacement_offset();
            let is_relocated = relocs
                .iter()
                .any(|reloc| reloc.offset == old + offset as u64);
            if !is_relocated {
                let at = from + offset;
                let field = &mut self.bytes[at..at + 4];
                let value = i32::from_le_bytes([field[0], field[1], field[2], field[3]]);
                let value = value.wrapping_add(old.wrapping_sub(new) as i32);
                field.copy_from_slice(&value.to_le_bytes());
            }
        }
    }
}

/// The second byte of `jcc rel32`.
fn condition_opcode(condition: ConditionCode) -> u8 {
    0x80 + match condition {
        ConditionCode::o => 0x0,
        ConditionCode::no => 0x1,
        ConditionCode::b => 0x2,
        ConditionCode::ae => 0x3,
        ConditionCode::e => 0x4,
        ConditionCode::ne => 0x5,
        ConditionCode::be => 0x6,
        ConditionCode::a => 0x7,
        ConditionCode::s => 0x8,
        ConditionCode::ns => 0x9,
        ConditionCode::p => 0xa,
        ConditionCode::np => 0xb,
        ConditionCode::l => 0xc,
        ConditionCode::ge => 0xd,
        ConditionCode::le => 0xe,
        ConditionCode::g | ConditionCode::None => 0xf,
    }
}

/// Moves an instruction and its neighbours into a trampoline, and describes its frame.
pub(super) fn build(
    object: &Object<'_>,
    code: &Code,
    plan: &mut Plan,
    (site, hole, body): (Node, Hole, Body),
    frame: Option<(&Frame, &Script, Option<Cfa>)>,
) -> Result<()> {
    let section = code.section_of(site);
    let original = object.content(section);
    let start = plan.next_trampoline(object, section, ALIGN);

    let hole_start = code.nodes[hole.first].ip();
    let hole_end = code.nodes[hole.last].next_ip();
    let mut assembly = Assembly {
        code,
        section,
        start,
        bytes: Vec::new(),
        parts: Vec::new(),
        moved_relocs: Vec::new(),
        calls: Vec::new(),
        lowered: 0,
    };
    for node in hole.first..=hole.last {
        let addr = code.nodes[node].ip();
        let is_replaced = match &body {
            Body::Call(call) => call.replaced.as_ref().is_some_and(|l| l.contains(&node)),
            Body::Fault => node > site,
        };
        if is_replaced {
            continue;
        }
        assembly.frame_of(addr);
        match &body {
            _ if node != site => assembly.moved(original, node),
            Body::Call(call) if call.red_zone => assembly.guarded_call(addr, call.thunk),
            Body::Call(call) => assembly.call(call.thunk),
            Body::Fault => assembly.bytes.extend_from_slice(&STORE),
        }
    }
    if matches!(body, Body::Call(_)) && code.next(hole.last).falls {
        assembly.frame_of(hole_end);
        assembly.jump_to(&[JUMP], hole_end);
    }

    let size = assembly.bytes.len() as u64;
    plan.add_trampoline(object, section, &assembly.bytes);
    let jump = (start.wrapping_sub(hole_start + JUMP_SIZE)) as i32;
    let hole = &mut plan.content(object, section)[hole_start as usize..hole_end as usize];
    hole.fill(INT3);
    hole[0] = JUMP;
    hole[1..5].copy_from_slice(&jump.to_le_bytes());

    let symbol = match &body {
        Body::Call(call) => Some(plan.thunk_symbol(object, call.thunk)),
        Body::Fault => None,
    };
    let relocs = plan.relocs.entry(section);
    let relocs = relocs.or_insert_with(|| code.relocs_of(section).unwrap_or_default().to_vec());
    for &(old, new) in &assembly.moved_relocs {
        for reloc in relocs.iter_mut().filter(|reloc| reloc.offset == old) {
            reloc.offset = new;
        }
    }
    relocs.extend(symbol.into_iter().flat_map(|symbol| {
        let calls = assembly.calls.iter();
        calls.map(move |&offset| Reloc {
            offset,
            kind: R_X86_64_PLT32,
            symbol,
            addend: -4,
        })
    }));
    if let Some((frame, script, cfa)) = frame {
        script.describe(object, plan, frame, (start, size), &assembly.parts, cfa)?;
    }
    Ok(())
}
