//! Rewriting: plans the changes to `syscall` instructions, and to instructions that only ring 0 may
//! execute.
//!
//! | module | what it does |
//! |---|---|
//! | `sites` | finds the `syscall` instructions |
//! | `form` | decides whether a site is rewritten, and to which form |
//! | `in_place` | replaces the instruction that loads the number by a call |
//! | `trampoline` | finds the instructions that make room for a jump (`hole`), and moves them out |
//! | `by_trampoline` | moves a site into a trampoline |
//! | `privileged` | replaces instructions that fault only at ring 3 by faults at any ring |
//! | `work` | holds the code, the results of the analyses, and the changes so far |
//! | `encoding` | the bytes of the instructions that are written |

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::analysis::constants::Numbers;
use crate::analysis::flow::{self, Functions};
use crate::analysis::liveness::Liveness;
use crate::decode::{self, Node, instructions};
use crate::error::Result;
use crate::options::Options;
use crate::read::elf::{Object, STT_FUNC, STT_GNU_IFUNC};
use crate::read::frames::Frames;
use crate::report::Report;
use crate::write::emit::Plan;

mod by_trampoline;
mod encoding;
mod form;
mod hole;
mod in_place;
mod privileged;
mod sites;
mod trampoline;
mod work;

use work::Work;

/// Plans the changes to the instructions of `object`. `place` is its name in the report.
pub(crate) fn plan(
    place: &str,
    object: &Object<'_>,
    plan: &mut Plan,
    report: &mut Report,
    options: &Options,
) -> Result<()> {
    let is_empty = object.image.is_none() && object.symbol_section().is_none();
    if is_empty || !decode::has_sites(object)? {
        return Ok(());
    }
    let (frames, frames_complete) = Frames::read(object)?;
    let code = decode::decode(object, &frames)?;
    let sites = sites::find(object, &code);
    let is_privileged = |node| instructions::fault_at_ring3(node).is_some();
    if sites.is_empty() && !code.nodes.iter().any(is_privileged) {
        return Ok(());
    }
    let functions = Functions::group(&code);
    let numbers = Numbers::find(&code, &functions, |function| {
        !frames_complete
            || flow::jumps_anywhere(&code, &functions, function)
            || flow::has_landing_pads(&code, &functions, &frames, function)
    });
    let mut work = Work {
        place,
        object,
        code: &code,
        frames: &frames,
        frames_complete,
        functions: &functions,
        numbers: &numbers,
        uses: HashMap::new(),
        changed: HashSet::new(),
        liveness: options
            .call_form
            .then(|| Liveness::new(object, &code, &functions, &numbers)),
        cancellation_ranges: sites::cancellation_ranges(object)?,
        plan,
        report,
    };
    work.report.sites += sites.len();
    let privileged = privileged::find(&mut work);
    let privileged = privileged::rewrite_in_place(&mut work, privileged);
    // All sites that can be rewritten in place come first, so that no trampoline takes the
    // instructions they need.
    let sites = in_place::rewrite(&mut work, sites)?;
    let mut moved = by_trampoline::rewrite(&mut work, sites)?;
    moved.extend(privileged::rewrite_by_trampoline(&mut work, privileged)?);
    extend_functions(&mut work, &moved)?;
    for (&section, relocs) in &mut plan.relocs {
        if object.sections[section].is_code() {
            relocs.sort_by_key(|reloc| reloc.offset);
        }
    }
    Ok(())
}

/// Extends the last function of each section over the trampolines after it, if all of them belong
/// to it, so that debuggers and profilers find a name for them.
///
/// The trampolines of other functions have no name: a new local symbol would change the number of
/// every global one.
fn extend_functions(work: &mut Work<'_, '_>, moved: &[Node]) -> Result<()> {
    if work.object.image.is_some() {
        return Ok(());
    }
    let mut by_section: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for &node in moved {
        let places = by_section.entry(work.code.section_of(node)).or_default();
        places.push(work.code.nodes[node].ip());
    }
    for (section, places) in by_section {
        // The function that starts last, and its aliases.
        let mut last: Vec<(usize, u64)> = Vec::new();
        for (index, symbol) in work.object.symbols().enumerate() {
            let symbol = symbol?;
            let is_function = matches!(symbol.kind, STT_FUNC | STT_GNU_IFUNC);
            if symbol.section != Some(section) || !is_function || symbol.size == 0 {
                continue;
            }
            match last.first() {
                Some(&(_, value)) if value > symbol.value => {}
                Some(&(_, value)) if value == symbol.value => last.push((index, symbol.value)),
                _ => last = vec![(index, symbol.value)],
            }
        }
        let (Some(&(_, start)), Some(content)) = (last.first(), work.plan.contents.get(&section))
        else {
            continue;
        };
        if places.iter().all(|&place| place >= start) {
            let size = content.len() as u64 - start;
            let sizes = last.into_iter().map(|(index, _)| (index, size));
            work.plan.sizes.extend(sizes);
        }
    }
    Ok(())
}
