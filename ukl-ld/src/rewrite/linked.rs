//! What the rewriter hands to the link of the program.

use std::ffi::OsString;
use std::path::PathBuf;

/// One word of the linker's command line.
#[derive(Debug)]
pub enum Linked {
    /// A rewritten file.
    File {
        /// The rewritten file's path.
        path: PathBuf,
        /// The path of the file that was rewritten, for messages.
        origin: PathBuf,
        /// Whether it is an archive.
        archive: bool,
    },
    /// A flag.
    Flag(OsString),
}
