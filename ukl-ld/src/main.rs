//! The command `ukl-ld`, also called `ld`.

use std::process::ExitCode;

fn main() -> ExitCode {
    match ukl_ld::run(std::env::args_os()) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            ukl_ld::error::print(&error);
            ExitCode::FAILURE
        }
    }
}
