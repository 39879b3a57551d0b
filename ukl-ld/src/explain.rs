//! `--ukl-explain`: what was done and why, phase by phase, with times.

use std::fmt::Display;
use std::time::Duration;
use std::time::Instant;

/// Where the phases report to.
#[derive(Debug)]
pub struct Explain {
    on: bool,
    start: Instant,
    last: Instant,
}

impl Explain {
    /// Starts the clock. Nothing is ever printed unless `on`.
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

    /// Ends a phase: prints its time and what it did.
    pub fn phase(&mut self, name: &str, what: impl Display) {
        let now = Instant::now();
        let took = now - self.last;
        self.last = now;
        if self.on {
            eprintln!("ukl-ld: {name:<8} {:>8} {what}", seconds(took));
        }
    }

    /// A detail of the phase under way.
    pub fn note(&self, what: impl Display) {
        if self.on {
            eprintln!("ukl-ld:                     {what}");
        }
    }

    /// The end: prints the whole time.
    pub fn end(&mut self) {
        self.last = self.start;
        self.phase("whole", "");
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}
