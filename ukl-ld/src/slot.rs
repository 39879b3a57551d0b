//! The code of one slot, and how to unwind it.
//!
//! A slot is 128 bytes. Eight of them are what it does at ring 3; for that, they are copied to where
//! it is entered ([`ring3`]). A slot that calls a kernel function switches to the kernel's stack and
//! back. In between it is program code on that stack, which an interrupt must not see: the kernel
//! (`ukl_leave_slot()`) sets it back or forward, and knows it by the places of the instructions
//! below.

use crate::error::Error;
use crate::error::Result;
use crate::kernel::Call;
use crate::kernel::Kernel;

/// The size of a slot, and its distance from the next one.
pub const SIZE: usize = 128;

/// How many bytes of a slot differ at ring 3.
const RING3: usize = 8;

/// Where the slot of a system call is entered; what it is at ring 3 stands in front.
pub const ENTRY: usize = 8;

/// Where the slot of a function of kernel code is entered.
pub const CODE_ENTRY: usize = 30;

/// Where such a slot has what it is at ring 3.
pub const CODE_RING3: usize = 16;

/// Behind the number and a SYSCALL: where a system call goes on after a restart.
const RESTARTED: usize = 7;

/// No system call has this number.
const NO_NUMBER: u32 = u32::MAX;

/// Where the instruction that switches the stack begins.
const SWITCH: usize = 33;

/// Where the called function comes back.
const BACK: usize = 48;

/// Where the operand of its call is.
pub const CALL: usize = BACK - 4;

const RAX: u8 = 0;
const RCX: u8 = 2;
const RSP: u8 = 7;
const RETURN_ADDRESS: u8 = 16;

/// The registers of a system call's arguments: how they are pushed and popped.
const ARGUMENTS: [(&[u8], &[u8]); 6] = [
    (&[0x57], &[0x5f]),             // rdi
    (&[0x56], &[0x5e]),             // rsi
    (&[0x52], &[0x5a]),             // rdx
    (&[0x41, 0x52], &[0x41, 0x5a]), // r10
    (&[0x41, 0x50], &[0x41, 0x58]), // r8
    (&[0x41, 0x51], &[0x41, 0x59]), // r9
];

/// `syscall; ret`
const SYSCALL: [u8; 3] = [0x0f, 0x05, 0xc3];

/// A jump or call whose operand the linker fills in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operand {
    /// Where it is in the slot; four bytes, relative to their end.
    pub offset: usize,
    /// The address it refers to.
    pub target: u64,
}

/// A slot.
#[derive(Debug, Clone)]
pub struct Slot {
    /// Its code.
    pub code: [u8; SIZE],
    /// What in it refers to the kernel.
    pub operands: Vec<Operand>,
    /// DWARF call frame instructions, behind those of the CIE: CFA at rsp+8, return address at
    /// CFA-8.
    pub frame: Vec<u8>,
}

impl Slot {
    /// For a site that keeps its `syscall` behind the call: goes back over it, through rcx. Without
    /// a number it is in eax.
    pub fn skip(number: Option<u32>, kernel: &Kernel) -> Slot {
        let mut slot = Writer::new();
        if let Some(number) = number {
            slot.number(number);
        }
        slot.bytes(&[0xc3]);
        slot.to(ENTRY);
        if let Some(number) = number {
            slot.number(number);
        }
        slot.bytes(&[0x59]); // pop %rcx
        slot.pushed(-1);
        slot.cfa(&[0x09, RETURN_ADDRESS, RCX]); // DW_CFA_register
        slot.bytes(&[0x48, 0x8d, 0x49, 0x02]); // lea 2(%rcx), %rcx
        slot.jump(kernel.entry_flags);
        slot.finish()
    }

    /// For a site that is just a call: comes back by a return. It preserves those argument
    /// registers whose bit in `live` is set. With `call`, it calls the kernel's function as long as
    /// the kernel allows it.
    pub fn call(number: u32, live: u8, call: Option<Call>, kernel: &Kernel) -> Slot {
        let mut slot = Writer::new();
        slot.number(number);
        slot.bytes(&SYSCALL);
        let Some(call) = call else {
            slot.base(number, kernel);
            return slot.finish();
        };

        slot.bytes(&[0x65, 0xff, 0x0c, 0x25]); // decl %gs:left
        slot.word(kernel.left);
        let to_base = slot.branch(0x78); // js

        // All arguments are kept for a restart, even if nobody wants them afterwards.
        let kept = |index: usize| index < call.arguments || live & 1 << index != 0;
        let kept: Vec<_> = (0..6).filter(|&index| kept(index)).collect();
        // By it, the kernel finds them while the call blocks (`ukl_blocked_regs()`).
        slot.code[SIZE - 1] = kept.iter().fold(0, |mask, index| mask | 1 << index);
        for &index in &kept {
            slot.bytes(ARGUMENTS[index].0);
            slot.pushed(1);
        }
        if call.arguments > 3 {
            slot.bytes(&[0x4c, 0x89, 0xd1]); // mov %r10, %rcx
        }
        let to_exit = slot.kernel_function(Some(call.function), kernel);
        if live != 0 {
            slot.pop(&kept);
        } else if !kept.is_empty() {
            let size = 8 * kept.len() as u8;
            slot.bytes(&[0x48, 0x83, 0xc4, size]); // add $size, %rsp
            slot.pushed(-(kept.len() as i32));
        }
        slot.bytes(&[0xc3]);

        slot.land(to_base);
        slot.base(number, kernel);

        slot.land(to_exit);
        slot.pushed(kept.len() as i32);
        slot.pop(&kept);
        slot.address(RESTARTED);
        slot.jump(kernel.exit);
        slot.finish()
    }

    /// For a function of kernel code, whose address init puts at [`CALL`]. What is to be at ring 3
    /// is a jump, whose operand is left open ([`CODE_RING3`]).
    pub fn kernel_code(kernel: &Kernel) -> Slot {
        let mut slot = Writer::new();
        // The kernel reads here which system call a blocked thread is in, and at the end which
        // arguments the slot has pushed.
        slot.number(NO_NUMBER);
        slot.code[SIZE - 1] = 0;
        slot.to(CODE_RING3);
        slot.bytes(&[0xe9, 0, 0, 0, 0]); // jmp
        slot.to(CODE_ENTRY);
        let to_exit = slot.kernel_function(None, kernel);
        let back = slot.at;
        slot.bytes(&[0xc3]);

        // A call that a signal interrupted returns -516 to -512. The signal stays pending: whoever
        // called asks the kernel again, by the system call.
        slot.land(to_exit);
        slot.bytes(&[0x48, 0x8d, 0x88, 0x04, 0x02, 0, 0]); // lea 516(%rax), %rcx
        slot.bytes(&[0x48, 0x83, 0xf9, 0x04]); // cmp $4, %rcx
        let to_back = slot.branch(0x76); // jbe
        slot.code[to_back] = (back as u8).wrapping_sub(slot.at as u8);
        // Where it goes on, what is in front of a call's slot stands once more: the number is read.
        let number = slot.at + 7 + 5;
        slot.address(number + RESTARTED);
        slot.jump(kernel.exit);
        debug_assert_eq!(slot.at, number);
        slot.number(NO_NUMBER);
        slot.bytes(&SYSCALL);
        slot.finish()
    }
}

/// Makes a program's slots, from this offset on, what they are at ring 3: copies that to their
/// entries.
pub fn ring3(program: &mut [u8], first: u64, count: u64, from: usize, entry: usize) -> Result<()> {
    for index in 0..count {
        let at = first + index * SIZE as u64;
        let slot = usize::try_from(at)
            .ok()
            .and_then(|at| program.get_mut(at..at + SIZE))
            .ok_or_else(|| Error::Program("slots behind its end".into()))?;
        slot.copy_within(from..from + RING3, entry);
    }
    Ok(())
}

/// Writes a slot from its beginning on.
struct Writer {
    code: [u8; SIZE],
    at: usize,
    operands: Vec<Operand>,
    frame: Vec<u8>,
    /// Up to where `frame` describes it.
    described: usize,
    /// What is on the stack above the return address, in words.
    depth: i32,
}

impl Writer {
    fn new() -> Writer {
        Writer {
            code: [0xcc; SIZE],
            at: 0,
            operands: Vec::new(),
            frame: Vec::new(),
            described: 0,
            depth: 0,
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.code[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    /// An operand of 32 bits.
    fn word(&mut self, value: u64) {
        self.bytes(&(value as u32).to_le_bytes());
    }

    fn to(&mut self, at: usize) {
        self.at = at;
    }

    fn fill(&mut self, to: usize, byte: u8) {
        while self.at < to {
            self.bytes(&[byte]);
        }
    }

    fn number(&mut self, number: u32) {
        self.bytes(&[0xb8]); // mov $number, %eax
        self.word(number.into());
    }

    fn operand(&mut self, opcode: u8, target: u64) {
        self.bytes(&[opcode]);
        self.operands.push(Operand {
            offset: self.at,
            target,
        });
        self.word(0);
    }

    fn jump(&mut self, target: u64) {
        self.operand(0xe9, target);
    }

    /// A short jump forward; returns where its operand is.
    fn branch(&mut self, opcode: u8) -> usize {
        self.bytes(&[opcode, 0]);
        self.at - 1
    }

    /// Makes a branch land here.
    fn land(&mut self, operand: usize) {
        self.code[operand] = (self.at - operand - 1) as u8;
    }

    fn pop(&mut self, kept: &[usize]) {
        for &index in kept.iter().rev() {
            self.bytes(ARGUMENTS[index].1);
            self.pushed(-1);
        }
    }

    /// The system call with all its work.
    fn base(&mut self, number: u32, kernel: &Kernel) {
        self.number(number);
        self.address(RESTARTED);
        self.jump(kernel.entry);
    }

    /// Loads the address of a place in the slot into rcx.
    fn address(&mut self, place: usize) {
        let distance = place as i32 - (self.at as i32 + 7);
        self.bytes(&[0x48, 0x8d, 0x0d]); // lea place(%rip), %rcx
        self.bytes(&distance.to_le_bytes());
    }

    /// Calls a function on the kernel's stack and comes back, at the places that the kernel knows.
    /// A function that is not known yet leaves the operand open. Returns the branch that is taken
    /// if the kernel has work to do.
    fn kernel_function(&mut self, function: Option<u64>, kernel: &Kernel) -> usize {
        // Prefixes that mean nothing fill the gap without an instruction.
        self.fill(SWITCH - 3, 0x2e);
        self.bytes(&[0x48, 0x89, 0xe0]); // mov %rsp, %rax
        self.bytes(&[0x65, 0x48, 0x8b, 0x24, 0x25]); // mov %gs:stack, %rsp
        self.word(kernel.stack);
        let depth = (8 + 8 * self.depth) as u8;
        self.cfa(&[0x0c, RAX, depth]); // DW_CFA_def_cfa
        self.bytes(&[0x50]); // push %rax
        // DW_CFA_def_cfa_expression: DW_OP_breg7 0, DW_OP_deref, DW_OP_plus_uconst
        self.cfa(&[0x0f, 5, 0x77, 0, 0x06, 0x23, depth]);
        match function {
            Some(function) => self.operand(0xe8, function),
            None => self.bytes(&[0xe8, 0, 0, 0, 0]),
        }
        debug_assert_eq!(self.at, BACK);
        self.bytes(&[0x5c]); // pop %rsp
        self.cfa(&[0x0c, RSP, depth]);
        self.bytes(&[0x65, 0x48, 0x8b, 0x0c, 0x25]); // mov %gs:current, %rcx
        self.word(kernel.current);
        self.bytes(&[0xf7, 0x01]); // testl $work, (%rcx)
        self.word(kernel.exit_work);
        self.branch(0x75) // jne
    }

    /// The instruction before here has pushed so many words.
    fn pushed(&mut self, words: i32) {
        self.depth += words;
        let offset = (8 + 8 * self.depth) as u8;
        self.cfa(&[0x0e, offset]); // DW_CFA_def_cfa_offset
    }

    /// From here on, these call frame instructions hold.
    fn cfa(&mut self, instructions: &[u8]) {
        let delta = (self.at - self.described) as u8;
        // DW_CFA_advance_loc has room for six bits.
        match delta {
            0 => {}
            1..64 => self.frame.push(0x40 | delta),
            _ => self.frame.extend([0x02, delta]),
        }
        self.described = self.at;
        self.frame.extend(instructions);
    }

    fn finish(self) -> Slot {
        debug_assert!(self.at < SIZE);
        Slot {
            code: self.code,
            operands: self.operands,
            frame: self.frame,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel() -> Kernel {
        Kernel {
            left: 0x1000,
            stack: 0x2000,
            current: 0x3000,
            exit_work: 0x4000,
            ..Kernel::none()
        }
    }

    fn all() -> impl Iterator<Item = Slot> {
        (0..=6).flat_map(|arguments| {
            (0..64).map(move |live| {
                let call = Call {
                    function: 0xffff_ffff_8123_4560,
                    arguments,
                };
                Slot::call(39, live, Some(call), &kernel())
            })
        })
    }

    #[test]
    fn the_kernel_finds_the_instructions_where_it_looks() {
        for slot in all() {
            assert_eq!(
                slot.code[SWITCH..SWITCH + 5],
                [0x65, 0x48, 0x8b, 0x24, 0x25]
            );
            assert_eq!(slot.code[SWITCH + 9], 0x50);
            assert_eq!(slot.code[BACK - 5], 0xe8);
            assert_eq!(slot.code[BACK], 0x5c);
        }
        let code = Slot::kernel_code(&Kernel::none()).code;
        assert_eq!(code[33..38], [0x65, 0x48, 0x8b, 0x24, 0x25]);
        assert_eq!(code[42..44], [0x50, 0xe8]);
        assert_eq!(code[48], 0x5c);
        assert_eq!(code[87], 0xe9);
        assert_eq!(code[93..99], [0xff, 0xff, 0xff, 0xff, 0x0f, 0x05]);
    }

    #[test]
    fn instructions_are_no_longer_than_15_bytes() {
        for slot in all() {
            let prefixes = slot.code.iter().filter(|&&byte| byte == 0x2e).count();
            assert!(prefixes <= 12, "{prefixes}");
        }
    }

    #[test]
    fn at_ring_3_a_call_is_the_system_call() {
        for slot in all() {
            assert_eq!(slot.code[..ENTRY], [0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3]);
        }
        let skip = Slot::skip(Some(57), &kernel());
        assert_eq!(skip.code[..6], [0xb8, 57, 0, 0, 0, 0xc3]);
        assert_eq!(Slot::skip(None, &kernel()).code[0], 0xc3);
    }

    #[test]
    fn branches_land_on_the_number_and_on_the_way_out() {
        for slot in all() {
            let base = 18 + slot.code[17] as usize;
            assert_eq!(slot.code[base..base + 5], [0xb8, 39, 0, 0, 0]);
            let lea = base + 5;
            assert_eq!(slot.code[lea..lea + 3], [0x48, 0x8d, 0x0d]);
            let distance = i32::from_le_bytes(slot.code[lea + 3..lea + 7].try_into().unwrap());
            assert_eq!((lea + 7) as i32 + distance, RESTARTED as i32);
        }
    }
}
