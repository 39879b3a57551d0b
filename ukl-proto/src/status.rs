//! The status port: lines of text in both directions.
//!
//! A reader ignores lines that it does not understand. The guest's program runs at ring 0 and may
//! write to the port itself, so what `ukl-run` reads there need not be from init.

use std::fmt;

/// The largest length of a line of the status port. The rest of a longer line is dropped.
const LONGEST: usize = 64 << 10;

/// An output of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Its standard output.
    Stdout,
    /// Its standard error.
    Stderr,
}

impl Output {
    /// The name of the output.
    pub fn name(self) -> &'static str {
        match self {
            Output::Stdout => "stdout",
            Output::Stderr => "stderr",
        }
    }
}

/// What `ukl-init` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// `started`: the program runs.
    Started,
    /// `error TEXT`: the program could not be started.
    Error(String),
    /// `sent STDOUT STDERR`: so many bytes have been written to each port in all.
    Sent {
        /// To the port of the standard output.
        stdout: u64,
        /// To the port of the standard error.
        stderr: u64,
    },
    /// `exit STATUS`: the program ended by itself.
    Exit(u8),
    /// `signal NUMBER`: a signal killed the program.
    Signal(u8),
}

impl Report {
    /// Reads a line. `None` if it is none of these.
    pub fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "started" => Some(Report::Started),
            "error" => Some(Report::Error(rest.into())),
            "sent" => {
                let (stdout, stderr) = rest.split_once(' ')?;
                Some(Report::Sent {
                    stdout: stdout.parse().ok()?,
                    stderr: stderr.parse().ok()?,
                })
            }
            "exit" => rest.parse().ok().map(Report::Exit),
            // An exit status has no room for more (see `Report::exit_status`).
            "signal" => rest
                .parse()
                .ok()
                .filter(|signal| *signal < 128)
                .map(Report::Signal),
            _ => None,
        }
    }

    /// The exit status that a shell would give the program: 128 + N when signal N killed it.
    pub fn exit_status(&self) -> Option<u8> {
        match self {
            Report::Exit(status) => Some(*status),
            Report::Signal(signal) => signal.checked_add(128),
            _ => None,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Report::Started => f.write_str("started"),
            Report::Error(text) => write!(f, "error {}", text.replace(['\n', '\r'], " ")),
            Report::Sent { stdout, stderr } => write!(f, "sent {stdout} {stderr}"),
            Report::Exit(status) => write!(f, "exit {status}"),
            Report::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// What `ukl-run` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// `signal NUMBER`: send the program a signal.
    Signal(i32),
    /// `closed stdout` or `closed stderr`: the reader of this output has closed it.
    Closed(Output),
    /// `window ROWS COLUMNS`: the size of the terminal has changed.
    Window {
        /// The new number of rows.
        rows: u16,
        /// The new number of columns.
        columns: u16,
    },
    /// `bye`: everything has arrived, and the machine may be switched off.
    Goodbye,
}

impl Request {
    /// Reads a line. `None` if it is none of these.
    pub fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["signal", number] => number.parse().ok().map(Request::Signal),
            ["closed", "stdout"] => Some(Request::Closed(Output::Stdout)),
            ["closed", "stderr"] => Some(Request::Closed(Output::Stderr)),
            ["window", rows, columns] => Some(Request::Window {
                rows: rows.parse().ok()?,
                columns: columns.parse().ok()?,
            }),
            ["bye"] => Some(Request::Goodbye),
            _ => None,
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Request::Signal(number) => write!(f, "signal {number}"),
            Request::Closed(output) => write!(f, "closed {}", output.name()),
            Request::Window { rows, columns } => write!(f, "window {rows} {columns}"),
            Request::Goodbye => f.write_str("bye"),
        }
    }
}

/// Puts lines together from what arrives.
#[derive(Debug, Default)]
pub struct Lines {
    pending: Vec<u8>,
    too_long: bool,
}

impl Lines {
    /// Takes what has arrived, and calls `line` for each line that is complete. A line that is too
    /// long is dropped; invalid UTF-8 is replaced.
    pub fn add(&mut self, mut data: &[u8], mut line: impl FnMut(&str)) {
        while let Some(end) = data.iter().position(|byte| *byte == b'\n') {
            self.append(&data[..end]);
            if !std::mem::take(&mut self.too_long) {
                line(&String::from_utf8_lossy(&self.pending));
            }
            self.pending.clear();
            data = &data[end + 1..];
        }
        self.append(data);
    }

    fn append(&mut self, data: &[u8]) {
        self.too_long |= self.pending.len() + data.len() > LONGEST;
        match self.too_long {
            true => self.pending = Vec::new(),
            false => self.pending.extend_from_slice(data),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_an_exit_status() {
        let status = |line| Report::parse(line).and_then(|report| report.exit_status());
        assert_eq!(status("exit 42"), Some(42));
        assert_eq!(status("signal 11"), Some(139));
        for line in [
            "",
            "exit",
            "exit x",
            "exit 256",
            "signal 200",
            "exit -1",
            "nonsense",
            "started",
        ] {
            assert_eq!(status(line), None, "{line}");
        }
    }

    #[test]
    fn an_error_is_one_line() {
        let error = Report::Error("two\nlines".into()).to_string();
        assert_eq!(error, "error two lines");
        assert_eq!(
            Report::parse(&error),
            Some(Report::Error("two lines".into()))
        );
    }

    #[test]
    fn unknown_requests_are_ignored() {
        for line in [
            "",
            "signal",
            "signal x",
            "closed stdin",
            "window 1",
            "bye 1",
        ] {
            assert_eq!(Request::parse(line), None, "{line}");
        }
    }

    #[test]
    fn lines_may_arrive_in_parts() {
        let mut lines = Lines::default();
        let mut got = Vec::new();
        for part in ["sta", "rted\nexit", " 1", "\n\nrest"] {
            lines.add(part.as_bytes(), |line| got.push(line.to_owned()));
        }
        assert_eq!(got, ["started", "exit 1", ""]);
    }

    #[test]
    fn a_line_without_end_does_not_grow() {
        let mut lines = Lines::default();
        let mut got = Vec::new();
        for _ in 0..100 {
            lines.add(&[b'x'; 10_000], |line| got.push(line.to_owned()));
            assert!(lines.pending.capacity() <= 2 * LONGEST);
        }
        lines.add(b"end\nstarted\n", |line| got.push(line.to_owned()));
        assert_eq!(got, ["started"]);
    }
}
