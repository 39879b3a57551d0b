//! Constants: the system call's number at each site.
//!
//! It mostly stands right in front of the site. But a compiler that makes the same call twice keeps
//! the number in a register, so constants are followed through all ways of the function.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

use crate::analysis::flow::{self, Functions, is_padding};
use crate::decode::{Code, Node, Target};

/// The largest number that counts as one. There are not half as many system calls.
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
    /// Finds them. `is_obscure` says of a function that not all ways in it are known.
    pub fn find(code: &Code, functions: &Functions, is_obscure: impl Fn(usize) -> bool) -> Numbers {
        let mut at_sites = HashMap::new();
        let mut harder: Vec<usize> = Vec::new();
        for (node, instruction) in code.nodes.iter().enumerate() {
            if instruction.mnemonic() != Mnemonic::Syscall {
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
            if !is_obscure(function) {
                Analysis::run(code, functions, function, &mut at_sites);
            }
        }
        Numbers { at_sites }
    }

    /// The number at a site, whichever way control comes to it.
    pub fn at(&self, site: Node) -> Option<u32> {
        self.at_sites.get(&site).copied()
    }

    /// The instructions that load the number for a site, if no branch enters behind them except at
    /// the `syscall` itself, and nothing up to there has anything to do with rax.
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

/// The last instruction in front of a site that has to do with rax, if control always comes from there
/// to the site, or enters at the `syscall`.
fn setter(code: &Code, site: Node) -> Option<Node> {
    let section = code.section_of(site);
    let mut info = InstructionInfoFactory::new();
    let mut node = site;
    loop {
        if node != site && code.is_leader((section, code.nodes[node].ip())) {
            return None;
        }
        node = code.front(node)?;
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
        if !next.falls || next.branch.is_some() || flow::is_call(instruction) {
            return None;
        }
    }
}

/// The load of a number that stands in front of a site and says it.
fn load_of(code: &Code, site: Node) -> Option<Load> {
    let last = setter(code, site)?;
    let instruction = &code.nodes[last];
    if !matches!(instruction.op0_register(), Register::EAX | Register::RAX) {
        return None;
    }
    let (first, number) = match value(instruction, &[None; 16]) {
        Some(number) => (last, number),
        None => (code.front(last)?, popped(code, last)?),
    };
    (number <= LARGEST_NUMBER).then_some(Load {
        first,
        last,
        number,
    })
}

/// What a `pop` gets from the `push` of a constant in front of it: the shortest way to load one.
fn popped(code: &Code, pop: Node) -> Option<u32> {
    let instruction = &code.nodes[pop];
    let is_pop = instruction.mnemonic() == Mnemonic::Pop
        && instruction.op0_kind() == OpKind::Register
        && instruction.op0_register().is_gpr64();
    if !is_pop || code.is_leader((code.section_of(pop), instruction.ip())) {
        return None;
    }
    let push = &code.nodes[code.front(pop)?];
    let is_constant = push.mnemonic() == Mnemonic::Push
        && matches!(
            push.op0_kind(),
            OpKind::Immediate8to64 | OpKind::Immediate32to64
        );
    is_constant
        .then(|| u32::try_from(push.immediate(0)).ok())
        .flatten()
}

/// Constants in the general registers.
type State = [Option<u32>; 16];

/// The constant that an instruction puts into the whole of its first operand, if it does nothing
/// else.
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

/// Registers that a function may change without saying so.
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

/// Follows constants through one function.
struct Analysis<'c> {
    code: &'c Code,
    info: InstructionInfoFactory,
    /// The constants in front of each instruction.
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
        // Nothing is known where control may come from elsewhere.
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
        // Neither is it where no way that is known leads to: landing pads, for instance.
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
                && code.nodes[node].mnemonic() == Mnemonic::Syscall
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
                && let Some(behind) = code.behind(node).filter(|&behind| is_inside(behind))
            {
                self.reach(behind, state);
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
        if flow::is_call(instruction) {
            for register in CLOBBERED {
                state[register.number()] = None;
            }
            return;
        }
        if matches!(instruction.mnemonic(), Mnemonic::Syscall | Mnemonic::Int) {
            // What else a system call may change, the next lines know.
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
