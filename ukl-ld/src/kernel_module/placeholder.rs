//! Placeholders for kernel code in the host program, and in the image's program at ring 3. A
//! placeholder prints a message and aborts.
//!
//! Each has two names. The function's name is weak, so that the image's link overrides it with a
//! thunk ([`crate::kernel_module::calls`]). That thunk jumps to the other name ([`name`]) at ring
//! 3.

use std::collections::BTreeSet;

use object::write::Relocation;
use object::write::Symbol;
use object::write::SymbolSection;
use object::{SectionKind, SymbolFlags, SymbolKind, SymbolScope};

use crate::elf_writer;
use crate::error::Error;
use crate::error::Result;

/// Code that writes the message (address in rsi, size in edx) and aborts.
const STOP: &[u8] = &[
    0xbf, 2, 0, 0, 0, // mov $2,%edi
    0xb8, 1, 0, 0, 0, // mov $1,%eax: write
    0x0f, 0x05, // syscall
    0xb8, 39, 0, 0, 0, // mov $39,%eax: getpid
    0x0f, 0x05, // syscall
    0x89, 0xc7, // mov %eax,%edi
    0xbe, 6, 0, 0, 0, // mov $6,%esi: SIGABRT
    0xb8, 62, 0, 0, 0, // mov $62,%eax: kill
    0x0f, 0x05, // syscall
    0x0f, 0x0b, // ud2
];

/// The name of a function's placeholder for ring 3.
pub fn name(function: &str) -> String {
    match function.strip_prefix("__ukl_") {
        Some(rest) => format!("__ukl_host_{rest}"),
        None => format!("__ukl_host_code_{function}"),
    }
}

/// Makes the object with the placeholders.
pub fn make(functions: &BTreeSet<String>) -> Result<Vec<u8>> {
    let malformed = |error: object::write::Error| Error::KernelCode(error.to_string());
    let mut object = elf_writer::new();
    let text = object.add_section(
        vec![],
        b".text.unlikely.ukl_host".to_vec(),
        SectionKind::Text,
    );
    let words = object.add_section(
        vec![],
        b".rodata.ukl_host".to_vec(),
        SectionKind::ReadOnlyData,
    );
    let messages = object.section_symbol(words);
    object.append_section_data(text, STOP, 16);
    for function in functions {
        let message = format!(
            "{function}: this is kernel code, which runs in the image at ring 0 only (ukl-run)\n"
        );
        let place = object.append_section_data(words, message.as_bytes(), 1);
        let mut code = vec![0x48, 0x8d, 0x35, 0, 0, 0, 0]; // lea message(%rip),%rsi
        code.push(0xba); // mov $size,%edx
        code.extend((message.len() as u32).to_le_bytes());
        code.push(0xe9); // jmp to STOP
        let start = object.append_section_data(text, &code, 16);
        let back = (start as u32 + code.len() as u32 + 4).wrapping_neg();
        object.append_section_data(text, &back.to_le_bytes(), 1);
        let size = code.len() as u64 + 4;
        let reference = Relocation {
            offset: start + 3,
            symbol: messages,
            addend: place as i64 - 4,
            flags: object::RelocationFlags::Elf {
                r_type: object::elf::R_X86_64_PC32,
            },
        };
        object.add_relocation(text, reference).map_err(malformed)?;
        for (name, weak) in [(function.clone(), true), (name(function), false)] {
            object.add_symbol(Symbol {
                name: name.into_bytes(),
                value: start,
                size,
                kind: SymbolKind::Text,
                scope: SymbolScope::Linkage,
                weak,
                section: SymbolSection::Section(text),
                flags: SymbolFlags::None,
            });
        }
    }
    elf_writer::finish(object).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_clear_of_each_other() {
        assert_eq!(name("__ukl_shortcut_send"), "__ukl_host_shortcut_send");
        assert_eq!(name("f"), "__ukl_host_code_f");
    }

    #[test]
    fn the_way_back_is_the_distance() {
        let names = BTreeSet::from(["f".to_owned(), "g".to_owned()]);
        assert!(make(&names).unwrap().starts_with(b"\x7fELF"));
    }
}
