//! Errors: which file and member, what is wrong, and what to do about it.

use std::fmt;

/// An error, and the file it is about.
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
    /// The file is of a kind that cannot be rewritten.
    #[error("{0}")]
    Unsupported(String),
    /// The file violates its format.
    #[error("malformed: {0}; rebuild the file or fetch it again")]
    Malformed(String),
    /// A file that a linker script names cannot be read.
    #[error("cannot read a file that the linker script names: {0}; install it or correct the name")]
    ScriptMember(std::io::Error),
    /// A member of a thin archive cannot be read.
    #[error(
        "cannot read the member of the thin archive: {0}; restore the file or use an ordinary archive"
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

// `Display` prints the whole error, so there is no `source`.
impl std::error::Error for Error {}

/// The result of a phase. Phases do not know the name of the file.
pub(crate) type Result<T> = std::result::Result<T, ErrorKind>;

pub(crate) fn malformed(what: impl Into<String>) -> ErrorKind {
    ErrorKind::Malformed(what.into())
}

pub(crate) fn unsupported(what: impl Into<String>) -> ErrorKind {
    ErrorKind::Unsupported(what.into())
}
