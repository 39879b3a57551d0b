//! The caller's terminal. In raw mode, every key is sent to the guest, whose terminal interprets
//! it, including Ctrl-C.

use std::fs::File;
use std::io;
use std::io::IsTerminal as _;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use crate::sys;

static RAW: AtomicBool = AtomicBool::new(false);

/// The byte that Ctrl-C sends.
const INTERRUPT: u8 = 3;
/// The number of Ctrl-C within [`PATIENCE`] that stops the machine.
const INSISTENCE: usize = 3;
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether all three standard streams are a terminal.
pub fn is_ours() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal() && io::stderr().is_terminal()
}

/// The size of the terminal: rows and columns.
pub fn size() -> Option<(u16, u16)> {
    sys::window(1)
}

/// Whether the terminal is in raw mode now.
pub fn is_raw() -> bool {
    RAW.load(Ordering::Relaxed)
}

/// Keeps the terminal in raw mode; dropping it restores the previous settings.
pub struct Raw {
    terminal: File,
    settings: libc::termios,
}

impl Raw {
    /// Enters raw mode.
    pub fn enter() -> io::Result<Self> {
        let terminal = File::open("/dev/tty")?;
        let settings = sys::terminal_settings(&terminal)?;
        let mut raw = settings;
        // SAFETY: a pointer to valid settings.
        unsafe { libc::cfmakeraw(&mut raw) };
        sys::set_terminal(&terminal, &raw)?;
        RAW.store(true, Ordering::Relaxed);
        Ok(Raw { terminal, settings })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        RAW.store(false, Ordering::Relaxed);
        let _ = sys::set_terminal(&self.terminal, &self.settings);
    }
}

/// Notices that the user wants to leave a guest that does not react.
#[derive(Debug, Default)]
pub struct Insistence {
    presses: Vec<Instant>,
}

impl Insistence {
    /// Counts Ctrl-C in typed bytes. Returns whether the limit is reached.
    pub fn typed(&mut self, keys: &[u8]) -> bool {
        let now = Instant::now();
        self.presses
            .retain(|press| now.duration_since(*press) < PATIENCE);
        for key in keys {
            match *key {
                INTERRUPT => self.presses.push(now),
                _ => self.presses.clear(),
            }
        }
        self.presses.len() >= INSISTENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_in_a_row_are_enough() {
        let mut insistence = Insistence::default();
        assert!(!insistence.typed(b"\x03"));
        assert!(!insistence.typed(b"\x03"));
        assert!(!insistence.typed(b"x\x03"));
        assert!(!insistence.typed(b"\x03"));
        assert!(insistence.typed(b"\x03"));
    }
}
