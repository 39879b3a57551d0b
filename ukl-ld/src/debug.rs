//! Removes the debugging sections of the image's program.
//!
//! They would make the image many times larger, and the guest has all of it in memory. The complete
//! program is stored where `ukl-run --gdb` finds it ([`ukl_common::debug_store`]). `--ukl-debug`
//! leaves the sections in the image, for programs that read their own debugging sections, for
//! instance a Rust program that prints a backtrace with line numbers.

use object::LittleEndian as LE;
use object::elf;
use object::read::elf::FileHeader as _;
use object::read::elf::SectionHeader as _;

/// The fields of a section header that contain section numbers, and their offsets.
const SECTION: usize = 64;
const SH_OFFSET: usize = 24;
const SH_LINK: usize = 40;
const SH_INFO: usize = 44;
/// The same for symbols, and for the file's header.
const SYMBOL: usize = 24;
const ST_SHNDX: usize = 6;
const E_SHOFF: usize = 40;
const E_SHNUM: usize = 60;
const E_SHSTRNDX: usize = 62;

/// Returns the program without its debugging sections, or nothing if it has none or if its layout
/// does not permit their removal.
pub fn strip(program: &[u8]) -> Option<Vec<u8>> {
    let header = elf::FileHeader64::<LE>::parse(program).ok()?;
    let table = header.sections(LE, program).ok()?;
    let count = table.len();
    let headers = usize::try_from(header.e_shoff(LE)).ok()?;
    let names = header.section_strings_index(LE, program).ok()?.0;

    let mut keep = Vec::with_capacity(count);
    for section in table.iter() {
        let name = table.section_name(LE, section).ok()?;
        keep.push(section.sh_flags(LE).contains(elf::SHF_ALLOC) || !is_debug(name));
    }
    let offset = |index: usize| -> usize {
        let section = table.section(object::SectionIndex(index));
        section.map_or(usize::MAX, |section| section.sh_offset(LE) as usize)
    };
    let cut = (0..count).filter(|&index| !keep[index]).map(offset).min()?;
    let mut new_number = vec![0u16; count];
    let mut next = 0;
    for (number, _) in new_number.iter_mut().zip(&keep).filter(|(_, keep)| **keep) {
        *number = next;
        next = next.checked_add(1)?;
    }
    let renumbered = |old: u32| new_number.get(old as usize).copied();

    // Nothing before the first removed section moves. A process sees only that part.
    let mut out = program.get(..cut)?.to_vec();
    let mut new_headers = Vec::with_capacity(count * SECTION);
    for (index, section) in table.iter().enumerate().filter(|(index, _)| keep[*index]) {
        let at = headers.checked_add(index * SECTION)?;
        let mut entry = program.get(at..at.checked_add(SECTION)?)?.to_vec();
        let kind = section.sh_type(LE);
        if kind == elf::SHT_SYMTAB_SHNDX {
            return None;
        }
        if section.sh_link(LE) != 0 {
            let link = renumbered(section.sh_link(LE))?;
            entry[SH_LINK..SH_LINK + 4].copy_from_slice(&u32::from(link).to_le_bytes());
        }
        let is_info_number = section.sh_flags(LE).contains(elf::SHF_INFO_LINK)
            || matches!(kind, elf::SHT_REL | elf::SHT_RELA);
        if is_info_number && section.sh_info(LE) != 0 {
            let info = renumbered(section.sh_info(LE))?;
            entry[SH_INFO..SH_INFO + 4].copy_from_slice(&u32::from(info).to_le_bytes());
        }
        if kind != elf::SHT_NOBITS && offset(index) >= cut {
            if section.sh_flags(LE).contains(elf::SHF_ALLOC) {
                return None;
            }
            let mut content = section.data(LE, program).ok()?.to_vec();
            if kind == elf::SHT_SYMTAB {
                renumber_symbols(&mut content, &new_number, &keep)?;
            }
            let align = section.sh_addralign(LE).clamp(1, 4096) as usize;
            out.resize(out.len().next_multiple_of(align), 0);
            let at = (out.len() as u64).to_le_bytes();
            entry[SH_OFFSET..SH_OFFSET + 8].copy_from_slice(&at);
            out.extend_from_slice(&content);
        } else if kind == elf::SHT_SYMTAB {
            // This section is before a removed one, so it is not rewritten.
            return None;
        }
        new_headers.extend_from_slice(&entry);
    }
    out.resize(out.len().next_multiple_of(8), 0);
    let at = (out.len() as u64).to_le_bytes();
    out.extend_from_slice(&new_headers);
    out.get_mut(E_SHOFF..E_SHOFF + 8)?.copy_from_slice(&at);
    out.get_mut(E_SHNUM..E_SHNUM + 2)?
        .copy_from_slice(&next.to_le_bytes());
    let names = renumbered(names as u32)?.to_le_bytes();
    out.get_mut(E_SHSTRNDX..E_SHSTRNDX + 2)?
        .copy_from_slice(&names);
    Some(out)
}

fn is_debug(name: &[u8]) -> bool {
    [
        &b".debug_"[..],
        b".zdebug_",
        b".stab",
        b".gdb_index",
        b".gnu.debuglto_",
    ]
    .iter()
    .any(|beginning| name.starts_with(beginning))
}

/// Puts the new section numbers into a symbol table. Symbols of removed sections become null.
fn renumber_symbols(table: &mut [u8], new_number: &[u16], keep: &[bool]) -> Option<()> {
    for symbol in table.chunks_exact_mut(SYMBOL) {
        let old = u16::from_le_bytes([symbol[ST_SHNDX], symbol[ST_SHNDX + 1]]);
        if old == 0 || old >= elf::SHN_LORESERVE {
            continue;
        }
        if *keep.get(usize::from(old))? {
            let new = new_number[usize::from(old)].to_le_bytes();
            symbol[ST_SHNDX..ST_SHNDX + 2].copy_from_slice(&new);
        } else {
            symbol.fill(0);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    use object::Object as _;
    use object::ObjectSection as _;
    use object::ObjectSymbol as _;

    use super::*;

    fn linked(dir: &Path, flag: &str) -> Vec<u8> {
        let source = dir.join("p.c");
        fs::write(
            &source,
            "int answer = 42; int _start(void) { return answer; }",
        )
        .unwrap();
        let output = dir.join("p");
        let status = Command::new("gcc")
            .args([flag, "-static", "-nostdlib", "-o"])
            .args([&output, &source])
            .status();
        assert!(status.unwrap().success());
        fs::read(output).unwrap()
    }

    #[test]
    fn only_debugging_sections_go() {
        let dir = tempfile::tempdir().unwrap();
        let whole = linked(dir.path(), "-g");
        let stripped = strip(&whole).unwrap();
        let before = object::File::parse(&*whole).unwrap();
        let after = object::File::parse(&*stripped).unwrap();
        let kept: Vec<_> = before
            .sections()
            .filter(|section| !section.name().unwrap().starts_with(".debug"))
            .collect();
        assert!(kept.len() < before.sections().count());
        assert_eq!(kept.len(), after.sections().count());
        for (a, b) in kept.iter().zip(after.sections()) {
            assert_eq!(a.name(), b.name());
            assert_eq!(a.address(), b.address());
            if a.name() != Ok(".symtab") {
                assert_eq!(a.data().unwrap(), b.data().unwrap());
            }
        }
        let place = |file: &object::File<'_>, name: &str| {
            let symbol = file.symbol_by_name(name).unwrap();
            let section = file.section_by_index(symbol.section_index().unwrap());
            let name = section.unwrap().name().unwrap().to_owned();
            (symbol.address(), name)
        };
        for name in ["_start", "answer"] {
            assert_eq!(place(&before, name), place(&after, name));
        }
    }

    #[test]
    fn what_has_none_stays() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(strip(&linked(dir.path(), "-g0")), None);
    }

    #[test]
    fn nonsense_is_left_alone() {
        assert_eq!(strip(b"\x7fELF"), None);
        assert_eq!(strip(&[]), None);
    }
}
