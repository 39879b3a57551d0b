//! The command: see `ukl-pack --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ukl_pack::main(std::env::args_os())
}
