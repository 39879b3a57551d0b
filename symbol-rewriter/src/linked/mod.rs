//! Rewrites linked files: executables and shared libraries.
//!
//! A linked file goes through the phases of an object: its memory image is one section of code, in
//! which every offset is a virtual address. Nothing in the file moves. The thunks, the trampolines
//! and new frame descriptions are in a segment that is added to the file.
//!
//! | module | what it does |
//! |---|---|
//! | `file` | reads and checks the headers |
//! | `image` | finds code, symbols and addresses of code in data |
//! | `go` | finds the functions of Go programs |
//! | `thunks` | puts thunks into pages, each with the addresses that its thunks need |
//! | `cfi` | writes `.eh_frame` and its search table for the added code |
//! | `segment` | adds the segment to the file |
//!
//! A thunk in the segment reaches the kernel by addresses on its own page. The kernel may have to
//! bring back the page of a thunk that runs on the kernel stack, and it knows only the address of
//! the code (`ukl_thunk_fault()`).

use crate::error::{Error, Result, malformed, unsupported};
use crate::options::Options;
use crate::output::Rewritten;
use crate::read::elf::Object;
use crate::read::frames::Frames;
use crate::report::Report;
use crate::thunk::Thunk;
use crate::write::emit::{Added, Plan};

mod cfi;
mod file;
mod go;
mod image;
mod segment;
mod thunks;

pub use file::is_linked;
pub use thunks::{LinkedThunk, ThunkSource};

use file::{File, PF_X};

/// The largest number of pages that the trampolines may take.
const FAR: u64 = 1 << 30;

/// Rewrites a linked file. Each `syscall` instruction that is certainly code and can be replaced
/// becomes a call of a thunk in a segment that is added to the file; `source` makes the thunks.
///
/// `name` is the file's name in messages. A file without such an instruction is returned unchanged.
/// The output works at ring 0 only.
pub fn rewrite_linked(
    name: &str,
    data: &[u8],
    source: &dyn ThunkSource,
) -> std::result::Result<Rewritten, Error> {
    run(name, data, Some(source)).map_err(|kind| Error {
        file: name.to_string(),
        member: None,
        kind,
    })
}

/// What [`rewrite_linked`] would do to a file. This needs no kernel.
pub fn report_linked(name: &str, data: &[u8]) -> std::result::Result<Report, Error> {
    let done = run(name, data, None).map_err(|kind| Error {
        file: name.to_string(),
        member: None,
        kind,
    })?;
    Ok(done.report)
}

fn run(name: &str, data: &[u8], source: Option<&dyn ThunkSource>) -> Result<Rewritten> {
    let file = File::parse(data)?;
    if segment::is_rewritten(&file) {
        return Err(unsupported(
            "it has been rewritten before; use the original file",
        ));
    }
    let memory = file.memory();
    let frames = image::frames(&file, &memory)?;
    let (image, symbols) = image::read(&file, &memory);
    let object = Object::from_image(&memory, frames, symbols, image);
    let place = segment::place(&file);
    let mut plan = Plan {
        added: Some(Added {
            start: place.addr + segment::front_size(&file),
            ..Added::default()
        }),
        ..Plan::default()
    };
    let mut report = Report {
        objects: 1,
        ..Report::default()
    };
    let options = Options {
        call_form: true,
        ..Options::default()
    };
    crate::rewrite::plan(name, &object, &mut plan, &mut report, &options)?;
    report.thunks = plan.thunks.keys().copied().collect();
    let mut out = data.to_vec();
    if let Some(source) = source
        && plan.contents.contains_key(&Object::IMAGE)
    {
        let (frames, complete) = Frames::read(&object)?;
        if !complete {
            return Err(unsupported(
                "its .eh_frame has entries that cannot be read; use the file without rewriting it",
            ));
        }
        out = write(&file, &object, &frames, plan, source)?;
    }
    Ok(Rewritten { data: out, report })
}

/// Writes the file with the changes of the plan.
fn write(
    file: &File<'_>,
    object: &Object<'_>,
    frames: &Frames,
    mut plan: Plan,
    source: &dyn ThunkSource,
) -> Result<Vec<u8>> {
    let Added {
        start,
        code: mut trampolines,
        frames: added,
    } = plan.added.take().unwrap_or_default();
    let base = (start + trampolines.len() as u64).next_multiple_of(file::PAGE);
    let pages = thunks::lay_out(plan.thunks.keys().copied(), base, source)?;

    // The calls of thunks.
    let memory = plan.content(object, Object::IMAGE);
    let mut content = std::mem::take(memory);
    let by_number: std::collections::BTreeMap<u32, Thunk> = plan
        .thunks
        .iter()
        .map(|(thunk, number)| (*number, *thunk))
        .collect();
    for reloc in plan.relocs.get(&Object::IMAGE).into_iter().flatten() {
        let entry = by_number
            .get(&reloc.symbol)
            .and_then(|thunk| pages.entries.get(thunk))
            .ok_or_else(|| malformed("a call leads to no thunk"))?;
        let distance = entry
            .wrapping_add_signed(reloc.addend)
            .wrapping_sub(reloc.offset) as i64;
        let distance = i32::try_from(distance)
            .map_err(|_| unsupported("its code is too far from the thunks"))?;
        let (bytes, at) = match reloc.offset.checked_sub(start) {
            Some(at) => (&mut trampolines, at),
            None => (&mut content, reloc.offset),
        };
        bytes
            .get_mut(at as usize..at as usize + 4)
            .ok_or_else(|| malformed("a call is outside the code"))?
            .copy_from_slice(&distance.to_le_bytes());
    }

    // The segment: what is in front, trampolines, thunks, frame descriptions.
    let addr = start - segment::front_size(file);
    let mut body = vec![0; segment::front_size(file) as usize];
    body.extend_from_slice(&trampolines);
    body.resize((base - addr) as usize, 0xcc);
    body.extend_from_slice(&pages.bytes);
    body.resize(body.len().next_multiple_of(8), 0);
    let mut writer = cfi::Writer::new(addr + body.len() as u64);
    for frame in &added {
        writer.moved(object, frame)?;
    }
    for thunk in &pages.thunks {
        writer.thunk(thunk.addr, thunk.size, &thunk.frame)?;
    }
    let unwind = writer.finish(object, frames)?;
    let table = unwind.table_at..unwind.table_at + unwind.table_size;
    body.extend_from_slice(&unwind.bytes);
    if body.len() as u64 > FAR {
        return Err(unsupported("it has too many system calls"));
    }

    let mut out = file.data.to_vec();
    for segment in file.loaded().filter(|segment| segment.flags & PF_X != 0) {
        let to = segment.offset as usize..(segment.offset + segment.file_size) as usize;
        let from = segment.range();
        out[to].copy_from_slice(&content[from.start as usize..from.end as usize]);
    }
    segment::append(file, &mut out, body, table)?;
    Ok(out)
}
