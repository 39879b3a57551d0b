//! The program's standard streams: pipes with a pump behind each, or a terminal, or the console.
//!
//! Pipes, and not the ports themselves, because a program may do with a pipe what it does on any
//! Linux: poll it, splice it, pass it on, find its end.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::fd::OwnedFd;
use std::process::Stdio as Handle;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;

use crate::config::Config;
use crate::config::Stdio;
use crate::error::Error;
use crate::error::Result;
use crate::failed;
use crate::ports;
use crate::sys;

/// How many bytes have gone to ukl-run.
#[derive(Debug, Default)]
pub struct Sent {
    /// Of the standard output.
    pub stdout: AtomicU64,
    /// Of the standard error output.
    pub stderr: AtomicU64,
}

/// The program's streams.
#[derive(Debug)]
pub struct Streams {
    /// What the program gets, until it has it.
    handles: Option<[Handle; 3]>,
    pumps: Vec<JoinHandle<()>>,
    sent: Arc<Sent>,
    controls: Controls,
}

/// What can be done to the streams while the program runs.
#[derive(Debug, Clone, Default)]
pub struct Controls {
    stdout: Option<Arc<OwnedFd>>,
    stderr: Option<Arc<OwnedFd>>,
    terminal: Option<Arc<OwnedFd>>,
}

/// Where output comes from.
#[derive(Debug)]
enum Source {
    Pipe(File),
    /// It has no end of its own: it may be closed by all and opened again by anybody.
    Terminal(File),
}

impl Streams {
    /// Sets the streams up and starts the pumps.
    pub fn new(config: &Config) -> Result<Self> {
        let mut streams = Streams {
            handles: None,
            pumps: Vec::new(),
            sent: Arc::default(),
            controls: Controls::default(),
        };
        let handles = match config.stdio {
            Stdio::Console => device("/dev/console")?,
            Stdio::Tty => streams.terminal(config.window)?,
            Stdio::Ports => streams.pipes(config.merge_stderr).map_err(|Error(text)| {
                Error(format!("cannot set up the program's streams: {text}"))
            })?,
        };
        streams.handles = Some(handles);
        Ok(streams)
    }

    fn pipes(&mut self, merge_stderr: bool) -> Result<[Handle; 3]> {
        let (stdin, write) = sys::pipe().map_err(failed("pipe"))?;
        start_pump_in(write.into())?;
        let (stdout, control) = self.pipe_out("ukl.stdout", |sent| &sent.stdout)?;
        self.controls.stdout = Some(control);
        let stderr = if merge_stderr {
            stdout.try_clone().map_err(failed("pipe"))?
        } else {
            let (stderr, control) = self.pipe_out("ukl.stderr", |sent| &sent.stderr)?;
            self.controls.stderr = Some(control);
            stderr
        };
        Ok([stdin.into(), stdout.into(), stderr.into()])
    }

    /// A terminal: what is typed comes as input, and all that is shown goes as standard output.
    fn terminal(&mut self, window: Option<(u16, u16)>) -> Result<[Handle; 3]> {
        let (ours, theirs) = sys::terminal().map_err(failed("a terminal"))?;
        if let Some((rows, columns)) = window {
            sys::set_window(ours.as_fd(), rows, columns);
        }
        let copy = |end: &OwnedFd| end.try_clone().map_err(failed("a terminal"));
        start_pump_in(copy(&ours)?.into())?;
        let screen = Source::Terminal(copy(&ours)?.into());
        self.controls.stdout =
            Some(self.start_pump_out("ukl.stdout", screen, |sent| &sent.stdout)?);
        self.controls.terminal = Some(Arc::new(ours));
        Ok([copy(&theirs)?.into(), copy(&theirs)?.into(), theirs.into()])
    }

    /// A pipe that is pumped to the port called `name`: its end for the program, and a pipe whose
    /// end tells the pump to stop.
    fn pipe_out(
        &mut self,
        name: &str,
        counter: fn(&Sent) -> &AtomicU64,
    ) -> Result<(OwnedFd, Arc<OwnedFd>)> {
        let (read, write) = sys::pipe().map_err(failed("pipe"))?;
        let control = self.start_pump_out(name, Source::Pipe(read.into()), counter)?;
        Ok((write, control))
    }

    fn start_pump_out(
        &mut self,
        name: &str,
        source: Source,
        counter: fn(&Sent) -> &AtomicU64,
    ) -> Result<Arc<OwnedFd>> {
        let (stop, control) = sys::pipe().map_err(failed("pipe"))?;
        let port = ports::open(name)?;
        let sent = Arc::clone(&self.sent);
        self.pumps.push(thread::spawn(move || {
            pump_out(source, port, &stop, counter(&sent))
        }));
        Ok(Arc::new(control))
    }

    /// The program's three handles; there is but one program.
    pub fn take(&mut self) -> Result<[Handle; 3]> {
        self.handles
            .take()
            .ok_or_else(|| Error("the program's streams are in use".into()))
    }

    /// What can be done to them.
    pub fn controls(&self) -> Controls {
        self.controls.clone()
    }

    /// Waits until all that the program wrote has been handed to the host. Nobody may have the
    /// pipes open any more.
    pub fn drain(self) -> Arc<Sent> {
        drop(self.handles);
        if self.controls.terminal.is_some() {
            self.controls.close_stdout();
        }
        for pump in self.pumps {
            // A pump that panicked has aborted the whole of init.
            let _ = pump.join();
        }
        self.sent
    }
}

impl Controls {
    /// Closes the pipe of the standard output: whoever writes to it gets SIGPIPE.
    pub fn close_stdout(&self) {
        stop(self.stdout.as_deref());
    }

    /// Closes the pipe of the standard error output.
    pub fn close_stderr(&self) {
        stop(self.stderr.as_deref());
    }

    /// Tells the terminal its new size.
    pub fn resize(&self, rows: u16, columns: u16) {
        if let Some(terminal) = &self.terminal {
            sys::set_window(terminal.as_fd(), rows, columns);
        }
    }
}

fn stop(control: Option<&OwnedFd>) {
    if let Some(control) = control.and_then(|control| control.try_clone().ok()) {
        // If the pump has ended by itself there is nobody to stop.
        let _ = File::from(control).write_all(b".");
    }
}

/// A terminal device as all three streams.
fn device(path: &str) -> Result<[Handle; 3]> {
    let error = || failed(path);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(error())?;
    let handle = || file.try_clone().map(Handle::from).map_err(error());
    Ok([handle()?, handle()?, handle()?])
}

/// Starts the pump of the input. Nobody ever joins it: it waits for what may never be sent.
fn start_pump_in(to: File) -> Result<()> {
    let port = ports::open("ukl.stdin")?;
    thread::spawn(move || pump_in(port, to));
    Ok(())
}

/// Brings ukl-run's input to the program. It comes in frames, a 32-bit length before each, and a
/// length of 0 is the end: a port by itself has no end.
fn pump_in(port: File, mut pipe: File) {
    let mut reader = io::BufReader::with_capacity(64 << 10, ports::Reader::new(port));
    let mut length = [0; 4];
    while reader.read_exact(&mut length).is_ok() {
        let length = u64::from(u32::from_le_bytes(length));
        if length == 0 {
            return;
        }
        // A program that does not read its input is no reason for an error.
        match io::copy(&mut reader.by_ref().take(length), &mut pipe) {
            Ok(copied) if copied == length => {}
            _ => return,
        }
    }
}

/// Brings the program's output to ukl-run until it ends or `stop` says so.
fn pump_out(source: Source, mut port: File, stop: &OwnedFd, sent: &AtomicU64) {
    let (mut from, terminal) = match source {
        Source::Pipe(file) => (file, false),
        Source::Terminal(file) => (file, true),
    };
    let mut buffer = vec![0; 64 << 10];
    let mut works = true;
    loop {
        // What a terminal still has is brought before it is stopped.
        let stopped = match sys::poll([from.as_fd(), stop.as_fd()], -1) {
            Ok([_, stopped]) => stopped != 0,
            Err(_) => return,
        };
        if stopped && !terminal {
            return;
        }
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) if works => {
                // When the port is gone the program's output is lost, but not the program.
                works = port.write_all(&buffer[..count]).is_ok();
                if works {
                    sent.fetch_add(count as u64, Ordering::AcqRel);
                }
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Nobody has the terminal open just now.
            Err(_) if terminal && !stopped => {
                let _ = sys::poll([stop.as_fd()], 50);
            }
            Err(_) => return,
        }
    }
}
