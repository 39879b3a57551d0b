//! The command `ukl-cc`, by the name `ukl-c++` for C++.

use std::process::ExitCode;

fn main() -> ExitCode {
    match ukl_cc::run(std::env::args_os()) {
        Ok(status) => status.into(),
        Err(error) => {
            eprintln!("ukl-cc: error: {error}");
            ExitCode::FAILURE
        }
    }
}
