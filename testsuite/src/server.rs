//! A server in a guest.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Child;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

use crate::directives::End;
use crate::guest;
use crate::process;
use crate::process::Patience;
use crate::process::WAIT;
use crate::relay::Relay;
use crate::tools::Tools;
use crate::tools::patient;

/// The time limit for a server's first answer, and for its end.
const START: Duration = Duration::from_secs(60);

/// The time limit for the whole run of a server.
const LIMIT: Duration = Duration::from_secs(600);

/// A server in a guest, its port forwarded to one of this machine, and a relay in front of it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    _relay: Relay,
    /// The relay's port, which clients connect to.
    pub port: u16,
    log: PathBuf,
    output: PathBuf,
    patience: Patience,
    words: Vec<OsString>,
}

impl Server {
    /// Starts one: `log` is the name of the kernel's log, `words` are the options and the image for
    /// `ukl-run` and the server's arguments.
    pub fn start(tools: &Tools, log: &str, guest_port: u16, words: &[&OsStr]) -> Result<Self> {
        let free = TcpListener::bind("127.0.0.1:0")?;
        let port = free.local_addr()?.port();
        let relay = Relay::start(port)?;
        // Not before, or the relay might get this port.
        drop(free);
        let output = tools.boots.dir().join(log).with_extension("out");
        let file = fs::File::create(&output)?;
        let limit = patient(LIMIT) * WAIT;
        let child = tools
            .ukl_run(log)
            .args(["--timeout", &limit.as_secs().to_string()])
            .args(["-p", &format!("{port}:{guest_port}")])
            .args(words)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()?;
        Ok(Server {
            patience: Patience::new(child.id(), patient(START)),
            child,
            port: relay.port,
            _relay: relay,
            log: tools.boots.log(log),
            output,
            words: words.iter().map(OsString::from).collect(),
        })
    }

    /// Calls `answer` with the port until it succeeds.
    pub fn wait_for<T>(&mut self, mut answer: impl FnMut(u16) -> Result<T>) -> Result<T> {
        loop {
            match answer(self.port) {
                Ok(answer) => return Ok(answer),
                Err(error) if self.patience.is_over(|| true) => {
                    return Err(error.context(format!("never answered:\n{}", self.said())));
                }
                Err(_) => thread::sleep(Duration::from_millis(200)),
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("ended with {status}:\n{}", self.said());
            }
        }
    }

    /// A time limit that starts now.
    pub fn patience(&self, limit: Duration) -> Patience {
        self.patience.again(patient(limit))
    }

    /// The end of what the server has printed.
    pub fn said(&self) -> String {
        process::tail(&fs::read(&self.output).unwrap_or_default(), 4000)
    }

    /// Waits until the server ends by itself, with this status.
    pub fn ends_with(mut self, code: i32) -> Result<()> {
        self.patience = self.patience(START);
        while !self.patience.is_over(|| true) {
            if let Some(status) = self.child.try_wait()? {
                ensure!(
                    process::end_of(status) == End::Exit(code),
                    "ended with {status}:\n{}",
                    self.said()
                );
                return self.was_at_its_ring();
            }
            thread::sleep(Duration::from_millis(50));
        }
        bail!("did not end:\n{}", self.said());
    }

    /// Kills the machine, as a power cut would.
    pub fn cut(mut self) -> Result<()> {
        self.kill();
        self.was_at_its_ring()
    }

    fn was_at_its_ring(&self) -> Result<()> {
        let words: Vec<&OsStr> = self.words.iter().map(OsString::as_os_str).collect();
        guest::at_its_ring(&self.log, &words)
    }

    fn kill(&mut self) {
        process::kill_group(self.child.id());
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
