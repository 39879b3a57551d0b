//! Thunks for linked files, which may be loaded anywhere in the lower half.
//!
//! From there a `call` or `jmp` with an operand of 32 bits does not reach the kernel. So these thunks
//! go through words on their own page, which hold the addresses. An indirect call does not fit
//! between the switch to the kernel stack and UKL_THUNK_RETURN. Therefore the address of the kernel
//! function is loaded before the switch, to r11, which a system call destroys anyway. To make room
//! for that, the entry is behind the code that returns to the site:
//!
//! ```text
//! 0:  mov $number,%eax; syscall; ret                 the full path
//! 1:  push arguments; mov function(%rip),%r11; mov %rsp,%rax
//!     mov %gs:sp,%rsp; push %rax; call *%r11         the kernel function
//!     mov %gs:current,%rcx; testl $work,(%rcx); jne exit; pop %rsp
//!     pop arguments; ret
//! entry:
//!     decl %gs:left; jg 1b; jmp 0b
//! exit:
//!     mov $word,%r10d; lea …,%rcx; jmp *exit_path(%rip)
//! ```

use symbol_rewriter::LinkedThunk;
use symbol_rewriter::Thunk;
use symbol_rewriter::ThunkSource;

use crate::error::Result;
use crate::kernel::Call;
use crate::kernel::Kernel;
use crate::thunk::code::ThunkCode;
use crate::thunk::code::arguments_to_push;
use crate::thunk::code::writer::Writer;

/// `mov literal(%rip), %r11`
const LOAD_R11: &[u8] = &[0x4c, 0x8b, 0x1d];

/// `call *%r11`
const CALL_R11: &[u8] = &[0x41, 0xff, 0xd3];

/// `jmp *literal(%rip)`
const JUMP: &[u8] = &[0xff, 0x25];

/// Makes the thunks of linked files for a kernel.
#[derive(Debug, Clone, Copy)]
pub struct LinkedThunks<'k>(pub &'k Kernel);

impl ThunkSource for LinkedThunks<'_> {
    fn make(&self, thunk: Thunk) -> std::result::Result<LinkedThunk, String> {
        let made = match thunk {
            Thunk::Number(number) => skip(Some(number), self.0),
            Thunk::Generic => skip(None, self.0),
            Thunk::Call { number, preserved } => {
                syscall(number, preserved, self.0.call(number), self.0)
            }
        };
        made.map_err(|error| error.to_string())
    }
}

/// The counterpart of [`ThunkCode::skip`](super::ThunkCode::skip), which does not refer to the
/// kernel.
fn skip(number: Option<u32>, kernel: &Kernel) -> Result<LinkedThunk> {
    let thunk = ThunkCode::skip(number, kernel)?;
    Ok(LinkedThunk {
        code: thunk.code,
        entry: thunk.entry,
        literals: Vec::new(),
        frame: thunk.frame,
    })
}

/// The counterpart of [`ThunkCode::syscall`](super::ThunkCode::syscall).
fn syscall(number: u32, preserved: u8, call: Option<Call>, kernel: &Kernel) -> Result<LinkedThunk> {
    let mut writer = Writer::with_syscall(&kernel.abi, number);
    let Some(call) = call else {
        let entry = writer.at;
        writer.system_call(number);
        return writer.finish_linked(entry);
    };
    let start = writer.at;
    let pushed = writer.declare_pushed(arguments_to_push(call, preserved));
    writer.push(&pushed);
    if call.arguments > 3 {
        writer.bytes(&[0x4c, 0x89, 0xd1]); // mov %r10, %rcx
    }
    writer.through_literal(LOAD_R11, call.function);
    let to_exit = writer.call_on_kernel_stack_by(CALL_R11, kernel);
    writer.return_to_site(preserved, &pushed);

    let entry = writer.at;
    writer.bytes(&[0x65, 0xff, 0x0c, 0x25]); // decl %gs:left
    writer.word(kernel.left);
    writer.branch_back(0x7f, start); // jg
    writer.full_path();
    writer.prepare_exit(to_exit, number, &pushed);
    writer.through_literal(JUMP, kernel.exit);
    writer.finish_linked(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel() -> Kernel {
        Kernel {
            exit: 0xffff_ffff_8100_0300,
            ..Kernel::none()
        }
    }

    fn call(arguments: usize) -> Option<Call> {
        Some(Call {
            function: 0xffff_ffff_8123_4560,
            arguments,
        })
    }

    #[test]
    fn the_kernel_finds_its_instructions_with_any_arguments() {
        let kernel = kernel();
        for arguments in 0..=6 {
            for preserved in 0..0x40 {
                let thunk = syscall(39, preserved, call(arguments), &kernel).unwrap();
                let layout = &kernel.abi.thunk;
                let code = &thunk.code;
                assert_eq!(code.len(), layout.size);
                assert_eq!(code[layout.number - 1], 0xb8);
                assert_eq!(code[layout.number..layout.number + 4], 39u32.to_le_bytes());
                assert_eq!(code[layout.restart - 2..layout.restart], [0x0f, 0x05]);
                let switch = &code[layout.switch..];
                assert_eq!(switch[..5], [0x65, 0x48, 0x8b, 0x24, 0x25]);
                assert_eq!(switch[9], 0x50);
                assert_eq!(code[layout.switch - 3..layout.switch], [0x48, 0x89, 0xe0]);
                assert_eq!(&code[layout.ret - 3..layout.ret], CALL_R11);
                assert_eq!(code[layout.pop], 0x5c);
                let pushed = (0..6u8)
                    .filter(|&i| usize::from(i) < arguments || preserved & 1 << i != 0)
                    .fold(0, |mask, i| mask | 1 << i);
                assert_eq!(code[layout.preserved], pushed);
                let targets: Vec<u64> = thunk.literals.iter().map(|l| l.1).collect();
                let function = 0xffff_ffff_8123_4560;
                assert_eq!(targets, [function, kernel.exit]);
                // The check jumps back to the first instruction after the restart.
                let jump = thunk.entry + 8;
                assert_eq!(code[jump], 0x7f);
                let to = (jump + 2).wrapping_add_signed(isize::from(code[jump + 1] as i8));
                assert_eq!(to, layout.restart + 1);
            }
        }
    }

    #[test]
    fn a_call_without_a_function_takes_the_full_path() {
        let kernel = kernel();
        let thunk = syscall(60, 0, None, &kernel).unwrap();
        assert!(thunk.literals.is_empty());
        let call = [0xb8, 60, 0, 0, 0, 0x0f, 0x05, 0xc3];
        assert_eq!(thunk.code[thunk.entry..thunk.entry + call.len()], call);
    }
}
