//! Sites: which `syscall` instructions there are, and what becomes of each.
//!
//! A rewritten site is always a call of a thunk with the `syscall` directly behind it; the thunk comes
//! back behind that. The call clobbers more than the instruction does, the arithmetic flags and a few
//! bytes below the stack pointer, and it needs room. So in this order:
//!
//! - Where the number is loaded by an instruction as long as a call, the call takes its place, right
//!   in front of the `syscall`; instructions between the two move up.
//! - Elsewhere the site moves into a trampoline, which also keeps clear of a red zone in use.
//! - What neither suits stays a `syscall`, which is slower and always right.

use std::collections::{BTreeMap, HashMap, HashSet};

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, Register};

use crate::analysis::constants::{Load, Numbers};
use crate::analysis::flow::{self, Functions, flags_dead_behind};
use crate::analysis::liveness::{self, Liveness};
use crate::analysis::redzone::{self, Use};
use crate::decode::{self, Code, Node, Place, Target};
use crate::error::Result;
use crate::options::Options;
use crate::read::elf::{Object, R_X86_64_PLT32, Reloc, STT_FUNC, STT_GNU_IFUNC};
use crate::read::frames::{Cfa, Frame, Frames};
use crate::report::LeftSite;
use crate::report::{Reason, Report, SkipReason};
use crate::rewrite::hlt;
use crate::rewrite::trampoline::{self, Body, Call, Hole};
use crate::syscalls::{EXIT, EXITS, MUNMAP, RT_SIGRETURN, STACK_NUMBERS, WHOLE_FRAME};
use crate::thunk::Thunk;
use crate::write::cfi::Script;
use crate::write::emit::Plan;

/// `call rel32`, as long as `jmp rel32`
const CALL_SIZE: u64 = 5;

/// What they begin with.
const CALL: u8 = 0xe8;
const JUMP: u8 = 0xe9;

const SYSCALL_SIZE: u64 = 2;

const NOP: u8 = 0x90;

const CS_PREFIX: u8 = 0x2e;

/// How many prefixes of an instruction are decoded as fast as none.
const MANY_PREFIXES: usize = 4;

/// How many instructions may stand between the load of the number and the `syscall`.
const SLIDE_REACH: usize = 16;

/// How many instructions behind a `munmap` may go by before one needs the stack.
const STACK_REACH: usize = 64;

/// Symbols around code whose very addresses a signal handler compares with.
const CANCELLATION_RANGES: [&[u8]; 2] = [b"__syscall_cancel_arch_start", b"__cp_begin"];

/// Finds the sites of `object`, and plans what becomes of them.
pub(crate) fn rewrite(
    place: &str,
    object: &Object<'_>,
    plan: &mut Plan,
    report: &mut Report,
    options: &Options,
) -> Result<()> {
    if object.symbol_section().is_none() || !decode::has_sites(object)? {
        return Ok(());
    }
    let (frames, frames_complete) = Frames::read(object)?;
    let code = Code::decode(object, &frames)?;
    let sites: Vec<Node> = (0..code.nodes.len())
        .filter(|&node| decode::is_site(&code.nodes[node]))
        .filter(|&node| !is_rewritten(object, &code, node))
        .collect();
    if sites.is_empty() && !code.nodes.iter().any(decode::is_trap) {
        return Ok(());
    }
    let functions = Functions::group(&code);
    let numbers = Numbers::find(&code, &functions, |function| {
        !frames_complete
            || jumps_anywhere(&code, &functions, function)
            || has_landing_pads(&code, &functions, &frames, function)
    });
    let mut work = Work {
        object,
        code: &code,
        frames: &frames,
        frames_complete,
        functions: &functions,
        numbers: &numbers,
        uses: HashMap::new(),
        changed: HashSet::new(),
        liveness: options
            .call_form
            .then(|| Liveness::new(object, &code, &functions, &numbers)),
        cancellation_ranges: cancellation_ranges(object)?,
        preserved: BTreeMap::new(),
        skipped: BTreeMap::new(),
        plan,
    };
    report.sites += sites.len();
    let traps = hlt::find(&mut work, place, report);
    let traps = hlt::rewrite_in_place(&mut work, traps, report);
    let leave = |report: &mut Report, where_: String, reason| {
        report.left.push(LeftSite { where_, reason });
    };
    // The places of calls first, so that no trampoline takes the instructions they need.
    let mut to_move = Vec::new();
    for site in sites {
        match work.check(site) {
            Err(reason) => leave(report, work.name(place, site), reason),
            Ok(()) if work.rewrite_in_place(site)? => report.in_place += 1,
            Ok(()) => to_move.push(site),
        }
    }
    let mut moved = Vec::new();
    for site in to_move {
        match work.rewrite_by_trampoline(site)? {
            Err(reason) => leave(report, work.name(place, site), reason),
            Ok(described) => {
                moved.push(site);
                report.trampoline += 1;
                report.undescribed += usize::from(!described);
            }
        }
    }
    moved.extend(hlt::rewrite_by_trampoline(&mut work, traps, report)?);
    let mut by_section: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for node in moved {
        let places = by_section.entry(code.section_of(node)).or_default();
        places.push(code.nodes[node].ip());
    }
    for (section, places) in by_section {
        extend_function(object, work.plan, section, &places)?;
    }
    report.preserved = work.preserved;
    report.skipped = work.skipped;
    for (&section, relocs) in &mut work.plan.relocs {
        if object.sections[section].is_code() {
            relocs.sort_by_key(|reloc| reloc.offset);
        }
    }
    Ok(())
}

/// Makes the last function of a section reach over the trampolines behind it, if they are all its own.
///
/// So debuggers and profilers find a name for them. Those of other functions have to go without:
/// a symbol of their own would have to stand among the local ones, and change the number of all
/// others.
fn extend_function(
    object: &Object<'_>,
    plan: &mut Plan,
    section: usize,
    moved: &[u64],
) -> Result<()> {
    let mut last = Vec::new();
    for (index, symbol) in object.symbols().enumerate() {
        let symbol = symbol?;
        let is_function = matches!(symbol.kind, STT_FUNC | STT_GNU_IFUNC);
        if symbol.section != Some(section) || !is_function || symbol.size == 0 {
            continue;
        }
        match last.first() {
            Some(&(_, value)) if value > symbol.value => {}
            Some(&(_, value)) if value == symbol.value => last.push((index, symbol.value)),
            _ => last = vec![(index, symbol.value)],
        }
    }
    let (Some(&(_, start)), Some(content)) = (last.first(), plan.contents.get(&section)) else {
        return Ok(());
    };
    if moved.iter().all(|&place| place >= start) {
        let size = content.len() as u64 - start;
        plan.sizes
            .extend(last.into_iter().map(|(index, _)| (index, size)));
    }
    Ok(())
}

/// Whether a `syscall` is the second half of a site that has been rewritten before.
fn is_rewritten(object: &Object<'_>, code: &Code, site: Node) -> bool {
    let Some(front) = code
        .front(site)
        .filter(|&front| flow::is_call(&code.nodes[front]))
    else {
        return false;
    };
    let bytes = code.nodes[front].ip()..code.nodes[front].next_ip();
    code.relocs_in(code.section_of(front), bytes)
        .iter()
        .any(|reloc| {
            object
                .symbol(reloc.symbol as usize)
                .and_then(|symbol| object.symbol_name(&symbol))
                .is_ok_and(|name| name.starts_with(b"__ukl_sys"))
        })
}

/// Where the object has code that a signal handler recognises by its address.
fn cancellation_ranges(object: &Object<'_>) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    for symbol in object.symbols() {
        let symbol = symbol?;
        if let Some(section) = symbol.section
            && CANCELLATION_RANGES.contains(&object.symbol_name(&symbol)?)
        {
            places.push((section, symbol.value));
        }
    }
    Ok(places)
}

/// One object's code, what is known of it, and what has been done to it.
pub(crate) struct Work<'w, 'd> {
    pub object: &'w Object<'d>,
    pub code: &'w Code,
    pub frames: &'w Frames,
    /// Whether all frame descriptions could be read.
    pub frames_complete: bool,
    pub functions: &'w Functions,
    numbers: &'w Numbers,
    uses: HashMap<usize, Use>,
    /// Instructions that are no longer what they were.
    pub changed: HashSet<Node>,
    /// Only where sites may take the call form.
    liveness: Option<Liveness<'w, 'd>>,
    pub cancellation_ranges: Vec<Place>,
    /// How many sites have taken the call form, by the registers that live on behind them.
    preserved: BTreeMap<u8, usize>,
    /// How many have not, and why.
    skipped: BTreeMap<SkipReason, usize>,
    pub plan: &'w mut Plan,
}

impl<'w> Work<'w, '_> {
    fn red_zone_of(&mut self, site: Node) -> &Use {
        let (code, functions) = (self.code, self.functions);
        let function = functions.of_region(code.region_of(site));
        self.uses.entry(function).or_insert_with(|| {
            redzone::analyse(code, &functions.regions(function).collect::<Vec<_>>())
        })
    }

    /// The function that an instruction is part of.
    pub fn function_of(&self, node: Node) -> usize {
        self.functions.of_region(self.code.region_of(node))
    }

    /// What the report calls an instruction.
    pub fn name(&self, place: &str, node: Node) -> String {
        let section = self.object.sections[self.code.section_of(node)].name;
        let section = String::from_utf8_lossy(section);
        format!("{place}:{section}+{:#x}", self.code.nodes[node].ip())
    }

    /// Whether what was decoded as an instruction is certainly one.
    pub fn is_certain(&mut self, node: Node) -> bool {
        let code = self.code;
        let section = code.section_of(node);
        let addr = code.nodes[node].ip();
        !code.is_bad(section, addr)
            && (code.in_function(section, addr)
                || self.frames.at(section, addr).is_some()
                || self.red_zone_of(node).reaches(node))
    }

    /// Whether a site may be rewritten at all.
    fn check(&mut self, site: Node) -> std::result::Result<(), Reason> {
        let code = self.code;
        let section = code.section_of(site);
        let addr = code.nodes[site].ip();
        if !self.is_certain(site) {
            return Err(Reason::NotCode);
        }
        if self.numbers.at(site) == Some(RT_SIGRETURN) {
            return Err(Reason::SignalReturn);
        }
        if code.relocs_of(section).is_none() {
            return Err(Reason::Relocations);
        }
        let bytes = addr..code.nodes[site].next_ip();
        if !code.relocs_in(section, bytes).is_empty() {
            return Err(Reason::Relocations);
        }
        let comes_back = !self
            .numbers
            .at(site)
            .is_some_and(|number| EXITS.contains(&number));
        if comes_back && !flags_dead_behind(code, site) {
            return Err(Reason::FlagsLive);
        }
        if stack_may_be_gone(code, self.numbers, site) {
            return Err(Reason::StackGone);
        }
        if self.numbers.at(site) == Some(EXIT) {
            return Err(Reason::ThreadExit);
        }
        Ok(())
    }

    /// Why a site cannot have its `syscall` replaced along with the number, if so.
    fn keeps_syscall(&self, site: Node, number: u32) -> Option<SkipReason> {
        let (code, functions) = (self.code, self.functions);
        let section = code.section_of(site);
        if WHOLE_FRAME.contains(&number) {
            return Some(SkipReason::WholeFrame);
        }
        if number == MUNMAP && may_free_stack(code, site) {
            return Some(SkipReason::StackGone);
        }
        if code.is_leader((section, code.nodes[site].ip()))
            || jumps_anywhere(code, self.functions, self.function_of(site))
        {
            return Some(SkipReason::Entered);
        }
        let function = functions.of_region(code.region_of(site));
        let has_range = self.cancellation_ranges.iter().any(|&place| {
            code.node_at(place)
                .is_some_and(|node| functions.of_region(code.region_of(node)) == function)
        });
        let is_address_taken = !EXITS.contains(&number)
            && code.is_address_taken((section, code.nodes[site].next_ip()));
        if has_range || is_address_taken {
            return Some(SkipReason::AddressTaken);
        }
        let changes_flags = functions.regions(function).any(|region| {
            let mut nodes = code.regions[region].nodes.clone();
            nodes.any(|node| liveness::changes_direction(&code.nodes[node]))
        });
        changes_flags.then_some(SkipReason::Direction)
    }

    /// The thunk that a site calls, in the one form or the other, and why in the other.
    fn thunk_for(
        &mut self,
        site: Node,
        number: Option<u32>,
    ) -> Result<(Thunk, Option<SkipReason>)> {
        let skip_form = number.map_or(Thunk::Generic, Thunk::Number);
        let skipped = match number {
            _ if self.liveness.is_none() => None,
            None => Some(SkipReason::UnknownNumber),
            Some(number) => self.keeps_syscall(site, number),
        };
        Ok(match (&mut self.liveness, number, skipped) {
            (Some(liveness), Some(number), None) => {
                let preserved = match EXITS.contains(&number) {
                    true => 0,
                    false => liveness.behind(site)?,
                };
                (Thunk::Call { number, preserved }, None)
            }
            (_, _, skipped) => (skip_form, skipped),
        })
    }

    /// Counts a site that has been rewritten.
    fn count(&mut self, thunk: Thunk, skipped: Option<SkipReason>) {
        if let Thunk::Call { preserved, .. } = thunk {
            *self.preserved.entry(preserved).or_default() += 1;
        } else if let Some(reason) = skipped {
            *self.skipped.entry(reason).or_default() += 1;
        }
    }

    /// Puts a call in the place of what loads the number, if that can be done.
    fn rewrite_in_place(&mut self, site: Node) -> Result<bool> {
        let code = self.code;
        let Some(load) = self.numbers.load_for(code, site) else {
            return Ok(false);
        };
        if self.red_zone_of(site).in_use {
            return Ok(false);
        }
        let section = code.section_of(site);
        let (from, to) = (code.nodes[load.first].ip(), code.nodes[site].ip());
        let loaded = code.nodes[load.last].next_ip();
        let (thunk, skipped) = self.thunk_for(site, Some(load.number))?;
        // The one form has the `syscall` to take the place of as well.
        let room = match thunk {
            Thunk::Call { .. } => loaded - from + SYSCALL_SIZE,
            _ => loaded - from,
        };
        // Unwinders look at what is in front of the return address: there the frame has to be the one
        // of the `syscall`.
        let is_covered = site == load.last + 1
            && (load.first == load.last || matches!(thunk, Thunk::Call { .. }));
        let fits = room >= CALL_SIZE
            && code.relocs_in(section, from..loaded).is_empty()
            && (load.first..=site).all(|node| !self.changed.contains(&node))
            && site - load.last <= SLIDE_REACH
            && (load.last + 1..site).all(|node| {
                trampoline::is_movable(code, node)
                    && code.nodes[node].flow_control() == FlowControl::Next
            })
            && !code.has_leader(section, from + 1..to)
            && (site == load.last + 1
                || !jumps_anywhere(code, self.functions, self.function_of(site)))
            && (is_covered || self.keeps_frame(section, from, to)?);
        if fits && self.slide(section, load, site, thunk) {
            self.count(thunk, skipped);
            return Ok(true);
        }
        Ok(false)
    }

    /// Whether no frame changes between two addresses, as that would have to move too.
    fn keeps_frame(&self, section: usize, from: u64, to: u64) -> Result<bool> {
        let behind = self.frames.at(section, to);
        let Some(frame) = self.frames.at(section, from) else {
            return Ok(self.frames_complete && behind.is_none());
        };
        let unchanged = match Script::read(self.object, frame) {
            Ok(Some(script)) => !script.changes_in(from + 1..to + 1),
            _ => false,
        };
        Ok(unchanged && behind.is_some_and(|behind| behind.start == frame.start))
    }

    /// Whether a return follows: the thunk's own does as well then.
    fn returns_behind(&self, site: Node) -> bool {
        let (code, next) = (self.code, site + 1);
        let (section, end) = (code.section_of(site), code.nodes[site].next_ip());
        code.node_at((section, end)) == Some(next)
            && code.nodes[next].mnemonic() == Mnemonic::Ret
            && code.nodes[next].op_count() == 0
    }

    /// Takes the load out, moves what is behind it up, and puts the call in front of the site.
    fn slide(&mut self, section: usize, load: Load, site: Node, thunk: Thunk) -> bool {
        let (code, object) = (self.code, self.object);
        let Some(relocs) = code.relocs_of(section) else {
            return false;
        };
        let opcode = match thunk {
            Thunk::Call { .. } if self.returns_behind(site) => JUMP,
            _ => CALL,
        };
        let symbol = self.plan.thunk_symbol(object, thunk);
        let original = object.content(section);
        let content = self
            .plan
            .contents
            .entry(section)
            .or_insert_with(|| original.to_vec());
        let relocs = self
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
            if instruction.is_ip_rel_memory_operand()
                && code.relocs_in(section, own.clone()).is_empty()
            {
                let mut decoder = Decoder::with_ip(64, bytes, old, DecoderOptions::NONE);
                let again = decoder.decode();
                let offset = decoder.get_constant_offsets(&again).displacement_offset();
                let field = &mut new[offset..offset + 4];
                let value = i32::from_le_bytes([field[0], field[1], field[2], field[3]]);
                let value = value.wrapping_add(old.wrapping_sub(at) as i32);
                field.copy_from_slice(&value.to_le_bytes());
            }
            // Moved relocations leave the range they came from, as what moves up goes in order.
            for reloc in relocs
                .iter_mut()
                .filter(|reloc| own.contains(&reloc.offset))
            {
                reloc.offset -= old - at;
            }
            at += bytes.len() as u64;
        }
        let syscall = code.nodes[site].ip();
        let end = match thunk {
            Thunk::Call { .. } => code.nodes[site].next_ip(),
            _ => syscall,
        };
        let call = (end - CALL_SIZE) as usize;
        // Where it takes the place of all, the call fills what is left itself: a `cs` prefix means
        // nothing to it.
        let filling = match thunk {
            Thunk::Call { .. } if call - at as usize <= MANY_PREFIXES => CS_PREFIX,
            _ => NOP,
        };
        content[at as usize..call].fill(filling);
        content[call..end as usize].copy_from_slice(&[opcode, 0, 0, 0, 0]);
        relocs.push(Reloc {
            offset: call as u64 + 1,
            kind: R_X86_64_PLT32,
            symbol,
            addend: -4,
        });
        self.changed.extend(load.first..=site);
        true
    }

    /// Moves a site into a trampoline; tells whether it got a frame description.
    fn rewrite_by_trampoline(&mut self, site: Node) -> Result<std::result::Result<bool, Reason>> {
        let (code, object) = (self.code, self.object);
        let section = code.section_of(site);
        if !self.cancellation_ranges.is_empty() {
            return Ok(Err(Reason::CancellationRange));
        }
        if falls_through_section(object, code, section) {
            return Ok(Err(Reason::FallsOnward));
        }
        let number = self.numbers.at(site);
        let red_zone = self.red_zone_of(site).in_use;
        if red_zone && number.is_some_and(|number| STACK_NUMBERS.contains(&number)) {
            return Ok(Err(Reason::RedZone));
        }
        // What the thunk loads need not be loaded; but a zero may be there for its flags as well.
        let load = self
            .numbers
            .load_for(code, site)
            .filter(|_| number.is_some())
            .filter(|load| {
                code.nodes[load.last].mnemonic() != Mnemonic::Xor
                    || (load.last + 1..site).all(|node| code.nodes[node].rflags_read() == 0)
            })
            .map(|load| load.first..=load.last);
        let is_taken = |node| self.changed.contains(&node);
        let Some(hole) = trampoline::find_hole(code, site, load.as_ref(), is_taken) else {
            return Ok(Err(Reason::NoRoom));
        };
        if jumps_anywhere(code, self.functions, self.function_of(site)) && hole.first != hole.last {
            return Ok(Err(Reason::ComputedJump));
        }

        let description = match self.description(section, hole)? {
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
        let (thunk, skipped) = self.thunk_for(site, number)?;
        let call = Call {
            thunk,
            replaced: load.filter(|load| hole.first <= *load.start()),
            red_zone,
        };
        self.changed.extend(hole.first..=hole.last);
        trampoline::build(
            object,
            code,
            self.plan,
            (site, hole, Body::Call(call)),
            description
                .as_ref()
                .map(|(frame, script)| (*frame, script, cfa)),
        )?;
        self.count(thunk, skipped);
        Ok(Ok(description.is_some()))
    }

    /// The description of the frame that the code of a hole runs with, if there is any; the reason
    /// if that code cannot move.
    pub fn description(
        &self,
        section: usize,
        hole: Hole,
    ) -> Result<std::result::Result<Option<(&'w Frame, Script)>, Reason>> {
        let frame_of = |node: Node| self.frames.at(section, self.code.nodes[node].ip());
        let Some(frame) = frame_of(hole.first) else {
            let is_known =
                self.frames_complete && (hole.first..=hole.last).all(|n| frame_of(n).is_none());
            return Ok(if is_known {
                Ok(None)
            } else {
                Err(Reason::Frame)
            });
        };
        if frame.has_tables {
            return Ok(Err(Reason::LandingPads));
        }
        let is_whole = (hole.first..=hole.last)
            .all(|node| frame_of(node).is_some_and(|other| other.start == frame.start));
        Ok(match Script::read(self.object, frame)? {
            Some(script) if is_whole => Ok(Some((frame, script))),
            _ => Err(Reason::Frame),
        })
    }
}

/// Whether the code of a section may go on into whatever the linker puts behind it, as that of
/// `.init` does: then nothing can be added at its end.
pub(crate) fn falls_through_section(object: &Object<'_>, code: &Code, section: usize) -> bool {
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
    // Filling behind the last instruction that does something is no way on.
    let mut node = last;
    while flow::is_filling(&code.nodes[node]) {
        match code.front(node) {
            Some(front) => node = front,
            None => return true,
        }
    }
    let instruction = &code.nodes[node];
    code.next(node).falls && !flow::is_call(instruction) && !decode::is_trap(instruction)
}

/// Whether a function jumps to addresses that nothing shows. Then nothing in it may move: any
/// instruction may be a target.
pub(crate) fn jumps_anywhere(code: &Code, functions: &Functions, function: usize) -> bool {
    functions.regions(function).any(|region| {
        let region = &code.regions[region];
        region
            .nodes
            .clone()
            .any(|node| code.next(node).indirect && !is_tail_call(code, node))
            && !code.has_taken(region.section, region.start + 1..region.end)
    })
}

/// Whether a function has landing pads, which are entered by ways that no instruction shows.
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

/// Whether a jump to a computed address leaves the function: it comes right behind what takes the
/// function's frame down.
fn is_tail_call(code: &Code, jump: Node) -> bool {
    code.front(jump)
        .is_some_and(|front| match code.nodes[front].mnemonic() {
            Mnemonic::Pop | Mnemonic::Leave => true,
            Mnemonic::Add => code.nodes[front].op0_register() == Register::RSP,
            _ => false,
        })
}

/// Whether a site comes after a `munmap` with nothing in between that needs a stack.
///
/// That is how a thread leaves that frees its own stack: the next call has none to push to.
fn stack_may_be_gone(code: &Code, numbers: &Numbers, site: Node) -> bool {
    let mut node = site;
    while let Some(front) = code.front(node) {
        node = front;
        let instruction = &code.nodes[node];
        if instruction.mnemonic() == Mnemonic::Syscall {
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

/// Whether a `munmap` may free the stack: whether it goes on without one, up to another call.
fn may_free_stack(code: &Code, site: Node) -> bool {
    let mut node = site;
    for _ in 0..STACK_REACH {
        let next = code.next(node);
        let on = match next.branch {
            _ if next.falls => code.behind(node),
            Some(Target::Node(to)) => Some(to),
            // The last action of the function: its stack is still there.
            Some(Target::Outside) => return false,
            _ => return code.nodes[node].flow_control() != FlowControl::Return,
        };
        node = match on {
            Some(on) if code.nodes[on].mnemonic() != Mnemonic::Syscall => on,
            _ => return true,
        };
        if uses_stack(&code.nodes[node]) {
            return false;
        }
    }
    true
}

fn uses_stack(instruction: &Instruction) -> bool {
    instruction.is_stack_instruction()
        || matches!(instruction.memory_base(), Register::RSP | Register::RBP)
}
