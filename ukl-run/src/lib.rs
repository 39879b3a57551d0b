//! Runs a Unikernel Linux image as if it were a command: the program's standard streams are the
//! caller's, its exit status is ours.
//!
//! In order, one file each:
//!
//! 1. [`args`]: the command line, as it was typed;
//! 2. [`plan`]: what that comes to: the image, the accelerator, what init will be told;
//! 3. [`qemu`]: the virtual machine's command line;
//! 4. [`channels`]: the sockets between us and the guest, and who pumps them;
//! 5. [`machine`]: start, signals, time limit, end;
//! 6. [`console`]: the kernel's log, in case the guest has no more to say for itself;
//! 7. [`terminal`]: the caller's terminal, when the program is to have one;
//! 8. [`debug`]: what gdb needs.

pub mod args;
pub mod channels;
pub mod console;
pub mod debug;
pub mod error;
pub mod machine;
pub mod plan;
pub mod qemu;
mod sys;
pub mod terminal;

use std::ffi::OsString;
use std::process::ExitCode;

use ukl_common::library::Library;

pub use error::Error;
pub use error::Result;

/// The exit status when the guest ended without telling one.
pub const DIED: u8 = 255;
/// The exit status when time was up.
pub const TIMEOUT: u8 = 124;
/// The exit status when ukl-run itself failed.
pub const FAILED: u8 = 125;

/// Tells the caller something, past the program's own output.
pub(crate) fn say(text: impl std::fmt::Display) {
    use std::io::Write as _;
    // In a terminal that is in raw mode a line has to be ended like this, and elsewhere it does
    // not matter.
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
            if message.kind() == clap::error::ErrorKind::DisplayVersion
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

/// Does what the arguments say, and returns the exit status.
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
