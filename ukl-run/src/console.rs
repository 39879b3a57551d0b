//! The kernel's log.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read as _;
use std::io::Seek as _;
use std::io::SeekFrom;
use std::path::Path;
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::Error;
use crate::error::Result;
use crate::sys;

/// How many lines of the log are printed if the guest died.
const TAIL: usize = 40;
/// How often the log is read while it is shown.
const PACE: Duration = Duration::from_millis(20);
/// A longer line is split into pieces of this size.
const LINE: usize = 4096;

/// The file that holds the log.
#[derive(Debug)]
pub struct Log {
    file: File,
    path: PathBuf,
    temporary: Option<tempfile::TempPath>,
}

impl Log {
    /// Keeps the log in `path`, or in a temporary file.
    pub fn create(path: Option<&Path>) -> Result<Self> {
        match path {
            Some(path) => Ok(Log {
                file: File::create(path).map_err(Error::file(path))?,
                path: path.to_path_buf(),
                temporary: None,
            }),
            None => {
                let (file, path) = tempfile::Builder::new()
                    .prefix("ukl-run-")
                    .suffix(".log")
                    .tempfile()
                    .map_err(Error::file(&std::env::temp_dir()))?
                    .into_parts();
                Ok(Log {
                    file,
                    path: path.to_path_buf(),
                    temporary: Some(path),
                })
            }
        }
    }

    /// Keeps the file for the caller, and returns its path.
    pub fn keep(self) -> PathBuf {
        if let Some(path) = self.temporary {
            // A file that cannot be kept is deleted.
            let _ = path.keep();
        }
        self.path
    }

    /// The file, for QEMU to write to.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Prints the log on standard error as it grows.
    pub fn show(&self) -> Result<Show> {
        let mut file = File::open(&self.path).map_err(Error::file(&self.path))?;
        let (finish, finished) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            loop {
                // This is tested before the file is read, so that the last read gets the rest.
                let last = !matches!(finished.recv_timeout(PACE), Err(RecvTimeoutError::Timeout));
                while let Ok(count @ 1..) = file.read(&mut buffer) {
                    if sys::write_all(2, &buffer[..count]).is_err() {
                        return;
                    }
                }
                if last {
                    return;
                }
            }
        });
        Ok(Show { finish, thread })
    }

    /// The last lines.
    pub fn tail(&self) -> Vec<String> {
        let mut tail = Tail::default();
        let mut end = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub((TAIL * LINE) as u64)))?;
            file.read_to_end(&mut end)
        });
        // A log that cannot be read counts as empty.
        if read.is_ok() {
            tail.add(&end);
        }
        tail.lines()
    }
}

/// A log that is being printed.
#[derive(Debug)]
pub struct Show {
    finish: Sender<()>,
    thread: JoinHandle<()>,
}

impl Show {
    /// Prints the rest.
    pub fn finish(self) {
        drop(self.finish);
        let _ = self.thread.join();
    }
}

/// Keeps the last lines of a text.
#[derive(Debug, Default)]
struct Tail {
    lines: VecDeque<Vec<u8>>,
    open: Vec<u8>,
}

impl Tail {
    fn add(&mut self, data: &[u8]) {
        for byte in data {
            match byte {
                b'\r' => {}
                b'\n' => self.close(),
                _ => {
                    self.open.push(*byte);
                    if self.open.len() >= LINE {
                        self.close();
                    }
                }
            }
        }
    }

    fn close(&mut self) {
        self.lines.push_back(std::mem::take(&mut self.open));
        if self.lines.len() > TAIL {
            self.lines.pop_front();
        }
    }

    fn lines(mut self) -> Vec<String> {
        if !self.open.is_empty() {
            self.close();
        }
        // Without characters that control a terminal.
        let clean = |line: Vec<u8>| {
            String::from_utf8_lossy(&line).replace(|c: char| c.is_control() && c != '\t', "")
        };
        self.lines.into_iter().map(clean).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_lines() {
        let mut tail = Tail::default();
        for number in 0..100 {
            tail.add(format!("line {number}\r\n").as_bytes());
        }
        tail.add(b"\x1b[31mopen");
        let lines = tail.lines();
        assert_eq!(lines.len(), TAIL);
        assert_eq!(lines.first().unwrap(), "line 61");
        assert_eq!(lines.last().unwrap(), "[31mopen");
    }

    #[test]
    fn a_line_without_end_does_not_grow() {
        let mut tail = Tail::default();
        tail.add(&[b'x'; LINE * (TAIL + 9)]);
        assert_eq!(tail.lines().len(), TAIL);
    }

    #[test]
    fn a_temporary_log_goes_unless_it_is_kept() {
        let log = Log::create(None).unwrap();
        let path = log.path.clone();
        assert!(path.exists());
        drop(log);
        assert!(!path.exists());
        let path = Log::create(None).unwrap().keep();
        assert!(path.exists());
        std::fs::remove_file(path).unwrap();
    }
}
