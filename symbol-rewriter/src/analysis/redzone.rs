//! The red zone: whether a function keeps data below its stack pointer.
//!
//! A leaf function may use the 128 bytes below the stack pointer (psABI, AMD64 supplement, 3.2.2),
//! and a `call` would overwrite some of them. The analysis propagates the stack pointer and the
//! addresses derived from it along all paths of the function. An access below the current stack
//! pointer is a use, and so is an instruction that forms such an address. Where two paths disagree,
//! the analysis makes the conservative choice, by which more accesses look like uses. Where the
//! stack pointer is unknown, every access through it counts as a use.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

use crate::decode::instructions::{is_call, is_nop, is_padding};
use crate::decode::{Code, Node, Target};

/// The state of the stack at an instruction. Offsets count from the stack pointer at the function's
/// entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    /// An upper bound of the stack pointer.
    stack: Option<i64>,
    /// The other registers, if they hold addresses on the stack.
    registers: [Option<i64>; 16],
}

/// How often the state at an instruction may change before the analysis assumes a use.
const MANY_VISITS: u32 = 64;

const ENTRY: State = State {
    stack: Some(0),
    registers: [None; 16],
};

impl State {
    /// Merges the states of two paths, conservatively as the module's comment explains.
    fn join(self, other: State) -> State {
        let stack = match (self.stack, other.stack) {
            (Some(a), Some(b)) => Some(a.max(b)),
            _ => None,
        };
        let mut registers = self.registers;
        for (mine, other) in registers.iter_mut().zip(other.registers) {
            *mine = match (*mine, other) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        State { stack, registers }
    }

    /// The stack offset in a register.
    fn get(&self, register: Register) -> Option<i64> {
        match register {
            Register::RSP => self.stack,
            _ => number(register).and_then(|number| self.registers[number]),
        }
    }
}

/// The number of a 64-bit general register other than the stack pointer.
fn number(register: Register) -> Option<usize> {
    (register.is_gpr64() && register != Register::RSP).then(|| register.number())
}

/// The result for a function.
pub(crate) struct Use {
    /// Whether it may keep data in the red zone.
    pub in_use: bool,
    /// The instructions that are certainly reached from the entry of a function.
    reached: HashSet<Node>,
}

impl Use {
    /// Whether an instruction is certainly reached from the entry of a function.
    pub fn reaches(&self, node: Node) -> bool {
        self.reached.contains(&node)
    }
}

/// Analyses the function that consists of `regions`.
pub(crate) fn analyse(code: &Code, regions: &[usize]) -> Use {
    let mut analysis = Analysis {
        code,
        info: InstructionInfoFactory::new(),
        states: HashMap::new(),
        work: Vec::new(),
        in_use: false,
        at_jumps: None,
        at_calls: None,
    };
    for &region in regions {
        let region = &code.regions[region];
        if region.is_entry
            && let Some(node) = code.node_at((region.section, region.start))
        {
            analysis.reach(node, ENTRY);
        }
    }
    analysis.run();
    let reached = analysis.states.keys().copied().collect();

    // No direct branch leads to the targets of jump tables and to landing pads. The former have the
    // state of a computed jump, the latter the state of a call.
    for &region in regions {
        for node in code.regions[region].nodes.clone() {
            if analysis.states.contains_key(&node) || is_padding(&code.nodes[node]) {
                continue;
            }
            let state = match (analysis.at_jumps, analysis.at_calls) {
                (Some(a), Some(b)) => Some(a.join(b)),
                (a, b) => a.or(b),
            };
            match state {
                Some(state) => analysis.reach(node, state),
                None => analysis.in_use = true,
            }
            analysis.run();
        }
    }
    let calls_nothing = analysis.at_calls.is_none();
    let copies_pointer = regions.iter().any(|&region| {
        code.regions[region]
            .nodes
            .clone()
            .any(|node| copies_stack_pointer(&code.nodes[node]))
    });
    Use {
        in_use: analysis.in_use || (calls_nothing && copies_pointer),
        reached,
    }
}

/// Whether an instruction copies the stack pointer to a register other than the frame pointer.
///
/// In a leaf function, that address may be the end of data in the red zone.
fn copies_stack_pointer(instruction: &Instruction) -> bool {
    let from_stack_pointer = match instruction.mnemonic() {
        Mnemonic::Mov => {
            instruction.op1_kind() == OpKind::Register
                && instruction.op1_register() == Register::RSP
        }
        Mnemonic::Lea => {
            instruction.memory_base() == Register::RSP && instruction.memory_displacement64() == 0
        }
        _ => false,
    };
    from_stack_pointer && !matches!(instruction.op0_register(), Register::RBP | Register::RSP)
}

struct Analysis<'c> {
    code: &'c Code,
    info: InstructionInfoFactory,
    /// The state before each instruction, and how often it has changed.
    states: HashMap<Node, (State, u32)>,
    work: Vec<Node>,
    in_use: bool,
    /// The state at jumps to computed addresses.
    at_jumps: Option<State>,
    /// The state at calls.
    at_calls: Option<State>,
}

impl Analysis<'_> {
    fn reach(&mut self, node: Node, state: State) {
        match self.states.entry(node) {
            Entry::Vacant(entry) => {
                entry.insert((state, 0));
                self.work.push(node);
            }
            Entry::Occupied(mut entry) => {
                let (old, visits) = *entry.get();
                let joined = old.join(state);
                // Once a use has been found, only the set of reached instructions is still to be
                // determined.
                if joined != old && !self.in_use {
                    // A loop that moves the stack pointer in each iteration would never converge.
                    self.in_use |= visits >= MANY_VISITS;
                    entry.insert((joined, visits + 1));
                    self.work.push(node);
                }
            }
        }
    }

    fn run(&mut self) {
        while let Some(node) = self.work.pop() {
            let instruction = &self.code.nodes[node];
            let (before, _) = self.states[&node];
            self.check(instruction, &before);
            let mut state = before;
            self.step(instruction, &mut state);
            let next = self.code.next(node);
            if is_call(instruction) {
                self.at_calls = Some(self.at_calls.map_or(state, |old| old.join(state)));
            } else if next.indirect {
                self.at_jumps = Some(self.at_jumps.map_or(state, |old| old.join(state)));
            }
            if next.falls
                && let Some(following) = self.code.following(node)
            {
                self.reach(following, state);
            }
            match next.branch {
                Some(Target::Node(to)) => {
                    let region = &self.code.regions[self.code.region_of(to)];
                    let is_start = self.code.nodes[to].ip() == region.start;
                    if !(is_start && region.is_entry) {
                        self.reach(to, state);
                    }
                }
                Some(Target::Unknown) => self.in_use = true,
                Some(Target::Outside) | None => {}
            }
        }
    }

    /// Records a use of the red zone by an instruction.
    fn check(&mut self, instruction: &Instruction, state: &State) {
        let has_memory = (0..instruction.op_count())
            .any(|operand| instruction.op_kind(operand) == OpKind::Memory);
        if !has_memory || is_nop(instruction) {
            return;
        }
        // An allocation: `lea -0x28(%rsp),%rsp`.
        if instruction.mnemonic() == Mnemonic::Lea && instruction.op0_register() == Register::RSP {
            return;
        }
        let base = instruction.memory_base();
        let offset = instruction.memory_displacement64() as i64;
        if base == Register::RSP {
            // This is a use, whatever the stack pointer is.
            self.in_use |= offset < 0;
        } else if let Some(from) = state.get(base) {
            self.in_use |= self.below(state, from.wrapping_add(offset));
        }
        // The index may be the address on the stack, and the base an offset.
        if let Some(from) = state.get(instruction.memory_index())
            && instruction.memory_index_scale() == 1
            && state.get(base).is_none()
        {
            self.in_use |= self.below(state, from.wrapping_add(offset));
        }
    }

    fn below(&self, state: &State, offset: i64) -> bool {
        state.stack.is_none_or(|stack| offset < stack)
    }

    /// Applies an instruction to the stack pointer and to the addresses derived from it.
    fn step(&mut self, instruction: &Instruction, state: &mut State) {
        let to = instruction.op0_register();
        let is_to_register =
            instruction.op_count() > 0 && instruction.op0_kind() == OpKind::Register;
        let stack_before = state.stack;
        let immediate = || match instruction.op1_kind() {
            OpKind::Immediate8to64 | OpKind::Immediate32to64 => {
                Some(instruction.immediate(1) as i64)
            }
            _ => None,
        };
        let known = match instruction.mnemonic() {
            Mnemonic::Mov if is_to_register && to.is_gpr64() => (instruction.op1_kind()
                == OpKind::Register)
                .then(|| state.get(instruction.op1_register()))
                .flatten(),
            Mnemonic::Lea if to.is_gpr64() => {
                let base = state.get(instruction.memory_base());
                match instruction.memory_index() {
                    Register::None => base
                        .map(|base| base.wrapping_add(instruction.memory_displacement64() as i64)),
                    _ => None,
                }
            }
            Mnemonic::Add if is_to_register && to.is_gpr64() => state
                .get(to)
                .zip(immediate())
                .map(|(a, b)| a.wrapping_add(b)),
            Mnemonic::Sub if is_to_register && to.is_gpr64() => {
                match state.get(to).zip(immediate()) {
                    Some((a, b)) => Some(a.wrapping_sub(b)),
                    // An allocation of unknown size. The size is at least zero.
                    None if to == Register::RSP => state.stack,
                    None => None,
                }
            }
            Mnemonic::Inc | Mnemonic::Dec if is_to_register && to.is_gpr64() => state.get(to),
            // Alignment.
            Mnemonic::And if is_to_register && to == Register::RSP => state.stack,
            _ => None,
        };
        let handled = known.is_some();

        let increment = i64::from(instruction.stack_pointer_increment());
        let mut written = Vec::new();
        for used in self.info.info(instruction).used_registers() {
            let writes = matches!(
                used.access(),
                OpAccess::Write
                    | OpAccess::CondWrite
                    | OpAccess::ReadWrite
                    | OpAccess::ReadCondWrite
            );
            if writes {
                written.push(used.register().full_register());
            }
        }
        match instruction.mnemonic() {
            Mnemonic::Leave => {
                let frame = state.registers[Register::RBP.number()];
                state.stack = frame.map(|frame| frame.wrapping_add(8));
                state.registers[Register::RBP.number()] = None;
                return;
            }
            _ if is_call(instruction) => {
                // Preserves the stack pointer, and clobbers registers.
                for register in [
                    Register::RAX,
                    Register::RCX,
                    Register::RDX,
                    Register::RSI,
                    Register::RDI,
                    Register::R8,
                    Register::R9,
                    Register::R10,
                    Register::R11,
                ] {
                    state.registers[register.number()] = None;
                }
                return;
            }
            _ => {}
        }
        for register in written {
            if register == Register::RSP {
                if increment == 0 || handled && to == Register::RSP {
                    state.stack = None;
                } else {
                    state.stack = stack_before.map(|stack| stack.wrapping_add(increment));
                }
            } else if let Some(number) = number(register) {
                state.registers[number] = None;
            }
        }
        if let Some(value) = known {
            if to == Register::RSP {
                state.stack = Some(value);
            } else if let Some(number) = number(to) {
                state.registers[number] = Some(value);
                // Forms an address below the stack pointer.
                let made = !matches!(instruction.mnemonic(), Mnemonic::Mov);
                if made && self.below(state, value) {
                    self.in_use = true;
                }
            }
        }
    }
}
