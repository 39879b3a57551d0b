//! The bytes of the instructions that the rewriter writes.

/// `call rel32`
pub(crate) const CALL: u8 = 0xe8;

/// `jmp rel32`
pub(crate) const JUMP: u8 = 0xe9;

/// The length of both.
pub(crate) const CALL_SIZE: u64 = 5;
pub(crate) const JUMP_SIZE: u64 = 5;

/// `syscall`
pub(crate) const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// `nop`
pub(crate) const NOP: u8 = 0x90;

/// A prefix that has no effect on a `call` or `jmp`.
pub(crate) const CS_PREFIX: u8 = 0x2e;

/// The number of prefixes that processors decode without a penalty.
pub(crate) const MANY_PREFIXES: usize = 4;

/// `int3`, for places that are never executed.
pub(crate) const INT3: u8 = 0xcc;

/// `lea -128(%rsp),%rsp`, past the red zone.
pub(crate) const LOWER: [u8; 5] = [0x48, 0x8d, 0x64, 0x24, 0x80];

/// `lea 128(%rsp),%rsp`
pub(crate) const RAISE: [u8; 8] = [0x48, 0x8d, 0xa4, 0x24, 0x80, 0, 0, 0];

/// The distance by which these instructions move the stack pointer.
pub(crate) const RED_ZONE: i64 = 128;

/// `movabs %al,0x8000000000000000`: a store to a non-canonical address.
///
/// At any ring it causes a general protection fault with error code 0, and it changes no register.
pub(crate) const STORE: [u8; 9] = [0xa2, 0, 0, 0, 0, 0, 0, 0, 0x80];

/// `udb`: undefined in 64-bit mode, and reserved to stay undefined.
pub(crate) const UNDEFINED: u8 = 0xd6;
