//! The inputs of the image's link, as the phases hand them on.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::args::Args;

/// One thing on the command line of the image's link, in order.
#[derive(Debug, Clone)]
pub enum Item {
    /// A file to rewrite and link.
    File(File),
    /// A flag whose position matters, for instance `--whole-archive`.
    Flag(OsString),
    /// A shared library of the user's own build, replaced by its objects.
    Library(Library),
}

/// A shared library, replaced by the inputs of its own link.
#[derive(Debug, Clone)]
pub struct Library {
    /// The path of the shared library.
    pub shared: PathBuf,
    /// The command line of its link.
    pub args: Args,
    /// Its inputs.
    pub items: Vec<Item>,
}

/// A file to rewrite and link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path.
    pub path: PathBuf,
    /// Its kind.
    pub kind: FileKind,
}

impl File {
    /// Makes a file from its path and kind.
    pub fn new(path: PathBuf, kind: FileKind) -> File {
        File { path, kind }
    }
}

/// The kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A relocatable object.
    Object,
    /// An archive.
    Archive,
    /// A linker script that does more than name input files.
    Script,
    /// A file of any content, to be embedded as data (`-b binary`).
    Binary,
}
