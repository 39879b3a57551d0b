//! Errors are text, because init only reports them.

use std::fmt;

/// An error.
#[derive(Debug)]
pub struct Error(pub String);

/// A result with such an error.
pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}
