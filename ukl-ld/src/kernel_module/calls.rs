//! The thunks through which the program calls its kernel code.
//!
//! The address of such a function is known only when init has loaded the module, so init writes the
//! operand of each call ([`Binding`]). At ring 3 a thunk jumps to a placeholder, which reports that
//! kernel code cannot run there ([`crate::kernel_module::placeholder`]).

use symbol_rewriter::Options;
use ukl_proto::image_conf::Binding;

use crate::error::Result;
use crate::kernel::Kernel;
use crate::kernel_module::link::Module;
use crate::kernel_module::placeholder;
use crate::kernel_module::shortcuts;
use crate::kernel_module::shortcuts::Shortcuts;
use crate::thunk::code::ThunkCode;
use crate::thunk::object::Block;
use crate::thunk::object::ThunkObject;
use crate::thunk::syscalls;
use crate::thunk::syscalls::SyscallThunks;
use crate::thunk::table::ThunkTable;

/// The symbol at the first of these thunks.
const LABEL: &str = "__ukl_thunks_module";

/// A call of a function of the module, in an object of thunks.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ModuleCall {
    /// The label of the object.
    label: &'static str,
    /// The offset of the call's operand from the label.
    operand: u64,
    /// The function's section in the module, and its offset there.
    function: (String, u64),
}

/// The thunks of the functions of the module.
#[derive(Debug)]
pub struct Calls {
    /// The object file.
    pub object: Vec<u8>,
    /// A description of the thunks in it.
    pub block: Block,
    calls: Vec<ModuleCall>,
}

impl Calls {
    /// Makes a thunk for each function of the module.
    pub fn make(module: &Module, kernel: &Kernel, options: &Options) -> Result<Calls> {
        let mut object = ThunkObject::new(LABEL, kernel);
        let mut calls = Vec::new();
        for (function, place) in &module.functions {
            let name = match symbol_rewriter::keeps_name(function.as_bytes()) {
                true => function.clone().into_bytes(),
                false => symbol_rewriter::prefixed(function.as_bytes(), options),
            };
            let syscall = shortcuts::number(function).and_then(|number| {
                let call = kernel.call(number)?;
                Some((number, call.arguments))
            });
            let thunk = ThunkCode::function(syscall, None, kernel)?;
            let offset = object.add(&thunk, &name)?;
            object.jump_at_ring3(offset, &placeholder::name(function))?;
            calls.extend(thunk.call.map(|operand| ModuleCall {
                label: LABEL,
                operand: offset + operand as u64,
                function: place.clone(),
            }));
        }
        let (object, block) = object.finish()?;
        Ok(Calls {
            object,
            block,
            calls,
        })
    }

    /// Makes the thunks of system calls call the selected shortcuts instead of the kernel's
    /// functions.
    pub fn redirect(&mut self, thunks: &SyscallThunks, module: &Module, shortcuts: &Shortcuts) {
        for call in &thunks.calls {
            let function = shortcuts.of(call.number);
            let function = function.and_then(|name| module.functions.get(name));
            self.calls.extend(function.map(|function| ModuleCall {
                label: syscalls::LABEL,
                operand: call.operand,
                function: function.clone(),
            }));
        }
    }

    /// The calls in the linked program. The linker drops thunks that nothing calls.
    pub fn bound(self, table: &ThunkTable) -> Vec<Binding> {
        let bound = self.calls.into_iter().filter_map(|call| {
            let label = table.label(call.label)?;
            let (section, offset) = call.function;
            Some(Binding {
                operand: label.offset + call.operand,
                next: label.address + call.operand + 4,
                section,
                offset,
            })
        });
        bound.collect()
    }
}
