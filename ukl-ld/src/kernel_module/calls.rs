//! The slots through which the program calls its kernel code.
//!
//! A slot ([`Slot::kernel_code`]) takes the thread to its kernel stack, calls, comes back, and goes
//! to the kernel where work is left: signals, scheduling, the floating-point registers of a thread
//! that has slept. Where the functions are, turns out when init has loaded the module: it puts the
//! distance into each slot ([`Binding`]).
//!
//! In front of a slot's code stands what init puts over its beginning at ring 3: a jump to what
//! says that there is no kernel to call ([`crate::kernel_module::placeholder`]).

use symbol_rewriter::Options;

use crate::elf;
use crate::error::Result;
use crate::kernel::Kernel;
use crate::kernel_module::link::Module;
use crate::kernel_module::placeholder;
use crate::kernel_module::shortcuts;
use crate::thunk::code;
use crate::thunk::code::Slot;
use crate::thunk::code::Table;
use crate::thunk::object;

/// The symbol before the first slot.
pub const START: &str = "__ukl_kernel_calls";

/// Where the kernel's address of a function goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The call's operand: a symbol of the program's, and the distance from there.
    pub operand: (&'static str, u64),
    /// The function's section in the module, and its offset there.
    pub function: (String, u64),
}

/// The same, in the finished program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The offset of the call's operand in the program's file.
    pub operand: u64,
    /// The address behind it, which it is relative to.
    pub next: u64,
    /// The function's section in the module, and its offset there.
    pub function: (String, u64),
}

/// The slots of a program.
#[derive(Debug, Default)]
pub struct Calls {
    /// What init has to fill in.
    pub bindings: Vec<Binding>,
    /// The object.
    pub object: Vec<u8>,
}

/// Where the slots are in the finished program, and what init has to fill in: other calls among it.
pub type Placed = (Option<Table>, Vec<Bound>);

impl Calls {
    /// Has a call elsewhere in the program, with its operand at a distance from a symbol, go to a
    /// function of the module.
    pub fn redirect(&mut self, module: &Module, operand: (&'static str, u64), name: &str) {
        if let Some(function) = module.functions.get(name) {
            self.bindings.push(Binding {
                operand,
                function: function.clone(),
            });
        }
    }

    /// Finds the slots in the linked program. Nothing, if the link had no use for any of it.
    pub fn place(self, program: &[u8]) -> Result<Option<Placed>> {
        // --gc-sections drops them if nobody calls by name.
        let first = elf::place_of(program, START)?;
        let mut bindings = Vec::new();
        let mut count = 0;
        let mut last: Option<(&str, (u64, u64))> = None;
        for binding in self.bindings {
            let (symbol, distance) = binding.operand;
            let (file_offset, address) = match last {
                Some((name, place)) if name == symbol => place,
                _ => match elf::place_of(program, symbol)? {
                    Some(place) => place,
                    None => continue,
                },
            };
            last = Some((symbol, (file_offset, address)));
            count += u64::from(symbol == START);
            bindings.push(Bound {
                operand: file_offset + distance,
                next: address + distance + 4,
                function: binding.function,
            });
        }
        let table = first.map(|(file_offset, _)| Table {
            file_offset,
            count,
            ring3: code::CODE_RING3,
        });
        Ok(Some((table, bindings)).filter(|(_, bindings)| !bindings.is_empty()))
    }
}

/// Makes a slot for each function of the module.
pub fn make(module: &Module, kernel: &Kernel, options: &Options) -> Result<Calls> {
    let mut slots = object::Slots::new(".text.unlikely.ukl_kernel_calls");
    slots.label(START);
    let mut bindings = Vec::new();
    for (function, place) in &module.functions {
        let name = match symbol_rewriter::keeps_name(function.as_bytes()) {
            true => function.clone().into_bytes(),
            false => symbol_rewriter::prefixed(function.as_bytes(), options),
        };
        let call = shortcuts::number(function).and_then(|number| {
            let call = kernel.call(number)?;
            Some((number, call.arguments))
        });
        let offset = slots.add(&Slot::kernel_code(call, None, kernel), &name)?;
        slots.at_ring3(offset, &placeholder::name(function))?;
        bindings.push(Binding {
            operand: (START, offset + code::CALL as u64),
            function: place.clone(),
        });
    }
    Ok(Calls {
        bindings,
        object: slots.finish()?,
    })
}
