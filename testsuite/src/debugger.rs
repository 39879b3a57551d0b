//! gdb's look at a program that says nothing of its ring itself.

use std::ffi::OsStr;
use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;

use crate::directives::End;
use crate::process;
use crate::tools::Tools;
use crate::tools::patient;

const LIMIT: Duration = Duration::from_secs(120);

/// A running ukl-run, which does not outlive its test.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        process::kill_group(self.0.id());
        let _ = self.0.wait();
    }
}

/// Boots what `words` say to `ukl-run`, up to the beginning of one of the program's functions, and
/// returns the processor's privilege level there. The machine ends with that.
pub fn ring_at(tools: &Tools, name: &str, function: &str, words: &[&OsStr]) -> Result<u32> {
    let dir = tools.out.join("logs");
    fs::create_dir_all(&dir)?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut command = Command::new(tools.tool("ukl-run"));
    command
        .args(["--timeout", &patient(LIMIT).as_secs().to_string(), "--log"])
        .arg(dir.join(format!("{name}-ring.log")))
        .arg(format!("--gdb={port}"))
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut machine = Machine(command.spawn()?);
    let mut line = String::new();
    let said = machine.0.stderr.take().context("no error output")?;
    BufReader::new(said).read_line(&mut line)?;
    let attach = line
        .trim_end()
        .strip_prefix("ukl-run: waiting for: ")
        .with_context(|| format!("ukl-run does not say how to attach: {line}"))?;
    let mut gdb = Command::new("sh");
    gdb.args(["-c", &format!("{attach} -nx -batch \"$@\""), "gdb"]);
    for command in [
        &format!("break {function}"),
        "continue",
        "backtrace 1",
        "printf \"at ring %d\\n\", $cs & 3",
    ] {
        gdb.args(["-ex", command]);
    }
    let output = process::run(&mut gdb, patient(LIMIT))?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.end == Some(End::Exit(0)), "gdb: {output:?}");
    ensure!(
        text.contains(&format!(" in {function} ()")) || text.contains(&format!(", {function} (")),
        "not stopped in {function}:\n{text}"
    );
    let ring = text.lines().find_map(|line| line.strip_prefix("at ring "));
    ring.and_then(|ring| ring.parse().ok())
        .with_context(|| format!("gdb does not say the ring:\n{text}"))
}
