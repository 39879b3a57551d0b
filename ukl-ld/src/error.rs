//! The errors of ukl-ld. Each names the file concerned, and says what to do.

use std::path::Path;
use std::path::PathBuf;
use std::process::ExitStatus;

use ukl_common::messages;
use ukl_image::ImageError;

use crate::args::response::TooMany;

/// The name before each message.
pub(crate) const TOOL: &str = "ukl-ld";

/// A failure of ukl-ld itself. A failure of the host linker is not among them: its messages and its
/// exit status are passed through.
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
    /// Response files that include each other without end.
    #[error(transparent)]
    Response(#[from] TooMany),
    /// An invalid option of ukl-ld.
    #[error("{0}")]
    Usage(String),
    /// The real linker was not found.
    #[error(
        "cannot find the real linker `{0}' in PATH; install it (Debian: binutils), \
         or name it in UKL_LD"
    )]
    NoLinker(String),
    /// The command found as the real linker is ukl-ld itself.
    #[error("the linker {} runs ukl-ld again; name the real linker in UKL_LD", .0.display())]
    Loop(PathBuf),
    /// A file of the installation is missing.
    #[error("{} is missing; run `make {target}' in UKL's source tree", path.display())]
    NotInstalled {
        /// The missing file.
        path: PathBuf,
        /// The make target that builds it.
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
    /// An input that cannot become part of an image.
    #[error("{file}: {what}")]
    Input {
        /// The file.
        file: String,
        /// What is wrong, and what to do.
        what: String,
    },
    /// The program needs shared libraries that have no static counterpart.
    #[error("{}", .0.join("\n"))]
    NoStatic(Vec<String>),
    /// The compiler's plugin failed.
    #[error("the objects with intermediate code (-flto) cannot be compiled for the image{why}")]
    Lto {
        /// The linker's messages.
        messages: String,
        /// The compiler versions, if they are the reason.
        why: String,
    },
    /// The rewriter failed.
    #[error(transparent)]
    Rewrite(#[from] symbol_rewriter::Error),
    /// The image's link failed.
    #[error(
        "the image of {} cannot be linked ({status}){hint}",
        output.display()
    )]
    Link {
        /// The host output.
        output: PathBuf,
        /// The linker's messages, with the user's file and symbol names.
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
    /// The image could not be made.
    #[error("the image of {} cannot be made: {source}", output.display())]
    Image {
        /// The host output.
        output: PathBuf,
        /// Why.
        source: ImageError,
    },
}

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Adds the path to an I/O error.
pub trait At<T> {
    /// Adds the path.
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

/// Prints an error. The linker's own messages come first, without a prefix.
pub fn print(error: &Error) {
    match error {
        Error::NoStatic(errors) => errors.iter().for_each(|error| messages::error(TOOL, error)),
        Error::Link { messages, .. } | Error::Lto { messages, .. } => {
            if !messages.is_empty() {
                eprintln!("{messages}");
            }
            messages::error(TOOL, error);
        }
        _ => messages::error(TOOL, error),
    }
}
