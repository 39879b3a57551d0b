//! The virtio-serial ports that lead to ukl-run, and what is said on the one called ukl.status.
//!
//! Init says `started`, `error TEXT`, `sent STDOUT STDERR` (how many bytes of either), and last
//! `exit N` or `signal N`. ukl-run says `signal N` (for the program), `closed stdout` or
//! `closed stderr` (nobody reads it any more), `window ROWS COLUMNS`, and last `bye`, when it has
//! all that was sent: only then may the machine go.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::error::Error;
use crate::error::Result;
use crate::failed;
use crate::program::Program;
use crate::streams::Controls;

/// How long to wait for a port to appear. The host announces them one after the other.
const PATIENCE: Duration = Duration::from_secs(20);

/// Opens the port called `name`.
pub fn open(name: &str) -> Result<File> {
    let path = wait_for(name, || find(name))?;
    wait_for(name, || {
        OpenOptions::new().read(true).write(true).open(&path).ok()
    })
}

/// Tries until `attempt` gives something.
fn wait_for<T>(name: &str, mut attempt: impl FnMut() -> Option<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(result) = attempt() {
            return Ok(result);
        }
        if start.elapsed() > PATIENCE {
            return Err(Error(format!(
                "the port {name} to ukl-run has not appeared"
            )));
        }
        thread::sleep(Duration::from_micros(500));
    }
}

fn find(name: &str) -> Option<PathBuf> {
    for entry in fs::read_dir("/sys/class/virtio-ports").ok()?.flatten() {
        let found = fs::read_to_string(entry.path().join("name"));
        if found.is_ok_and(|found| found.trim_end() == name) {
            return Some(PathBuf::from("/dev").join(entry.file_name()));
        }
    }
    None
}

/// Reads from a port as from a connection: waits until the host is there, and returns 0 only when
/// it has gone. The kernel returns 0 for both.
#[derive(Debug)]
pub struct Reader {
    port: File,
    connected: bool,
}

impl Reader {
    /// Reads from `port`.
    pub fn new(port: File) -> Self {
        Reader {
            port,
            connected: false,
        }
    }
}

impl io::Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut pause = Duration::from_millis(1);
        loop {
            let count = self.port.read(buffer)?;
            if count > 0 {
                self.connected = true;
            }
            if count > 0 || self.connected {
                return Ok(count);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }
}

/// The status port.
#[derive(Debug)]
pub struct Status {
    port: File,
    writer: Mutex<File>,
    listening: Mutex<bool>,
    goodbye: (Mutex<bool>, Condvar),
}

impl Status {
    /// Opens it.
    pub fn open() -> Result<Self> {
        let port = open("ukl.status")?;
        let writer = port.try_clone().map_err(failed("ukl.status"))?;
        Ok(Status {
            port,
            writer: Mutex::new(writer),
            listening: Mutex::new(false),
            goodbye: (Mutex::new(false), Condvar::new()),
        })
    }

    /// Says something.
    pub fn line(&self, text: &str) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // Without a host there is nobody to tell.
        let _ = writer.write_all(format!("{text}\n").as_bytes());
    }

    /// Listens to ukl-run, on behalf of `program` and its streams.
    pub fn listen(self: &Arc<Self>, program: Arc<Program>, controls: Controls) {
        *self
            .listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        let status = Arc::clone(self);
        thread::spawn(move || status.hear(|line| obey(line, &program, &controls)));
    }

    fn hear(&self, mut command: impl FnMut(&str)) {
        if let Ok(port) = self.port.try_clone() {
            let mut reader = Reader::new(port);
            let mut pending = Vec::new();
            let mut buffer = [0; 512];
            'connected: while let Ok(count @ 1..) = reader.read(&mut buffer) {
                pending.extend_from_slice(&buffer[..count]);
                while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = pending.drain(..=end).collect();
                    match std::str::from_utf8(&line[..end]) {
                        Ok("bye") => break 'connected,
                        Ok(line) => command(line),
                        Err(_) => {}
                    }
                }
            }
        }
        *self
            .goodbye
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        self.goodbye.1.notify_all();
    }

    /// Waits until ukl-run has everything, or has gone.
    pub fn wait_for_goodbye(&self) {
        if !*self
            .listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
        {
            // The program was never started.
            self.hear(|_| {});
        }
        let said = self
            .goodbye
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let _said = self.goodbye.1.wait_while(said, |said| !*said);
    }
}

/// Does what ukl-run says. What cannot be understood is from another version, and not vital.
fn obey(line: &str, program: &Program, controls: &Controls) {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["signal", number] => {
            if let Ok(number) = number.parse() {
                program.signal(number);
            }
        }
        ["closed", "stdout"] => controls.close_stdout(),
        ["closed", "stderr"] => controls.close_stderr(),
        ["window", rows, columns] => {
            if let (Ok(rows), Ok(columns)) = (rows.parse(), columns.parse()) {
                controls.resize(rows, columns);
            }
        }
        _ => {}
    }
}
