//! Loads the module of the program's kernel code, and writes the addresses of its functions to the
//! program.

use std::fs;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use ukl_proto::image_conf::KernelCode;

use crate::error::Error;
use crate::error::Result;
use crate::failed;
use crate::sys;

/// The directory in which the kernel shows the addresses of the module's sections. The module's
/// name is set in the kernel archive.
const SECTIONS: &str = "/sys/module/ukl_code/sections";

/// The parameter of the module that sets how much of each thread's stack is shared.
const STACK_SIZE: &str = "/sys/module/ukl_code/parameters/stack_size";

/// Loads the module and writes the operands of the program's calls. The program must not be sealed
/// yet.
pub fn load(code: &KernelCode, program: &Path) -> Result<()> {
    let module = fs::read(&code.module).map_err(failed(&code.module))?;
    sys::init_module(&module).map_err(failed(format_args!(
        "{}: cannot load the kernel module (see the kernel's log for the reason)",
        code.module
    )))?;
    let file = OpenOptions::new().write(true).open(program);
    let file = file.map_err(failed(program.display()))?;
    let mut last: Option<(&str, u64)> = None;
    for binding in &code.bindings {
        let base = match last {
            Some((section, base)) if section == binding.section => base,
            _ => section_address(&binding.section)?,
        };
        last = Some((&binding.section, base));
        let value = binding.value(base).ok_or_else(|| {
            Error(format!(
                "{}: the kernel module was loaded at {base:#x}, which is out of range for a call",
                program.display()
            ))
        })?;
        file.write_all_at(&value.to_le_bytes(), binding.operand)
            .map_err(failed(program.display()))?;
    }
    Ok(())
}

/// Tells the module how much of each thread's stack is shared.
pub fn set_stack_size(bytes: u32) -> Result<()> {
    fs::write(STACK_SIZE, bytes.to_string()).map_err(failed(STACK_SIZE))
}

fn section_address(section: &str) -> Result<u64> {
    let path = Path::new(SECTIONS).join(section);
    let text = fs::read_to_string(&path).map_err(failed(path.display()))?;
    let digits = text.trim().trim_start_matches("0x");
    u64::from_str_radix(digits, 16)
        .map_err(|_| Error(format!("{}: not an address: {text}", path.display())))
}
