//! The running machine, from its start to its end.

use std::io::Read as _;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::Child;
use std::process::Command;
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

use ukl_proto::ports::Port;
use ukl_proto::status::Output;
use ukl_proto::status::Report;
use ukl_proto::status::Request;

use crate::channels;
use crate::channels::Progress;
use crate::console;
use crate::console::Log;
use crate::debug::Debug;
use crate::error::Error;
use crate::error::Result;
use crate::events::Event;
use crate::outcome::End;
use crate::outcome::Reported;
use crate::outcome::Stopped;
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
/// How long output may take to arrive after the machine was stopped.
const LEFTOVERS: Duration = Duration::from_secs(1);

/// Runs a machine and returns the exit status.
pub fn run(plan: &Plan) -> Result<u8> {
    // Signals are blocked before other threads start, because those threads would receive them.
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

/// QEMU, and ukl-run's ends of the channels.
struct Machine {
    qemu: Child,
    begun: Instant,
    verbose: bool,
    typed: bool,
    deadline: Option<(Instant, Stopped)>,
    events: Receiver<Event>,
    status: UnixStream,
    reported: Reported,
    dismissed: bool,
    debug: Option<Debug>,
    stdout: Arc<Progress>,
    stderr: Arc<Progress>,
    /// The threads that end with QEMU.
    pumps: Vec<JoinHandle<()>>,
    console: Option<console::Show>,
    complaints: JoinHandle<String>,
}

impl Machine {
    fn start(plan: &Plan, log: &Log) -> Result<Self> {
        let pair = || UnixStream::pair().map_err(Error::host("a socket for QEMU"));
        let records =
            sys::memory_file(&plan.records).map_err(Error::host("a file for the guest's init"))?;
        let mut ours = Vec::new();
        let mut theirs = Vec::new();
        for port in qemu::Channels::ports(plan) {
            let (here, there) = pair()?;
            ours.push((*port, here));
            theirs.push((*port, there));
        }
        let channels = qemu::Channels {
            console: log.file().as_raw_fd(),
            records: records.as_raw_fd(),
            ports: theirs
                .iter()
                .map(|(port, socket)| (*port, socket.as_raw_fd()))
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
        // SAFETY: the closure only makes system calls.
        unsafe { command.pre_exec(move || sys::become_dependent(parent, &inherited)) };
        let begun = Instant::now();
        let mut qemu = command.spawn().map_err(|source| Error::NoQemu {
            program: plan.qemu.clone(),
            source,
        })?;
        // Only QEMU has these ends now, so they are closed when it ends.
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
            reported: Reported::default(),
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
        for (port, socket) in ours {
            machine.connect(port, socket, &sender)?;
        }
        thread::spawn(move || while sender.send(Event::Signal(sys::next_signal())).is_ok() {});
        if let Some(debug) = &machine.debug {
            say(format_args!("waiting for: {}", debug.line));
        }
        Ok(machine)
    }

    fn connect(&mut self, port: Port, socket: UnixStream, events: &Sender<Event>) -> Result<()> {
        let copy = |socket: &UnixStream| socket.try_clone().map_err(Error::host("a socket"));
        let mut output = |socket, output| {
            let (progress, pump) = channels::receive_output(socket, output, events.clone());
            self.pumps.push(pump);
            progress
        };
        match port {
            Port::Stdin => {
                channels::send_input(socket, self.typed.then(|| events.clone()));
            }
            Port::Stdout => self.stdout = output(socket, Output::Stdout),
            Port::Stderr => self.stderr = output(socket, Output::Stderr),
            Port::Status => {
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
                    self.tell(Request::Closed(output));
                    None
                }
                Ok(Event::Report(report)) => {
                    self.heard(report);
                    None
                }
                Err(RecvTimeoutError::Timeout) => self.deadline.take().map(|(_, why)| why),
            };
            if let Some(why) = stop {
                stopped.get_or_insert(why);
                // An error means that QEMU has just ended.
                let _ = self.qemu.kill();
            }
        }
    }

    /// Passes a signal on to the program. Returns a reason to stop if there is no program.
    fn signalled(&mut self, signal: i32) -> Option<Stopped> {
        if signal == libc::SIGWINCH {
            if let Some((rows, columns)) = terminal::size() {
                self.tell(Request::Window { rows, columns });
            }
            return None;
        }
        let why = Stopped::BySignal(signal);
        let again = self
            .deadline
            .is_some_and(|(_, why)| matches!(why, Stopped::BySignal(_)));
        if !self.reported.started || again || self.reported.exit.is_some() {
            return Some(why);
        }
        self.tell(Request::Signal(signal));
        let end = Instant::now() + GRACE;
        if self.deadline.is_none_or(|(at, _)| at > end) {
            self.deadline = Some((end, why));
        }
        None
    }

    /// Handles a report.
    fn heard(&mut self, report: Report) {
        if report == Report::Started && self.verbose {
            say(format_args!(
                "the program started after {:.3} s",
                self.begun.elapsed().as_secs_f64()
            ));
        }
        self.reported.add(report);
        self.say_goodbye();
    }

    /// Lets the machine switch itself off, once all of the output has been passed on.
    fn say_goodbye(&mut self) {
        let (stdout, stderr) = self.reported.sent;
        if self.reported.exit.is_some()
            && !self.dismissed
            && self.stdout.expect(stdout)
            && self.stderr.expect(stderr)
        {
            self.dismissed = true;
            self.tell(Request::Goodbye);
            self.deadline = Some((Instant::now() + POWER_OFF, Stopped::AfterTheEnd));
        }
    }

    /// Sends a request to init.
    fn tell(&mut self, request: Request) {
        // If init has ended, QEMU ends, too, and that is handled elsewhere.
        let _ = self.status.write_all(format!("{request}\n").as_bytes());
    }

    /// Collects the remaining output and reports after QEMU has ended.
    fn end(mut self, stopped: Option<Stopped>) -> Result<End> {
        let qemu = self.qemu.wait().map_err(Error::host("QEMU"))?;
        // The pumps wait if the caller does not read. Do not wait for them if the user has stopped
        // the machine, or sends a signal now.
        let patience = Instant::now() + LEFTOVERS;
        while !self.pumps.iter().all(JoinHandle::is_finished) {
            match self.events.recv_timeout(Duration::from_millis(5)) {
                Ok(Event::Report(report)) => self.reported.add(report),
                Ok(Event::Signal(signal)) if signal != libc::SIGWINCH => break,
                _ if stopped.is_some() && Instant::now() > patience => break,
                _ => {}
            }
        }
        // The last reports of init.
        while let Ok(event) = self.events.try_recv() {
            if let Event::Report(report) = event {
                self.reported.add(report);
            }
        }
        if let Some(console) = self.console {
            console.finish();
        }
        Ok(End {
            reported: self.reported,
            complete: self.dismissed,
            qemu,
            complaints: self.complaints.join().unwrap_or_default(),
        })
    }
}

/// Sends [`Event::Gone`] when QEMU has ended.
fn watch(qemu: &Child, events: Sender<Event>) -> Result<()> {
    let process = sys::pidfd(qemu.id()).map_err(Error::host("pidfd_open"))?;
    thread::spawn(move || {
        sys::wait_for(process.as_raw_fd(), false);
        let _ = events.send(Event::Gone);
    });
    Ok(())
}

/// Collects what QEMU writes on its standard error.
fn collect(pipe: Option<std::process::ChildStderr>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    })
}
