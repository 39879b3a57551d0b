//! Errors.

use std::io;
use std::path::Path;
use std::path::PathBuf;

use ukl_image::ImageError;

/// A result with such an error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// An input is malformed or of the wrong kind.
    #[error("{path}: {what}")]
    Input {
        /// The file, or the path in the image.
        path: String,
        /// What is wrong with it, and what to do about it.
        what: String,
    },
    /// A library is missing.
    #[error(
        "{library}: not found in the directories where the dynamic loader searches, but {object} \
         needs it; install the package that has it, or add it with --add"
    )]
    NoLibrary {
        /// The library's name.
        library: String,
        /// The object that needs it.
        object: String,
    },
    /// The options ask for something impossible.
    #[error("{0}")]
    Usage(String),
    /// A command of the host failed.
    #[error("{command}: {what}")]
    Command {
        /// The command.
        command: String,
        /// How it failed.
        what: String,
    },
    /// The image cannot be made.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The kernel archive cannot be used.
    #[error("{0}")]
    Kernel(String),
}

impl Error {
    /// Makes the error of an operation on a file, for `map_err`.
    pub fn file(path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::File { path, source }
    }

    /// The error of a malformed input.
    pub fn input(path: impl std::fmt::Display, what: impl Into<String>) -> Error {
        Error::Input {
            path: path.to_string(),
            what: what.into(),
        }
    }
}

/// A path in the image, for messages.
pub fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    format!("/{}", text.trim_start_matches('/'))
}
