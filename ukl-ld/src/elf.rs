//! Reads linked ELF files, and changes the headers and symbols of the finished program.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;

use object::Object;
use object::ObjectSymbol;
use object::ReadCache;
use object::read::elf::Dyn;
use object::read::elf::ElfFile64;
use object::read::elf::ProgramHeader;
use object::read::elf::SectionHeader;
use object::read::elf::Sym;
use object::{Endianness, elf};
use ukl_proto::ring3::E_FLAGS;

use crate::error::Error;
use crate::error::Result;

/// The size of an entry in the symbol table. The offset of the name is its first field.
const SYMBOL: usize = 24;

/// The sonames that a program or a shared library needs. Empty for other files.
pub fn needed(path: &Path) -> Vec<String> {
    dynamic(path, elf::DT_NEEDED)
}

/// The soname of a shared library, or its file name if it has none.
pub fn soname(path: &Path) -> Option<String> {
    let file_name = || Some(path.file_name()?.to_str()?.to_owned());
    dynamic(path, elf::DT_SONAME)
        .into_iter()
        .next()
        .or_else(file_name)
}

/// The directories in which a shared library's `DT_RUNPATH` and `DT_RPATH` search the libraries
/// that it needs.
pub fn run_path(path: &Path) -> Vec<PathBuf> {
    let own = path.parent().unwrap_or(Path::new(""));
    let mut lists = dynamic(path, elf::DT_RUNPATH);
    lists.extend(dynamic(path, elf::DT_RPATH));
    let dirs = lists.iter().flat_map(|list| list.split(':'));
    dirs.map(|dir| {
        let rest = dir
            .strip_prefix("$ORIGIN")
            .or_else(|| dir.strip_prefix("${ORIGIN}"));
        match rest {
            Some(rest) => own.join(rest.trim_start_matches('/')),
            None => PathBuf::from(dir),
        }
    })
    .filter(|dir| dir.is_dir())
    .collect()
}

fn dynamic(path: &Path, tag: elf::DynamicTag) -> Vec<String> {
    read(path, |file| {
        let table = file.elf_section_table();
        let endian = file.endian();
        let Ok(Some((entries, index))) = table.dynamic(endian, file.data()) else {
            return Vec::new();
        };
        let strings = table
            .strings(endian, file.data(), index)
            .unwrap_or_default();
        let wanted = entries.iter().filter(|entry| entry.d_tag(endian) == tag);
        let names = wanted.filter_map(|entry| {
            let offset = u32::try_from(entry.d_val(endian)).ok()?;
            strings.get(offset).ok()
        });
        names
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect()
    })
    .unwrap_or_default()
}

/// The undefined dynamic symbols of a file.
pub fn wanted(path: &Path) -> BTreeSet<String> {
    dynamic_symbols(path, true)
}

/// The undefined dynamic symbols of a file that only weak references need.
pub fn weakly_wanted(path: &Path) -> BTreeSet<String> {
    read(path, |file| {
        let symbols = file.dynamic_symbols();
        let symbols = symbols.filter(|symbol| symbol.is_undefined() && symbol.is_weak());
        symbols
            .filter_map(|symbol| symbol.name().ok().map(str::to_owned))
            .collect()
    })
    .unwrap_or_default()
}

/// The dynamic symbols that a file defines.
pub fn provided(path: &Path) -> BTreeSet<String> {
    dynamic_symbols(path, false)
}

/// Whether a file requests an executable stack.
pub fn wants_executable_stack(path: &Path) -> bool {
    let wants = read(path, |file| {
        let endian = file.endian();
        let headers = file.elf_program_headers();
        let stack = headers
            .iter()
            .find(|header| header.p_type(endian) == elf::PT_GNU_STACK);
        // A file without this header comes from an old toolchain, and its stack is executable.
        stack.is_none_or(|header| header.p_flags(endian).contains(elf::PF_X))
    });
    wants.unwrap_or(false)
}

fn dynamic_symbols(path: &Path, undefined: bool) -> BTreeSet<String> {
    read(path, |file| {
        let symbols = file.dynamic_symbols().filter(|symbol| {
            symbol.is_undefined() == undefined
                // A variable with a copy relocation is defined in the program, but comes from the
                // library.
                || (undefined && symbol.kind() == object::SymbolKind::Data)
        });
        symbols
            .filter_map(|symbol| symbol.name().ok().map(str::to_owned))
            .collect()
    })
    .unwrap_or_default()
}

fn read<T>(
    path: &Path,
    ask: impl FnOnce(&ElfFile64<'_, Endianness, &ReadCache<File>>) -> T,
) -> Option<T> {
    let cache = ReadCache::new(File::open(path).ok()?);
    let file = ElfFile64::parse(&cache).ok()?;
    Some(ask(&file))
}

/// Whether a file is a program: it has an interpreter, fixed addresses or the flag of a
/// position-independent program. libc.so.6 has an interpreter and a soname, and is a library.
pub fn is_program(path: &Path) -> bool {
    if !dynamic(path, elf::DT_SONAME).is_empty() {
        return false;
    }
    let is_program = read(path, |file| {
        let endian = file.endian();
        let headers = file.elf_program_headers();
        let mut kinds = headers.iter().map(|header| header.p_type(endian));
        file.elf_header().e_type.get(endian) == elf::ET_EXEC
            || kinds.any(|kind| kind == elf::PT_INTERP)
            || has_pie_flag(file)
    });
    is_program.unwrap_or(false)
}

/// Whether `DT_FLAGS_1` contains `DF_1_PIE`.
fn has_pie_flag<'d, R: object::ReadRef<'d>>(file: &ElfFile64<'d, Endianness, R>) -> bool {
    const DT_FLAGS_1: u64 = 0x6fff_fffb;
    const DF_1_PIE: u64 = 0x0800_0000;
    let endian = file.endian();
    let mut headers = file.elf_program_headers().iter();
    let dynamic = headers.find(|header| header.p_type(endian) == elf::PT_DYNAMIC);
    let bytes = dynamic.and_then(|header| header.data(endian, file.data()).ok());
    bytes.unwrap_or_default().chunks_exact(16).any(|entry| {
        let word = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().unwrap_or_default());
        word(0) == DT_FLAGS_1 && word(8) & DF_1_PIE != 0
    })
}

/// Sets the `e_flags` that mark a program for ring 0.
pub fn mark(program: &mut [u8], e_flags: u32) -> Result<()> {
    let field = program.get_mut(E_FLAGS..E_FLAGS + 4);
    let field = field.ok_or_else(|| Error::Program("too short".into()))?;
    field.copy_from_slice(&e_flags.to_le_bytes());
    Ok(())
}

/// Finishes a linked program: sets the `e_flags` that mark it for ring 0, and removes the prefix from
/// its symbols, so that debuggers, profilers and backtraces show the user's names.
pub fn finish(program: &mut [u8], prefix: &[u8], e_flags: u32) -> Result<()> {
    restore_names(program, prefix)?;
    mark(program, e_flags)
}

/// Removes the prefix of symbols by moving the start of their names.
fn restore_names(program: &mut [u8], prefix: &[u8]) -> Result<()> {
    let wrong = |error: object::Error| Error::Program(error.to_string());
    let mut fields = Vec::new();
    {
        let file = ElfFile64::<Endianness>::parse(&*program).map_err(wrong)?;
        let table = file.elf_symbol_table();
        let section = file
            .elf_section_table()
            .section(table.section())
            .map_err(wrong)?;
        let start = section.sh_offset(file.endian());
        for (index, symbol) in table.iter().enumerate() {
            let name = table.symbol_name(file.endian(), symbol).map_err(wrong)?;
            if name.len() > prefix.len() && name.starts_with(prefix) {
                fields.push((
                    start as usize + index * SYMBOL,
                    symbol.st_name(file.endian()),
                ));
            }
        }
    }
    for (at, name) in fields {
        let field = program.get_mut(at..at + 4);
        let field =
            field.ok_or_else(|| Error::Program("a symbol is beyond the end of the file".into()))?;
        field.copy_from_slice(&(name + prefix.len() as u32).to_le_bytes());
    }
    Ok(())
}
