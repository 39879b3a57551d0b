//! Runs a command under a time limit and keeps its output.
//!
//! A limit says how long a command may take on a machine that does nothing else. On a busy machine the
//! command takes longer, through no fault of its own. Therefore the limit is compared with the
//! processor time that the command has got: `limit` for each processor of the machine. A command that
//! waits for something gets no processor time, so there is also a limit for the time that passes, which
//! is [`WAIT`] times as long.

use std::ffi::OsStr;
use std::fs;
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

/// How many times its limit a command may last if it gets too little processor time to reach it.
pub const WAIT: u32 = 5;

/// The unit of times in /proc, by proc(5) `sysconf(_SC_CLK_TCK)`, which is 100 on x86.
const TICK: Duration = Duration::from_millis(10);

/// The result of a command.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended; nothing if it was stopped at its limit.
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

/// Runs a command until it ends or reaches its limit (see above). It has a process group of its own,
/// which is killed when the command ends.
pub fn run(command: &mut Command, limit: Duration) -> Result<Output> {
    run_while(command, limit, || true)
}

/// The same, but also stops the command when `goes_on` returns false. It is called every two seconds.
pub fn run_while(
    command: &mut Command,
    limit: Duration,
    mut goes_on: impl FnMut() -> bool,
) -> Result<Output> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {:?}", command.get_program()))?;
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let mut patience = Patience::new(child.id(), limit);
    let end = loop {
        if let Some(status) = child.try_wait()? {
            break Some(end_of(status));
        }
        if patience.is_over(&mut goes_on) {
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

/// How much longer a process group may go on.
#[derive(Debug)]
pub struct Patience {
    group: u32,
    limit: Duration,
    begin: Instant,
    /// The processor time that it had got before.
    used: Duration,
    /// When to count the processor time next, because counting takes time, too.
    next: Instant,
}

impl Patience {
    /// For a group that has just been created.
    pub fn new(group: u32, limit: Duration) -> Self {
        let begin = Instant::now();
        Patience {
            group,
            limit,
            begin,
            used: Duration::ZERO,
            next: begin,
        }
    }

    /// Starts a new limit for the same group.
    pub fn again(&self, limit: Duration) -> Self {
        Patience {
            used: processor_time(self.group),
            ..Patience::new(self.group, limit)
        }
    }

    /// Whether the group has used up its limit, or `goes_on` returns false.
    pub fn is_over(&mut self, goes_on: impl FnOnce() -> bool) -> bool {
        let now = Instant::now();
        if now < self.next {
            return false;
        }
        self.next = now + Duration::from_secs(2).min(self.limit / 4);
        let processors = thread::available_parallelism().map_or(1, |n| n.get() as u32);
        now - self.begin >= self.limit * WAIT
            || processor_time(self.group) >= self.used + self.limit * processors
            || !goes_on()
    }
}

/// The processor time that the processes of a group and their dead children have got.
fn processor_time(group: u32) -> Duration {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ticks = processes.filter_map(|entry| {
        let name = entry.file_name();
        name.to_str()?.parse::<u32>().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        ticks_of(&stat, group)
    });
    TICK * ticks.sum()
}

/// From a line of /proc/PID/stat: utime, stime, cutime and cstime, if the process is of the group.
fn ticks_of(stat: &str, group: u32) -> Option<u32> {
    // The name is in parentheses and may contain anything. State, ppid and pgrp follow it.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    if fields.get(2)?.parse() != Ok(group) {
        return None;
    }
    let times = fields.get(11..15)?.iter();
    times.map(|time| time.parse::<u32>().ok()).sum()
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

/// Kills a process group that the tests have created. Its number is the id of its first process.
pub fn kill_group(leader: u32) {
    // The standard library has no safe interface to kill(2).
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

/// Arguments of mixed types.
pub fn words<'a>(list: &'a [&'a dyn AsRef<OsStr>]) -> Vec<&'a OsStr> {
    list.iter().map(|word| (*word).as_ref()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_times_of_a_group() {
        let stat = "7 (a) b) S 1 42 42 0 -1 4194560 9 8 7 6 100 20 3 4 20 0 1 0 5\n";
        assert_eq!(ticks_of(stat, 42), Some(127));
        assert_eq!(ticks_of(stat, 7), None);
    }

    #[test]
    fn what_spins_is_stopped_for_its_processor_time_and_what_waits_for_the_time() {
        let limit = Duration::from_millis(400);
        for script in ["while :; do :; done", "sleep 1000"] {
            let output = run(Command::new("sh").args(["-c", script]), limit).unwrap();
            assert_eq!(output.end, None, "{script}");
        }
        let output = run(Command::new("sh").args(["-c", "sleep 0.6; exit 3"]), limit).unwrap();
        assert_eq!(output.end, Some(End::Exit(3)));
    }

    #[test]
    fn what_does_not_go_on_is_stopped() {
        let limit = Duration::from_secs(1000);
        let output = run_while(Command::new("sleep").arg("1000"), limit, || false).unwrap();
        assert_eq!(output.end, None);
    }
}
