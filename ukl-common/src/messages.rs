//! Messages on standard error, in the form of GNU's tools.

use std::fmt::Display;

/// Prints `TOOL: error: TEXT`.
pub fn error(tool: &str, text: impl Display) {
    eprintln!("{tool}: error: {text}");
}

/// Prints `TOOL: warning: TEXT`.
pub fn warning(tool: &str, text: impl Display) {
    eprintln!("{tool}: warning: {text}");
}

/// Prints `TOOL: note: TEXT`.
pub fn note(tool: &str, text: impl Display) {
    eprintln!("{tool}: note: {text}");
}

/// Prints `TOOL: TEXT`.
pub fn say(tool: &str, text: impl Display) {
    eprintln!("{tool}: {text}");
}
