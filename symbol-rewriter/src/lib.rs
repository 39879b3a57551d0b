//! Prefixes the symbols of objects and archives, and turns their system calls into calls of thunks.
//!
//! # Why
//!
//! A program that is linked against a kernel shares the kernel's name space, and a program that
//! runs at ring 0 need not trap into the kernel. So every symbol of the program gets a prefix,
//! which distinguishes the program's `read` from the kernel's, and every `syscall` instruction
//! becomes a call of a *thunk*, a short routine that enters the kernel directly. The thunks are
//! called `__ukl_call_<number>_<preserved>`, `__ukl_sys_<number>` and `__ukl_syscall`. Whoever
//! links the output must define them.
//!
//! # The phases, in order
//!
//! | module | phase |
//! |---|---|
//! | `archive::script` | reads a linker script that stands for a library, and merges the archives it names |
//! | `archive` | rewrites each member of an archive, and writes the archive with a new index |
//! | `object_file` | runs one object through the phases below |
//! | `read` | reads a file (`input`), its ELF headers (`elf`) and its `.eh_frame` (`frames`) |
//! | `decode` | decodes the machine code, and finds every address that may be branched to |
//! | `analysis` | groups code into functions and follows the flags (`flow`), finds the number at each site (`constants`), the registers that are read after it (`liveness`) and the use of the red zone (`redzone`) |
//! | `rewrite` | chooses a form for each site (`sites`), replaces instructions that fault only at ring 3 (`hlt`), and moves code that needs room (`trampoline`) |
//! | `write` | describes the frames of moved code (`cfi`), renames the symbols and writes the object (`emit`) into `chunks` |
//!
//! A linked file goes through `decode`, `analysis` and `rewrite`, too. `linked` reads it and writes
//! it ([`rewrite_linked`]).
//!
//! `names` decides which symbols get the prefix, `syscalls` has the properties of each system call,
//! and `thunk` the names of thunks. `options`, `output`, `report` and `error` are the interface to
//! callers.
//!
//! # Rules
//!
//! - Nothing in the input moves. A part that keeps its size is patched in place, a part that grows
//!   goes to the end of the file, and all other bytes are the input's.
//! - A site in the *call form* is a call of a thunk that makes the system call, preserves the
//!   argument registers that are read after the site, and returns like a function.
//! - A site in the *skip form* is `call thunk; syscall`. The `syscall` stays where a branch, a
//!   signal handler or a debugger expects it. The thunk loads the number and returns to the
//!   `syscall`, or makes the system call itself and returns to the address after it.
//! - An instruction that is a fault at ring 3 and not at ring 0 (`hlt`) is replaced by one that
//!   faults at any ring, if it is certainly code.
//! - A site is rewritten only where that is provably correct. A `syscall` that is not rewritten
//!   works at ring 0, too; it is only slower.

use std::path::Path;

mod analysis;
mod archive;
pub mod command;
mod decode;
mod error;
mod file;
mod linked;
mod names;
mod object_file;
mod options;
mod output;
mod read;
mod report;
mod rewrite;
pub mod syscalls;
mod thunk;
mod write;

pub use error::{Error, ErrorKind};
pub use linked::{LinkedThunk, ThunkSource, is_linked, report_linked, rewrite_linked};
pub use names::{keeps_name, prefixed, unprefixed};
pub use options::Options;
pub use output::{Rewritten, RewrittenChunks};
pub use read::input::Input;
pub use report::{LeftSite, Note, Privileged, Reason, Report, SkipReason};
pub use thunk::Thunk;
pub use write::chunks::Chunks;

/// A part of every cache key. It changes whenever the output for the same input may change.
pub const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "-",
    env!("SYMBOL_REWRITER_DIGEST")
);

/// Rewrites an object, an archive, or the archives that a linker script names.
///
/// `name` is the input's name in messages. `dir` is the directory of the file, in which the members
/// of a thin archive and the files of a linker script are looked up. The output for an archive or a
/// script is an ordinary archive with an index.
pub fn rewrite(
    name: &str,
    dir: Option<&Path>,
    data: &[u8],
    options: &Options,
) -> Result<Rewritten, Error> {
    let done = rewrite_in_chunks(name, dir, data, options)?;
    Ok(Rewritten {
        data: done.data.into_vec(),
        report: done.report,
    })
}

/// The same as [`rewrite`], but the output borrows unchanged parts of the input.
pub fn rewrite_in_chunks<'d>(
    name: &str,
    dir: Option<&Path>,
    data: &'d [u8],
    options: &Options,
) -> Result<RewrittenChunks<'d>, Error> {
    match archive::script::files(data) {
        Some(files) => archive::script::rewrite(name, dir, &files, options),
        None => file::rewrite(name, dir, data, options),
    }
}
