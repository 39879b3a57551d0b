//! Running a command under a time limit, its output kept.

use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;

use crate::directives::End;

/// What came of a command.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended; nothing when it was stopped for taking too long.
    pub end: Option<End>,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its error output.
    pub stderr: Vec<u8>,
}

/// How a process ended.
pub fn end_of(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Exit(code),
        (None, Some(signal)) => End::Signal(signal),
        (None, None) => End::Exit(-1),
    }
}

/// Runs a command to its end, or for so long. It has a process group of its own, which dies with
/// it.
pub fn run(command: &mut Command, limit: Duration) -> Result<Output> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {:?}", command.get_program()))?;
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let deadline = Instant::now() + limit;
    let end = loop {
        if let Some(status) = child.try_wait()? {
            break Some(end_of(status));
        }
        if Instant::now() >= deadline {
            break None;
        }
        thread::sleep(Duration::from_millis(5));
    };
    // Its own children must not outlive it, nor keep the pipes open.
    kill_group(child.id());
    let _ = child.wait();
    Ok(Output {
        end,
        stdout: stdout.join().unwrap_or_default(),
        stderr: stderr.join().unwrap_or_default(),
    })
}

/// Runs a command that has to succeed, and returns its standard output.
pub fn check(command: &mut Command, limit: Duration) -> Result<Vec<u8>> {
    let output = run(command, limit)?;
    match output.end {
        Some(End::Exit(0)) => Ok(output.stdout),
        end => bail!(
            "{command:?}: {}\n{}{}",
            end.map_or("took too long".into(), |end| format!("{end:?}")),
            tail(&output.stdout, 4000),
            tail(&output.stderr, 8000),
        ),
    }
}

/// Kills a process group that we made, by the id of its first process.
pub fn kill_group(leader: u32) {
    // There is no safe interface to kill() in the standard library; the command is as good.
    let _ = Command::new("kill")
        .args(["-KILL", "--", &format!("-{leader}")])
        .stderr(Stdio::null())
        .status();
}

/// The end of a text.
pub fn tail(text: &[u8], room: usize) -> String {
    let from = text.len().saturating_sub(room);
    String::from_utf8_lossy(&text[from..]).into_owned()
}

fn drain(stream: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut all);
        }
        all
    })
}
