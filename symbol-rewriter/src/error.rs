//! Errors: which file, which member, what is wrong and what to do about it.

use std::fmt;

/// A failure, with the place it happened at.
#[derive(Debug)]
pub struct Error {
    /// The input, as the caller named it.
    pub file: String,
    /// The member, if the input is an archive.
    pub member: Option<String>,
    /// What went wrong.
    pub kind: ErrorKind,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum ErrorKind {
    /// The file is none that can be rewritten.
    #[error("{0}")]
    Unsupported(String),
    /// The file breaks its own format.
    #[error("malformed: {0}; build or fetch the file anew")]
    Malformed(String),
    /// A file that a linker script names cannot be read.
    #[error("cannot read what the linker script names: {0}; install it or name it rightly")]
    ScriptMember(std::io::Error),
    /// A member of a thin archive cannot be read.
    #[error(
        "cannot read the member of the thin archive: {0}; put the file back or make an ordinary archive"
    )]
    ThinMember(std::io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.member {
            Some(member) => write!(f, "{}({}): {}", self.file, member, self.kind),
            None => write!(f, "{}: {}", self.file, self.kind),
        }
    }
}

// The message says all of it: a chain of sources would only repeat what the kind says.
impl std::error::Error for Error {}

/// Shorthand for the phases, which do not know the file's name.
pub(crate) type Result<T> = std::result::Result<T, ErrorKind>;

pub(crate) fn malformed(what: impl Into<String>) -> ErrorKind {
    ErrorKind::Malformed(what.into())
}

pub(crate) fn unsupported(what: impl Into<String>) -> ErrorKind {
    ErrorKind::Unsupported(what.into())
}
