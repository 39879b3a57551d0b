//! gdb on this machine, attached to a guest as `ukl-run --gdb` says.

use std::ffi::OsStr;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;

use crate::directives::End;
use crate::process;
use crate::process::WAIT;
use crate::tools::Tools;
use crate::tools::patient;

/// The time limit for a boot with gdb attached.
pub const LIMIT: Duration = Duration::from_secs(120);

/// A running ukl-run, which is killed at the end of its test.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            process::kill_group(self.0.id());
            let _ = self.0.wait();
        }
    }
}

/// The result of a session.
#[derive(Debug)]
pub struct Session {
    /// What gdb and ukl-run printed.
    pub text: String,
    /// How ukl-run ended. Nothing if it was still running, and was killed.
    pub status: Option<ExitStatus>,
}

/// Boots with `words` as the arguments of `ukl-run`, and gives gdb these commands. If `to_the_end`, the
/// program then runs to its end. Otherwise the machine is killed. `log` is the name of the kernel's
/// log.
pub fn session(
    tools: &Tools,
    log: &str,
    words: &[&OsStr],
    commands: &[impl AsRef<str>],
    to_the_end: bool,
) -> Result<Session> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let limit = patient(LIMIT) * WAIT;
    let mut machine = tools.ukl_run(log);
    machine
        .args(["-m", &crate::tools::roomy("512M")])
        .args(["--timeout", &limit.as_secs().to_string()])
        .arg(format!("--gdb={port}"))
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut machine = Machine(machine.spawn()?);
    let mut said = BufReader::new(machine.0.stderr.take().context("no error output")?);
    let mut line = String::new();
    said.read_line(&mut line)?;
    let attach = line
        .trim_end()
        .strip_prefix("ukl-run: waiting for: ")
        .with_context(|| format!("ukl-run does not say how to attach: {line}"))?;
    let mut gdb = Command::new("sh");
    gdb.args(["-c", &format!("{attach} -nx -batch \"$@\""), "gdb"]);
    for command in commands {
        gdb.args(["-ex", command.as_ref()]);
    }
    let output = process::run(&mut gdb, patient(LIMIT))?;
    ensure!(output.end == Some(End::Exit(0)), "gdb: {output:?}");
    let mut text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if !to_the_end {
        return Ok(Session { text, status: None });
    }
    said.read_to_string(&mut text)?;
    let status = Some(machine.0.wait()?);
    Ok(Session { text, status })
}

/// Boots with `words` as the arguments of `ukl-run`, stops at the beginning of a function of the
/// program, and returns the processor's privilege level there. The machine is then killed.
pub fn ring_at(tools: &Tools, name: &str, function: &str, words: &[&OsStr]) -> Result<u32> {
    let commands = [
        &format!("break {function}"),
        "continue",
        "backtrace 1",
        "printf \"at ring %d\\n\", $cs & 3",
    ];
    let text = session(tools, &format!("{name}-ring.log"), words, &commands, false)?.text;
    ensure!(
        text.contains(&format!(" in {function} ()")) || text.contains(&format!(", {function} (")),
        "not stopped in {function}:\n{text}"
    );
    let ring = text.lines().find_map(|line| line.strip_prefix("at ring "));
    ring.and_then(|ring| ring.parse().ok())
        .with_context(|| format!("gdb does not say the ring:\n{text}"))
}
