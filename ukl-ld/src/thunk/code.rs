//! The code of one thunk, and how to unwind it.
//!
//! The kernel relies on the positions of some instructions in a thunk. The ABI of the kernel
//! archive defines them. This file writes the instructions and pads them to these positions.
//!
//! A thunk that calls a kernel function switches to the kernel stack, calls the function, tests
//! whether the kernel has work to do before the thread returns, and switches back. Between the two
//! switches the kernel treats the thread as kernel code (`ukl_on_kernel_stack()`). An interrupt
//! between the test and the switch back could add such work; the kernel then makes the thunk repeat
//! the test, which it can do because it knows the positions of the instructions.
//!
//! A thunk has two variants. The first [`RING3_SIZE`] bytes of the variant for ring 3 stand apart
//! from the entry, and are copied over it for a program that runs at ring 3.

mod linked;
mod writer;

use crate::error::Result;
use crate::kernel::Call;
use crate::kernel::Kernel;

pub use linked::LinkedThunks;
pub use writer::Operand;
pub use writer::RING3_SIZE;
pub use writer::ThunkCode;

use writer::ARGUMENTS;
use writer::LONGEST_INSTRUCTION;
use writer::Writer;

/// No system call has this number.
const NO_NUMBER: u32 = u32::MAX;

/// The length of the instruction at the entry of a thunk that decrements `left`.
const CHECK_SIZE: usize = 8;

impl ThunkCode {
    /// A thunk for a site that keeps its `syscall` instruction after the call of the thunk. The
    /// thunk loads the number, and the instruction makes the call. If `number` is `None`, the system
    /// call's number is in eax already.
    pub fn skip(number: Option<u32>, kernel: &Kernel) -> Result<ThunkCode> {
        let mut writer = Writer::new(&kernel.abi);
        for start in [0, writer.entry()] {
            writer.at = start;
            if let Some(number) = number {
                writer.load_number(number);
            }
            writer.bytes(&[0xc3]); // ret
        }
        writer.finish(0, None)
    }

    /// A thunk for a site that is only a call: the thunk returns like a function. It preserves the
    /// argument registers whose bits are set in `preserved`. With `call`, it calls the kernel
    /// function directly while the kernel allows it.
    pub fn syscall(
        number: u32,
        preserved: u8,
        call: Option<Call>,
        kernel: &Kernel,
    ) -> Result<ThunkCode> {
        let mut writer = Writer::with_syscall(&kernel.abi, number);
        let Some(call) = call else {
            writer.system_call(number);
            return writer.finish(0, None);
        };
        let pushed = writer.declare_pushed(arguments_to_push(call, preserved));
        let to_full_path = writer.check_left(kernel);
        writer.push(&pushed);
        if call.arguments > 3 {
            writer.bytes(&[0x4c, 0x89, 0xd1]); // mov %r10, %rcx
        }
        let to_exit = writer.call_on_kernel_stack(Some(call.function), kernel);
        writer.return_to_site(preserved, &pushed);
        writer.land(to_full_path);
        writer.full_path();
        writer.exit(to_exit, number, &pushed, kernel.exit);
        writer.finish(0, Some(call_operand(kernel.abi.thunk.ret)))
    }

    /// The same for a stack that is also mapped in the upper half. The next thunk in the object
    /// must be that of [`ThunkCode::syscall`] for the same call, which handles all other stacks.
    pub fn shared(number: u32, preserved: u8, call: Call, kernel: &Kernel) -> Result<ThunkCode> {
        let layout = &kernel.abi.shared;
        let mut writer = Writer::with_syscall(&kernel.abi, number);
        let pushed = writer.declare_pushed(arguments_to_push(call, preserved));
        let shift: &[u8] = match call.arguments > 3 {
            true => &[0x4c, 0x89, 0xd1], // mov %r10, %rcx
            false => &[],
        };
        // The padding becomes prefixes of the cmp, up to 6 bytes, and of the add. Each instruction
        // has 9 bytes without prefixes.
        let pushes: usize = pushed.iter().map(|&index| ARGUMENTS[index].0.len()).sum();
        let code = 9 + 8 + 2 + pushes + shift.len();
        let padding = layout.switch.saturating_sub(writer.at + code);
        writer.pad(padding.min(LONGEST_INSTRUCTION - 9), 9);
        writer.bytes(&[0x65, 0x48, 0x3b, 0x24, 0x25]); // cmp %gs:low, %rsp
        writer.word(kernel.low);
        writer.bytes(&[0x65, 0xff, 0x0c, 0x25]); // decl %gs:left, which preserves the carry flag
        writer.word(kernel.left);
        let elsewhere = writer.branch(0x76); // jbe
        writer.push(&pushed);
        writer.bytes(shift);
        writer.pad_to("UKL_SHARED_SWITCH", layout.switch, 9);
        writer.bytes(&[0x65, 0x48, 0x03, 0x24, 0x25]); // add %gs:delta, %rsp
        writer.word(kernel.delta);
        writer.pad_to("UKL_SHARED_RETURN", layout.ret.saturating_sub(5), 5);
        writer.operand(0xe8, call.function); // call
        let to_exit = writer.test_exit_work(kernel);
        writer.pad_to("UKL_SHARED_POP", layout.pop, 9);
        writer.bytes(&[0x65, 0x48, 0x2b, 0x24, 0x25]); // sub %gs:delta, %rsp
        writer.word(kernel.delta);
        writer.return_to_site(preserved, &pushed);

        writer.land(elsewhere);
        // The check of the other thunk has already been made, so the jump skips it.
        writer.jump_to_next(writer.entry() + CHECK_SIZE);
        writer.exit(to_exit, number, &pushed, kernel.exit_shared);
        writer.move_to("UKL_SHARED_UNDO", layout.undo);
        writer.bytes(&[0x48, 0x8d, 0x64, 0x24, 8 * pushed.len() as u8]); // lea n(%rsp), %rsp
        writer.pushed(-(pushed.len() as i32));
        writer.jump_to_next(writer.entry());
        writer.finish(0, Some(call_operand(layout.ret)))
    }

    /// A thunk for a function of the kernel, or of kernel code, that the program calls like a C
    /// function. If its address is not known yet, init writes it to [`ThunkCode::call`]. `syscall`: the
    /// function stands for this system call, given by its number and its number of arguments. The
    /// thunk then takes the same path as the system call's thunk, so that tracing, restarts and
    /// signals work. The code for ring 3 is a jump, whose operand the caller fills in.
    pub fn function(
        syscall: Option<(u32, usize)>,
        function: Option<u64>,
        kernel: &Kernel,
    ) -> Result<ThunkCode> {
        let number = syscall.map_or(NO_NUMBER, |(number, _)| number);
        let mut writer = Writer::with_syscall(&kernel.abi, number);
        let pushed = writer.declare_pushed(0..syscall.map_or(0, |(_, arguments)| arguments));
        let to_full_path = syscall.map(|(_, arguments)| {
            if arguments > 3 {
                writer.bytes(&[0x49, 0x89, 0xca]); // mov %rcx, %r10
            }
            writer.check_left(kernel)
        });
        writer.push(&pushed);
        let to_exit = writer.call_on_kernel_stack(function, kernel);
        writer.drop(&pushed);
        writer.bytes(&[0xc3]); // ret
        if let Some(to_full_path) = to_full_path {
            writer.land(to_full_path);
            writer.full_path();
        }
        writer.exit(to_exit, number, &pushed, kernel.exit);
        let layout = &kernel.abi.thunk;
        let ring3 = layout.preserved.saturating_sub(RING3_SIZE) & !15;
        writer.move_to("UKL_THUNK_PRESERVED", ring3);
        writer.bytes(&[0xe9, 0, 0, 0, 0]); // jmp
        writer.finish(ring3, Some(call_operand(layout.ret)))
    }
}

/// The arguments that a thunk pushes: all arguments of the call, for a restart, and all others that
/// the site needs afterwards.
fn arguments_to_push(call: Call, preserved: u8) -> impl Iterator<Item = usize> {
    (0..6).filter(move |&index| index < call.arguments || preserved & 1 << index != 0)
}

/// The position of the operand of a call that returns to this position.
fn call_operand(ret: usize) -> usize {
    ret.saturating_sub(4)
}

#[cfg(test)]
mod tests;
