//! What is known of the memory image of a linked file: where its code is, its symbols, and the
//! addresses of code that its data contains.

use std::ops::Range;

use crate::error::Result;
use crate::linked::file::{File, PF_X, PT_DYNAMIC, PT_GNU_EH_FRAME, PT_NOTE, half, long, word};
use crate::linked::go;
use crate::read::elf::{Image, STT_FILE, STT_FUNC, STT_SECTION, STT_TLS, Symbol};

const SHF_ALLOC: u64 = 2;
const SHF_EXECINSTR: u64 = 4;
const SHT_PROGBITS: u32 = 1;
const SHT_SYMTAB: u32 = 2;
const SHT_DYNSYM: u32 = 11;

const R_X86_64_64: u32 = 1;
const R_X86_64_RELATIVE: u32 = 8;
const R_X86_64_IRELATIVE: u32 = 37;

/// The tags of `.dynamic` that are used here.
mod tag {
    pub const RELA_COUNTED: [(u64, u64); 2] = [(7, 8), (23, 2)];
    pub const SYMTAB: u64 = 6;
    pub const INIT: u64 = 12;
    pub const FINI: u64 = 13;
    pub const RELR: u64 = 36;
    pub const RELR_SIZE: u64 = 35;
}

/// A symbol and its name.
pub(super) type Named = (Symbol, Vec<u8>);

/// The ranges of machine code, in order and apart from each other.
fn code(file: &File<'_>) -> Vec<Range<u64>> {
    let segments = || file.loaded().filter(|segment| segment.flags & PF_X != 0);
    let wanted = SHF_ALLOC | SHF_EXECINSTR;
    let mut ranges: Vec<Range<u64>> = file
        .sections
        .iter()
        .filter(|s| s.kind == SHT_PROGBITS && s.flags & wanted == wanted && s.size > 0)
        .map(|section| section.addr..section.addr.saturating_add(section.size))
        // The segments are what is loaded, whatever the section headers say.
        .filter(|range| {
            segments().any(|s| s.range().start <= range.start && range.end <= s.range().end)
        })
        .collect();
    if ranges.is_empty() {
        ranges = segments().map(|segment| segment.range()).collect();
    }
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    ranges.dedup_by(|next, range| {
        let overlaps = next.start < range.end;
        if overlaps {
            range.end = range.end.max(next.end);
        }
        overlaps
    });
    ranges
}

/// The entries of `.dynamic`.
fn dynamic(file: &File<'_>, memory: &[u8]) -> Vec<(u64, u64)> {
    let Some(segment) = file.segment(PT_DYNAMIC) else {
        return Vec::new();
    };
    let mut entries = Vec::new();
    let mut at = segment.addr;
    while let (Ok(tag), Ok(value)) = (long(memory, at), long(memory, at.saturating_add(8))) {
        if tag == 0 || entries.len() as u64 * 16 >= segment.file_size {
            break;
        }
        entries.push((tag, value));
        at = at.saturating_add(16);
    }
    entries
}

fn value(dynamic: &[(u64, u64)], tag: u64) -> Option<u64> {
    dynamic.iter().find(|entry| entry.0 == tag).map(|e| e.1)
}

/// The addresses to which relocations set words of data.
fn relocated(memory: &[u8], dynamic: &[(u64, u64)]) -> Vec<u64> {
    const RELA_SIZE: u64 = 24;
    let mut addresses = Vec::new();
    for (table, size) in tag::RELA_COUNTED {
        let (Some(table), Some(size)) = (value(dynamic, table), value(dynamic, size)) else {
            continue;
        };
        for index in 0..size / RELA_SIZE {
            let at = table.saturating_add(index * RELA_SIZE);
            let (Ok(info), Ok(addend)) = (
                long(memory, at.saturating_add(8)),
                long(memory, at.saturating_add(16)),
            ) else {
                break;
            };
            match info as u32 {
                R_X86_64_RELATIVE | R_X86_64_IRELATIVE => addresses.push(addend),
                R_X86_64_64 => {
                    let symbols = value(dynamic, tag::SYMTAB).unwrap_or(u64::MAX);
                    let symbol = symbols.saturating_add((info >> 32) * 24 + 8);
                    addresses.extend(long(memory, symbol).map(|v| v.wrapping_add(addend)).ok());
                }
                _ => {}
            }
        }
    }
    if let (Some(table), Some(size)) = (value(dynamic, tag::RELR), value(dynamic, tag::RELR_SIZE)) {
        relative(memory, table, size, &mut addresses);
    }
    addresses
}

/// The addresses to which compact relative relocations (`DT_RELR`) set words of data.
///
/// An even entry is the address of a word. An odd entry is a bitmap of the 63 words after the last
/// one that an entry was about.
fn relative(memory: &[u8], table: u64, size: u64, addresses: &mut Vec<u64>) {
    const WORDS: u64 = 63;
    let mut next = 0u64;
    for index in 0..size / 8 {
        let Ok(entry) = long(memory, table.saturating_add(index * 8)) else {
            break;
        };
        if entry & 1 == 0 {
            addresses.extend(long(memory, entry).ok());
            next = entry.saturating_add(8);
            continue;
        }
        for bit in 0..WORDS {
            if entry >> (bit + 1) & 1 != 0 {
                addresses.extend(long(memory, next.saturating_add(bit * 8)).ok());
            }
        }
        next = next.saturating_add(WORDS * 8);
    }
}

/// All aligned words outside the code. Without relocations, any may be the address of code.
fn words<'m>(memory: &'m [u8], code: &'m [Range<u64>]) -> impl Iterator<Item = u64> + 'm {
    let (low, high) = (
        code.first().map_or(0, |range| range.start),
        code.last().map_or(0, |range| range.end),
    );
    memory
        .chunks_exact(8)
        .map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap_or_default()))
        .filter(move |word| (low..high).contains(word))
}

/// Reads a table of symbols.
fn read_symbols(table: &[u8], strings: &[u8], image: &Image, symbols: &mut Vec<Named>) {
    for raw in table.chunks_exact(24) {
        let (Ok(name), Ok(section), Ok(value), Ok(size)) =
            (word(raw, 0), half(raw, 6), long(raw, 8), long(raw, 16))
        else {
            continue;
        };
        let kind = raw[4] & 0xf;
        let is_place = section != 0 && !matches!(kind, STT_SECTION | STT_FILE | STT_TLS);
        if !is_place || !image.has_code_at(value) {
            continue;
        }
        let name = strings.get(name as usize..).unwrap_or_default();
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        add(symbols, name, raw[4] >> 4, kind, value, size);
    }
}

/// Adds a symbol. Its `name` is its index.
pub(super) fn add(
    symbols: &mut Vec<Named>,
    name: &[u8],
    bind: u8,
    kind: u8,
    value: u64,
    size: u64,
) {
    let symbol = Symbol {
        name: symbols.len() as u32,
        bind,
        kind,
        section: Some(crate::read::elf::Object::IMAGE),
        undefined: false,
        value,
        size,
    };
    symbols.push((symbol, name.to_vec()));
}

/// Everything about the image, and the symbols of its code.
pub(super) fn read(file: &File<'_>, memory: &[u8]) -> (Image, Vec<Named>) {
    let mut image = Image {
        code: code(file),
        is_fixed: file.is_fixed,
        is_go: go::is_go(
            file,
            file.segments.iter().filter(|s| s.kind == PT_NOTE),
            memory,
        ),
        pointers: Vec::new(),
    };
    let dynamic = dynamic(file, memory);
    image.pointers = relocated(memory, &dynamic);
    if file.is_fixed {
        image.pointers.extend(words(memory, &image.code));
    }
    image.pointers.sort_unstable();
    image.pointers.dedup();
    let mut symbols = Vec::new();
    for section in &file.sections {
        if matches!(section.kind, SHT_SYMTAB | SHT_DYNSYM) {
            let strings = file.sections.get(section.link);
            let strings = strings.map_or(&[][..], |strings| file.content(strings));
            read_symbols(file.content(section), strings, &image, &mut symbols);
        }
    }
    if image.is_go {
        go::add_functions(file, &image, &mut symbols);
    }
    let starts = [
        Some(file.entry),
        value(&dynamic, tag::INIT),
        value(&dynamic, tag::FINI),
    ];
    for start in starts
        .into_iter()
        .flatten()
        .filter(|&at| image.has_code_at(at))
    {
        add(&mut symbols, b"", 0, STT_FUNC, start, 0);
    }
    (image, symbols)
}

/// The range of `.eh_frame`: that of the section or, without section headers, from where the header
/// of the search table points to up to the end of the segment. There a terminator ends it.
pub(super) fn frames(file: &File<'_>, memory: &[u8]) -> Result<Option<Range<u64>>> {
    if let Some(section) = file.section(b".eh_frame") {
        let end = section.addr.checked_add(section.size);
        if let Some(end) = end.filter(|&end| end <= memory.len() as u64 && section.size > 0) {
            return Ok(Some(section.addr..end));
        }
    }
    let Some(header) = file.segment(PT_GNU_EH_FRAME) else {
        return Ok(None);
    };
    // The version, and a pointer relative to itself (LSB, .eh_frame_hdr).
    if word(memory, header.addr)? & 0xffff != 0x1b01 {
        return Ok(None);
    }
    let distance = word(memory, header.addr.saturating_add(4))? as i32;
    let start = header
        .addr
        .wrapping_add(4)
        .wrapping_add_signed(distance.into());
    let segment = file
        .loaded()
        .find(|segment| segment.range().contains(&start));
    Ok(segment.map(|segment| start..segment.range().end))
}
