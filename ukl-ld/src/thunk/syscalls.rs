//! The thunks of system calls: one for each that the rewritten inputs call, or two if the program
//! shares its stacks with the kernel.

use std::collections::BTreeSet;

use symbol_rewriter::Thunk;

use crate::error::Result;
use crate::kernel::Kernel;
use crate::thunk::code::ThunkCode;
use crate::thunk::object::Block;
use crate::thunk::object::ThunkObject;

/// The symbol at the first of these thunks.
pub const LABEL: &str = "__ukl_thunks_syscalls";

/// The thunks of a program's system calls.
#[derive(Debug)]
pub struct SyscallThunks {
    /// The object file.
    pub object: Vec<u8>,
    /// A description of the thunks in it.
    pub block: Block,
    /// The calls of kernel functions.
    pub calls: Vec<KernelCall>,
}

/// An instruction that calls the kernel function of a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelCall {
    /// The number of the system call.
    pub number: u32,
    /// The offset of the instruction's operand from [`LABEL`].
    pub operand: u64,
}

/// Makes the thunks. `shared`: for stacks that are shared with the kernel.
pub fn make(thunks: &BTreeSet<Thunk>, kernel: &Kernel, shared: bool) -> Result<SyscallThunks> {
    let mut object = ThunkObject::new(LABEL, kernel);
    let mut calls = Vec::new();
    for &thunk in thunks {
        let name = thunk.to_string();
        let name = name.as_bytes();
        let (number, preserved) = match thunk {
            Thunk::Number(number) => {
                object.add(&ThunkCode::skip(Some(number), kernel)?, name)?;
                continue;
            }
            Thunk::Generic => {
                object.add(&ThunkCode::skip(None, kernel)?, name)?;
                continue;
            }
            Thunk::Call { number, preserved } => (number, preserved),
        };
        let call = kernel.call(number);
        let mut note = |offset: u64, code: &ThunkCode| {
            calls.extend(code.call.map(|operand| KernelCall {
                number,
                operand: offset + operand as u64,
            }));
        };
        let ordinary = ThunkCode::syscall(number, preserved, call, kernel)?;
        let offset = match call.filter(|_| shared) {
            Some(call) => {
                let first = ThunkCode::shared(number, preserved, call, kernel)?;
                note(object.add(&first, name)?, &first);
                object.add_unnamed(&ordinary)?
            }
            None => object.add(&ordinary, name)?,
        };
        note(offset, &ordinary);
    }
    let (object, block) = object.finish()?;
    Ok(SyscallThunks {
        object,
        block,
        calls,
    })
}
