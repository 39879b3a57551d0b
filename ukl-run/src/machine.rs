//! The running machine, from its start to its exit status.

use std::io::Read as _;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio as Handle;
use std::sync::Arc;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::mpsc::Sender;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use crate::DIED;
use crate::TIMEOUT;
use crate::channels;
use crate::channels::Output;
use crate::channels::Progress;
use crate::console;
use crate::console::Log;
use crate::debug::Debug;
use crate::error::Error;
use crate::error::Result;
use crate::plan::Accel;
use crate::plan::Plan;
use crate::plan::Stdio;
use crate::qemu;
use crate::say;
use crate::sys;
use crate::terminal;

/// How long a program may take to end after a signal.
const GRACE: Duration = Duration::from_secs(10);
/// How long a machine may take to switch itself off.
const POWER_OFF: Duration = Duration::from_secs(5);

/// How long output that is still on its way may take after the machine was stopped.
const LEFTOVERS: Duration = Duration::from_secs(1);

/// Something that happens to a machine.
#[derive(Debug)]
pub enum Event {
    /// A line from init.
    Status(String),
    /// A stream has been passed on completely.
    Passed,
    /// The reader of this stream is gone.
    Unwanted(Output),
    /// ukl-run received a signal.
    Signal(i32),
    /// The user wants the machine to stop at once.
    Stop,
    /// QEMU has ended.
    Gone,
}

/// Why a machine was stopped from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopped {
    ByTimeout,
    BySignal(i32),
    /// It had reported its end, but did not switch itself off.
    AfterTheEnd,
}

/// Runs a machine and returns the exit status.
pub fn run(plan: &Plan) -> Result<u8> {
    // Before any other thread exists that could receive them.
    sys::hold_signals();
    let log = Log::create(plan.log.as_deref())?;
    let mut machine = Machine::start(plan, &log)?;
    let raw = match plan.stdio {
        Stdio::Tty => terminal::Raw::enter().ok(),
        Stdio::Ports { .. } => None,
    };
    let stopped = machine.attend();
    let end = machine.end(stopped)?;
    drop(raw);
    end.judge(stopped, log, plan)
}

/// QEMU and our ends of the channels.
struct Machine {
    qemu: Child,
    begun: Instant,
    verbose: bool,
    typed: bool,
    deadline: Option<(Instant, Stopped)>,
    events: Receiver<Event>,
    status: UnixStream,
    report: Report,
    dismissed: bool,
    debug: Option<Debug>,
    stdout: Arc<Progress>,
    stderr: Arc<Progress>,
    /// The threads that end with QEMU.
    pumps: Vec<JoinHandle<()>>,
    console: Option<console::Show>,
    complaints: JoinHandle<String>,
}

/// What init has reported.
#[derive(Debug, Default)]
struct Report {
    started: bool,
    error: Option<String>,
    sent: (u64, u64),
    exit: Option<u8>,
}

/// How a machine ended.
struct End {
    report: Report,
    dismissed: bool,
    qemu: ExitStatus,
    complaints: String,
}

impl Machine {
    fn start(plan: &Plan, log: &Log) -> Result<Self> {
        let pair = || UnixStream::pair().map_err(Error::host("a socket for QEMU"));
        let records =
            sys::memory_file(&plan.records).map_err(Error::host("a file for the guest's init"))?;
        let mut ours = Vec::new();
        let mut theirs = Vec::new();
        for name in qemu::Channels::port_names(plan) {
            let (here, there) = pair()?;
            ours.push((*name, here));
            theirs.push((*name, there));
        }
        let channels = qemu::Channels {
            console: log.file().as_raw_fd(),
            records: records.as_raw_fd(),
            ports: theirs
                .iter()
                .map(|(name, socket)| (*name, socket.as_raw_fd()))
                .collect(),
        };

        let words = qemu::command(plan, &channels);
        if plan.verbose {
            say(match plan.accel {
                Accel::Kvm => "accelerator: KVM",
                Accel::Tcg => "accelerator: TCG (no usable hardware virtualisation)",
                Accel::Icount => "accelerator: TCG, counting instructions",
            });
            say(qemu::shown(&words));
        }
        let mut inherited: Vec<RawFd> = vec![channels.console, channels.records];
        inherited.extend(channels.ports.iter().map(|(_, fd)| *fd));
        let parent = std::process::id() as libc::pid_t;
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
            .stdin(Handle::null())
            .stdout(Handle::null())
            .stderr(Handle::piped());
        // SAFETY: it only makes system calls.
        unsafe { command.pre_exec(move || sys::become_dependent(parent, &inherited)) };
        let begun = Instant::now();
        let mut qemu = command.spawn().map_err(|source| Error::NoQemu {
            program: plan.qemu.clone(),
            source,
        })?;
        // Now only QEMU holds the other ends, so they close when QEMU ends.
        drop((theirs, records));

        let (sender, events) = mpsc::channel();
        watch(&qemu, sender.clone())?;
        let complaints = collect(qemu.stderr.take());
        let console = plan.console.then(|| log.show()).transpose()?;
        let mut machine = Machine {
            qemu,
            begun,
            verbose: plan.verbose,
            typed: plan.stdio == Stdio::Tty,
            deadline: plan
                .timeout
                .map(|limit| (begun + limit, Stopped::ByTimeout)),
            events,
            status: pair()?.0,
            report: Report::default(),
            dismissed: false,
            debug: plan
                .gdb
                .map(|port| Debug::new(&plan.image, plan.accel, port)),
            stdout: Arc::default(),
            stderr: Arc::default(),
            pumps: Vec::new(),
            console,
            complaints,
        };
        for (name, socket) in ours {
            machine.connect(name, socket, &sender)?;
        }
        thread::spawn(move || while sender.send(Event::Signal(sys::next_signal())).is_ok() {});
        if let Some(debug) = &machine.debug {
            say(format_args!("waiting for: {}", debug.line));
        }
        Ok(machine)
    }

    fn connect(&mut self, name: &str, socket: UnixStream, events: &Sender<Event>) -> Result<()> {
        let copy = |socket: &UnixStream| socket.try_clone().map_err(Error::host("a socket"));
        let mut output = |socket, output| {
            let (progress, pump) = channels::receive_output(socket, output, events.clone());
            self.pumps.push(pump);
            progress
        };
        match name {
            "ukl.stdin" => {
                channels::send_input(socket, self.typed.then(|| events.clone()));
            }
            "ukl.stdout" => self.stdout = output(socket, Output::Stdout),
            "ukl.stderr" => self.stderr = output(socket, Output::Stderr),
            _ => {
                self.pumps
                    .push(channels::receive_status(copy(&socket)?, events.clone()));
                self.status = socket;
            }
        }
        Ok(())
    }

    /// Handles events until QEMU has ended.
    fn attend(&mut self) -> Option<Stopped> {
        let mut stopped = None;
        loop {
            let event = match self.deadline {
                Some((at, _)) => self
                    .events
                    .recv_timeout(at.saturating_duration_since(Instant::now())),
                None => self
                    .events
                    .recv()
                    .map_err(|_| RecvTimeoutError::Disconnected),
            };
            let stop = match event {
                Ok(Event::Gone) | Err(RecvTimeoutError::Disconnected) => return stopped,
                Ok(Event::Passed) => {
                    self.say_goodbye();
                    None
                }
                Ok(Event::Stop) => Some(Stopped::BySignal(libc::SIGINT)),
                Ok(Event::Signal(signal)) => self.signalled(signal),
                Ok(Event::Unwanted(output)) => {
                    self.tell(&format!("closed {}", output.name()));
                    None
                }
                Ok(Event::Status(line)) => {
                    self.heard(&line);
                    None
                }
                Err(RecvTimeoutError::Timeout) => self.deadline.take().map(|(_, why)| why),
            };
            if let Some(why) = stop {
                stopped.get_or_insert(why);
                // It may have ended by itself just now.
                let _ = self.qemu.kill();
            }
        }
    }

    /// Passes a signal on to the program. Returns a reason to stop if that is not possible.
    fn signalled(&mut self, signal: i32) -> Option<Stopped> {
        if signal == libc::SIGWINCH {
            if let Some((rows, columns)) = terminal::size() {
                self.tell(&format!("window {rows} {columns}"));
            }
            return None;
        }
        let why = Stopped::BySignal(signal);
        let again = self
            .deadline
            .is_some_and(|(_, why)| matches!(why, Stopped::BySignal(_)));
        if !self.report.started || again || self.report.exit.is_some() {
            return Some(why);
        }
        self.tell(&format!("signal {signal}"));
        let end = Instant::now() + GRACE;
        if self.deadline.is_none_or(|(at, _)| at > end) {
            self.deadline = Some((end, why));
        }
        None
    }

    /// Handles a line from init.
    fn heard(&mut self, line: &str) {
        self.report.hear(line);
        if line == "started" && self.verbose {
            say(format_args!(
                "the program started after {:.3} s",
                self.begun.elapsed().as_secs_f64()
            ));
        }
        self.say_goodbye();
    }

    /// Lets the machine switch itself off once all output of the program has arrived.
    fn say_goodbye(&mut self) {
        let (stdout, stderr) = self.report.sent;
        if self.report.exit.is_some()
            && !self.dismissed
            && self.stdout.expect(stdout)
            && self.stderr.expect(stderr)
        {
            self.dismissed = true;
            self.tell("bye");
            self.deadline = Some((Instant::now() + POWER_OFF, Stopped::AfterTheEnd));
        }
    }

    /// Sends a line to init.
    fn tell(&mut self, line: &str) {
        // If init is gone, QEMU ends, which is handled elsewhere.
        let _ = self.status.write_all(format!("{line}\n").as_bytes());
    }

    /// Collects the remaining output after QEMU has ended.
    fn end(mut self, stopped: Option<Stopped>) -> Result<End> {
        let qemu = self.qemu.wait().map_err(Error::host("QEMU"))?;
        // A reader that does not read blocks the copying threads. Do not wait for it if the machine
        // was stopped, or if the user tries to stop it now.
        let patience = Instant::now() + LEFTOVERS;
        while !self.pumps.iter().all(JoinHandle::is_finished) {
            match self.events.recv_timeout(Duration::from_millis(5)) {
                Ok(Event::Status(line)) => self.report.hear(&line),
                Ok(Event::Signal(signal)) if signal != libc::SIGWINCH => break,
                _ if stopped.is_some() && Instant::now() > patience => break,
                _ => {}
            }
        }
        // Init's last lines.
        while let Ok(event) = self.events.try_recv() {
            if let Event::Status(line) = event {
                self.report.hear(&line);
            }
        }
        if let Some(console) = self.console {
            console.finish();
        }
        Ok(End {
            report: self.report,
            dismissed: self.dismissed,
            qemu,
            complaints: self.complaints.join().unwrap_or_default(),
        })
    }
}

impl Report {
    fn hear(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "started" => self.started = true,
            "error" => self.error = Some(rest.to_owned()),
            "sent" => {
                let mut numbers = rest.split(' ').map(|number| number.parse().unwrap_or(0));
                self.sent = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
            }
            "exit" => self.exit = rest.parse().ok(),
            "signal" => self.exit = rest.parse().ok().and_then(|n: u8| n.checked_add(128)),
            _ => {}
        }
    }
}

impl End {
    /// Decides about the exit status.
    fn judge(self, stopped: Option<Stopped>, log: Log, plan: &Plan) -> Result<u8> {
        if let Some(text) = self.report.error {
            return Err(Error::Guest(text));
        }
        // If the machine was stopped before all output had arrived, this status does not count.
        if let Some(status) = self.report.exit
            && (self.dismissed || stopped.is_none())
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
        Ok(DIED)
    }
}

/// Sends an event when QEMU has ended.
fn watch(qemu: &Child, events: Sender<Event>) -> Result<()> {
    let process = sys::pidfd(qemu.id()).map_err(Error::host("pidfd_open"))?;
    thread::spawn(move || {
        sys::wait_for(process.as_raw_fd(), false);
        let _ = events.send(Event::Gone);
    });
    Ok(())
}

/// Collects QEMU's error messages.
fn collect(pipe: Option<std::process::ChildStderr>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(lines: &[&str]) -> Report {
        let mut report = Report::default();
        for line in lines {
            report.hear(line);
        }
        report
    }

    #[test]
    fn init_is_understood() {
        let report = heard(&["started", "sent 12 34", "exit 42"]);
        assert!(report.started);
        assert_eq!((report.sent, report.exit), ((12, 34), Some(42)));
        assert_eq!(heard(&["signal 11"]).exit, Some(139));
        assert_eq!(
            heard(&["error no such file"]).error.unwrap(),
            "no such file"
        );
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
            assert_eq!(heard(&[line]).exit, None, "{line}");
        }
    }
}
