//! Prefixes the symbols of objects and archives, and turns their system calls into calls of stubs.
//!
//! # Why
//!
//! A program that is linked beside a kernel shares its name space, and one that runs at ring 0 need
//! not trap into it. So every symbol of the program gets a prefix that keeps its `read` apart from
//! the kernel's, and every `syscall` instruction becomes a call of a stub that goes there directly.
//! The stubs' names are `__ukl_call_<number>_<live>`, `__ukl_sys_<number>` and `__ukl_syscall`; whoever
//! links the output provides them.
//!
//! # The phases, in order
//!
//! | file | phase |
//! |---|---|
//! | `script` | looks up what a linker script in the place of a library names |
//! | `archive` | takes an archive apart, and puts it together with a new index |
//! | `object_file` | runs one object through the phases below |
//! | `elf` | reads its headers |
//! | `frames` | reads its `.eh_frame` |
//! | `code` | decodes its code, and finds every place that may be branched to |
//! | `flow` | groups the code into functions, and follows the flags behind a site |
//! | `redzone` | follows the stack pointer through a function |
//! | `constants` | finds the number at each site |
//! | `liveness` | finds the registers that are read behind a site |
//! | `sites` | finds the sites, and decides what becomes of each |
//! | `traps` | finds every `hlt`, and makes it a fault at ring 0, too |
//! | `trampoline` | moves a site or a trap and its neighbours out |
//! | `cfi` | describes the frame of what has moved |
//! | `names` | says which symbols take the prefix |
//! | `emit` | writes the object |
//! | `pieces` | holds an output that is mostly its input |
//!
//! `input` reads files; `numbers` says what is known of system calls; `report` and `error` hold what comes of it.
//!
//! # Rules
//!
//! - Nothing of the input moves: what keeps its size is patched, what grows goes to the end of the
//!   file. All other bytes are the input's.
//! - A rewritten site of the *call form* is a call of a stub that makes the system call, saves the
//!   registers that are read behind the site, and returns like a function.
//! - A rewritten site of the *skip form* is `call stub; syscall`, with the `syscall` where a branch, a
//!   signal handler or a debugger expects it; the stub comes back behind that.
//! - A `hlt`, which kills a program at ring 3, kills it at any ring afterwards, if it is certainly code.
//! - A site is rewritten when that is certainly right, and left when it is not: a `syscall` that is
//!   left is slower, and never wrong.

use std::path::Path;

mod archive;
mod cfi;
mod code;
mod constants;
mod elf;
mod emit;
mod error;
mod flow;
mod frames;
mod input;
mod liveness;
mod names;
mod numbers;
mod object_file;
mod pieces;
mod redzone;
mod report;
mod script;
mod sites;
mod trampoline;
mod traps;

pub use error::{Error, ErrorKind};
pub use input::Input;
pub use names::{keeps_name, prefixed, unprefixed};
pub use pieces::Pieces;
pub use report::{LeftSite, Note, Reason, Report, SkipReason, Stub, Traps};

/// Part of every cache key: changes whenever the output for the same input may change.
pub const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "-",
    env!("SYMBOL_REWRITER_DIGEST")
);

/// What to do to an input.
#[derive(Debug, Clone)]
pub struct Options {
    /// Goes in front of every program symbol.
    pub prefix: Vec<u8>,
    /// Whether `syscall` sites become calls of stubs, and `hlt` a fault at any ring.
    pub rewrite_sites: bool,
    /// Whether sites take the call form where they can. Those that do have no `syscall` any more.
    pub call_form: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            prefix: b"_ukl_".to_vec(),
            rewrite_sites: true,
            call_form: false,
        }
    }
}

/// A rewritten object or archive.
#[derive(Debug, Clone)]
pub struct Rewritten {
    /// The bytes of the new file.
    pub data: Vec<u8>,
    /// What was done to it.
    pub report: Report,
}

/// The same, in pieces that are the input's where nothing has changed.
#[derive(Debug, Clone)]
pub struct RewrittenPieces<'d> {
    /// The bytes of the new file.
    pub data: Pieces<'d>,
    /// What was done to it.
    pub report: Report,
}

/// Rewrites an object or an archive, whichever `data` holds.
///
/// `name` is what messages call the input. `dir` is the directory of the file, in which the members
/// of a thin archive are looked up, as are the archives that a linker script in the place of a library
/// names; the output is an ordinary archive with an index.
pub fn rewrite(
    name: &str,
    dir: Option<&Path>,
    data: &[u8],
    options: &Options,
) -> Result<Rewritten, Error> {
    let done = rewrite_in_pieces(name, dir, data, options)?;
    Ok(Rewritten {
        data: done.data.into_vec(),
        report: done.report,
    })
}

/// Does what [`rewrite`] does, and copies as little as it can.
pub fn rewrite_in_pieces<'d>(
    name: &str,
    dir: Option<&Path>,
    data: &'d [u8],
    options: &Options,
) -> Result<RewrittenPieces<'d>, Error> {
    let at_file = |kind| Error {
        file: name.to_string(),
        member: None,
        kind,
    };
    match elf::kind(data) {
        elf::Kind::Archive => archive::rewrite(name, dir, data, options),
        elf::Kind::Elf => {
            let done = object_file::rewrite(name, data, options).map_err(at_file)?;
            Ok(RewrittenPieces {
                data: done.data,
                report: done.report,
            })
        }
        elf::Kind::Bitcode => Err(at_file(error::unsupported(
            "LLVM bitcode; compile without -flto",
        ))),
        elf::Kind::Other if let Some(files) = script::files(data) => {
            script::rewrite(name, dir, &files, options)
        }
        elf::Kind::Other => Err(at_file(error::unsupported(
            "neither an ELF object nor an archive; give an object or a static library",
        ))),
    }
}
