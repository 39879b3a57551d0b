//! Progress on a terminal.

use std::fmt::Display;
use std::io::IsTerminal as _;
use std::io::Write as _;
use std::io::stderr;

/// The present step, on one line of the terminal. Nothing is printed if standard error is not a
/// terminal.
#[derive(Debug)]
pub struct Progress {
    is_terminal: bool,
}

impl Progress {
    /// Starts without a step.
    pub fn new() -> Progress {
        Progress {
            is_terminal: stderr().is_terminal(),
        }
    }

    /// Shows the step that begins.
    pub fn step(&self, what: impl Display) {
        if self.is_terminal {
            // The line is erased first: ECMA-48, EL.
            let _ = write!(stderr(), "\r\x1b[Kukl-pack: {what}...");
        }
    }

    /// Erases the line, before other messages.
    pub fn clear(&self) {
        if self.is_terminal {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Progress::new()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
