//! The command: see `ukl-run --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ukl_run::main(std::env::args_os())
}
