//! `--ukl-explain`: reports what each phase did, why, and how long it took.

use std::fmt::Display;
use std::time::Duration;
use std::time::Instant;

use ukl_common::messages;

use crate::error::TOOL;

/// The receiver of the phases' reports.
#[derive(Debug)]
pub struct Explain {
    on: bool,
    start: Instant,
    last: Instant,
}

impl Explain {
    /// Starts the clock. Nothing is printed unless `on`.
    pub fn new(on: bool) -> Explain {
        let now = Instant::now();
        Explain {
            on,
            start: now,
            last: now,
        }
    }

    /// Whether anything is printed.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Ends a phase: prints how long it took and what it did.
    pub fn phase(&mut self, name: &str, what: impl Display) {
        let now = Instant::now();
        let took = now - self.last;
        self.last = now;
        if self.on {
            messages::say(TOOL, format_args!("{name:<8} {:>8} {what}", seconds(took)));
        }
    }

    /// Prints a detail of the current phase.
    pub fn note(&self, what: impl Display) {
        if self.on {
            messages::say(TOOL, format_args!("{:20}{what}", ""));
        }
    }

    /// Prints the total time.
    pub fn end(&mut self) {
        self.last = self.start;
        self.phase("whole", "");
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}
