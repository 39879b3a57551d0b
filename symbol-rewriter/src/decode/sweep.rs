//! The sweep: linear decoding that restarts at each symbol.
//!
//! Code is decoded, never scanned, because the bytes of a `syscall` also occur within other
//! instructions. Data between functions can desynchronise linear decoding. So the sweep restarts at
//! each symbol, and a range that contains an invalid instruction is not trusted.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use iced_x86::{Decoder, DecoderOptions, Instruction};

use crate::decode::code::{Code, CodeSection};
use crate::decode::instructions::{fault_at_ring3, is_site, last_candidate};
use crate::error::Result;
use crate::read::elf::{
    Object, STT_FILE, STT_FUNC, STT_GNU_IFUNC, STT_OBJECT, STT_SECTION, STT_TLS,
};
use crate::read::frames::{Cfa, Frames};

/// Whether the code of the object contains an instruction that is rewritten.
///
/// Most objects contain none. For many of them, a search for the opcodes of such instructions shows
/// this without decoding. For the others, the search limits decoding to a few ranges.
pub(crate) fn has_sites(object: &Object<'_>) -> Result<bool> {
    let is_candidate = |index: usize| {
        object.sections[index].is_code() && last_candidate(object.content(index)).is_some()
    };
    let candidates: Vec<usize> = (0..object.sections.len())
        .filter(|&index| is_candidate(index))
        .collect();
    if candidates.is_empty() {
        return Ok(false);
    }
    let mut code = sections(object)?;
    code.sections
        .retain(|section| candidates.contains(&section.index));
    let starts = starts(&mut code, object, &Frames::default())?;
    for (section, starts) in code.sections.iter().zip(&starts) {
        let bytes = object.content(section.index);
        let last = |start: u64, end: u64| {
            let last = last_candidate(&bytes[start as usize..end as usize]);
            last.map(|last| start + last as u64)
        };
        let mut found = false;
        sweep(bytes, starts, last, |instruction| {
            // Every program contains a `hlt` after the call of `__libc_start_main`. A linked file
            // is not decoded for the sake of that alone.
            found = is_site(instruction)
                || object.image.is_none() && fault_at_ring3(instruction).is_some();
            match found {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// An address at which the sweep restarts, and what begins there.
#[derive(Clone, Copy, Default)]
pub(super) struct Start {
    /// A symbol that is marked as a function.
    pub function: bool,
    /// Probably a function, not another part of one.
    pub entry: bool,
    /// Data.
    pub data: bool,
}

/// Decodes the ranges between starts until `each` breaks. `last` returns the last address of
/// interest in a range, or `None` to skip the range. Returns the ranges that could not be decoded.
fn sweep(
    bytes: &[u8],
    starts: &BTreeMap<u64, Start>,
    last: impl Fn(u64, u64) -> Option<u64>,
    mut each: impl FnMut(&Instruction) -> ControlFlow<()>,
) -> Vec<(u64, u64)> {
    let mut bad = Vec::new();
    let ends = starts.keys().copied().skip(1).chain([bytes.len() as u64]);
    let mut decoder = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    for ((&start, kind), end) in starts.iter().zip(ends) {
        let Some(last) = last(start, end).filter(|_| !kind.data) else {
            continue;
        };
        if decoder.set_position(start as usize).is_err() {
            continue;
        }
        decoder.set_ip(start);
        while decoder.ip() <= last {
            decoder.decode_out(&mut instruction);
            if instruction.is_invalid() || instruction.next_ip() > end {
                bad.push((start, end));
                break;
            }
            if each(&instruction).is_break() {
                return bad;
            }
        }
    }
    bad
}

/// The sections of code, not decoded yet.
pub(super) fn sections(object: &Object<'_>) -> Result<Code> {
    let of_code = (0..object.sections.len()).filter(|&index| object.sections[index].is_code());
    Ok(Code {
        nodes: Vec::new(),
        sections: of_code.map(CodeSection::new).collect(),
        regions: Vec::new(),
        symbols: object.symbols().collect::<Result<_>>()?,
        leaders: BTreeSet::new(),
        in_data: BTreeSet::new(),
        address_taken: BTreeSet::new(),
    })
}

/// The addresses at which each section's sweep restarts.
pub(super) fn starts(
    code: &mut Code,
    object: &Object<'_>,
    frames: &Frames,
) -> Result<Vec<BTreeMap<u64, Start>>> {
    let mut starts = vec![BTreeMap::<u64, Start>::new(); code.sections.len()];
    for symbol in &code.symbols {
        let Some(position) = symbol.section.and_then(|index| code.position(index)) else {
            continue;
        };
        if matches!(symbol.kind, STT_SECTION | STT_FILE | STT_TLS) {
            continue;
        }
        let index = code.sections[position].index;
        code.address_taken.insert((index, symbol.value));
        code.leaders.insert((index, symbol.value));
        if symbol.value >= object.sections[index].size {
            continue;
        }
        // Compilers move the cold part of a function elsewhere. It is entered by jumps.
        let name = object.symbol_name(symbol)?;
        let is_part = memchr::memmem::find(name, b".cold").is_some();
        let is_function = matches!(symbol.kind, STT_FUNC | STT_GNU_IFUNC);
        let start = starts[position].entry(symbol.value).or_default();
        start.function |= is_function && !is_part;
        start.entry |= !is_part;
        start.data |= symbol.kind == STT_OBJECT;
        if is_function && symbol.size > 0 {
            let functions = &mut code.sections[position].functions;
            functions.push((symbol.value, symbol.size));
        }
    }
    for frame in frames.iter() {
        let Some(position) = code.position(frame.code) else {
            continue;
        };
        if frame.start >= object.sections[frame.code].size {
            continue;
        }
        code.leaders.insert((frame.code, frame.start));
        if frame.is_signal {
            // Its description begins one byte before the code, for unwinders that look up the
            // address before a return address (`sigaction.c` in glibc).
            let padding = Start {
                data: true,
                ..Start::default()
            };
            starts[position].entry(frame.start).or_insert(padding);
            starts[position].entry(frame.start + 1).or_default().entry = true;
            continue;
        }
        starts[position]
            .entry(frame.start)
            .or_insert_with(|| Start {
                // Other parts of functions have frame descriptions, too. At the entry of a
                // function, only the return address is on the stack. In a linked file, more can be
                // known (`find_entries`).
                entry: object.image.is_none()
                    && frame.cfa(object, frame.start) == Some(Cfa::StackPointer(8)),
                ..Start::default()
            });
    }
    if let (Some(image), Some(starts)) = (&object.image, starts.first_mut()) {
        // What is not code is data.
        starts.insert(
            0,
            Start {
                data: true,
                ..Start::default()
            },
        );
        for range in &image.code {
            starts.entry(range.start).or_default().entry = true;
            starts
                .get_mut(&range.start)
                .into_iter()
                .for_each(|start| start.data = false);
            let is_adjacent = image.code.iter().any(|other| other.start == range.end);
            if !is_adjacent {
                starts.insert(
                    range.end,
                    Start {
                        data: true,
                        ..Start::default()
                    },
                );
            }
        }
        starts.retain(|&start, _| start < object.sections[Object::IMAGE].size);
    }
    for starts in &mut starts {
        starts.entry(0).or_insert(Start {
            entry: true,
            ..Start::default()
        });
    }
    Ok(starts)
}

/// Decodes one section into `code`.
pub(super) fn decode_section(
    code: &mut Code,
    object: &Object<'_>,
    position: usize,
    starts: &BTreeMap<u64, Start>,
) {
    let section = &mut code.sections[position];
    let first = code.nodes.len();
    section.bad = sweep(
        object.content(section.index),
        starts,
        |_, end| end.checked_sub(1),
        |instruction| {
            code.nodes.push(*instruction);
            ControlFlow::Continue(())
        },
    );
    section.nodes = first..code.nodes.len();
}
