//! Classifies instructions.

use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind, Register};

/// Whether an instruction makes a system call.
pub(crate) fn is_site(instruction: &Instruction) -> bool {
    instruction.mnemonic() == Mnemonic::Syscall
}

/// The fault that the processor raises at ring 3 for an instruction that only ring 0 may execute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A general protection fault: SIGSEGV.
    Protection,
    /// An undefined instruction: SIGILL.
    Undefined,
}

/// The fault that an instruction causes at ring 3, if it does something else at ring 0 (Intel SDM,
/// volume 2).
///
/// The result is `None` for instructions that Linux allows a process at ring 3: `in` and `out`
/// (`ioperm`, `iopl`), `rdpmc` (perf), and those that read descriptor tables (`sgdt`). It is also
/// `None` for instructions that do something else at ring 3 without a fault (`popf`, `iret`), and
/// for virtualisation instructions, which are undefined at any ring unless the kernel is a
/// hypervisor.
pub(crate) fn fault_at_ring3(instruction: &Instruction) -> Option<Fault> {
    use Mnemonic::*;
    let is_special = |register: Register| register.is_cr() || register.is_dr();
    match instruction.mnemonic() {
        Hlt | Cli | Sti | Clts | Lmsw | Lgdt | Lidt | Lldt | Ltr | Invd | Wbinvd | Wbnoinvd
        | Invlpg | Invpcid | Rdmsr | Wrmsr | Wrmsrns | Xsetbv | Xsaves | Xsaves64 | Xrstors
        | Xrstors64 | Swapgs | Sysret | Sysretq | Sysexit | Sysexitq => Some(Fault::Protection),
        // Ring 3 may use the gate of #BP (`int $3`). It may use that of #OF, too, but the signal is
        // the same as for a gate that it may not use. Without 32-bit system calls, Linux has no
        // other such gate.
        Int => (instruction.immediate8() != 3).then_some(Fault::Protection),
        Mov if is_special(instruction.op0_register()) || is_special(instruction.op1_register()) => {
            Some(Fault::Protection)
        }
        Monitor | Mwait | Stac | Clac => Some(Fault::Undefined),
        _ => None,
    }
}

/// The last byte at which a `syscall` or a privileged instruction may begin, judged by its opcode.
///
/// This does not search for `cli` and `sti`. They are single bytes that also occur in the most
/// common instructions (`mov %rdi,%rdx` is `48 89 fa`), so nearly all code of a program would have
/// to be decoded.
pub(crate) fn last_candidate(bytes: &[u8]) -> Option<usize> {
    const HLT: u8 = 0xf4;
    const INT: u8 = 0xcd;
    const TWO_BYTES: u8 = 0x0f;
    memchr::memrchr3_iter(HLT, INT, TWO_BYTES, bytes).find(|&at| {
        bytes[at] != TWO_BYTES
            || match bytes.get(at + 1) {
                // `lldt` and `ltr`, `lgdt` to `swapgs`, `syscall`, `clts`, `sysret`, `invd`, `wbinvd`
                Some(0x00 | 0x01 | 0x05..=0x09) => true,
                // `mov` of control and debug registers, `wrmsr`, `rdmsr`, `sysexit`
                Some(0x20..=0x23 | 0x30 | 0x32 | 0x35) => true,
                // `xsaves`, `xrstors`
                Some(0xc7) => bytes
                    .get(at + 2)
                    .is_some_and(|mode| *mode < 0xc0 && matches!(mode >> 3 & 7, 3 | 5)),
                // `invpcid`
                Some(0x38) => bytes.get(at + 2) == Some(&0x82),
                _ => false,
            }
    })
}

/// Whether an instruction calls a function.
///
/// The decoder's `FlowControl::Call` also includes `syscall` and similar instructions.
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

/// Whether an instruction may fill the space between functions, which is never executed.
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
