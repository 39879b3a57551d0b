//! Makes bootable images of programs that were never linked by `ukl-ld`.
//!
//! The steps, in order, each in its own file:
//!
//! 1. [`args`]: the command line;
//! 2. [`root`]: the guest's root directory: files of the host, which are copied as they are found
//!    to be needed, or the whole of a [`directory`], an [`archive`], a container image ([`oci`]) or
//!    [`packages`];
//! 3. [`command`]: the program in the root directory, and the interpreters of [`script`]s;
//! 4. [`libraries`]: its shared libraries, as the dynamic loader finds them ([`elf`], [`ldcache`]);
//!    [`extras`]: the files that these read at run time;
//! 5. [`user`]: the credentials that it runs with;
//! 6. [`transit`]: what is changed in files that run at ring 0;
//! 7. [`pack`]: all of this, and the image.
//!
//! [`ukl_image`] writes the image.

pub mod archive;
pub mod args;
pub mod command;
pub mod directory;
pub mod elf;
pub mod error;
pub mod extras;
pub mod ldcache;
pub mod libraries;
pub mod oci;
pub mod pack;
pub mod packages;
pub mod progress;
pub mod root;
pub mod script;
pub mod transit;
pub mod user;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;
use ukl_common::library::KernelVersion;
use ukl_common::library::Library;
use ukl_common::messages;

pub use error::Error;
pub use error::Result;

/// The name in messages.
pub const TOOL: &str = "ukl-pack";

/// The whole command.
pub fn main(words: impl Iterator<Item = OsString>) -> ExitCode {
    let args = match args::Args::try_parse_from(words) {
        Ok(args) => args,
        Err(message) => {
            let _ = message.print();
            if message.kind() == ErrorKind::DisplayVersion
                && let Ok(library) = Library::find()
            {
                println!("{}", KernelVersion::of(library.kernel()));
            }
            return ExitCode::from(if message.use_stderr() { 2 } else { 0 });
        }
    };
    match pack::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            messages::error(TOOL, pack::whole(&error));
            ExitCode::FAILURE
        }
    }
}
