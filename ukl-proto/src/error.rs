//! Errors of reading and writing the protocol's formats.

use std::fmt;

/// Received data cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// The sender speaks a later version of the protocol.
    Newer {
        /// The name of the data, for instance `image.conf`.
        what: &'static str,
        /// The sender's version.
        version: u32,
    },
    /// A record or line without a `=`.
    NoValue {
        /// The name of the data.
        what: &'static str,
        /// The record.
        record: String,
    },
    /// This version has no such key.
    UnknownKey {
        /// The name of the data.
        what: &'static str,
        /// The record.
        record: String,
    },
    /// The value is invalid for the key.
    BadValue {
        /// The name of the data.
        what: &'static str,
        /// The record.
        record: String,
        /// The valid values.
        expected: &'static str,
    },
    /// A required key is missing.
    Missing {
        /// The name of the data.
        what: &'static str,
        /// The key.
        key: &'static str,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Newer { what, version } => write!(
                f,
                "{what} has version {version} of the guest protocol, and this ukl-init reads \
                 versions up to {}; link the program again with the tools that are installed now",
                crate::VERSION
            ),
            DecodeError::NoValue { what, record } => {
                write!(f, "{what}: `{record}' is not of the form KEY=VALUE")
            }
            DecodeError::UnknownKey { what, record } => {
                write!(f, "{what}: unknown key in `{record}'")
            }
            DecodeError::BadValue {
                what,
                record,
                expected,
            } => write!(
                f,
                "{what}: invalid value in `{record}'; expected {expected}"
            ),
            DecodeError::Missing { what, key } => write!(f, "{what}: no value for `{key}'"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// A value that the format cannot carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodeError {
    /// The key.
    pub key: &'static str,
    /// The value.
    pub value: String,
    /// The rule that the value violates.
    pub why: &'static str,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EncodeError { key, value, why } = self;
        write!(
            f,
            "`{value}' cannot be passed to the guest as `{key}': {why}"
        )
    }
}

impl std::error::Error for EncodeError {}
