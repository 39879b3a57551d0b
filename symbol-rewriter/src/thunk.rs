//! The names of the thunks that rewritten sites call.

use std::fmt;

/// A thunk that rewritten sites call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Thunk {
    /// `__ukl_sys_<number>`, for one system call. It loads the number and returns to the `syscall`
    /// that follows the call, or it makes the system call and returns to the address after that.
    Number(u32),
    /// `__ukl_syscall`, the same for a system call whose number is in eax.
    Generic,
    /// `__ukl_call_<number>_<preserved>`, for one system call. It returns like a function.
    Call {
        /// The system call.
        number: u32,
        /// The argument registers that it preserves: one bit each for rdi, rsi, rdx, r10, r8 and r9.
        preserved: u8,
    },
}

impl Thunk {
    /// The thunk of this name.
    pub fn from_name(name: &str) -> Option<Thunk> {
        let thunk = if let Some(number) = name.strip_prefix("__ukl_sys_") {
            Thunk::Number(number.parse().ok()?)
        } else if let Some(rest) = name.strip_prefix("__ukl_call_") {
            let (number, preserved) = rest.split_once('_')?;
            Thunk::Call {
                number: number.parse().ok()?,
                preserved: u8::from_str_radix(preserved, 16).ok()?,
            }
        } else {
            Thunk::Generic
        };
        // Each thunk has exactly one name.
        (thunk.to_string() == name).then_some(thunk)
    }
}

impl fmt::Display for Thunk {
    /// The symbol's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Thunk::Number(number) => write!(f, "__ukl_sys_{number}"),
            Thunk::Generic => f.write_str("__ukl_syscall"),
            Thunk::Call { number, preserved } => write!(f, "__ukl_call_{number}_{preserved:02x}"),
        }
    }
}
