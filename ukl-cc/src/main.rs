//! The command `ukl-cc`. Under the name `ukl-c++` it compiles C++.

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
