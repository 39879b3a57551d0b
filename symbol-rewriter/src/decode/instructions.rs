//! Kinds of instructions.

use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind, Register};

/// Whether an instruction makes a system call.
pub(crate) fn is_site(instruction: &Instruction) -> bool {
    instruction.mnemonic() == Mnemonic::Syscall
}

/// What the processor does at ring 3 with an instruction that only ring 0 may execute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A general protection fault: SIGSEGV.
    Protection,
    /// An undefined instruction: SIGILL.
    Undefined,
}

/// The fault at ring 3 of an instruction that is none at ring 0.
pub(crate) fn fault_at_ring3(instruction: &Instruction) -> Option<Fault> {
    (instruction.mnemonic() == Mnemonic::Hlt).then_some(Fault::Protection)
}

/// Whether an instruction calls a function.
///
/// The decoder's `FlowControl::Call` also covers system calls and their like.
pub(crate) fn is_call(instruction: &Instruction) -> bool {
    instruction.mnemonic() == Mnemonic::Call
}

/// Whether an instruction does nothing.
pub(crate) fn is_nop(instruction: &Instruction) -> bool {
    match instruction.mnemonic() {
        Mnemonic::Nop => true,
        // `xchg %ax,%ax`
        Mnemonic::Xchg => {
            instruction.op0_register() == instruction.op1_register()
                && instruction.op0_register() == Register::AX
        }
        _ => false,
    }
}

/// Whether an instruction may fill the space between functions, where control never comes.
pub(crate) fn is_padding(instruction: &Instruction) -> bool {
    is_nop(instruction) || instruction.mnemonic() == Mnemonic::Int3
}

/// Whether an instruction needs a stack.
pub(crate) fn uses_stack(instruction: &Instruction) -> bool {
    instruction.is_stack_instruction()
        || matches!(instruction.memory_base(), Register::RSP | Register::RBP)
}

/// Whether an instruction changes the direction flag, or all flags.
pub(crate) fn changes_direction(instruction: &Instruction) -> bool {
    matches!(
        instruction.mnemonic(),
        Mnemonic::Std | Mnemonic::Popf | Mnemonic::Popfd | Mnemonic::Popfq
    )
}

/// Whether an instruction's operand is the address of code.
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
