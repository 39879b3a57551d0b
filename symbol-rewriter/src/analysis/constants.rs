//! Constant propagation: finds the system call's number at each site.
//!
//! The instruction that loads the number usually comes directly before the site. But if a function
//! makes the same call twice, the compiler may keep the number in a register. Therefore constants
//! are propagated along all paths of the function.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

use crate::analysis::flow::Functions;
use crate::decode::instructions::{is_call, is_padding, is_site};
use crate::decode::{Code, Node, Target};

/// The largest constant that is taken for a system call's number. Linux has fewer than half as many
/// system calls.
const LARGEST_NUMBER: u32 = 1023;

/// The numbers of an object's sites.
pub(crate) struct Numbers {
    at_sites: HashMap<Node, u32>,
}

/// Instructions that only load a system call's number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub first: Node,
    pub last: Node,
    pub number: u32,
}

impl Numbers {
    /// Finds the numbers. `is_incomplete` says whether a function may have unknown entries.
    pub fn find(
        code: &Code,
        functions: &Functions,
        is_incomplete: impl Fn(usize) -> bool,
    ) -> Numbers {
        let mut at_sites = HashMap::new();
        let mut harder: Vec<usize> = Vec::new();
        for (node, instruction) in code.nodes.iter().enumerate() {
            if !is_site(instruction) {
                continue;
            }
            let is_entered = code.is_leader((code.section_of(node), instruction.ip()));
            match load_of(code, node) {
                Some(Load { number, .. }) if !is_entered => {
                    at_sites.insert(node, number);
                }
                _ => harder.push(functions.of_region(code.region_of(node))),
            }
        }
        harder.sort_unstable();
        harder.dedup();
        for function in harder {
            if !is_incomplete(function) {
                Analysis::run(code, functions, function, &mut at_sites);
            }
        }
        Numbers { at_sites }
    }

    /// The number at a site, if it is the same on every path to it.
    pub fn at(&self, site: Node) -> Option<u32> {
        self.at_sites.get(&site).copied()
    }

    /// The instructions that load the number for a site. `None` if a branch leads to a place
    /// between them and the `syscall`, or if an instruction in between reads or writes rax.
    pub fn load_for(&self, code: &Code, site: Node) -> Option<Load> {
        if let Some(load) = load_of(code, site) {
            return Some(load);
        }
        let number = self.at(site)?;
        let copy = setter(code, site)?;
        let instruction = &code.nodes[copy];
        let is_copy = instruction.mnemonic() == Mnemonic::Mov
            && instruction.op1_kind() == OpKind::Register
            && matches!(instruction.op0_register(), Register::EAX | Register::RAX);
        is_copy.then_some(Load {
            first: copy,
            last: copy,
            number,
        })
    }
}

/// The last instruction before a site that reads or writes rax. `None` if a branch leads to a place
/// between it and the `syscall`.
fn setter(code: &Code, site: Node) -> Option<Node> {
    let section = code.section_of(site);
    let mut info = InstructionInfoFactory::new();
    let mut node = site;
    loop {
        if node != site && code.is_leader((section, code.nodes[node].ip())) {
            return None;
        }
        node = code.preceding(node)?;
        let instruction = &code.nodes[node];
        let uses_rax = info
            .info(instruction)
            .used_registers()
            .iter()
            .any(|used| used.register().full_register() == Register::RAX);
        if uses_rax {
            return Some(node);
        }
        let next = code.next(node);
        if !next.falls || next.branch.is_some() || is_call(instruction) {
            return None;
        }
    }
}

/// The load of a constant number before a site.
fn load_of(code: &Code, site: Node) -> Option<Load> {
    let last = setter(code, site)?;
    let instruction = &code.nodes[last];
    if !matches!(instruction.op0_register(), Register::EAX | Register::RAX) {
        return None;
    }
    let (first, number) = match value(instruction, &[None; 16]) {
        Some(number) => (last, number),
        None => (code.preceding(last)?, popped(code, last)?),
    };
    (number <= LARGEST_NUMBER).then_some(Load {
        first,
        last,
        number,
    })
}

/// The constant that a `pop` gets from the preceding `push`. This pair is the shortest load of a
/// constant.
fn popped(code: &Code, pop: Node) -> Option<u32> {
    let instruction = &code.nodes[pop];
    let is_pop = instruction.mnemonic() == Mnemonic::Pop
        && instruction.op0_kind() == OpKind::Register
        && instruction.op0_register().is_gpr64();
    if !is_pop || code.is_leader((code.section_of(pop), instruction.ip())) {
        return None;
    }
    let push = &code.nodes[code.preceding(pop)?];
    let is_constant = push.mnemonic() == Mnemonic::Push
        && matches!(
            push.op0_kind(),
            OpKind::Immediate8to64 | OpKind::Immediate32to64
        );
    is_constant
        .then(|| u32::try_from(push.immediate(0)).ok())
        .flatten()
}

/// The constants in the general-purpose registers.
type State = [Option<u32>; 16];

/// The constant that an instruction writes to the whole of its first operand, if that is all it does.
fn value(instruction: &Instruction, state: &State) -> Option<u32> {
    let to = instruction.op0_register();
    if !(to.is_gpr32() || to.is_gpr64()) {
        return None;
    }
    match (instruction.mnemonic(), instruction.op1_kind()) {
        (Mnemonic::Mov, OpKind::Immediate32) => Some(instruction.immediate32()),
        (Mnemonic::Mov, OpKind::Immediate32to64 | OpKind::Immediate64) => {
            u32::try_from(instruction.immediate(1)).ok()
        }
        (Mnemonic::Mov, OpKind::Register) => {
            let from = instruction.op1_register();
            (from.is_gpr32() || from.is_gpr64())
                .then(|| state[from.number()])
                .flatten()
        }
        (Mnemonic::Xor, OpKind::Register) => (instruction.op1_register() == to).then_some(0),
        _ => None,
    }
}

/// The registers that a called function may change, according to the psABI (AMD64 supplement,
/// 3.2.1).
const CLOBBERED: [Register; 9] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
];

/// Propagates constants through one function.
struct Analysis<'c> {
    code: &'c Code,
    info: InstructionInfoFactory,
    /// The constants before each instruction.
    states: HashMap<Node, State>,
    work: Vec<Node>,
}

impl Analysis<'_> {
    fn run(code: &Code, functions: &Functions, function: usize, at_sites: &mut HashMap<Node, u32>) {
        let mut analysis = Analysis {
            code,
            info: InstructionInfoFactory::new(),
            states: HashMap::new(),
            work: Vec::new(),
        };
        let regions: Vec<_> = functions
            .regions(function)
            .map(|region| &code.regions[region])
            .collect();
        let nodes = || regions.iter().flat_map(|region| region.nodes.clone());
        // No register has a known value at the entries of the function.
        for region in &regions {
            if region.is_entry
                && let Some(start) = region.nodes.clone().next()
            {
                analysis.reach(start, [None; 16]);
            }
        }
        for node in nodes() {
            if code.is_address_taken((code.section_of(node), code.nodes[node].ip())) {
                analysis.reach(node, [None; 16]);
            }
        }
        analysis.settle(functions, function);
        // The same holds at places that no known path leads to, for instance landing pads.
        for node in nodes() {
            if !analysis.states.contains_key(&node) && !is_padding(&code.nodes[node]) {
                analysis.reach(node, [None; 16]);
                analysis.settle(functions, function);
            }
        }
        for node in nodes() {
            let number = analysis
                .states
                .get(&node)
                .and_then(|state| state[Register::RAX.number()])
                .filter(|&number| number <= LARGEST_NUMBER);
            if let Some(number) = number
                && is_site(&code.nodes[node])
            {
                at_sites.insert(node, number);
            }
        }
    }

    fn reach(&mut self, node: Node, state: State) {
        match self.states.entry(node) {
            Entry::Vacant(entry) => {
                entry.insert(state);
                self.work.push(node);
            }
            Entry::Occupied(mut entry) => {
                let old = entry.get_mut();
                let mut changed = false;
                for (old, new) in old.iter_mut().zip(state) {
                    if old.is_some() && *old != new {
                        *old = None;
                        changed = true;
                    }
                }
                if changed {
                    self.work.push(node);
                }
            }
        }
    }

    fn settle(&mut self, functions: &Functions, function: usize) {
        let code = self.code;
        let is_inside = |node| functions.of_region(code.region_of(node)) == function;
        while let Some(node) = self.work.pop() {
            let mut state = self.states[&node];
            self.step(node, &mut state);
            let next = code.next(node);
            if next.falls
                && let Some(following) = code.following(node).filter(|&node| is_inside(node))
            {
                self.reach(following, state);
            }
            if let Some(Target::Node(to)) = next.branch
                && is_inside(to)
            {
                self.reach(to, state);
            }
        }
    }

    fn step(&mut self, node: Node, state: &mut State) {
        let instruction = &self.code.nodes[node];
        if is_call(instruction) {
            for register in CLOBBERED {
                state[register.number()] = None;
            }
            return;
        }
        if matches!(instruction.mnemonic(), Mnemonic::Syscall | Mnemonic::Int) {
            // rax gets the result. The loop below handles the other registers.
            state[Register::RAX.number()] = None;
        }
        let new = value(instruction, state).or_else(|| popped(self.code, node));
        for used in self.info.info(instruction).used_registers() {
            let register = used.register().full_register();
            let is_read = matches!(
                used.access(),
                OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess | OpAccess::None
            );
            if register.is_gpr64() && !is_read {
                state[register.number()] = None;
            }
        }
        if let Some(new) = new {
            state[instruction.op0_register().number()] = Some(new);
        }
    }
}
