//! The code of one slot, and how to unwind it.
//!
//! A slot is 128 bytes. Eight of them are what it does at ring 3; for that, they are copied to where
//! it is entered ([`ring3`]). A slot that calls a kernel function switches to the kernel's stack,
//! calls, looks there for work that the kernel has, and switches back. In between it is a part of the
//! kernel (`ukl_on_kernel_stack()`): nothing is done between the look and the switch back, as the
//! kernel, which knows the places of these instructions, makes a slot look again that was interrupted
//! there.

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

/// Where a slot of kernel code has what it is at ring 3. It is entered where all are.
pub const CODE_RING3: usize = 112;

/// Behind the number and a SYSCALL: where a system call goes on after a restart.
const RESTARTED: usize = 7;

/// No system call has this number.
const NO_NUMBER: u32 = u32::MAX;

/// Where the instruction that switches the stack begins.
const SWITCH: usize = 33;

/// Where the called function comes back.
const BACK: usize = 48;

/// Where it gets its own stack back.
const POP: usize = BACK + 17;

/// Where the operand of its call is.
pub const CALL: usize = BACK - 4;

/// In a slot for shared stacks: where its stack becomes the kernel's view of it.
const SHARED_SWITCH: usize = 39;

/// Where the called function comes back.
const SHARED_BACK: usize = 53;

/// Where the operand of its call is.
pub const SHARED_CALL: usize = SHARED_BACK - 4;

/// Where it goes on if it turns out that the kernel has no view of the stack.
const SHARED_UNDO: usize = 112;

/// The check's branch, in the slot of the same call that takes the kernel's stack.
const CHECKED: usize = ENTRY + 8;

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
        let mut slot = Writer::empty();
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
        let mut slot = Writer::new(number);
        let Some(call) = call else {
            slot.base(number, kernel);
            return slot.finish();
        };
        let kept = slot.keep_for(call, live);
        let to_base = slot.check(kernel);
        slot.push(&kept);
        if call.arguments > 3 {
            slot.bytes(&[0x4c, 0x89, 0xd1]); // mov %r10, %rcx
        }
        let to_exit = slot.kernel_function(Some(call.function), kernel);
        slot.back(live, &kept);
        slot.land(to_base);
        slot.base(number, kernel);
        slot.exit(to_exit, number, &kept, kernel.exit);
        slot.finish()
    }

    /// The same for a stack that the kernel has a view of, at a distance and down to a limit. Behind
    /// it has to stand the slot of [`Slot::call`], which is for all other stacks.
    pub fn shared(number: u32, live: u8, call: Call, kernel: &Kernel) -> Slot {
        let mut slot = Writer::new(number);
        let kept = slot.keep_for(call, live);
        // What comes between is padded to a fixed length, by both ends: no instruction has more
        // than 15 bytes.
        let shift = if call.arguments > 3 { 3 } else { 0 };
        let pushes: usize = kept.iter().map(|&index| ARGUMENTS[index].0.len()).sum();
        let padding = SHARED_SWITCH - 27 - pushes - shift;
        slot.fill(ENTRY + padding.min(6), 0x2e);
        slot.bytes(&[0x65, 0x48, 0x3b, 0x24, 0x25]); // cmp %gs:low, %rsp
        slot.word(kernel.low);
        slot.bytes(&[0x65, 0xff, 0x0c, 0x25]); // decl %gs:left, which leaves the carry alone
        slot.word(kernel.left);
        let elsewhere = slot.branch(0x76); // jbe
        slot.push(&kept);
        if shift > 0 {
            slot.bytes(&[0x4c, 0x89, 0xd1]); // mov %r10, %rcx
        }
        slot.fill(SHARED_SWITCH, 0x2e);
        slot.bytes(&[0x65, 0x48, 0x03, 0x24, 0x25]); // add %gs:delta, %rsp
        slot.word(kernel.delta);
        slot.operand(0xe8, call.function); // call
        debug_assert_eq!(slot.at, SHARED_BACK);
        let to_exit = slot.look(kernel);
        slot.bytes(&[0x65, 0x48, 0x2b, 0x24, 0x25]); // sub %gs:delta, %rsp
        slot.word(kernel.delta);
        slot.back(live, &kept);

        slot.land(elsewhere);
        slot.next(CHECKED);
        slot.exit(to_exit, number, &kept, kernel.exit_shared);
        debug_assert!(slot.at <= SHARED_UNDO);
        slot.to(SHARED_UNDO);
        slot.bytes(&[0x48, 0x8d, 0x64, 0x24, 8 * kept.len() as u8]); // lea n(%rsp), %rsp
        slot.pushed(-(kept.len() as i32));
        slot.next(ENTRY);
        slot.finish()
    }

    /// For a function of the kernel or of kernel code that a program calls like a function of C. An
    /// address that is not known yet, init puts at [`CALL`]. If it stands for a system call, this is
    /// its number and how many arguments it has: the way is that of the system call then, with all
    /// that can come between. What is to be at ring 3 is a jump, whose operand is left open
    /// ([`CODE_RING3`]).
    pub fn kernel_code(call: Option<(u32, usize)>, function: Option<u64>, kernel: &Kernel) -> Slot {
        let number = call.map_or(NO_NUMBER, |(number, _)| number);
        let mut slot = Writer::new(number);
        let kept = slot.keep(0..call.map_or(0, |(_, arguments)| arguments));
        let to_base = call.map(|(_, arguments)| {
            if arguments > 3 {
                slot.bytes(&[0x49, 0x89, 0xca]); // mov %rcx, %r10
            }
            slot.check(kernel)
        });
        slot.push(&kept);
        if call.is_none() {
            let over = slot.branch(0xeb); // jmp
            slot.to(SWITCH - 3);
            slot.land(over);
        }
        let to_exit = slot.kernel_function(function, kernel);
        slot.drop(&kept);
        slot.bytes(&[0xc3]);
        if let Some(to_base) = to_base {
            slot.land(to_base);
            slot.base(number, kernel);
        }
        slot.exit(to_exit, number, &kept, kernel.exit);
        debug_assert!(slot.at <= CODE_RING3);
        slot.to(CODE_RING3);
        slot.bytes(&[0xe9, 0, 0, 0, 0]); // jmp
        slot.finish()
    }
}

/// Slots that follow each other in a program's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// The offset of the first.
    pub file_offset: u64,
    /// How many there are.
    pub count: u64,
    /// Where a slot has what it is at ring 3.
    pub ring3: usize,
}

impl Table {
    /// Makes the slots what they are at ring 3: copies that from within each to where it is entered.
    pub fn leave_out(&self, program: &mut [u8]) -> Result<()> {
        for index in 0..self.count {
            let at = self.file_offset + index * SIZE as u64;
            let slot = usize::try_from(at)
                .ok()
                .and_then(|at| program.get_mut(at..at + SIZE))
                .ok_or_else(|| Error::Program("slots behind its end".into()))?;
            slot.copy_within(self.ring3..self.ring3 + RING3, ENTRY);
        }
        Ok(())
    }
}

/// Arguments as bits.
fn mask(arguments: &[usize]) -> u8 {
    arguments.iter().fold(0, |mask, index| mask | 1 << index)
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
    /// A slot that begins with a system call and goes on where it is entered.
    fn new(number: u32) -> Writer {
        let mut slot = Writer::empty();
        slot.number(number);
        slot.bytes(&SYSCALL);
        debug_assert_eq!(slot.at, ENTRY);
        slot
    }

    fn empty() -> Writer {
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

    /// Says which arguments are going to be pushed: the kernel finds them so while the call blocks
    /// (`ukl_blocked_regs()`).
    fn keep(&mut self, arguments: impl Iterator<Item = usize>) -> Vec<usize> {
        let kept: Vec<usize> = arguments.collect();
        self.code[SIZE - 1] = mask(&kept);
        kept
    }

    /// The same for a call: all of its arguments are kept for a restart, even if nobody wants them
    /// afterwards.
    fn keep_for(&mut self, call: Call, live: u8) -> Vec<usize> {
        self.keep((0..6).filter(|&index| index < call.arguments || live & 1 << index != 0))
    }

    /// Back to the site, with the registers that it wants preserved.
    fn back(&mut self, live: u8, kept: &[usize]) {
        match live {
            0 => self.drop(kept),
            _ => self.pop(kept),
        }
        self.bytes(&[0xc3]); // ret
    }

    /// Whether the kernel allows a call of its own function. Returns the branch that is taken if it
    /// does not.
    fn check(&mut self, kernel: &Kernel) -> usize {
        self.bytes(&[0x65, 0xff, 0x0c, 0x25]); // decl %gs:left
        self.word(kernel.left);
        self.branch(0x7e) // jle
    }

    fn push(&mut self, kept: &[usize]) {
        for &index in kept {
            self.bytes(ARGUMENTS[index].0);
            self.pushed(1);
        }
    }

    fn pop(&mut self, kept: &[usize]) {
        for &index in kept.iter().rev() {
            self.bytes(ARGUMENTS[index].1);
            self.pushed(-1);
        }
    }

    /// Takes the arguments off the stack without a look at them.
    fn drop(&mut self, kept: &[usize]) {
        if !kept.is_empty() {
            let size = 8 * kept.len() as u8;
            self.bytes(&[0x48, 0x83, 0xc4, size]); // add $size, %rsp
            self.pushed(-(kept.len() as i32));
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

    /// The way out, on the kernel's stack, if it has work to do: makes the call a system call, whose
    /// registers the kernel takes from the program's stack (`ukl_exit()`).
    fn exit(&mut self, branch: usize, number: u32, kept: &[usize], exit: u64) {
        self.land(branch);
        self.pushed(kept.len() as i32);
        self.bytes(&[0x41, 0xba]); // mov $call, %r10d
        self.word(u64::from(number & 0xff_ffff) | u64::from(mask(kept)) << 24);
        self.address(0);
        self.jump(exit);
    }

    /// Jumps to this place of the slot behind.
    fn next(&mut self, place: usize) {
        let distance = (SIZE + place) as i32 - (self.at as i32 + 5);
        self.bytes(&[0xe9]);
        self.bytes(&distance.to_le_bytes());
    }

    /// Looks for work that the kernel has. Returns the branch that is taken if there is any.
    fn look(&mut self, kernel: &Kernel) -> usize {
        self.bytes(&[0x65, 0x48, 0x8b, 0x0c, 0x25]); // mov %gs:current, %rcx
        self.word(kernel.current);
        self.bytes(&[0xf7, 0x01]); // testl $work, (%rcx)
        self.word(kernel.exit_work);
        self.branch(0x75) // jne
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
        let to_exit = self.look(kernel);
        debug_assert_eq!(self.at, POP);
        self.bytes(&[0x5c]); // pop %rsp
        self.cfa(&[0x0c, RSP, depth]);
        to_exit
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
            delta: 0x5000,
            low: 0x6000,
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

    fn shared() -> impl Iterator<Item = Slot> {
        (0..=6).flat_map(|arguments| {
            (0..64).map(move |live| {
                let call = Call {
                    function: 0xffff_ffff_8123_4560,
                    arguments,
                };
                Slot::shared(39, live, call, &kernel())
            })
        })
    }

    fn kernel_code() -> impl Iterator<Item = Slot> {
        let calls = (0..=6).map(|arguments| Some((39, arguments)));
        calls
            .chain([None])
            .map(|call| Slot::kernel_code(call, None, &kernel()))
    }

    #[test]
    fn the_kernel_finds_the_instructions_where_it_looks() {
        for slot in all().chain(kernel_code()) {
            let code = slot.code;
            assert_eq!(code[5..8], SYSCALL);
            assert_eq!(code[SWITCH..SWITCH + 5], [0x65, 0x48, 0x8b, 0x24, 0x25]);
            assert_eq!(code[SWITCH + 9], 0x50);
            assert_eq!(code[BACK - 5], 0xe8);
            assert_eq!(code[BACK..BACK + 5], [0x65, 0x48, 0x8b, 0x0c, 0x25]);
            assert_eq!(code[POP - 2], 0x75);
            assert_eq!(code[POP], 0x5c);
        }
    }

    #[test]
    fn the_kernel_finds_the_instructions_of_shared_stacks() {
        for slot in shared() {
            let code = slot.code;
            assert_eq!(code[SHARED_SWITCH + 2..][..3], [0x03, 0x24, 0x25]);
            assert_eq!(code[48], 0xe8);
            assert_eq!(code[53..58], [0x65, 0x48, 0x8b, 0x0c, 0x25]);
            assert_eq!(code[70..75], [0x65, 0x48, 0x2b, 0x24, 0x25]);
            assert_eq!(code[112..116], [0x48, 0x8d, 0x64, 0x24]);
            let kept = code[SIZE - 1].count_ones() as u8;
            assert_eq!(code[116], 8 * kept);
            // To the next slot.
            assert_eq!(code[117..122], [0xe9, 14, 0, 0, 0]);
            let elsewhere = (0..SIZE)
                .find(|&at| code[at..].starts_with(&[0x76]))
                .unwrap();
            let jump = elsewhere + 2 + code[elsewhere + 1] as usize;
            assert_eq!(code[jump], 0xe9);
            let distance = i32::from_le_bytes(code[jump + 1..jump + 5].try_into().unwrap());
            assert_eq!(jump as i32 + 5 + distance, (SIZE + CHECKED) as i32);
        }
        assert!(all().all(|slot| slot.code[CHECKED] == 0x7e));
    }

    #[test]
    fn the_way_out_tells_what_the_call_was() {
        let exit = |slot: Slot| {
            let at = POP + slot.code[POP - 1] as usize;
            assert_eq!(slot.code[at..at + 2], [0x41, 0xba]);
            u32::from_le_bytes(slot.code[at + 2..at + 6].try_into().unwrap())
        };
        for slot in all() {
            let kept = slot.code[SIZE - 1];
            assert_eq!(exit(slot), u32::from(kept) << 24 | 39);
        }
        assert_eq!(
            exit(Slot::kernel_code(Some((44, 6)), None, &kernel())),
            0x3f00_002c
        );
        assert_eq!(exit(Slot::kernel_code(None, None, &kernel())), 0x00ff_ffff);
    }

    #[test]
    fn instructions_are_no_longer_than_15_bytes() {
        for slot in all().chain(kernel_code()).chain(shared()) {
            let mut code = iced_x86::Decoder::new(64, &slot.code[..SIZE - 1], 0);
            while code.can_decode() {
                let instruction = code.decode();
                assert!(!instruction.is_invalid(), "{:x?}", slot.code);
            }
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
