//! Decoding: the machine code of an object as instructions, and where control goes from each.
//!
//! Code is decoded, never scanned: the bytes of a `syscall` also occur within other instructions.
//! The sweep is linear and starts afresh at each symbol, so that what is not code in between cannot
//! put it out of step for long; a stretch in which it met something that is no instruction is not
//! trusted at all.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind};

use crate::error::Result;
use crate::read::elf::{
    Object, R_X86_64_PLT32, Reloc, SHF_ALLOC, SHT_NOTE, STT_FILE, STT_FUNC, STT_GNU_IFUNC,
    STT_OBJECT, STT_SECTION, STT_TLS, Symbol,
};
use crate::read::frames::Frames;

const R_X86_64_PC32: u32 = 2;
const R_X86_64_PC16: u32 = 13;
const R_X86_64_PC8: u32 = 15;
const R_X86_64_PC64: u32 = 24;

/// What loads a symbol's address from the GOT: `R_X86_64_GOTPCREL`, `GOTPCRELX` and `REX_GOTPCRELX`.
const GOT_ENTRIES: [u32; 3] = [9, 41, 42];

/// A place in the code: section and address.
pub(crate) type Place = (usize, u64);

/// Index of an instruction.
pub(crate) type Node = usize;

/// Where a branch goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// To an instruction of this object.
    Node(Node),
    /// Into another object.
    Outside,
    /// Where no decoded instruction starts.
    Unknown,
}

/// Where control may go from an instruction.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Next {
    /// To the instruction behind it.
    pub falls: bool,
    /// Along a direct branch. Calls are not followed.
    pub branch: Option<Target>,
    /// Along a jump to a computed address.
    pub indirect: bool,
}

/// A stretch of code that begins at a symbol, a frame description or the target of a call.
#[derive(Debug, Clone)]
pub(crate) struct Region {
    pub section: usize,
    pub start: u64,
    pub end: u64,
    /// The instructions in it.
    pub nodes: std::ops::Range<Node>,
    /// Whether a function may begin here, rather than a part of one.
    pub is_entry: bool,
    /// Whether it begins at a symbol that says it is a function.
    pub is_function: bool,
}

/// The decoded code of an object.
pub(crate) struct Code {
    pub nodes: Vec<Instruction>,
    sections: Vec<CodeSection>,
    pub regions: Vec<Region>,
    symbols: Vec<Symbol>,
    /// Places that may be entered from elsewhere than the instruction in front.
    leaders: BTreeSet<Place>,
    /// Places that relocations of data refer to: jump tables and pointers to functions.
    taken: BTreeSet<Place>,
    /// Places whose addresses are known by other means than a branch: by a symbol, by a relocation
    /// or by an instruction that makes them.
    address_taken: BTreeSet<Place>,
}

struct CodeSection {
    index: usize,
    nodes: std::ops::Range<Node>,
    /// Stretches that did not decode.
    bad: Vec<(u64, u64)>,
    relocs: Vec<Reloc>,
    relocs_known: bool,
    /// Symbols with a size that are functions.
    functions: Vec<(u64, u64)>,
}

/// `hlt`
pub(crate) const HLT: u8 = 0xf4;

/// Whether any code of the object holds a `syscall` or a `hlt`.
///
/// Most objects have neither. The search for their bytes tells many of those from the others, and
/// the decoder only looks at the stretches that have them.
pub(crate) fn has_sites(object: &Object<'_>) -> Result<bool> {
    let may_have = |bytes: &[u8]| {
        memchr::memchr(HLT, bytes).is_some() || memchr::memmem::find(bytes, &[0x0f, 0x05]).is_some()
    };
    let is_candidate =
        |index: usize| object.sections[index].is_code() && may_have(object.content(index));
    let candidates: Vec<usize> = (0..object.sections.len())
        .filter(|&index| is_candidate(index))
        .collect();
    if candidates.is_empty() {
        return Ok(false);
    }
    let mut code = Code::new(object)?;
    code.sections
        .retain(|section| candidates.contains(&section.index));
    let starts = code.starts(object, &Frames::default())?;
    for (section, starts) in code.sections.iter().zip(&starts) {
        let bytes = object.content(section.index);
        let is_wanted = |start, end| may_have(&bytes[start as usize..end as usize]);
        let mut found = false;
        sweep(bytes, starts, is_wanted, |instruction| {
            found = is_site(instruction) || is_trap(instruction);
            match found {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether an instruction makes a system call.
pub(crate) fn is_site(instruction: &Instruction) -> bool {
    instruction.mnemonic() == Mnemonic::Syscall
}

/// Whether an instruction is there to kill the program, and would not do so at ring 0.
pub(crate) fn is_trap(instruction: &Instruction) -> bool {
    instruction.mnemonic() == Mnemonic::Hlt
}

/// A start of a linear sweep.
#[derive(Clone, Copy, Default)]
struct Start {
    function: bool,
    entry: bool,
    data: bool,
}

/// Decodes code linearly, afresh from each start, as long as `each` wants to see more; `is_wanted`
/// says which stretches. Returns those that did not decode.
fn sweep(
    bytes: &[u8],
    starts: &BTreeMap<u64, Start>,
    is_wanted: impl Fn(u64, u64) -> bool,
    mut each: impl FnMut(&Instruction) -> ControlFlow<()>,
) -> Vec<(u64, u64)> {
    let mut bad = Vec::new();
    let ends = starts.keys().copied().skip(1).chain([bytes.len() as u64]);
    let mut decoder = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    for ((&start, kind), end) in starts.iter().zip(ends) {
        if kind.data || !is_wanted(start, end) || decoder.set_position(start as usize).is_err() {
            continue;
        }
        decoder.set_ip(start);
        while decoder.ip() < end {
            decoder.decode_out(&mut instruction);
            if instruction.is_invalid() || instruction.next_ip() > end {
                bad.push((start, end));
                break;
            }
            if each(&instruction).is_break() {
                return bad;
            }
        }
    }
    bad
}

impl Code {
    /// The sections of code, not decoded yet.
    fn new(object: &Object<'_>) -> Result<Code> {
        let mut code = Code {
            nodes: Vec::new(),
            sections: Vec::new(),
            regions: Vec::new(),
            symbols: object.symbols().collect::<Result<_>>()?,
            leaders: BTreeSet::new(),
            taken: BTreeSet::new(),
            address_taken: BTreeSet::new(),
        };
        for (index, section) in object.sections.iter().enumerate() {
            if section.is_code() {
                code.sections.push(CodeSection {
                    index,
                    nodes: 0..0,
                    bad: Vec::new(),
                    relocs: Vec::new(),
                    relocs_known: true,
                    functions: Vec::new(),
                });
            }
        }
        Ok(code)
    }

    /// Decodes all code of `object`.
    pub fn decode(object: &Object<'_>, frames: &Frames) -> Result<Code> {
        let mut code = Code::new(object)?;
        for section in &mut code.sections {
            match object.relocs_for(section.index)? {
                Some(relocs) => section.relocs = relocs,
                None => section.relocs_known = false,
            }
            section.relocs.sort_by_key(|reloc| reloc.offset);
        }
        let mut starts = code.starts(object, frames)?;
        for (position, starts) in starts.iter().enumerate() {
            code.sweep(object, position, starts);
        }
        code.find_leaders(object, &mut starts)?;
        code.cut_regions(object, &starts);
        Ok(code)
    }

    /// Where each section's sweep starts afresh.
    fn starts(
        &mut self,
        object: &Object<'_>,
        frames: &Frames,
    ) -> Result<Vec<BTreeMap<u64, Start>>> {
        let mut starts = vec![BTreeMap::<u64, Start>::new(); self.sections.len()];
        for symbol in &self.symbols {
            let Some(position) = symbol.section.and_then(|index| self.position(index)) else {
                continue;
            };
            if matches!(symbol.kind, STT_SECTION | STT_FILE | STT_TLS) {
                continue;
            }
            let index = self.sections[position].index;
            self.address_taken.insert((index, symbol.value));
            if symbol.value >= object.sections[index].size {
                self.leaders.insert((index, symbol.value));
                continue;
            }
            let name = object.symbol_name(symbol)?;
            // The part of a function that the compiler thinks is seldom run: entered by jumps.
            let is_part = memchr::memmem::find(name, b".cold").is_some();
            let is_function = matches!(symbol.kind, STT_FUNC | STT_GNU_IFUNC);
            self.leaders.insert((index, symbol.value));
            let start = starts[position].entry(symbol.value).or_default();
            start.function |= is_function && !is_part;
            start.entry |= !is_part;
            start.data |= symbol.kind == STT_OBJECT;
            if is_function && symbol.size > 0 {
                self.sections[position]
                    .functions
                    .push((symbol.value, symbol.size));
            }
        }
        for frame in frames.iter() {
            let Some(position) = self.position(frame.code) else {
                continue;
            };
            if frame.start >= object.sections[frame.code].size {
                continue;
            }
            self.leaders.insert((frame.code, frame.start));
            starts[position]
                .entry(frame.start)
                .or_insert_with(|| Start {
                    // Parts of functions have frame descriptions too, but those do not begin with a
                    // stack that holds nothing but the return address.
                    entry: frame.cfa(object, frame.start)
                        == Some(crate::read::frames::Cfa::StackPointer(8)),
                    ..Start::default()
                });
        }
        for starts in &mut starts {
            starts.entry(0).or_insert(Start {
                entry: true,
                ..Start::default()
            });
        }
        Ok(starts)
    }

    fn sweep(&mut self, object: &Object<'_>, position: usize, starts: &BTreeMap<u64, Start>) {
        let bytes = object.content(self.sections[position].index);
        let first = self.nodes.len();
        let bad = sweep(
            bytes,
            starts,
            |_, _| true,
            |instruction| {
                self.nodes.push(*instruction);
                ControlFlow::Continue(())
            },
        );
        self.sections[position].bad = bad;
        self.sections[position].nodes = first..self.nodes.len();
    }

    /// Finds every place that may be entered from elsewhere than from the instruction in front.
    ///
    /// It is better to find too many: a place that is none only keeps its neighbours from moving.
    fn find_leaders(
        &mut self,
        object: &Object<'_>,
        starts: &mut [BTreeMap<u64, Start>],
    ) -> Result<()> {
        // What code refers to outside of code: the places where jump tables may begin.
        let mut tables: BTreeSet<Place> = BTreeSet::new();
        for position in 0..self.sections.len() {
            let index = self.sections[position].index;
            for node in self.sections[position].nodes.clone() {
                let instruction = self.nodes[node];
                if instruction.is_ip_rel_memory_operand()
                    && self
                        .relocs_in(index, instruction.ip()..instruction.next_ip())
                        .is_empty()
                {
                    self.address_taken
                        .insert((index, instruction.ip_rel_memory_address()));
                }
                if let Ok(Some(place)) = self.branch_place(index, &instruction) {
                    self.leaders.insert(place);
                    if instruction.flow_control() == FlowControl::Call
                        && let Some(position) = self.position(place.0)
                        && place.1 < object.sections[place.0].size
                    {
                        starts[position].entry(place.1).or_default().entry = true;
                    }
                }
            }
            for reloc in &self.sections[position].relocs {
                let symbol = self.symbols[reloc.symbol as usize];
                let Some(section) = symbol.section else {
                    continue;
                };
                let base = symbol.value.wrapping_add_signed(reloc.addend);
                let place = if is_pc_relative(reloc.kind) || GOT_ENTRIES.contains(&reloc.kind) {
                    let behind = self
                        .containing(index, reloc.offset)
                        .map_or(4, |node| self.nodes[node].next_ip() - reloc.offset);
                    base.wrapping_add(behind)
                } else {
                    base
                };
                if self.position(section).is_some() {
                    self.leaders.insert((section, place));
                    self.address_taken.insert((section, place));
                } else {
                    tables.insert((section, place));
                }
            }
        }
        for symbol in &self.symbols {
            if let Some(section) = symbol.section
                && symbol.kind != STT_SECTION
            {
                tables.insert((section, symbol.value));
            }
        }
        for (of, reloc_section) in object.reloc_sections() {
            let section = &object.sections[of];
            let is_loaded = section.flags & SHF_ALLOC != 0 || section.kind == SHT_NOTE;
            if section.is_code() || !is_loaded || section.name == b".eh_frame" {
                continue;
            }
            let Some(mut relocs) = object.relocs(reloc_section)? else {
                continue;
            };
            relocs.sort_by_key(|reloc| reloc.offset);
            // Entries of one table stand in a row.
            for run in relocs.chunk_by(|a, b| {
                b.offset - a.offset == 4 && is_pc_relative(a.kind) && is_pc_relative(b.kind)
            }) {
                self.take_run(of, run, &tables);
            }
        }
        Ok(())
    }

    /// Notes the places in the code that a row of relocations of data refers to.
    fn take_run(&mut self, section: usize, run: &[Reloc], tables: &BTreeSet<Place>) {
        // An entry of a table may be relative to the table's beginning rather than to itself: its
        // addend then holds the distance from there as well. The beginning is what something refers
        // to, or the beginning of the row.
        let distance = |way: usize, reloc: &Reloc| match way {
            _ if !is_pc_relative(reloc.kind) => 0,
            0 => 0,
            1 => {
                let base = tables
                    .range((section, 0)..=(section, reloc.offset))
                    .next_back()
                    .map_or(0, |&(_, base)| base);
                reloc.offset - base
            }
            _ => reloc.offset - run[0].offset,
        };
        let ways = [0, 1, 2].map(|way| {
            let places: Vec<Place> = run
                .iter()
                .filter_map(|reloc| {
                    let symbol = self.symbols[reloc.symbol as usize];
                    let target = symbol.section.filter(|&s| self.position(s).is_some())?;
                    let place = symbol.value.wrapping_add_signed(reloc.addend);
                    Some((target, place.wrapping_sub(distance(way, reloc))))
                })
                .collect();
            // The right way leads to instructions, and to nowhere between.
            let is_likely = places.iter().all(|&place| self.node_at(place).is_some());
            (is_likely, places)
        });
        let any_likely = ways.iter().any(|(is_likely, _)| *is_likely);
        for (is_likely, places) in ways {
            if is_likely || !any_likely {
                for place in places {
                    self.add_taken(place);
                }
            }
        }
    }

    fn add_taken(&mut self, place: Place) {
        self.leaders.insert(place);
        self.taken.insert(place);
        self.address_taken.insert(place);
    }

    fn cut_regions(&mut self, object: &Object<'_>, starts: &[BTreeMap<u64, Start>]) {
        for (position, starts) in starts.iter().enumerate() {
            let index = self.sections[position].index;
            let size = object.sections[index].size;
            let ends = starts.keys().copied().skip(1).chain([size]);
            for ((&start, kind), end) in starts.iter().zip(ends) {
                let nodes = self.sections[position].nodes.clone();
                let find = |addr| {
                    nodes.start + self.nodes[nodes.clone()].partition_point(|n| n.ip() < addr)
                };
                self.regions.push(Region {
                    section: index,
                    start,
                    end,
                    nodes: find(start)..find(end),
                    is_entry: kind.entry,
                    is_function: kind.function,
                });
            }
        }
    }

    /// Position of a section in `sections`.
    fn position(&self, index: usize) -> Option<usize> {
        self.sections
            .binary_search_by_key(&index, |section| section.index)
            .ok()
    }

    fn section(&self, index: usize) -> Option<&CodeSection> {
        self.position(index)
            .map(|position| &self.sections[position])
    }

    /// The section that an instruction is in.
    pub fn section_of(&self, node: Node) -> usize {
        let position = self
            .sections
            .partition_point(|section| section.nodes.end <= node);
        self.sections[position].index
    }

    /// The instruction that starts at a place.
    pub fn node_at(&self, (section, addr): Place) -> Option<Node> {
        let nodes = self.section(section)?.nodes.clone();
        let found = self.nodes[nodes.clone()].binary_search_by_key(&addr, |node| node.ip());
        found.ok().map(|offset| nodes.start + offset)
    }

    /// The instruction that a byte belongs to.
    pub fn containing(&self, section: usize, addr: u64) -> Option<Node> {
        let nodes = self.section(section)?.nodes.clone();
        let behind = self.nodes[nodes.clone()].partition_point(|node| node.ip() <= addr);
        let node = nodes.start + behind.checked_sub(1)?;
        (addr < self.nodes[node].next_ip()).then_some(node)
    }

    /// The region that an instruction is in.
    pub fn region_of(&self, node: Node) -> usize {
        // Regions without instructions share their bounds with a neighbour; the search passes them.
        self.regions
            .partition_point(|region| region.nodes.end <= node)
    }

    /// The relocations within a range of bytes.
    pub fn relocs_in(&self, section: usize, range: std::ops::Range<u64>) -> &[Reloc] {
        let Some(section) = self.section(section) else {
            return &[];
        };
        let relocs = &section.relocs;
        let first = relocs.partition_point(|reloc| reloc.offset < range.start);
        let last = relocs.partition_point(|reloc| reloc.offset < range.end);
        &relocs[first..last.max(first)]
    }

    /// All relocations of a section of code, in the order of their offsets; `None` if they have a
    /// form that cannot be changed.
    pub fn relocs_of(&self, section: usize) -> Option<&[Reloc]> {
        self.section(section)
            .filter(|s| s.relocs_known)
            .map(|s| &s.relocs[..])
    }

    /// Whether control may come to a place from elsewhere than from the instruction in front.
    pub fn is_leader(&self, place: Place) -> bool {
        self.leaders.contains(&place)
    }

    /// Whether anything but a branch may know the address of a place.
    pub fn is_address_taken(&self, place: Place) -> bool {
        self.address_taken.contains(&place)
    }

    /// Whether any place that may be entered lies in a range.
    pub fn has_leader(&self, section: usize, range: std::ops::Range<u64>) -> bool {
        range.start < range.end
            && self
                .leaders
                .range((section, range.start)..(section, range.end))
                .next()
                .is_some()
    }

    /// Whether relocations of data refer to any place in a range.
    pub fn has_taken(&self, section: usize, range: std::ops::Range<u64>) -> bool {
        range.start < range.end
            && self
                .taken
                .range((section, range.start)..(section, range.end))
                .next()
                .is_some()
    }

    /// Whether the sweep lost its way around an address.
    pub fn is_bad(&self, section: usize, addr: u64) -> bool {
        self.section(section).is_none_or(|s| {
            s.bad
                .iter()
                .any(|&(start, end)| (start..end).contains(&addr))
        })
    }

    /// Whether an address is within a symbol that is a function and has a size.
    pub fn in_function(&self, section: usize, addr: u64) -> bool {
        self.section(section).is_some_and(|s| {
            s.functions
                .iter()
                .any(|&(start, size)| addr >= start && addr - start < size)
        })
    }

    /// The place that a direct branch or call goes to, if it is in this object. `Err` if that cannot
    /// be told.
    fn branch_place(
        &self,
        section: usize,
        instruction: &Instruction,
    ) -> std::result::Result<Option<Place>, ()> {
        if !has_near_target(instruction) {
            return Ok(None);
        }
        match self.relocs_in(section, instruction.ip()..instruction.next_ip()) {
            [] => Ok(Some((section, instruction.near_branch_target()))),
            [reloc] if is_pc_relative(reloc.kind) => {
                let symbol = self.symbols.get(reloc.symbol as usize).ok_or(())?;
                let behind = instruction.next_ip() - reloc.offset;
                let place = symbol
                    .value
                    .wrapping_add_signed(reloc.addend)
                    .wrapping_add(behind);
                Ok(symbol.section.map(|section| (section, place)))
            }
            _ => Err(()),
        }
    }

    /// Where control goes from an instruction. Calls are taken to return.
    pub fn next(&self, node: Node) -> Next {
        let instruction = &self.nodes[node];
        match instruction.flow_control() {
            FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => Next {
                falls: true,
                ..Next::default()
            },
            FlowControl::UnconditionalBranch => Next {
                branch: Some(self.target(node)),
                ..Next::default()
            },
            FlowControl::ConditionalBranch => Next {
                falls: true,
                branch: Some(self.target(node)),
                indirect: false,
            },
            FlowControl::IndirectBranch => Next {
                indirect: true,
                ..Next::default()
            },
            FlowControl::XbeginXabortXend => Next {
                falls: true,
                branch: Some(Target::Unknown),
                indirect: false,
            },
            FlowControl::Return | FlowControl::Exception => Next::default(),
            // `int 0x80` comes back, `int3` in between functions does not.
            FlowControl::Interrupt => Next {
                falls: instruction.mnemonic() == Mnemonic::Int,
                ..Next::default()
            },
        }
    }

    /// Where a direct branch goes.
    pub fn target(&self, node: Node) -> Target {
        let place = match self.branch_place(self.section_of(node), &self.nodes[node]) {
            Ok(Some(place)) => place,
            Ok(None) => return Target::Outside,
            Err(()) => return Target::Unknown,
        };
        if let Some(node) = self.node_at(place) {
            return Target::Node(node);
        }
        // `je 1f; lock; 1: cmpxchg`: into an instruction, past its prefix.
        match self.containing(place.0, place.1) {
            Some(node)
                if self.nodes[node].has_lock_prefix() && self.nodes[node].ip() + 1 == place.1 =>
            {
                Target::Node(node)
            }
            _ => Target::Unknown,
        }
    }

    /// The instruction directly behind another.
    pub fn behind(&self, node: Node) -> Option<Node> {
        let next = node + 1;
        let follows = next < self.nodes.len()
            && self.nodes[next].ip() == self.nodes[node].next_ip()
            && self
                .section(self.section_of(node))
                .is_some_and(|s| s.nodes.contains(&next));
        follows.then_some(next)
    }

    /// The instruction directly in front of another.
    pub fn front(&self, node: Node) -> Option<Node> {
        let previous = node.checked_sub(1)?;
        (self.behind(previous) == Some(node)).then_some(previous)
    }
}

/// Whether an instruction's operand is an address in the code.
pub(crate) fn has_near_target(instruction: &Instruction) -> bool {
    matches!(
        instruction.flow_control(),
        FlowControl::UnconditionalBranch
            | FlowControl::ConditionalBranch
            | FlowControl::Call
            | FlowControl::XbeginXabortXend
    ) && instruction.op_count() > 0
        && instruction.op0_kind() == OpKind::NearBranch64
}

/// Whether a relocation's value is relative to the relocated field.
pub(crate) fn is_pc_relative(kind: u32) -> bool {
    matches!(
        kind,
        R_X86_64_PC32 | R_X86_64_PLT32 | R_X86_64_PC16 | R_X86_64_PC8 | R_X86_64_PC64
    )
}
