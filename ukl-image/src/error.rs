//! Why an image cannot be made.

use std::io;
use std::path::Path;

/// Why an image cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file of the kernel archive is missing.
    #[error(
        "{path}: missing from the kernel archive; `make kernel` builds it, and UKL_LIBDIR names \
         the directory to look in"
    )]
    MissingPiece {
        /// The file.
        path: String,
    },
    /// The guest's init is missing.
    #[error("{path}: the guest's init is missing; `make init` builds it")]
    MissingInit {
        /// The path at which it should be.
        path: String,
    },
    /// A file could not be read or written.
    #[error("{path}: cannot be {what}")]
    Io {
        /// The file.
        path: String,
        /// "read" or "written".
        what: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// A file of the kernel archive is damaged or of the wrong kind.
    #[error("{path}: {what}; run `make kernel` to build the kernel archive again")]
    BadPiece {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// The user requested something impossible.
    #[error("{0}")]
    Spec(String),
    /// The link of the decompressor failed.
    #[error("cannot link the kernel's decompressor: {0}")]
    Link(String),
}

impl ImageError {
    /// An error of reading `path`.
    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        ImageError::Io {
            path: path.display().to_string(),
            what: "read",
            source,
        }
    }

    /// An error of writing `path`.
    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        ImageError::Io {
            path: path.display().to_string(),
            what: "written",
            source,
        }
    }

    /// An error in a file of the kernel archive.
    pub(crate) fn bad(path: &Path, what: impl Into<String>) -> Self {
        ImageError::BadPiece {
            path: path.display().to_string(),
            what: what.into(),
        }
    }
}
