//! Rewrites one object.

use crate::error::Result;
use crate::options::Options;
use crate::read::elf::{Kind, Object};
use crate::report::Note;
use crate::report::Report;
use crate::write::chunks::Chunks;
use crate::write::emit::{self, Names, Plan};

/// A rewritten object.
pub(crate) struct Done<'d> {
    pub data: Chunks<'d>,
    pub defined: Names,
    pub report: Report,
}

/// Rewrites the object `data`. `place` is its name in the report.
pub(crate) fn rewrite<'d>(place: &str, data: &'d [u8], options: &Options) -> Result<Done<'d>> {
    let object = Object::parse(data)?;
    let mut report = Report {
        objects: 1,
        ..Report::default()
    };
    let mut plan = Plan::default();
    if options.rewrite_sites {
        crate::rewrite::plan(place, &object, &mut plan, &mut report, options)?;
    }
    if object
        .sections
        .iter()
        .any(|section| section.name.starts_with(b".gnu.lto_"))
    {
        report.notes.push(Note::GccBytecode(place.to_string()));
    }
    report.thunks = plan.thunks.keys().copied().collect();
    let written = emit::write(&object, plan, options)?;
    report.renamed = written.renamed;
    Ok(Done {
        data: written.data,
        defined: written.defined,
        report,
    })
}

/// The report on a file that is copied unchanged.
pub(crate) fn copied(place: &str, kind: Kind) -> Report {
    let mut report = Report {
        copied: 1,
        ..Report::default()
    };
    if kind == Kind::Bitcode {
        report.notes.push(Note::Bitcode(place.to_string()));
    }
    report
}
