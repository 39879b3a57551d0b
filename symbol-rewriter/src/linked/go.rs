//! The functions of a Go program, which has no frame descriptions and may be stripped.
//!
//! Go's own unwinder needs the table `.gopclntab`, so `go build` and `strip` leave it in place. Its
//! format is that of `runtime/symtab.go` since Go 1.18.

use crate::linked::file::{File, Segment, long, word};
use crate::linked::image::{Named, add};
use crate::read::elf::{Image, STT_FUNC};

/// The marks of the format since Go 1.18 and since Go 1.20, which differ only in names.
const MARKS: [u32; 2] = [0xffff_fff0, 0xffff_fff1];

/// Whether the file contains Go's note with the build ID, or Go's sections.
pub(super) fn is_go<'s>(
    file: &File<'_>,
    mut notes: impl Iterator<Item = &'s Segment>,
    memory: &[u8],
) -> bool {
    let has_sections = [
        b".gopclntab".as_slice(),
        b".go.buildinfo",
        b".note.go.buildid",
    ]
    .iter()
    .any(|name| file.section(name).is_some());
    let is_go_note = |note: &Segment| {
        let at = usize::try_from(note.addr.saturating_add(12)).ok();
        at.and_then(|at| memory.get(at..)?.first_chunk()) == Some(b"Go\0\0")
    };
    has_sections || notes.any(is_go_note)
}

/// Adds the functions that `.gopclntab` lists, if the file has section headers.
pub(super) fn add_functions(file: &File<'_>, image: &Image, symbols: &mut Vec<Named>) {
    let Some(section) = file.section(b".gopclntab") else {
        return;
    };
    let table = file.content(section);
    let Ok(mark) = word(table, 0) else { return };
    if !MARKS.contains(&mark) {
        return;
    }
    let (Ok(count), Ok(text), Ok(functions)) = (long(table, 8), long(table, 24), long(table, 64))
    else {
        return;
    };
    // A position-independent file is relocated, and the field is 0.
    let text = match (text, file.section(b".text")) {
        (0, Some(section)) => section.addr,
        _ => text,
    };
    let start = |index: u64| {
        let offset = word(table, functions.saturating_add(index.saturating_mul(8)));
        Some(text.wrapping_add(offset.ok()?.into()))
    };
    for index in 0..count.min(table.len() as u64 / 8) {
        let (Some(at), Some(next)) = (start(index), start(index + 1)) else {
            break;
        };
        if image.has_code_at(at) {
            add(symbols, b"", 0, STT_FUNC, at, next.saturating_sub(at));
        }
    }
}
