//! Rewrites one object or archive.

use std::path::Path;

use crate::error::{self, Error};
use crate::options::Options;
use crate::output::RewrittenChunks;
use crate::read::elf::{self, Kind};
use crate::{archive, object_file};

/// Rewrites the object or archive `data`.
pub(crate) fn rewrite<'d>(
    name: &str,
    dir: Option<&Path>,
    data: &'d [u8],
    options: &Options,
) -> Result<RewrittenChunks<'d>, Error> {
    let at_file = |kind| Error {
        file: name.to_string(),
        member: None,
        kind,
    };
    match elf::kind(data) {
        Kind::Archive => archive::rewrite(name, dir, data, options),
        Kind::Elf => {
            let done = object_file::rewrite(name, data, options).map_err(at_file)?;
            Ok(RewrittenChunks {
                data: done.data,
                report: done.report,
            })
        }
        Kind::Bitcode => Err(at_file(error::unsupported(
            "LLVM bitcode; compile without -flto",
        ))),
        Kind::Other => Err(at_file(error::unsupported(
            "neither an ELF object nor an archive; pass an object or a static library",
        ))),
    }
}
