//! How a machine ended, and the exit status that follows from it.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use ukl_proto::status::Report;

use crate::DIED;
use crate::TIMEOUT;
use crate::console::Log;
use crate::error::Error;
use crate::error::Result;
use crate::plan::Plan;
use crate::say;

/// Why a machine was stopped from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// The time limit was reached.
    ByTimeout,
    /// ukl-run received this signal.
    BySignal(i32),
    /// The program had ended, and the machine did not switch itself off.
    AfterTheEnd,
}

/// What init has reported so far.
#[derive(Debug, Default)]
pub struct Reported {
    /// The program was started.
    pub started: bool,
    /// The program could not be started.
    pub error: Option<String>,
    /// How many bytes there are in all, of standard output and standard error.
    pub sent: (u64, u64),
    /// The program's exit status.
    pub exit: Option<u8>,
}

impl Reported {
    /// Handles a report.
    pub fn add(&mut self, report: Report) {
        match report {
            Report::Started => self.started = true,
            Report::Sent { stdout, stderr } => self.sent = (stdout, stderr),
            Report::Exit(_) | Report::Signal(_) => self.exit = report.exit_status(),
            Report::Error(text) => self.error = Some(text),
        }
    }
}

/// How a machine ended.
pub struct End {
    /// What init has reported.
    pub reported: Reported,
    /// Whether everything that the program wrote has arrived.
    pub complete: bool,
    /// How QEMU ended.
    pub qemu: ExitStatus,
    /// What QEMU wrote on its standard error.
    pub complaints: String,
}

impl End {
    /// The exit status for all this.
    pub fn judge(self, stopped: Option<Stopped>, log: Log, plan: &Plan) -> Result<u8> {
        if let Some(text) = self.reported.error {
            return Err(Error::Guest(text));
        }
        // If ukl-run stopped the machine before all of the output had arrived, the run has failed.
        if let Some(status) = self.reported.exit
            && (self.complete || stopped.is_none())
        {
            return Ok(status);
        }
        match stopped {
            Some(Stopped::ByTimeout) => {
                let seconds = plan.timeout.unwrap_or_default().as_secs_f64();
                let log = log.keep();
                say(format_args!(
                    "stopped after {seconds} s; the kernel's log is in {}",
                    log.display()
                ));
                return Ok(TIMEOUT);
            }
            Some(Stopped::BySignal(signal)) => return Ok(128 + signal as u8),
            Some(Stopped::AfterTheEnd) | None => {}
        }
        if !self.qemu.success() {
            let complaints = self.complaints.trim_end();
            return Err(Error::Qemu(match (complaints, self.qemu.signal()) {
                ("", Some(signal)) => format!("killed by signal {signal}"),
                ("", None) => self.qemu.to_string(),
                (text, _) => text.to_owned(),
            }));
        }
        if plan.gdb.is_some() && self.complaints.contains("GDBstub") {
            say("gdb has ended the machine");
            return Ok(DIED);
        }
        show_log(log, plan);
        Ok(DIED)
    }
}

/// Prints the end of the kernel's log, of a guest that ended without an exit status.
fn show_log(log: Log, plan: &Plan) {
    if plan.console {
        say("the guest ended without an exit status");
    } else {
        let tail = log.tail();
        let what = if tail.is_empty() {
            "log is empty"
        } else {
            "log ends like this:"
        };
        say(format_args!(
            "the guest ended without an exit status; the kernel's {what}"
        ));
        for line in tail {
            eprintln!("{line}");
        }
    }
    say(format_args!("the whole log is in {}", log.keep().display()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(lines: &[&str]) -> Reported {
        let mut reported = Reported::default();
        for report in lines.iter().filter_map(|line| Report::parse(line)) {
            reported.add(report);
        }
        reported
    }

    #[test]
    fn init_is_understood() {
        let end = reported(&["started", "sent 12 34", "exit 42"]);
        assert!(end.started);
        assert_eq!((end.sent, end.exit), ((12, 34), Some(42)));
        assert_eq!(reported(&["signal 11"]).exit, Some(139));
        let error = reported(&["error no such file"]).error;
        assert_eq!(error.unwrap(), "no such file");
    }

    #[test]
    fn nonsense_is_no_exit_status() {
        for line in [
            "",
            "exit",
            "exit x",
            "exit 256",
            "signal 200",
            "exit -1",
            "nonsense",
        ] {
            assert_eq!(reported(&[line]).exit, None, "{line}");
        }
    }
}
