//! The virtio-serial ports that lead to `ukl-run`.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use ukl_proto::ports::Port;

use crate::error::Error;
use crate::error::Result;

/// How long to wait for a port to appear. The host announces the ports one after the other.
const PATIENCE: Duration = Duration::from_secs(20);

/// Opens a port.
pub fn open(port: Port) -> Result<File> {
    let path = wait_for(port, || find(port))?;
    wait_for(port, || {
        OpenOptions::new().read(true).write(true).open(&path).ok()
    })
}

/// Tries until `attempt` succeeds.
fn wait_for<T>(port: Port, mut attempt: impl FnMut() -> Option<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(result) = attempt() {
            return Ok(result);
        }
        if start.elapsed() > PATIENCE {
            let name = port.name();
            return Err(Error(format!(
                "the virtio-serial port {name} has not appeared after {} s",
                PATIENCE.as_secs()
            )));
        }
        thread::sleep(Duration::from_micros(500));
    }
}

fn find(port: Port) -> Option<PathBuf> {
    for entry in fs::read_dir("/sys/class/virtio-ports").ok()?.flatten() {
        let found = fs::read_to_string(entry.path().join("name"));
        if found.is_ok_and(|found| found.trim_end() == port.name()) {
            return Some(PathBuf::from("/dev").join(entry.file_name()));
        }
    }
    None
}

/// Reads from a port as from a connection: waits until the host opens its side, and returns 0 only
/// when the host has closed it. The kernel returns 0 in both cases.
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
