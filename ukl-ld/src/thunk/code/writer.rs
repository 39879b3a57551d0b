//! Writes the code of a thunk, and the call frame instructions that describe it.

use symbol_rewriter::LinkedThunk;

use crate::error::Error;
use crate::error::Result;
use crate::kernel::Kernel;
use crate::kernel::abi::Abi;

/// How many bytes of a thunk differ at ring 3.
pub const RING3_SIZE: usize = 8;

/// The longest instruction that x86 allows (Intel SDM, volume 2, 2.3.11).
pub(super) const LONGEST_INSTRUCTION: usize = 15;

/// A segment override prefix, which has no effect in 64-bit mode (Intel SDM, volume 2, 2.1.1). It
/// lengthens an instruction.
const PREFIX: u8 = 0x2e;

/// DWARF's numbers of registers (System V psABI for x86-64, table 3.36).
pub(super) mod dwarf {
    pub const RAX: u8 = 0;
    pub const RSP: u8 = 7;
}

/// The registers of a system call's arguments: the instructions that push and pop them.
pub(super) const ARGUMENTS: [(&[u8], &[u8]); 6] = [
    (&[0x57], &[0x5f]),             // rdi
    (&[0x56], &[0x5e]),             // rsi
    (&[0x52], &[0x5a]),             // rdx
    (&[0x41, 0x52], &[0x41, 0x5a]), // r10
    (&[0x41, 0x50], &[0x41, 0x58]), // r8
    (&[0x41, 0x51], &[0x41, 0x59]), // r9
];

/// A reference from a thunk to an address of the kernel, which the linker fills in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operand {
    /// The offset of the 32-bit operand in the thunk. It is relative to its own end.
    pub offset: usize,
    /// The address.
    pub target: u64,
}

/// A thunk.
#[derive(Debug, Clone)]
pub struct ThunkCode {
    /// The code.
    pub code: Vec<u8>,
    /// The offset at which calls enter.
    pub entry: usize,
    /// The offset of the bytes that replace those at the entry at ring 3.
    pub ring3: usize,
    /// The offset of the operand of the instruction that calls the kernel function, if there is one.
    pub call: Option<usize>,
    /// The references to the kernel.
    pub operands: Vec<Operand>,
    /// DWARF call frame instructions, to be executed after those of the CIE: the CFA at rsp+8, the
    /// return address at CFA-8.
    pub frame: Vec<u8>,
}

/// Arguments as bits.
fn mask(arguments: &[usize]) -> u8 {
    arguments.iter().fold(0, |mask, index| mask | 1 << index)
}

/// Writes the code of a thunk. It records the first piece of code for which the layout has no room,
/// and [`Writer::finish`] reports it.
pub(super) struct Writer<'a> {
    abi: &'a Abi,
    code: Vec<u8>,
    /// The offset of the next instruction.
    pub(super) at: usize,
    operands: Vec<Operand>,
    /// The operands that refer to words with addresses of the kernel.
    literals: Vec<Operand>,
    frame: Vec<u8>,
    /// The offset up to which `frame` describes the code.
    described: usize,
    /// How many words are on the stack above the return address.
    depth: i32,
    problem: Option<String>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(abi: &'a Abi) -> Self {
        Writer {
            abi,
            code: vec![0xcc; abi.thunk.size], // int3
            at: 0,
            operands: Vec::new(),
            literals: Vec::new(),
            frame: Vec::new(),
            described: 0,
            depth: 0,
            problem: None,
        }
    }

    /// Begins with the system call itself, which is the code at ring 3 and what a restarted call
    /// executes, and continues at the entry.
    pub(super) fn with_syscall(abi: &'a Abi, number: u32) -> Self {
        let mut writer = Writer::new(abi);
        writer.pad_to("UKL_THUNK_NUMBER", abi.thunk.number.saturating_sub(1), 5);
        writer.load_number(number);
        writer.pad_to("UKL_THUNK_RESTART", abi.thunk.restart.saturating_sub(2), 2);
        writer.bytes(&[0x0f, 0x05]); // syscall
        writer.bytes(&[0xc3]); // ret
        if writer.at > RING3_SIZE {
            writer.fail(format!(
                "UKL_THUNK_RESTART is {}, but the code for ring 3 has {RING3_SIZE} bytes",
                abi.thunk.restart
            ));
        }
        writer
    }

    /// The offset at which calls enter.
    pub(super) fn entry(&self) -> usize {
        self.abi.thunk.restart + 1
    }

    pub(super) fn fail(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        match self.code.get_mut(self.at..self.at + bytes.len()) {
            Some(place) => place.copy_from_slice(bytes),
            None => self.fail(format!(
                "UKL_THUNK_SIZE is {}, which is too small for the code",
                self.abi.thunk.size
            )),
        }
        self.at += bytes.len();
    }

    /// A 32-bit operand.
    pub(super) fn word(&mut self, value: u64) {
        self.bytes(&(value as u32).to_le_bytes());
    }

    /// Continues at a position that the preceding code does not run into.
    pub(super) fn move_to(&mut self, name: &str, position: usize) {
        if self.at > position {
            self.fail(format!(
                "{name} leaves {position} bytes for code that takes {}",
                self.at
            ));
        }
        // After a failure, the position must not fall behind what `frame` describes.
        self.at = self.at.max(position);
    }

    /// Pads so that the next instruction begins at a position. Its length is `next`.
    pub(super) fn pad_to(&mut self, name: &str, position: usize, next: usize) {
        match position.checked_sub(self.at) {
            Some(gap) => self.pad(gap, next),
            None => self.move_to(name, position),
        }
    }

    /// Fills a gap before an instruction of `next` bytes: with prefixes of this instruction, which
    /// cost no time, or with a jump if the prefixes would make it too long.
    pub(super) fn pad(&mut self, gap: usize, next: usize) {
        if gap + next <= LONGEST_INSTRUCTION {
            (0..gap).for_each(|_| self.bytes(&[PREFIX]));
        } else {
            let end = self.at + gap;
            let over = self.branch(0xeb); // jmp
            self.at = end;
            self.land(over);
        }
    }

    pub(super) fn load_number(&mut self, number: u32) {
        self.bytes(&[0xb8]); // mov $number, %eax
        self.word(number.into());
    }

    /// An instruction whose operand is relative to an address of the kernel.
    pub(super) fn operand(&mut self, opcode: u8, target: u64) {
        self.bytes(&[opcode]);
        self.operands.push(Operand {
            offset: self.at,
            target,
        });
        self.word(0);
    }

    pub(super) fn jump(&mut self, target: u64) {
        self.operand(0xe9, target);
    }

    /// An instruction with a memory operand: a word on the thunk's page that holds an address of the
    /// kernel. `opcode` ends with the ModRM byte of an operand relative to the instruction pointer.
    pub(super) fn through_literal(&mut self, opcode: &[u8], target: u64) {
        self.bytes(opcode);
        self.literals.push(Operand {
            offset: self.at,
            target,
        });
        self.word(0);
    }

    /// A short branch backward, to a position that has been written.
    pub(super) fn branch_back(&mut self, opcode: u8, position: usize) {
        let distance = position as isize - (self.at as isize + 2);
        match i8::try_from(distance) {
            Ok(distance) => self.bytes(&[opcode, distance as u8]),
            Err(_) => self.fail("a branch would be longer than 128 bytes".into()),
        }
    }

    /// A short branch forward. Returns the position of its operand.
    pub(super) fn branch(&mut self, opcode: u8) -> usize {
        self.bytes(&[opcode, 0]);
        self.at - 1
    }

    /// Makes a branch end here.
    pub(super) fn land(&mut self, operand: usize) {
        let distance = self.at as isize - (operand as isize + 1);
        match (i8::try_from(distance), self.code.get_mut(operand)) {
            (Ok(distance), Some(place)) => *place = distance as u8,
            _ => self.fail("a branch would be longer than 127 bytes".into()),
        }
    }

    /// Writes the mask of the arguments that the code will push, so that the kernel finds them
    /// while the call blocks (`ukl_blocked_regs()`).
    pub(super) fn declare_pushed(&mut self, arguments: impl Iterator<Item = usize>) -> Vec<usize> {
        let pushed: Vec<usize> = arguments.collect();
        let at = self.abi.thunk.preserved;
        match self.code.get_mut(at) {
            Some(byte) => *byte = mask(&pushed),
            None => self.fail(format!(
                "UKL_THUNK_PRESERVED is {at}, which is outside the thunk"
            )),
        }
        pushed
    }

    /// Restores the registers that the site needs preserved, and returns to it.
    pub(super) fn return_to_site(&mut self, preserved: u8, pushed: &[usize]) {
        match preserved {
            0 => self.drop(pushed),
            _ => self.pop(pushed),
        }
        self.bytes(&[0xc3]); // ret
    }

    /// Tests whether the call may bypass the full path. Returns the branch for a call that may not.
    pub(super) fn check_left(&mut self, kernel: &Kernel) -> usize {
        self.bytes(&[0x65, 0xff, 0x0c, 0x25]); // decl %gs:left
        self.word(kernel.left);
        self.branch(0x7e) // jle
    }

    pub(super) fn push(&mut self, arguments: &[usize]) {
        for &index in arguments {
            self.bytes(ARGUMENTS[index].0);
            self.pushed(1);
        }
    }

    pub(super) fn pop(&mut self, arguments: &[usize]) {
        for &index in arguments.iter().rev() {
            self.bytes(ARGUMENTS[index].1);
            self.pushed(-1);
        }
    }

    /// Removes pushed arguments without restoring them.
    pub(super) fn drop(&mut self, arguments: &[usize]) {
        if !arguments.is_empty() {
            let size = 8 * arguments.len() as u8;
            self.bytes(&[0x48, 0x83, 0xc4, size]); // add $size, %rsp
            self.pushed(-(arguments.len() as i32));
        }
    }

    /// The system call itself, which takes the full path, and the return to the site.
    pub(super) fn system_call(&mut self, number: u32) {
        self.load_number(number);
        self.bytes(&[0x0f, 0x05]); // syscall
        self.bytes(&[0xc3]); // ret
    }

    /// Jumps to the system call at the start of the thunk.
    pub(super) fn full_path(&mut self) {
        self.jump_within(0);
    }

    /// Loads the address of a position in the thunk into rcx.
    pub(super) fn load_address(&mut self, position: usize) {
        let distance = position as i32 - (self.at as i32 + 7);
        self.bytes(&[0x48, 0x8d, 0x0d]); // lea position(%rip), %rcx
        self.bytes(&distance.to_le_bytes());
    }

    /// Leaves by the full path, on the kernel stack: the kernel turns the call into a system call,
    /// whose registers it takes from the program's stack (`ukl_exit()`).
    pub(super) fn exit(&mut self, branch: usize, number: u32, pushed: &[usize], exit: u64) {
        self.prepare_exit(branch, number, pushed);
        self.jump(exit);
    }

    /// The code of [`Writer::exit`] without the jump to the kernel.
    pub(super) fn prepare_exit(&mut self, branch: usize, number: u32, pushed: &[usize]) {
        let word = &self.abi.exit;
        let preserved = u64::from(mask(pushed)) << word.preserved_shift;
        let value = u64::from(number & word.number_mask) | preserved;
        self.land(branch);
        self.pushed(pushed.len() as i32);
        self.bytes(&[0x41, 0xba]); // mov $value, %r10d
        self.word(value);
        self.load_address(0);
    }

    /// Jumps to a position in the next thunk of the object.
    pub(super) fn jump_to_next(&mut self, position: usize) {
        self.jump_within(self.abi.thunk.size + position);
    }

    /// Jumps to a position, counted from the start of the thunk.
    fn jump_within(&mut self, position: usize) {
        let distance = position as i32 - (self.at as i32 + 5);
        self.bytes(&[0xe9]); // jmp
        self.bytes(&distance.to_le_bytes());
    }

    /// Tests whether the kernel has work to do before the thread returns to the program. Returns
    /// the branch that is taken if so.
    pub(super) fn test_exit_work(&mut self, kernel: &Kernel) -> usize {
        self.bytes(&[0x65, 0x48, 0x8b, 0x0c, 0x25]); // mov %gs:current, %rcx
        self.word(kernel.current);
        self.bytes(&[0xf7, 0x01]); // testl $work, (%rcx)
        self.word(self.abi.exit_work.into());
        self.branch(0x75) // jne
    }

    /// Calls a function on the kernel stack. If the function is not known yet, the operand stays
    /// zero. Returns the branch that is taken if the kernel has work to do.
    pub(super) fn call_on_kernel_stack(&mut self, function: Option<u64>, kernel: &Kernel) -> usize {
        self.on_kernel_stack(kernel, 5, |writer| match function {
            Some(function) => writer.operand(0xe8, function), // call
            None => writer.bytes(&[0xe8, 0, 0, 0, 0]),
        })
    }

    /// The same with an instruction that calls the function in another way.
    pub(super) fn call_on_kernel_stack_by(&mut self, call: &[u8], kernel: &Kernel) -> usize {
        self.on_kernel_stack(kernel, call.len(), |writer| writer.bytes(call))
    }

    fn on_kernel_stack(
        &mut self,
        kernel: &Kernel,
        size: usize,
        call: impl FnOnce(&mut Self),
    ) -> usize {
        let layout = &self.abi.thunk;
        let (switch, ret, pop) = (layout.switch, layout.ret, layout.pop);
        self.pad_to("UKL_THUNK_SWITCH", switch.saturating_sub(3), 3);
        self.bytes(&[0x48, 0x89, 0xe0]); // mov %rsp, %rax
        self.bytes(&[0x65, 0x48, 0x8b, 0x24, 0x25]); // mov %gs:stack, %rsp
        self.word(kernel.stack);
        let depth = (8 + 8 * self.depth) as u8;
        self.cfa(&[0x0c, dwarf::RAX, depth]); // DW_CFA_def_cfa
        self.bytes(&[0x50]); // push %rax
        // DW_CFA_def_cfa_expression: DW_OP_breg7 0, DW_OP_deref, DW_OP_plus_uconst
        self.cfa(&[0x0f, 5, 0x77, 0, 0x06, 0x23, depth]);
        self.pad_to("UKL_THUNK_RETURN", ret.saturating_sub(size), size);
        call(self);
        let to_exit = self.test_exit_work(kernel);
        self.pad_to("UKL_THUNK_POP", pop, 1);
        self.bytes(&[0x5c]); // pop %rsp
        self.cfa(&[0x0c, dwarf::RSP, depth]);
        to_exit
    }

    /// Records that the instruction before this position has pushed this many words.
    pub(super) fn pushed(&mut self, words: i32) {
        self.depth += words;
        let offset = (8 + 8 * self.depth) as u8;
        self.cfa(&[0x0e, offset]); // DW_CFA_def_cfa_offset
    }

    /// Adds call frame instructions that apply from this position on.
    pub(super) fn cfa(&mut self, instructions: &[u8]) {
        let delta = self.at - self.described;
        // DW_CFA_advance_loc has room for six bits.
        match u8::try_from(delta) {
            Ok(0) => {}
            Ok(delta @ 1..64) => self.frame.push(0x40 | delta),
            Ok(delta) => self.frame.extend([0x02, delta]), // DW_CFA_advance_loc1
            Err(_) => self.fail("a thunk has more than 255 bytes without frame changes".into()),
        }
        self.described = self.at;
        self.frame.extend(instructions);
    }

    /// The thunk of a linked file, whose calls enter at `entry`.
    pub(super) fn finish_linked(mut self, entry: usize) -> Result<LinkedThunk> {
        let literals = std::mem::take(&mut self.literals);
        let code = self.finish(0, None)?;
        Ok(LinkedThunk {
            code: code.code,
            entry,
            literals: literals.iter().map(|o| (o.offset, o.target)).collect(),
            frame: code.frame,
        })
    }

    pub(super) fn finish(mut self, ring3: usize, call: Option<usize>) -> Result<ThunkCode> {
        let end = self.abi.thunk.preserved;
        if self.at > end {
            self.fail(format!(
                "UKL_THUNK_PRESERVED leaves {end} bytes for code that takes {}",
                self.at
            ));
        }
        match self.problem {
            Some(problem) => Err(Error::ThunkLayout(problem)),
            None => Ok(ThunkCode {
                entry: self.abi.thunk.restart + 1,
                code: self.code,
                ring3,
                call,
                operands: self.operands,
                frame: self.frame,
            }),
        }
    }
}
