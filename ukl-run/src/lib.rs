//! Runs a Unikernel Linux image as if it were a command: the program's standard streams are the
//! caller's, and its exit status is ukl-run's.
//!
//! The steps, in order, each in its own file or folder:
//!
//! 1. [`args`]: the command line;
//! 2. [`plan`]: what the options mean for this image on this host;
//! 3. [`qemu`]: the virtual machine's command line;
//! 4. [`machine`]: start, signals, time limit, end, by the [`events`] that threads send;
//! 5. [`channels`]: the sockets between ukl-run and the guest;
//! 6. [`outcome`]: the exit status;
//! 7. [`console`]: the kernel's log; [`terminal`]: the caller's terminal; [`debug`]: what gdb needs.
//!
//! [`ukl_proto`] defines the formats that are exchanged with the guest's init.

pub mod args;
pub mod channels;
pub mod console;
pub mod debug;
pub mod error;
pub mod events;
pub mod machine;
pub mod outcome;
pub mod plan;
pub mod qemu;
mod sys;
pub mod terminal;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use ukl_common::library::Library;

pub use error::Error;
pub use error::Result;

/// The exit status if the guest ended without one.
pub const DIED: u8 = 255;
/// The exit status if the time limit was reached.
pub const TIMEOUT: u8 = 124;
/// The exit status if ukl-run itself failed.
pub const FAILED: u8 = 125;

/// Prints a message on standard error.
pub(crate) fn say(text: impl std::fmt::Display) {
    use std::io::Write as _;
    // A terminal in raw mode does not return the carriage by itself.
    let text = text.to_string();
    let end = if terminal::is_raw() { "\r\n" } else { "\n" };
    let _ = write!(
        std::io::stderr(),
        "ukl-run: {}{end}",
        text.replace('\n', end)
    );
}

/// The whole command.
pub fn main(words: impl Iterator<Item = OsString>) -> ExitCode {
    let args = match args::Args::read(words) {
        Ok(args) => args,
        Err(message) => {
            let failed = message.use_stderr();
            let _ = message.print();
            if message.kind() == ErrorKind::DisplayVersion
                && let Ok(library) = Library::find()
            {
                println!("{}", library.kernel_version());
            }
            return if failed {
                ExitCode::from(FAILED)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match run(&args) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            say(format_args!("error: {error}"));
            ExitCode::from(FAILED)
        }
    }
}

/// Runs ukl-run with these arguments. Returns the exit status.
pub fn run(args: &args::Args) -> Result<u8> {
    let plan = plan::Plan::new(args)?;
    if args.dry_run {
        println!(
            "{}",
            qemu::shown(&qemu::command(&plan, &qemu::Channels::example(&plan)))
        );
        return Ok(0);
    }
    machine::run(&plan)
}
