//! Why something cannot be read or written.

use std::fmt;

/// What was received cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// The sender speaks a later version of the protocol.
    Newer {
        /// What was read, such as `image.conf`.
        what: &'static str,
        /// The sender's version.
        version: u32,
    },
    /// A record or line without a `=`.
    NoValue {
        /// What was read.
        what: &'static str,
        /// The record.
        record: String,
    },
    /// A key that this version does not have.
    UnknownKey {
        /// What was read.
        what: &'static str,
        /// The record.
        record: String,
    },
    /// A value that the key cannot have.
    BadValue {
        /// What was read.
        what: &'static str,
        /// The record.
        record: String,
        /// What the key can have.
        expected: &'static str,
    },
    /// A key that must be there and is not.
    Missing {
        /// What was read.
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
    /// What the value must not contain or must be.
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
