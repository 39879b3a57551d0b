//! The sockets between us and the guest, and the threads that pump them.

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

use crate::machine::Event;
use crate::sys;
use crate::terminal::Insistence;

/// A stream of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Its standard output.
    Stdout,
    /// Its standard error output.
    Stderr,
}

impl Output {
    /// The caller's descriptor for it.
    fn fd(self) -> RawFd {
        match self {
            Output::Stdout => 1,
            Output::Stderr => 2,
        }
    }

    /// Init's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Output::Stdout => "stdout",
            Output::Stderr => "stderr",
        }
    }
}

/// How much of a stream has been passed on.
#[derive(Debug, Default)]
pub struct Progress(Mutex<Passed>);

#[derive(Debug, Default)]
struct Passed {
    bytes: u64,
    ended: bool,
    expected: Option<u64>,
}

impl Progress {
    /// Says how many bytes there will have been in all; true when they have been passed on, or
    /// there will be no more. If not, [`Event::Passed`] comes when they have.
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

/// Passes the caller's input on to the guest: frames with a length before each, the last of
/// length 0. Never ends before the caller's input does, so nobody waits for it.
///
/// If it is typed at a terminal that is the guest's, `events` learns when somebody wants out.
pub fn send_input(mut socket: UnixStream, events: Option<Sender<Event>>) {
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        let mut insistence = Insistence::default();
        loop {
            // An input that cannot be read has ended.
            let count = sys::read(0, &mut buffer[4..]).unwrap_or(0);
            if let Some(events) = &events
                && insistence.typed(&buffer[4..4 + count])
            {
                let _ = events.send(Event::Stop);
            }
            buffer[..4].copy_from_slice(&(count as u32).to_le_bytes());
            if socket.write_all(&buffer[..4 + count]).is_err() || count == 0 {
                break;
            }
        }
        // The socket stays open: for the guest, its end would be the end of us.
        std::mem::forget(socket);
    });
}

/// Passes a stream of the program on to the caller.
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
            if wanted && sys::write_all(output.fd(), &buffer[..count]).is_err() {
                // The reader has gone. The program is told so, with what a closed pipe tells any
                // program; until then the rest goes nowhere.
                wanted = false;
                let _ = events.send(Event::Unwanted(output));
            }
            ours.update(&events, |passed| passed.bytes += count as u64);
        }
        ours.update(&events, |passed| passed.ended = true);
    });
    (progress, thread)
}

/// Listens to what init says.
pub fn receive_status(mut socket: UnixStream, events: Sender<Event>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut pending = Vec::new();
        let mut buffer = [0; 512];
        while let Some(count) = receive(&mut socket, &mut buffer) {
            pending.extend_from_slice(&buffer[..count]);
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line[..end]).into_owned();
                let _ = events.send(Event::Status(line));
            }
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
