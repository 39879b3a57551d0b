//! The decoded code of an object, and queries about it.

use std::collections::BTreeSet;

use iced_x86::{FlowControl, Instruction, Mnemonic};

use crate::decode::instructions::has_near_target;
use crate::read::elf::{Reloc, Symbol, is_pc_relative};

/// A place in the code: section and address.
pub(crate) type Place = (usize, u64);

/// Index of an instruction.
pub(crate) type Node = usize;

/// The target of a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// To an instruction of this object.
    Node(Node),
    /// Into another object.
    Outside,
    /// To an address where no decoded instruction starts.
    Unknown,
}

/// Where control may go from an instruction.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Next {
    /// Whether it may continue with the following instruction.
    pub falls: bool,
    /// The target of a direct branch. Calls are not followed.
    pub branch: Option<Target>,
    /// Whether it is a jump to a computed address.
    pub indirect: bool,
}

/// A range of code that begins at a symbol, a frame description or the target of a call.
#[derive(Debug, Clone)]
pub(crate) struct Region {
    pub section: usize,
    pub start: u64,
    pub end: u64,
    /// The instructions in it.
    pub nodes: std::ops::Range<Node>,
    /// Whether a function may begin here. Otherwise the region is another part of a function.
    pub is_entry: bool,
    /// Whether it begins at a symbol that is marked as a function.
    pub is_function: bool,
}

/// The decoded code of an object.
pub(crate) struct Code {
    pub nodes: Vec<Instruction>,
    pub(super) sections: Vec<CodeSection>,
    pub regions: Vec<Region>,
    pub(super) symbols: Vec<Symbol>,
    /// Entries: places that control may reach other than from the preceding instruction.
    pub(super) leaders: BTreeSet<Place>,
    /// Places that relocations of data refer to, in jump tables and pointers to functions.
    pub(super) in_data: BTreeSet<Place>,
    /// Places whose addresses are in a symbol, a relocation or an instruction other than a branch.
    pub(super) address_taken: BTreeSet<Place>,
}

/// A section of code.
pub(super) struct CodeSection {
    pub index: usize,
    pub nodes: std::ops::Range<Node>,
    /// Ranges of addresses that could not be decoded.
    pub bad: Vec<(u64, u64)>,
    pub relocs: Vec<Reloc>,
    pub relocs_known: bool,
    /// The functions that symbols with a size describe: address and size.
    pub functions: Vec<(u64, u64)>,
}

impl CodeSection {
    /// Makes the entry of section `index`, which is not decoded yet.
    pub fn new(index: usize) -> Self {
        CodeSection {
            index,
            nodes: 0..0,
            bad: Vec::new(),
            relocs: Vec::new(),
            relocs_known: true,
            functions: Vec::new(),
        }
    }
}

impl Code {
    /// Position of a section in `sections`.
    pub(super) fn position(&self, index: usize) -> Option<usize> {
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
        let after = self.nodes[nodes.clone()].partition_point(|node| node.ip() <= addr);
        let node = nodes.start + after.checked_sub(1)?;
        (addr < self.nodes[node].next_ip()).then_some(node)
    }

    /// The region that an instruction is in.
    pub fn region_of(&self, node: Node) -> usize {
        // Regions without instructions share their bounds with a neighbour. The search skips them.
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

    /// All relocations of a section of code, by offset. `None` if they have a form that cannot be
    /// changed.
    pub fn relocs_of(&self, section: usize) -> Option<&[Reloc]> {
        self.section(section)
            .filter(|s| s.relocs_known)
            .map(|s| &s.relocs[..])
    }

    /// Whether control may reach a place other than from the preceding instruction.
    pub fn is_leader(&self, place: Place) -> bool {
        self.leaders.contains(&place)
    }

    /// Whether anything other than a branch may contain the address of a place.
    pub fn is_address_taken(&self, place: Place) -> bool {
        self.address_taken.contains(&place)
    }

    /// Whether any entry lies in a range.
    pub fn has_leader(&self, section: usize, range: std::ops::Range<u64>) -> bool {
        range.start < range.end
            && self
                .leaders
                .range((section, range.start)..(section, range.end))
                .next()
                .is_some()
    }

    /// Whether relocations of data refer to any place in a range.
    pub fn has_reference_in_data(&self, section: usize, range: std::ops::Range<u64>) -> bool {
        range.start < range.end
            && self
                .in_data
                .range((section, range.start)..(section, range.end))
                .next()
                .is_some()
    }

    /// Whether an address is in a range that could not be decoded.
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

    /// The target of a direct branch or call, if it is in this object. `Err` if it is unknown.
    pub(super) fn branch_place(
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
                let end = instruction.next_ip() - reloc.offset;
                let place = symbol
                    .value
                    .wrapping_add_signed(reloc.addend)
                    .wrapping_add(end);
                Ok(symbol.section.map(|section| (section, place)))
            }
            _ => Err(()),
        }
    }

    /// The successors of an instruction. Calls are assumed to return.
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
            // A system call by `int $0x80` returns. `int3` fills the space between functions.
            FlowControl::Interrupt => Next {
                falls: instruction.mnemonic() == Mnemonic::Int,
                ..Next::default()
            },
        }
    }

    /// The target of a direct branch.
    pub fn target(&self, node: Node) -> Target {
        let place = match self.branch_place(self.section_of(node), &self.nodes[node]) {
            Ok(Some(place)) => place,
            Ok(None) => return Target::Outside,
            Err(()) => return Target::Unknown,
        };
        if let Some(node) = self.node_at(place) {
            return Target::Node(node);
        }
        // `je 1f; lock; 1: cmpxchg` enters an instruction after its prefix.
        match self.containing(place.0, place.1) {
            Some(node)
                if self.nodes[node].has_lock_prefix() && self.nodes[node].ip() + 1 == place.1 =>
            {
                Target::Node(node)
            }
            _ => Target::Unknown,
        }
    }

    /// The instruction that directly follows another.
    pub fn following(&self, node: Node) -> Option<Node> {
        let next = node + 1;
        let follows = next < self.nodes.len()
            && self.nodes[next].ip() == self.nodes[node].next_ip()
            && self
                .section(self.section_of(node))
                .is_some_and(|s| s.nodes.contains(&next));
        follows.then_some(next)
    }

    /// The instruction that directly precedes another.
    pub fn preceding(&self, node: Node) -> Option<Node> {
        let previous = node.checked_sub(1)?;
        (self.following(previous) == Some(node)).then_some(previous)
    }
}
