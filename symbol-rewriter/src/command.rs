//! The command line of `symbol-rewriter`.

use std::path::PathBuf;

use clap::Parser;

/// Prefixes the symbols of an x86-64 object or static library, and turns its `syscall`
/// instructions into calls of thunks.
#[derive(Debug, Parser)]
#[command(name = "symbol-rewriter", version)]
pub struct Args {
    /// The prefix for every symbol except those that the linker itself defines
    #[arg(long, value_name = "P", default_value = "_ukl_")]
    pub prefix: std::ffi::OsString,
    /// Do not rewrite `syscall` and privileged instructions
    #[arg(long)]
    pub no_sites: bool,
    /// Replace a `syscall` and the load of its number by one call, where that is possible. The thunk
    /// preserves the argument registers that the code after it reads
    #[arg(long)]
    pub call_form: bool,
    /// Print how many sites were rewritten and in which way, and why the others were not
    #[arg(long)]
    pub report: bool,
    /// The file to write. It may be the input
    #[arg(short, long, value_name = "OUT", required_unless_present = "report")]
    pub output: Option<PathBuf>,
    /// An object, an archive (ordinary or thin), or a linker script that names archives. With
    /// --report and without -o, also a linked file
    #[arg(value_name = "INPUT")]
    pub input: PathBuf,
}
