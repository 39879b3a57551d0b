//! The program's standard streams. They are pipes, each with a thread that copies data to or from
//! ukl-run, or a terminal, or the console.
//!
//! The program gets pipes instead of the ports, because pipes behave as on any Linux: poll, splice,
//! inheritance, end of file.

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

use ukl_proto::ports;
use ukl_proto::ports::Port;
use ukl_proto::run::Run;
use ukl_proto::run::Stdio;

use crate::error::Error;
use crate::error::Result;
use crate::failed;
use crate::ports::Reader;
use crate::ports::open;
use crate::sys;

/// How many bytes have been sent to `ukl-run`.
#[derive(Debug, Default)]
pub struct Sent {
    /// The bytes of standard output.
    pub stdout: AtomicU64,
    /// The bytes of standard error.
    pub stderr: AtomicU64,
}

/// The program's streams.
#[derive(Debug)]
pub struct Streams {
    /// The program's ends, until [`Streams::take`].
    handles: Option<[Handle; 3]>,
    pumps: Vec<JoinHandle<()>>,
    sent: Arc<Sent>,
    controls: Controls,
}

/// Controls the streams while the program runs.
#[derive(Debug, Clone, Default)]
pub struct Controls {
    stdout: Option<Arc<OwnedFd>>,
    stderr: Option<Arc<OwnedFd>>,
    terminal: Option<Arc<OwnedFd>>,
}

/// The source from which output is read.
#[derive(Debug)]
enum Source {
    Pipe(File),
    /// A terminal has no end of file: after all processes have closed it, another process can open
    /// it again.
    Terminal(File),
}

impl Streams {
    /// Sets the streams up and starts the pumps.
    pub fn new(run: &Run) -> Result<Self> {
        let mut streams = Streams {
            handles: None,
            pumps: Vec::new(),
            sent: Arc::default(),
            controls: Controls::default(),
        };
        let handles = match run.stdio {
            Stdio::Console => device("/dev/console")?,
            Stdio::Tty => streams.terminal(run.window)?,
            Stdio::Ports => streams.pipes(run.merge_stderr).map_err(|Error(text)| {
                Error(format!("cannot set up the program's streams: {text}"))
            })?,
        };
        streams.handles = Some(handles);
        Ok(streams)
    }

    fn pipes(&mut self, merge_stderr: bool) -> Result<[Handle; 3]> {
        let (stdin, write) = sys::pipe().map_err(failed("pipe"))?;
        start_pump_in(write.into())?;
        let (stdout, control) = self.pipe_out(Port::Stdout, |sent| &sent.stdout)?;
        self.controls.stdout = Some(control);
        let stderr = if merge_stderr {
            stdout.try_clone().map_err(failed("pipe"))?
        } else {
            let (stderr, control) = self.pipe_out(Port::Stderr, |sent| &sent.stderr)?;
            self.controls.stderr = Some(control);
            stderr
        };
        Ok([stdin.into(), stdout.into(), stderr.into()])
    }

    /// Makes a terminal. Everything that it shows goes to the port of standard output.
    fn terminal(&mut self, window: Option<(u16, u16)>) -> Result<[Handle; 3]> {
        let (ours, theirs) = sys::terminal().map_err(failed("a terminal"))?;
        if let Some((rows, columns)) = window {
            sys::set_window(ours.as_fd(), rows, columns);
        }
        let copy = |end: &OwnedFd| end.try_clone().map_err(failed("a terminal"));
        start_pump_in(copy(&ours)?.into())?;
        let screen = Source::Terminal(copy(&ours)?.into());
        self.controls.stdout =
            Some(self.start_pump_out(Port::Stdout, screen, |sent| &sent.stdout)?);
        self.controls.terminal = Some(Arc::new(ours));
        Ok([copy(&theirs)?.into(), copy(&theirs)?.into(), theirs.into()])
    }

    /// Makes a pipe that is copied to a port. Returns the program's end, and a pipe that stops the
    /// pump when it is written to.
    fn pipe_out(
        &mut self,
        port: Port,
        counter: fn(&Sent) -> &AtomicU64,
    ) -> Result<(OwnedFd, Arc<OwnedFd>)> {
        let (read, write) = sys::pipe().map_err(failed("pipe"))?;
        let control = self.start_pump_out(port, Source::Pipe(read.into()), counter)?;
        Ok((write, control))
    }

    fn start_pump_out(
        &mut self,
        port: Port,
        source: Source,
        counter: fn(&Sent) -> &AtomicU64,
    ) -> Result<Arc<OwnedFd>> {
        let (stop, control) = sys::pipe().map_err(failed("pipe"))?;
        let port = open(port)?;
        let sent = Arc::clone(&self.sent);
        self.pumps.push(thread::spawn(move || {
            pump_out(source, port, &stop, counter(&sent))
        }));
        Ok(Arc::new(control))
    }

    /// The program's three handles, which can be taken once.
    pub fn take(&mut self) -> Result<[Handle; 3]> {
        self.handles
            .take()
            .ok_or_else(|| Error("the program's streams are in use".into()))
    }

    /// Controls for these streams.
    pub fn controls(&self) -> Controls {
        self.controls.clone()
    }

    /// Waits until all of the program's output has been passed to the host. No process may still
    /// have the pipes open.
    pub fn drain(self) -> Arc<Sent> {
        drop(self.handles);
        if self.controls.terminal.is_some() {
            self.controls.close_stdout();
        }
        for pump in self.pumps {
            // A panic of a pump would have aborted init.
            let _ = pump.join();
        }
        self.sent
    }
}

impl Controls {
    /// Closes the pipe of standard output: processes that write to it get SIGPIPE.
    pub fn close_stdout(&self) {
        stop(self.stdout.as_deref());
    }

    /// Closes the pipe of standard error.
    pub fn close_stderr(&self) {
        stop(self.stderr.as_deref());
    }

    /// Sets the size of the terminal.
    pub fn resize(&self, rows: u16, columns: u16) {
        if let Some(terminal) = &self.terminal {
            sys::set_window(terminal.as_fd(), rows, columns);
        }
    }
}

fn stop(control: Option<&OwnedFd>) {
    if let Some(control) = control.and_then(|control| control.try_clone().ok()) {
        // Failure means that the pump has ended already.
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

/// Starts the pump of the input. It is never joined, because it may wait forever.
fn start_pump_in(to: File) -> Result<()> {
    let port = open(Port::Stdin)?;
    thread::spawn(move || pump_in(port, to));
    Ok(())
}

/// Copies the input from `ukl-run` to the program. It comes in frames.
fn pump_in(port: File, mut pipe: File) {
    let mut reader = io::BufReader::with_capacity(64 << 10, Reader::new(port));
    let mut header = [0; ports::FRAME_HEADER];
    while reader.read_exact(&mut header).is_ok() {
        let length = u64::from(ports::frame_length(header));
        if length == 0 {
            return;
        }
        // A program may close its input early.
        match io::copy(&mut reader.by_ref().take(length), &mut pipe) {
            Ok(copied) if copied == length => {}
            _ => return,
        }
    }
}

/// Copies the program's output to a port until it ends or `stop` is written to.
fn pump_out(source: Source, mut port: File, stop: &OwnedFd, sent: &AtomicU64) {
    let (mut from, terminal) = match source {
        Source::Pipe(file) => (file, false),
        Source::Terminal(file) => (file, true),
    };
    let mut buffer = vec![0; 64 << 10];
    let mut works = true;
    loop {
        // Output that the terminal still buffers is sent before the pump stops.
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
                // If the port fails, the output is lost, but the program continues.
                works = port.write_all(&buffer[..count]).is_ok();
                if works {
                    sent.fetch_add(count as u64, Ordering::AcqRel);
                }
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // No process has the terminal open at the moment.
            Err(_) if terminal && !stopped => {
                let _ = sys::poll([stop.as_fd()], 50);
            }
            Err(_) => return,
        }
    }
}
