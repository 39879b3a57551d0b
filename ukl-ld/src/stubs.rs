//! The stubs: one slot for each system call that the program's rewritten sites call.

use std::collections::BTreeSet;

use symbol_rewriter::Stub;

use crate::error::Result;
use crate::kernel::Kernel;
use crate::slot;
use crate::slot::Slot;
use crate::slots::Slots;

/// The symbol before the first slot.
pub const START: &str = "__ukl_stubs_start";

/// The symbol behind the last slot.
pub const END: &str = "__ukl_stubs_end";

/// Makes the object.
pub fn make(stubs: &BTreeSet<Stub>, kernel: &Kernel) -> Result<Vec<u8>> {
    let mut slots = Slots::new(".text.unlikely.ukl_stubs", START);
    for &stub in stubs {
        let slot = slot(stub, kernel);
        slots.add(&slot, stub.to_string().as_bytes(), slot::ENTRY)?;
    }
    slots.label(END);
    slots.finish()
}

fn slot(stub: Stub, kernel: &Kernel) -> Slot {
    match stub {
        Stub::Number(number) => Slot::skip(Some(number), kernel),
        Stub::Generic => Slot::skip(None, kernel),
        Stub::Call { number, live } => Slot::call(number, live, kernel.call(number), kernel),
    }
}
