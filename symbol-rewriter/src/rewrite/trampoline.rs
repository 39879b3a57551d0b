//! Trampolines: room for a call where there is none.
//!
//! A `syscall` is two bytes, a call is five. So neighbours of the site move out, together with it, to
//! the end of the section, and a jump takes the place of all of them. The end of the same section,
//! rather than a section of its own: there the jumps need no symbols and no relocations, and the
//! trampoline shares whatever happens to the function, be it a COMDAT group or the linker's garbage
//! collection.

use std::ops::RangeInclusive;

use iced_x86::{ConditionCode, Decoder, DecoderOptions, FlowControl, Mnemonic};

use crate::analysis::flow::is_call;
use crate::decode::{Code, Node, has_near_target};
use crate::error::Result;
use crate::read::elf::{Object, R_X86_64_PLT32, Reloc};
use crate::read::frames::{Cfa, Frame};
use crate::rewrite::hlt::STORE;
use crate::syscalls::STACK_NUMBERS;
use crate::thunk::Thunk;
use crate::write::cfi::{Piece, Script};
use crate::write::emit::Plan;

/// `jmp rel32`
pub(crate) const JUMP_SIZE: u64 = 5;
/// How many instructions in front of and behind a site may move.
pub(crate) const REACH: usize = 6;
const RED_ZONE: i64 = 128;
const ALIGN: usize = 16;

/// `lea -128(%rsp),%rsp`
const LOWER: [u8; 5] = [0x48, 0x8d, 0x64, 0x24, 0x80];
/// `lea 128(%rsp),%rsp`
const RAISE: [u8; 8] = [0x48, 0x8d, 0xa4, 0x24, 0x80, 0, 0, 0];
const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// `call rel32`
const CALL: [u8; 5] = [0xe8, 0, 0, 0, 0];

/// The instructions that move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hole {
    pub first: Node,
    pub last: Node,
}

/// How a moved site calls.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub thunk: Thunk,
    /// The instructions in front of the site that only load the number, which the thunk does too.
    pub replaced: Option<RangeInclusive<Node>>,
    /// Whether the stack pointer has to pass over the red zone first.
    pub red_zone: bool,
}

/// What becomes of the instruction that needs the room.
pub(crate) enum Body {
    /// A site, and how it calls.
    Call(Call),
    /// A trap, which nothing comes back from: what is behind it in the hole is dropped.
    Trap,
}

/// Finds what may move along with `site` so that a jump fits. `taken` are instructions that have
/// been changed already, `load` those that only load the number.
pub(crate) fn find_hole(
    code: &Code,
    site: Node,
    load: Option<&RangeInclusive<Node>>,
    taken: impl Fn(Node) -> bool,
) -> Option<Hole> {
    let movable = |node: Node| !taken(node) && is_movable(code, node);
    let is_site = |node: Node| code.nodes[node].mnemonic() == Mnemonic::Syscall;
    let mut best: Option<((usize, usize, u64), Hole)> = None;
    let mut first = site;
    for in_front in 0..=REACH {
        if in_front > 0 {
            // What is entered from elsewhere may only be the first to move.
            if code.is_leader((code.section_of(first), code.nodes[first].ip())) {
                break;
            }
            match code.front(first) {
                Some(node) if movable(node) && code.next(node).falls => first = node,
                _ => break,
            }
        }
        let mut last = site;
        let mut is_enough = false;
        for behind in 0..=REACH {
            if behind > 0 {
                let next = code.behind(last).filter(|&node| {
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
            // Once there is room, more only moves if that saves the jump back, and takes the room
            // of no other site.
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

/// Whether an instruction does the same at another address.
pub(crate) fn is_movable(code: &Code, node: Node) -> bool {
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
    match instruction.flow_control() {
        FlowControl::Next => !matches!(
            instruction.mnemonic(),
            // They say where they are, or what follows says so; a trap does not move as it is.
            Mnemonic::Syscall | Mnemonic::Sysenter | Mnemonic::Endbr64 | Mnemonic::Hlt
        ),
        FlowControl::Return => true,
        FlowControl::UnconditionalBranch => has_near_target(instruction),
        FlowControl::ConditionalBranch => {
            has_near_target(instruction)
                && (instruction.is_jcc_short() || instruction.is_jcc_near())
        }
        _ => {
            debug_assert!(!is_call(instruction) || instruction.op_count() > 0);
            false
        }
    }
}

/// Whether a relocation is of a TLS sequence, whose instructions the linker rewrites together.
pub(crate) fn is_tls_sequence(reloc: &Reloc) -> bool {
    const TLSGD: u32 = 19;
    const TLSLD: u32 = 20;
    const GOTPC32_TLSDESC: u32 = 34;
    const TLSDESC_CALL: u32 = 35;
    matches!(reloc.kind, TLSGD | TLSLD | GOTPC32_TLSDESC | TLSDESC_CALL)
}

/// A trampoline being put together.
struct Assembly<'c> {
    code: &'c Code,
    section: usize,
    /// Address of the trampoline in its section.
    start: u64,
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
    /// Relocations of moved instructions, by their old offset.
    moved_relocs: Vec<(u64, u64)>,
    calls: Vec<u64>,
    lowered: i64,
}

impl Assembly<'_> {
    fn here(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Notes that what follows runs with the frame of `from`.
    fn piece(&mut self, from: u64) {
        let at = self.bytes.len() as u64;
        self.pieces.push(Piece {
            from,
            at,
            lowered: self.lowered,
        });
    }

    fn jump_to(&mut self, opcode: &[u8], target: u64) {
        let behind = self.here() + opcode.len() as u64 + 4;
        self.bytes.extend_from_slice(opcode);
        self.bytes
            .extend_from_slice(&(target.wrapping_sub(behind) as i32).to_le_bytes());
    }

    fn call(&mut self, thunk: Thunk) {
        self.calls.push(self.here() + 1);
        self.bytes.extend_from_slice(&CALL);
        if !matches!(thunk, Thunk::Call { .. }) {
            self.bytes.extend_from_slice(&SYSCALL);
        }
    }

    /// The call with the red zone kept.
    fn guarded_call(&mut self, site: u64, thunk: Thunk) {
        let generic = thunk == Thunk::Generic;
        // With a number that nobody knows, it may be one that comes back with another stack pointer,
        // or means this one: those go without a call.
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
        self.piece(site);
        self.call(thunk);
        self.bytes.extend_from_slice(&RAISE);
        self.lowered = 0;
        self.piece(site);
        if generic {
            self.bytes.extend_from_slice(&[0xeb, 2]); // jmp over
            for at in to_plain {
                self.bytes[at - 1] = (self.bytes.len() - at) as u8;
            }
            self.bytes.extend_from_slice(&SYSCALL);
        }
    }

    /// An instruction at its new place.
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
                ConditionCode::None => self.jump_to(&[0xe9], target),
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

/// Moves a site or a trap and its neighbours out.
pub(crate) fn build(
    object: &Object<'_>,
    code: &Code,
    plan: &mut Plan,
    (site, hole, body): (Node, Hole, Body),
    frame: Option<(&Frame, &Script, Option<Cfa>)>,
) -> Result<()> {
    let section = code.section_of(site);
    let original = object.content(section);
    let content = plan
        .contents
        .entry(section)
        .or_insert_with(|| original.to_vec());
    content.resize(content.len().next_multiple_of(ALIGN), 0x90);

    let hole_start = code.nodes[hole.first].ip();
    let hole_end = code.nodes[hole.last].next_ip();
    let mut assembly = Assembly {
        code,
        section,
        start: content.len() as u64,
        bytes: Vec::new(),
        pieces: Vec::new(),
        moved_relocs: Vec::new(),
        calls: Vec::new(),
        lowered: 0,
    };
    for node in hole.first..=hole.last {
        let addr = code.nodes[node].ip();
        let is_replaced = match &body {
            Body::Call(call) => call.replaced.as_ref().is_some_and(|l| l.contains(&node)),
            Body::Trap => node > site,
        };
        if is_replaced {
            continue;
        }
        assembly.piece(addr);
        match &body {
            _ if node != site => assembly.moved(original, node),
            Body::Call(call) if call.red_zone => assembly.guarded_call(addr, call.thunk),
            Body::Call(call) => assembly.call(call.thunk),
            Body::Trap => assembly.bytes.extend_from_slice(&STORE),
        }
    }
    if matches!(body, Body::Call(_)) && code.next(hole.last).falls {
        assembly.piece(hole_end);
        assembly.jump_to(&[0xe9], hole_end);
    }

    let start = assembly.start;
    let size = assembly.bytes.len() as u64;
    content.extend_from_slice(&assembly.bytes);
    let jump = (start.wrapping_sub(hole_start + JUMP_SIZE)) as i32;
    let hole = &mut content[hole_start as usize..hole_end as usize];
    // What is behind the jump is never reached.
    hole.fill(0xcc);
    hole[0] = 0xe9;
    hole[1..5].copy_from_slice(&jump.to_le_bytes());

    let symbol = match &body {
        Body::Call(call) => Some(plan.thunk_symbol(object, call.thunk)),
        Body::Trap => None,
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
        script.describe(object, plan, frame, (start, size), &assembly.pieces, cfa)?;
    }
    Ok(())
}
