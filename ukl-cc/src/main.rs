//! The command `ukl-cc`, by the name `ukl-c++` for C++.

use std::process::ExitCode;

fn main() -> ExitCode {
    match ukl_cc::run(std::env::args_os()) {
        Ok(status) => status.into(),
        Err(error) => {
            ukl_common::messages::error("ukl-cc", error);
            ExitCode::FAILURE
        }
    }
}
