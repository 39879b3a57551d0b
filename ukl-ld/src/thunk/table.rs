//! The stubs: a slot for each system call that the program's rewritten sites call, or two, if the
//! program's stacks are to be shared with the kernel.

use std::collections::BTreeSet;

use symbol_rewriter::Thunk;

use crate::error::Result;
use crate::kernel::Kernel;
use crate::thunk::code;
use crate::thunk::code::Slot;
use crate::thunk::object::Slots;

/// The symbol before the first slot.
pub const START: &str = "__ukl_stubs_start";

/// The symbol behind the last slot.
pub const END: &str = "__ukl_stubs_end";

/// The stubs of a program.
#[derive(Debug, Default)]
pub struct Stubs {
    /// The object.
    pub object: Vec<u8>,
    /// Where they call the kernel: the number of the system call, and the distance of the call's
    /// operand from [`START`].
    pub calls: Vec<(u32, u64)>,
}

/// Makes them. `shared`: for stacks that are shared with the kernel.
pub fn make(stubs: &BTreeSet<Thunk>, kernel: &Kernel, shared: bool) -> Result<Stubs> {
    let mut slots = Slots::new(".text.unlikely.ukl_stubs");
    slots.label(START);
    let mut calls = Vec::new();
    for &stub in stubs {
        let name = stub.to_string();
        let (number, live, call) = match stub {
            Thunk::Number(number) => {
                slots.add(&Slot::skip(Some(number), kernel), name.as_bytes())?;
                continue;
            }
            Thunk::Generic => {
                slots.add(&Slot::skip(None, kernel), name.as_bytes())?;
                continue;
            }
            Thunk::Call { number, preserved } => (number, preserved, kernel.call(number)),
        };
        let ordinary = Slot::call(number, live, call, kernel);
        let offset = match call.filter(|_| shared) {
            Some(call) => {
                let slot = Slot::shared(number, live, call, kernel);
                let offset = slots.add(&slot, name.as_bytes())?;
                calls.push((number, offset + code::SHARED_CALL as u64));
                slots.add_behind(&ordinary)?
            }
            None => slots.add(&ordinary, name.as_bytes())?,
        };
        if call.is_some() {
            calls.push((number, offset + code::CALL as u64));
        }
    }
    slots.label(END);
    Ok(Stubs {
        object: slots.finish()?,
        calls,
    })
}
