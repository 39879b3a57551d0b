//! The command `ukl-docgen`, which is used only by the build.

use std::process::ExitCode;

fn main() -> ExitCode {
    match ukl_docgen::run(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ukl-docgen: error: {error}");
            ExitCode::FAILURE
        }
    }
}
