//! QMP, the protocol of QEMU's monitor: the few commands that the tests use.

use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;

/// A connection to the monitor of a running machine.
#[derive(Debug)]
pub struct Qmp {
    lines: BufReader<UnixStream>,
}

impl Qmp {
    /// The options of `ukl-run` that make a machine listen on this socket.
    pub fn options(socket: &Path) -> [String; 2] {
        [
            "--qemu-arg=-qmp".into(),
            format!("--qemu-arg=unix:{},server=on,wait=off", socket.display()),
        ]
    }

    /// Connects as soon as the machine listens.
    pub fn connect(socket: &Path, patience: Duration) -> Result<Self> {
        let deadline = Instant::now() + patience;
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > deadline => {
                    return Err(error).with_context(|| socket.display().to_string());
                }
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        };
        stream.set_read_timeout(Some(patience))?;
        let mut qmp = Qmp {
            lines: BufReader::new(stream),
        };
        qmp.line()?;
        qmp.execute("qmp_capabilities")?;
        Ok(qmp)
    }

    /// Executes a command without arguments.
    pub fn execute(&mut self, command: &str) -> Result<()> {
        self.ask(&format!("{{\"execute\":\"{command}\"}}"))
            .map(drop)
    }

    /// The registers of the first processor, as QEMU's human monitor prints them: `NAME=` followed by
    /// hexadecimal digits.
    pub fn registers(&mut self) -> Result<String> {
        self.ask(
            "{\"execute\":\"human-monitor-command\",\
             \"arguments\":{\"command-line\":\"info registers\"}}",
        )
    }

    /// Sends a command and returns the line of the answer, which is JSON.
    fn ask(&mut self, command: &str) -> Result<String> {
        let mut stream = self.lines.get_ref();
        stream.write_all(format!("{command}\n").as_bytes())?;
        loop {
            let line = self.line()?;
            if line.contains("\"return\"") {
                return Ok(line);
            }
            if line.contains("\"error\"") {
                bail!("QEMU: {command}: {line}");
            }
            // Anything else is an event.
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            bail!("QEMU has closed its monitor");
        }
        Ok(line)
    }
}
