//! The link that is saved.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::path::Path;

use crate::args::Args;
use crate::tools::Tools;

/// The file by which a saved link is recognised.
pub(super) const SCRIPT: &str = "run-with";

/// A link to save.
pub(super) struct Link<'l> {
    /// The command line, complete with what a compiler driver adds.
    pub(super) args: &'l Args,
    /// `UKL_FLAGS`.
    pub(super) flags: Option<OsString>,
    /// The real linker and the installation.
    pub(super) tools: &'l Tools,
    /// The kernel archive that the options choose.
    pub(super) kernel: Option<&'l Path>,
    /// Whether an image is wanted.
    pub(super) image: bool,
    /// The program's final name.
    pub(super) name: &'l OsStr,
}
