//! The program's kernel code: loads its module, and tells the program where its functions are.

use std::fs;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::Result;
use crate::failed;
use crate::sys;

/// Where the kernel shows the addresses of a module's sections. The name is that of the kernel
/// archive's frame.
const SECTIONS: &str = "/sys/module/ukl_code/sections";

/// The kernel code of an image.
#[derive(Debug, PartialEq, Eq)]
pub struct KernelCode {
    /// The module.
    pub module: PathBuf,
    /// The calls in the program that want an address.
    pub bindings: Vec<Binding>,
}

/// A call of a function of the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The offset of the call's operand in the program's file.
    pub operand: u64,
    /// The address that the operand is relative to.
    pub next: u64,
    /// The function's section.
    pub section: String,
    /// Its offset there.
    pub offset: u64,
}

impl Binding {
    /// Reads `operand,next,section,offset`.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(',').collect();
        let [operand, next, section, offset] = parts[..] else {
            return None;
        };
        Some(Binding {
            operand: operand.parse().ok()?,
            next: next.parse().ok()?,
            section: section.into(),
            offset: offset.parse().ok()?,
        })
    }

    /// The operand, with the section at `base`. Nothing, if a call cannot reach so far.
    fn value(&self, base: u64) -> Option<i32> {
        let distance = base.wrapping_add(self.offset).wrapping_sub(self.next);
        i32::try_from(distance.cast_signed()).ok()
    }
}

impl KernelCode {
    /// Loads the module and binds the program's calls. The program must not be sealed yet.
    pub fn load(&self, program: &Path) -> Result<()> {
        let module = fs::read(&self.module).map_err(failed(self.module.display()))?;
        sys::init_module(&module).map_err(failed(format_args!(
            "{}: loading it (the kernel's log says more)",
            self.module.display()
        )))?;
        let file = OpenOptions::new().write(true).open(program);
        let file = file.map_err(failed(program.display()))?;
        let mut last: Option<(&str, u64)> = None;
        for binding in &self.bindings {
            let base = match last {
                Some((section, base)) if section == binding.section => base,
                _ => section_address(&binding.section)?,
            };
            last = Some((&binding.section, base));
            let value = binding.value(base).ok_or_else(|| {
                Error(format!(
                    "{}: its kernel code is out of reach at {base:#x}",
                    program.display()
                ))
            })?;
            file.write_all_at(&value.to_le_bytes(), binding.operand)
                .map_err(failed(program.display()))?;
        }
        Ok(())
    }
}

fn section_address(section: &str) -> Result<u64> {
    let path = Path::new(SECTIONS).join(section);
    let text = fs::read_to_string(&path).map_err(failed(path.display()))?;
    let digits = text.trim().trim_start_matches("0x");
    u64::from_str_radix(digits, 16)
        .map_err(|_| Error(format!("{}: no address: {text}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_wraps_around_the_address_space() {
        let binding = Binding::parse("172,4198400,.text,16").unwrap();
        let value = binding.value(0xffff_ffff_a000_0000).unwrap();
        let target = 4_198_400_u64.wrapping_add_signed(value.into());
        assert_eq!(target, 0xffff_ffff_a000_0010);
        assert_eq!(binding.value(0x7fff_0000_0000), None);
    }

    #[test]
    fn a_binding_has_four_parts() {
        for bad in ["", "1,2,.text", "1,2,.text,x", "1,2,.text,3,4"] {
            assert_eq!(Binding::parse(bad), None, "{bad}");
        }
    }
}
