//! Liveness of the argument registers after a site.
//!
//! A `syscall` preserves its argument registers, and code may rely on that. A thunk is cheaper if
//! it need not preserve registers that are not read again. A register counts as live unless every
//! path from the site writes to it first, or reaches a point where it is dead by every calling
//! convention.
//!
//! At a `ret` the psABI is not sufficient: if a compiler sees all callers of a function, the
//! callers may rely on registers that the function happens not to change (`-fipa-ra`). So the
//! analysis also follows the paths of all callers in the same object.

use std::collections::{HashMap, HashSet};

use iced_x86::{FlowControl, InstructionInfoFactory, OpAccess, Register, UsedRegister};

use crate::analysis::constants::Numbers;
use crate::analysis::flow::Functions;
use crate::decode::instructions::{is_call, is_nop, is_site};
use crate::decode::{Code, Node, Place, Target};
use crate::error::Result;
use crate::read::elf::{Object, STB_LOCAL, STT_SECTION};
use crate::syscalls;

/// A set of argument registers: bit 0 is the first one.
pub(crate) type Mask = u8;

/// The registers of a system call's arguments, in order (psABI, AMD64 supplement, A.2.1).
pub(crate) const ARGUMENTS: [Register; 6] = [
    Register::RDI,
    Register::RSI,
    Register::RDX,
    Register::R10,
    Register::R8,
    Register::R9,
];

/// All argument registers.
pub(crate) const ALL: Mask = 0x3f;

const RDI: Mask = 1;
const RSI: Mask = 2;
const RDX: Mask = 4;

/// How many instructions after a site are followed.
const BUDGET: usize = 4096;

/// Functions with few arguments that often follow a site, and the registers of their arguments.
///
/// Their names are reserved for the C library and the compiler.
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

/// The analysis of one object.
pub(crate) struct Liveness<'w, 'd> {
    object: &'w Object<'d>,
    code: &'w Code,
    functions: &'w Functions,
    numbers: &'w Numbers,
    info: InstructionInfoFactory,
    /// Whether the object is Go's, whose calling convention returns results in argument registers.
    is_go: bool,
    callers: Option<Callers>,
    /// The functions of a linked file that are among [`KNOWN_CALLEES`], by address.
    known: HashMap<u64, Mask>,
    /// The argument registers in which functions may return results.
    results: HashMap<usize, Mask>,
}

/// The call graph of the object.
struct Callers {
    /// The instructions after the calls of each function.
    after_calls: HashMap<usize, Vec<Node>>,
    /// The functions that end in a tail call of each function.
    tail_callers: HashMap<usize, Vec<usize>>,
}

impl<'w, 'd> Liveness<'w, 'd> {
    /// Prepares the analysis of `object`.
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
            is_go: object.image.as_ref().is_some_and(|image| image.is_go)
                || object
                    .sections
                    .iter()
                    .any(|section| matches!(section.name, b".gopclntab" | b".go.buildinfo")),
            known: known_callees(object),
            callers: None,
            results: HashMap::new(),
        }
    }

    /// The argument registers that may be read after `site` before they are written to.
    pub fn live_after(&mut self, site: Node) -> Result<Mask> {
        let code = self.code;
        let Some(first) = code.following(site) else {
            return Ok(ALL);
        };
        let mut live = 0;
        // The registers that have already been followed from each instruction.
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
                    self.return_sites(node)
                        .into_iter()
                        .map(|next| (next, wanted)),
                );
                continue;
            }
            let next = code.next(node);
            if next.falls {
                match code.following(node) {
                    Some(next) => work.push((next, wanted)),
                    None => live |= wanted,
                }
            }
            if let Some(Target::Node(to)) = next.branch {
                work.push((to, wanted));
            }
        }
        Ok(live)
    }

    /// The registers that an instruction, or the code it leads to, may read, and the registers that
    /// are certainly dead afterwards.
    fn used(&mut self, node: Node) -> Result<(Mask, Mask)> {
        let code = self.code;
        let instruction = &code.nodes[node];
        if is_nop(instruction) {
            return Ok((0, 0));
        }
        if is_site(instruction) {
            return Ok(match self.numbers.at(node) {
                Some(number) if syscalls::EXITS.contains(&number) => (RDI, ALL),
                Some(number) => ((1 << syscalls::arguments(number).min(6)) - 1, 0),
                None => (ALL, 0),
            });
        }
        if is_call(instruction) {
            return Ok((self.callee_reads(node)?, ALL));
        }
        match instruction.flow_control() {
            FlowControl::Next | FlowControl::Return | FlowControl::ConditionalBranch => {}
            FlowControl::UnconditionalBranch => {
                return Ok(match code.next(node).branch {
                    Some(Target::Node(_)) => (0, 0),
                    // A tail call.
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
    /// These are all argument registers. r10 is among them, because nested functions get their static
    /// chain there, and some conventions have the callee preserve it.
    fn callee_reads(&self, node: Node) -> Result<Mask> {
        let code = self.code;
        match code.target(node) {
            Target::Outside => {}
            Target::Node(to) => {
                let reads = self.known.get(&code.nodes[to].ip());
                return Ok(reads.copied().unwrap_or(ALL));
            }
            Target::Unknown => return Ok(ALL),
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

    /// The registers in which a function may return something to callers in other objects.
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
                    // Go's old calling convention (ABI0) returns results on the stack.
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

    /// The instructions of the object that a `ret` may return to.
    fn return_sites(&mut self, node: Node) -> Vec<Node> {
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
            found.extend(callers.after_calls.get(&function).into_iter().flatten());
            work.extend(callers.tail_callers.get(&function).into_iter().flatten());
        }
        found
    }
}

impl Callers {
    fn find(code: &Code, functions: &Functions) -> Callers {
        let mut callers = Callers {
            after_calls: HashMap::new(),
            tail_callers: HashMap::new(),
        };
        let function_of = |node| functions.of_region(code.region_of(node));
        for (index, region) in code.regions.iter().enumerate() {
            for node in region.nodes.clone() {
                if is_call(&code.nodes[node]) {
                    if let Target::Node(to) = code.target(node)
                        && let Some(next) = code.following(node)
                    {
                        callers
                            .after_calls
                            .entry(function_of(to))
                            .or_default()
                            .push(next);
                    }
                } else if let Some(Target::Node(to)) = code.next(node).branch {
                    let (from, to) = (functions.of_region(index), function_of(to));
                    if from != to {
                        callers.tail_callers.entry(to).or_default().push(from);
                    }
                }
            }
        }
        callers
    }
}

/// The functions of a linked file that are among [`KNOWN_CALLEES`], by address.
fn known_callees(object: &Object<'_>) -> HashMap<u64, Mask> {
    if object.image.is_none() {
        return HashMap::new();
    }
    let symbols = object.symbols().flatten().filter(|s| s.section.is_some());
    symbols
        .filter_map(|symbol| {
            let name = object.symbol_name(&symbol).ok()?;
            let (_, reads) = KNOWN_CALLEES.iter().find(|(known, _)| *known == name)?;
            Some((symbol.value, *reads))
        })
        .collect()
}

/// Whether the name of a function is reserved for a C library, whose functions return one register.
///
/// Any other function may return a pair, with the second half in rdx. Its code looks the same as
/// that of a function that leaves an argument there. The C library's functions that return pairs
/// (`div`) make no system calls.
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
        // A write of 8 or 16 bits leaves the rest of the register unchanged.
        if access == OpAccess::Write && used.register().size() >= 4 {
            written |= bit;
        }
    }
    (read, written)
}
