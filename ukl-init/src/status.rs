//! The status port, through which init and `ukl-run` exchange the lines of [`ukl_proto::status`].

use std::fs::File;
use std::io::Read as _;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;

use ukl_proto::ports::Port;
use ukl_proto::status::Lines;
use ukl_proto::status::Report;
use ukl_proto::status::Request;

use crate::error::Result;
use crate::failed;
use crate::ports;

/// The status port.
#[derive(Debug)]
pub struct Status {
    port: File,
    writer: Mutex<File>,
    listening: Mutex<bool>,
    goodbye: (Mutex<bool>, Condvar),
}

impl Status {
    /// Opens the port.
    pub fn open() -> Result<Self> {
        let port = ports::open(Port::Status)?;
        let writer = port.try_clone().map_err(failed(Port::Status.name()))?;
        Ok(Status {
            port,
            writer: Mutex::new(writer),
            listening: Mutex::new(false),
            goodbye: (Mutex::new(false), Condvar::new()),
        })
    }

    /// Sends a report.
    pub fn send(&self, report: &Report) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // If the host has closed the port, there is nobody to report to.
        let _ = writer.write_all(format!("{report}\n").as_bytes());
    }

    /// Starts a thread that calls `obey` for each request of `ukl-run`.
    pub fn listen(self: &Arc<Self>, obey: impl FnMut(Request) + Send + 'static) {
        *self
            .listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        let status = Arc::clone(self);
        thread::spawn(move || status.hear(obey));
    }

    /// Reads requests until `ukl-run` says goodbye or closes the port.
    fn hear(&self, mut obey: impl FnMut(Request)) {
        if let Ok(port) = self.port.try_clone() {
            let mut reader = ports::Reader::new(port);
            let mut lines = Lines::default();
            let mut buffer = [0; 512];
            let mut state = ControlFlow::Continue(());
            while state.is_continue()
                && let Ok(count @ 1..) = reader.read(&mut buffer)
            {
                lines.add(&buffer[..count], |line| match Request::parse(line) {
                    Some(Request::Goodbye) => state = ControlFlow::Break(()),
                    Some(request) => obey(request),
                    // Another version's request, which may be ignored.
                    None => {}
                });
            }
        }
        *self
            .goodbye
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        self.goodbye.1.notify_all();
    }

    /// Waits until `ukl-run` has received everything, or has closed the port.
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
