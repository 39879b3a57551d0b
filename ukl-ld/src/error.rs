//! What can go wrong, each with the file it went wrong at and what to do about it.

use std::path::Path;
use std::path::PathBuf;
use std::process::ExitStatus;

use crate::args::response::TooMany;
use ukl_image::ImageError;

/// A failure of ukl-ld itself. The host linker's failures are not among them: its words and its
/// exit status pass through.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read, written, made or removed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A command could not be started.
    #[error("cannot run {}: {source}", program.display())]
    Run {
        /// The command.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// `@file` without end.
    #[error(transparent)]
    Response(#[from] TooMany),
    /// A bad option of our own.
    #[error("{0}")]
    Usage(String),
    /// There is no real linker.
    #[error(
        "cannot find the real linker `{0}' in PATH; install it (Debian: binutils), \
         or name it in UKL_LD"
    )]
    NoLinker(String),
    /// The real linker leads back here.
    #[error("the linker {} leads back to ukl-ld; name the real one in UKL_LD", .0.display())]
    Loop(PathBuf),
    /// A file of the installation is missing.
    #[error("{} is missing: `make {target}' in UKL's source tree makes it", path.display())]
    NotInstalled {
        /// What was looked for.
        path: PathBuf,
        /// The make target that makes it.
        target: &'static str,
    },
    /// A file of the kernel archive is missing or malformed.
    #[error("{}: {what}; run `make kernel' in UKL's source tree", path.display())]
    Kernel {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The kernel archive has an ABI that this ukl-ld does not know.
    #[error(
        "kernel archive {} has ABI version {version}; this ukl-ld needs {expected}: run `make \
         kernel' in UKL's source tree",
        archive.display()
    )]
    AbiVersion {
        /// The directory of the archive.
        archive: PathBuf,
        /// Its version.
        version: u32,
        /// The version that this ukl-ld knows.
        expected: u32,
    },
    /// The kernel archive's ABI leaves no room for the code of a thunk.
    #[error(
        "the thunk layout of the kernel archive has no room for ukl-ld's code: {0}; run `make \
         kernel' in UKL's source tree"
    )]
    ThunkLayout(String),
    /// An input of a kind that cannot be made part of an image.
    #[error("{file}: {what}")]
    Input {
        /// The file.
        file: String,
        /// What is wrong, and what to do.
        what: String,
    },
    /// Shared libraries that the program needs, but that have no static counterpart.
    #[error("{}", .0.join("\nukl-ld: error: "))]
    NoStatic(Vec<String>),
    /// The compiler's plugin failed.
    #[error(
        "{messages}\nukl-ld: error: the objects with intermediate code (-flto) cannot be compiled \
         for the image{why}"
    )]
    Lto {
        /// The linker's words.
        messages: String,
        /// The versions, if they are the reason.
        why: String,
    },
    /// The rewriter failed.
    #[error(transparent)]
    Rewrite(#[from] symbol_rewriter::Error),
    /// The image's link failed.
    #[error(
        "{messages}\nukl-ld: error: the image of {} cannot be linked ({status}){hint}",
        output.display()
    )]
    Link {
        /// The host output.
        output: PathBuf,
        /// The linker's words, put into the user's terms.
        messages: String,
        /// How the linker ended.
        status: ExitStatus,
        /// What may help.
        hint: String,
    },
    /// The kernel code cannot be linked.
    #[error("kernel code: {0}")]
    KernelCode(String),
    /// The linked program is not as expected.
    #[error("the linked program is malformed: {0}")]
    Program(String),
    /// The image maker failed.
    #[error("the image of {} cannot be made: {source}", output.display())]
    Image {
        /// The host output.
        output: PathBuf,
        /// Why.
        source: ImageError,
    },
}

/// The result of most of what is here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Puts the path into an I/O error.
pub trait At<T> {
    /// Says at which file it happened.
    fn at(self, path: &Path) -> Result<T>;
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io {
            path: path.to_owned(),
            source,
        })
    }
}

/// Prints a failure as the command does. The linker's own messages come first and as they are.
pub fn print(error: &Error) {
    match error {
        Error::Link { messages, .. } | Error::Lto { messages, .. } if !messages.is_empty() => {
            eprintln!("{error}");
        }
        _ => eprintln!("ukl-ld: error: {error}"),
    }
}
