//! Rust's standard library as a shared library (`-C prefer-dynamic`), and its replacement: the
//! static libraries that the toolchain has in the same directory.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

use object::write::Relocation;
use object::write::Symbol;
use object::write::SymbolSection;
use object::{SectionKind, SymbolFlags, SymbolKind, SymbolScope};

use crate::elf;
use crate::elf_writer;
use crate::error::Error;
use crate::error::Result;

/// The functions that compiled code calls to allocate memory, and std's default implementation of
/// each. In a program with a static std, rustc generates jumps from the first to the second, unless
/// the program defines an allocator of its own. A shared std contains these jumps itself.
const ALLOCATOR: [(&str, &str); 4] = [
    ("__rust_alloc", "__rdl_alloc"),
    ("__rust_dealloc", "__rdl_dealloc"),
    ("__rust_realloc", "__rdl_realloc"),
    ("__rust_alloc_zeroed", "__rdl_alloc_zeroed"),
];

/// Compiled code refers to this symbol, so that a link without those jumps fails.
const MARK: &str = "__rust_no_alloc_shim_is_unstable";

/// Finds the static libraries that correspond to a shared std.
pub(crate) fn standard(shared: &Path) -> Option<Vec<PathBuf>> {
    let name = shared.file_name()?.as_bytes();
    let dir = shared.parent()?;
    let toolchain = dir.parent()?.parent()?.file_name()? == "rustlib";
    if !toolchain || !name.starts_with(b"libstd-") {
        return None;
    }
    let files = fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path());
    let mut archives: Vec<PathBuf> = files
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().as_bytes();
            // A shared std is built with `panic=unwind`.
            name.ends_with(b".rlib") && !name.starts_with(b"libpanic_abort-")
        })
        .collect();
    archives.sort();
    Some(archives)
}

/// Makes an object with these jumps, which the shared std contained.
pub(super) fn allocator(shared: &Path) -> Result<Vec<u8>> {
    let mut object = elf_writer::new();
    let text = object.add_section(vec![], b".text.rust_alloc".to_vec(), SectionKind::Text);
    let symbol = |name: String, value, section| Symbol {
        name: name.into_bytes(),
        value,
        size: 0,
        kind: match section {
            SymbolSection::Undefined => SymbolKind::Unknown,
            _ => SymbolKind::Text,
        },
        scope: SymbolScope::Linkage,
        weak: section != SymbolSection::Undefined,
        section,
        flags: SymbolFlags::None,
    };
    let here = SymbolSection::Section(text);
    for name in elf::provided(shared) {
        if name.contains(MARK) {
            // ret
            let offset = object.append_section_data(text, &[0xc3], 16);
            object.add_symbol(symbol(name, offset, here));
            continue;
        }
        let Some(target) = target(&name) else {
            continue;
        };
        // jmp
        let offset = object.append_section_data(text, &[0xe9, 0, 0, 0, 0], 16);
        object.add_symbol(symbol(name, offset, here));
        let target = object.add_symbol(symbol(target, 0, SymbolSection::Undefined));
        let jump = Relocation {
            offset: offset + 1,
            symbol: target,
            addend: -4,
            flags: object::RelocationFlags::Elf {
                r_type: object::elf::R_X86_64_PLT32,
            },
        };
        object.add_relocation(text, jump).map_err(malformed)?;
    }
    elf_writer::finish(object).map_err(malformed)
}

/// The target of the jump with this name. A mangled name has its length in front.
fn target(name: &str) -> Option<String> {
    ALLOCATOR.iter().find_map(|(from, to)| {
        if name == *from {
            return Some((*to).to_owned());
        }
        let path = name.strip_suffix(&format!("{}_{from}", from.len()))?;
        Some(format!("{path}{}_{to}", to.len()))
    })
}

fn malformed(error: object::write::Error) -> Error {
    Error::Program(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let to = |name| target(name);
        assert_eq!(to("__rust_realloc"), Some("__rdl_realloc".into()));
        assert_eq!(
            to("_RNvCsfLfy6EI15iL_7___rustc12___rust_alloc"),
            Some("_RNvCsfLfy6EI15iL_7___rustc11___rdl_alloc".into())
        );
        assert_eq!(to("_RNvCsfLfy6EI15iL_7___rustc10rust_panic"), None);
    }

    #[test]
    fn only_a_toolchain_has_a_standard_library() {
        assert_eq!(standard(Path::new("/usr/lib/libstd-1.so")), None);
    }
}
