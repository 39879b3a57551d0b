//! The sockets between ukl-run and the guest, and the threads that read and write them.

use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc::Sender;
use std::thread;
use std::thread::JoinHandle;

use ukl_proto::ports;
use ukl_proto::status::Lines;
use ukl_proto::status::Output;
use ukl_proto::status::Report;

use crate::events::Event;
use crate::sys;
use crate::terminal::Insistence;

/// The caller's descriptor for an output of the program.
fn descriptor(output: Output) -> RawFd {
    match output {
        Output::Stdout => 1,
        Output::Stderr => 2,
    }
}

/// How much of an output has been passed on.
#[derive(Debug, Default)]
pub struct Progress(Mutex<Passed>);

#[derive(Debug, Default)]
struct Passed {
    bytes: u64,
    ended: bool,
    expected: Option<u64>,
}

impl Progress {
    /// Sets how many bytes there are in all. Returns whether they have been passed on, or no more
    /// can come; if not, [`Event::Passed`] is sent later.
    pub fn expect(&self, bytes: u64) -> bool {
        let mut passed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        passed.expected = Some(bytes);
        passed.is_complete()
    }

    fn update(&self, events: &Sender<Event>, change: impl FnOnce(&mut Passed)) {
        let mut passed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = passed.is_complete();
        change(&mut passed);
        if !before && passed.is_complete() {
            let _ = events.send(Event::Passed);
        }
    }
}

impl Passed {
    fn is_complete(&self) -> bool {
        self.ended || self.expected.is_some_and(|expected| self.bytes >= expected)
    }
}

/// Starts a thread that passes the caller's input on to the guest in frames. It ends when the
/// caller's input ends, so it is never joined.
///
/// If the input is typed at a terminal, [`Event::Stop`] goes to `events` when the user insists on
/// leaving.
pub fn send_input(mut socket: UnixStream, events: Option<Sender<Event>>) {
    thread::spawn(move || {
        const HEADER: usize = ports::FRAME_HEADER;
        let mut buffer = vec![0; 64 << 10];
        let mut insistence = Insistence::default();
        loop {
            // A read error counts as the end of the input.
            let count = sys::read(0, &mut buffer[HEADER..]).unwrap_or(0);
            if let Some(events) = &events
                && insistence.typed(&buffer[HEADER..HEADER + count])
            {
                let _ = events.send(Event::Stop);
            }
            buffer[..HEADER].copy_from_slice(&ports::frame_header(count as u32));
            if socket.write_all(&buffer[..HEADER + count]).is_err() || count == 0 {
                break;
            }
        }
        // The socket stays open, because the guest would take its end for the end of ukl-run.
        std::mem::forget(socket);
    });
}

/// Starts a thread that passes an output of the program on to the caller.
pub fn receive_output(
    mut socket: UnixStream,
    output: Output,
    events: Sender<Event>,
) -> (Arc<Progress>, JoinHandle<()>) {
    let progress = Arc::new(Progress::default());
    let ours = Arc::clone(&progress);
    let thread = thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        let mut wanted = true;
        while let Some(count) = receive(&mut socket, &mut buffer) {
            if wanted && sys::write_all(descriptor(output), &buffer[..count]).is_err() {
                // The reader has closed the output. The program gets SIGPIPE, as from any closed
                // pipe; its output until then is dropped.
                wanted = false;
                let _ = events.send(Event::Unwanted(output));
            }
            ours.update(&events, |passed| passed.bytes += count as u64);
        }
        ours.update(&events, |passed| passed.ended = true);
    });
    (progress, thread)
}

/// Starts a thread that receives the reports of init.
pub fn receive_status(mut socket: UnixStream, events: Sender<Event>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut lines = Lines::default();
        let mut buffer = [0; 512];
        while let Some(count) = receive(&mut socket, &mut buffer) {
            lines.add(&buffer[..count], |line| {
                if let Some(report) = Report::parse(line) {
                    let _ = events.send(Event::Report(report));
                }
            });
        }
    })
}

fn receive(socket: &mut UnixStream, buffer: &mut [u8]) -> Option<usize> {
    loop {
        match socket.read(buffer) {
            Ok(0) => return None,
            Ok(count) => return Some(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}
