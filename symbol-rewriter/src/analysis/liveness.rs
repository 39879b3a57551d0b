//! Liveness: which registers that a system call preserves are of any use behind a site.
//!
//! A `syscall` leaves all its argument registers as they were, and code may rely on that. A call of a
//! thunk can only be cheaper if it need not save those that nobody reads again. A register is taken to
//! be read unless every way on from the site writes to it first or comes to where no calling
//! convention carries it on.
//!
//! What the psABI says is not enough at a `ret`: a compiler that sees a function's callers tells them
//! which registers it leaves alone, so the ways of all callers in the same object are followed too.

use std::collections::{HashMap, HashSet};

use iced_x86::{
    FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, Register, UsedRegister,
};

use crate::analysis::constants::Numbers;
use crate::analysis::flow::{self, Functions};
use crate::decode::{Code, Node, Place, Target};
use crate::error::Result;
use crate::read::elf::{Object, STB_LOCAL, STT_SECTION};
use crate::syscalls;

/// A set of argument registers: bit 0 is the first one.
pub(crate) type Mask = u8;

/// The registers of a system call's arguments, in their order.
pub(crate) const ARGUMENTS: [Register; 6] = [
    Register::RDI,
    Register::RSI,
    Register::RDX,
    Register::R10,
    Register::R8,
    Register::R9,
];

/// All of them.
pub(crate) const ALL: Mask = 0x3f;

const RDI: Mask = 1;
const RSI: Mask = 2;
const RDX: Mask = 4;

/// How many instructions behind a site are looked at.
const BUDGET: usize = 4096;

/// Functions with few arguments that often follow a site, and which registers hold those.
///
/// All are the C library's and the compiler's own, whose names nobody else may give to a function.
const KNOWN_CALLEES: [(&[u8], Mask); 10] = [
    (b"__stack_chk_fail", 0),
    (b"__errno_location", 0),
    (b"__libc_fatal", RDI),
    (b"__pthread_enable_asynccancel", 0),
    (b"__pthread_disable_asynccancel", RDI),
    (b"__lll_lock_wait", RDI | RSI),
    (b"__lll_lock_wait_private", RDI),
    (b"__lll_lock_wake_private", RDI),
    (b"__syscall_ret", RDI),
    (b"_Unwind_Resume", RDI),
];

/// The question, for one object.
pub(crate) struct Liveness<'w, 'd> {
    object: &'w Object<'d>,
    code: &'w Code,
    functions: &'w Functions,
    numbers: &'w Numbers,
    info: InstructionInfoFactory,
    /// Whether Go's own conventions hold, which have results in the argument registers.
    is_go: bool,
    callers: Option<Callers>,
    /// What functions may return in argument registers.
    results: HashMap<usize, Mask>,
}

/// Who calls what within the object.
struct Callers {
    /// The instructions behind the calls of a function.
    behind_calls: HashMap<usize, Vec<Node>>,
    /// The functions whose last action is a jump to a function.
    jump_from: HashMap<usize, Vec<usize>>,
}

impl<'w, 'd> Liveness<'w, 'd> {
    /// Gets ready to answer for sites of `object`.
    pub fn new(
        object: &'w Object<'d>,
        code: &'w Code,
        functions: &'w Functions,
        numbers: &'w Numbers,
    ) -> Self {
        Liveness {
            object,
            code,
            functions,
            numbers,
            info: InstructionInfoFactory::new(),
            is_go: object
                .sections
                .iter()
                .any(|section| matches!(section.name, b".gopclntab" | b".go.buildinfo")),
            callers: None,
            results: HashMap::new(),
        }
    }

    /// The registers that may be read behind `site` before they are written to.
    pub fn behind(&mut self, site: Node) -> Result<Mask> {
        let code = self.code;
        let Some(first) = code.behind(site) else {
            return Ok(ALL);
        };
        let mut live = 0;
        // What has been looked for from an instruction on.
        let mut seen: HashMap<Node, Mask> = HashMap::new();
        let mut work = vec![(first, ALL)];
        let mut steps = 0;
        while let Some((node, wanted)) = work.pop() {
            let before = seen.entry(node).or_default();
            let wanted = wanted & !*before & !live;
            if wanted == 0 {
                continue;
            }
            *before |= wanted;
            steps += 1;
            if steps > BUDGET {
                return Ok(ALL);
            }
            let instruction = &code.nodes[node];
            let (read, written) = self.used(node)?;
            live |= wanted & read;
            let wanted = wanted & !read & !written;
            if wanted == 0 {
                continue;
            }
            if instruction.flow_control() == FlowControl::Return {
                live |= wanted & self.results(node)?;
                work.extend(
                    self.behind_callers(node)
                        .into_iter()
                        .map(|behind| (behind, wanted)),
                );
                continue;
            }
            let next = code.next(node);
            if next.falls {
                match code.behind(node) {
                    Some(behind) => work.push((behind, wanted)),
                    None => live |= wanted,
                }
            }
            if let Some(Target::Node(to)) = next.branch {
                work.push((to, wanted));
            }
        }
        Ok(live)
    }

    /// The registers that an instruction reads, or that whoever it goes on to may read, and those
    /// that it certainly overwrites, or that nobody finds there afterwards.
    fn used(&mut self, node: Node) -> Result<(Mask, Mask)> {
        let code = self.code;
        let instruction = &code.nodes[node];
        if flow::is_filling(instruction) {
            return Ok((0, 0));
        }
        if instruction.mnemonic() == Mnemonic::Syscall {
            return Ok(match self.numbers.at(node) {
                Some(number) if syscalls::EXITS.contains(&number) => (RDI, ALL),
                Some(number) => ((1 << syscalls::arguments(number).min(6)) - 1, 0),
                None => (ALL, 0),
            });
        }
        if flow::is_call(instruction) {
            return Ok((self.callee_reads(node)?, ALL));
        }
        match instruction.flow_control() {
            FlowControl::Next | FlowControl::Return | FlowControl::ConditionalBranch => {}
            FlowControl::UnconditionalBranch => {
                return Ok(match code.next(node).branch {
                    Some(Target::Node(_)) => (0, 0),
                    // The last action of the function is a call of another one.
                    Some(Target::Outside) => (self.callee_reads(node)?, ALL),
                    _ => (ALL, ALL),
                });
            }
            // `ud2`
            FlowControl::Exception => return Ok((0, ALL)),
            _ => return Ok((ALL, ALL)),
        }
        if matches!(
            code.next(node).branch,
            Some(Target::Outside | Target::Unknown)
        ) {
            return Ok((ALL, ALL));
        }
        Ok(effect(self.info.info(instruction).used_registers()))
    }

    /// The registers that a called function may read.
    ///
    /// All that can hold an argument, r10 as well: a nested function gets its frame there, and some
    /// conventions have a function preserve it.
    fn callee_reads(&self, node: Node) -> Result<Mask> {
        let code = self.code;
        if !matches!(code.target(node), Target::Outside) {
            return Ok(ALL);
        }
        let instruction = &code.nodes[node];
        let relocs = code.relocs_in(
            code.section_of(node),
            instruction.ip()..instruction.next_ip(),
        );
        let [reloc] = relocs else {
            return Ok(ALL);
        };
        let symbol = self.object.symbol(reloc.symbol as usize)?;
        let name = self.object.symbol_name(&symbol)?;
        Ok(KNOWN_CALLEES
            .iter()
            .find(|(known, _)| *known == name && symbol.undefined)
            .map_or(ALL, |&(_, reads)| reads))
    }

    /// The registers in which a function may hand something to callers in other objects.
    fn results(&mut self, node: Node) -> Result<Mask> {
        let (code, functions) = (self.code, self.functions);
        let function = functions.of_region(code.region_of(node));
        if let Some(&results) = self.results.get(&function) {
            return Ok(results);
        }
        let starts: Vec<Place> = functions
            .regions(function)
            .map(|region| (code.regions[region].section, code.regions[region].start))
            .collect();
        let mut results = if self.is_go { ALL } else { RDX };
        for symbol in self.object.symbols() {
            let symbol = symbol?;
            let is_start = symbol
                .section
                .is_some_and(|section| starts.contains(&(section, symbol.value)));
            if is_start && symbol.kind != STT_SECTION {
                let name = self.object.symbol_name(&symbol)?;
                let returns_one = match self.is_go {
                    // Results on the stack.
                    true => name.ends_with(b".abi0"),
                    false => returns_one_register(name, symbol.bind != STB_LOCAL),
                };
                if returns_one {
                    results = 0;
                }
            }
        }
        self.results.insert(function, results);
        Ok(results)
    }

    /// The instructions that a `ret` may go to within the object.
    fn behind_callers(&mut self, node: Node) -> Vec<Node> {
        let (code, functions) = (self.code, self.functions);
        if self.is_go {
            return Vec::new();
        }
        let callers = self
            .callers
            .get_or_insert_with(|| Callers::find(code, functions));
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        let mut work = vec![functions.of_region(code.region_of(node))];
        while let Some(function) = work.pop() {
            if !seen.insert(function) {
                continue;
            }
            found.extend(callers.behind_calls.get(&function).into_iter().flatten());
            work.extend(callers.jump_from.get(&function).into_iter().flatten());
        }
        found
    }
}

impl Callers {
    fn find(code: &Code, functions: &Functions) -> Callers {
        let mut callers = Callers {
            behind_calls: HashMap::new(),
            jump_from: HashMap::new(),
        };
        let function_of = |node| functions.of_region(code.region_of(node));
        for (index, region) in code.regions.iter().enumerate() {
            for node in region.nodes.clone() {
                if flow::is_call(&code.nodes[node]) {
                    if let Target::Node(to) = code.target(node)
                        && let Some(behind) = code.behind(node)
                    {
                        callers
                            .behind_calls
                            .entry(function_of(to))
                            .or_default()
                            .push(behind);
                    }
                } else if let Some(Target::Node(to)) = code.next(node).branch {
                    let (from, to) = (functions.of_region(index), function_of(to));
                    if from != to {
                        callers.jump_from.entry(to).or_default().push(from);
                    }
                }
            }
        }
        callers
    }
}

/// Whether the name of a function is reserved for a C library, whose functions return one register.
///
/// Any other function may return a pair, the second half of it in rdx; code does not tell that from
/// an argument left there. The exceptions in a C library, `div` and its like, make no system calls.
fn returns_one_register(name: &[u8], is_global: bool) -> bool {
    name.starts_with(b"__") || is_global && syscalls::is_call_name(name)
}

/// The argument registers that an instruction reads and certainly overwrites.
fn effect(used: &[UsedRegister]) -> (Mask, Mask) {
    let (mut read, mut written) = (0, 0);
    for used in used {
        let whole = used.register().full_register();
        let Some(bit) = ARGUMENTS.iter().position(|&register| register == whole) else {
            continue;
        };
        let bit = 1 << bit;
        let access = used.access();
        if !matches!(
            access,
            OpAccess::Write | OpAccess::CondWrite | OpAccess::NoMemAccess | OpAccess::None
        ) {
            read |= bit;
        }
        // A write of half a word leaves the rest as it was.
        if access == OpAccess::Write && used.register().size() >= 4 {
            written |= bit;
        }
    }
    (read, written)
}

/// Whether a function changes flags that outlive it, or the direction of string instructions.
pub(crate) fn changes_direction(instruction: &Instruction) -> bool {
    matches!(
        instruction.mnemonic(),
        Mnemonic::Std | Mnemonic::Popf | Mnemonic::Popfd | Mnemonic::Popfq
    )
}
