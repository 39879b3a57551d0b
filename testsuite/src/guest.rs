//! One boot.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use anyhow::Result;
use anyhow::ensure;

use crate::boots;
use crate::compile::GUEST_HELPERS;
use crate::compile::Program;
use crate::directives::End;
use crate::directives::Machine;
use crate::directives::Place;
use crate::emulation;
use crate::kernel_log;
use crate::process;
use crate::process::Output;
use crate::process::WAIT;
use crate::tools;
use crate::tools::Tools;
use crate::verdict::Run;

/// The time limit for what a boot does before the program starts and after it has ended.
pub const BOOT: Duration = Duration::from_secs(60);

/// The time limit for the boot of a project's program.
const LIMIT: Duration = Duration::from_secs(240);

/// A boot to be made.
#[derive(Debug)]
pub struct Boot<'a> {
    /// The image.
    pub image: &'a Path,
    /// The ring of its program.
    pub place: Place,
    /// The machine.
    pub machine: &'a Machine,
    /// How long the program may take.
    pub limit: Duration,
    /// If set, the longest time in which the kernel's log may stay the same.
    pub silence: Option<Duration>,
    /// More options for `ukl-run`.
    pub options: &'a [String],
    /// The program's environment.
    pub env: &'a [String],
    /// The program's arguments.
    pub args: &'a [String],
    /// The name of the kernel's log, without the `.log`.
    pub name: &'a str,
}

impl Boot<'_> {
    fn log_name(&self) -> String {
        format!("{}.log", self.name)
    }

    /// The command that boots.
    pub fn command(&self, tools: &Tools) -> Command {
        let mut command = tools.ukl_run(&self.log_name());
        let limit = tools::patient(self.limit + BOOT) * WAIT;
        command
            .arg("-m")
            .arg(tools::roomy(&self.machine.memory))
            .args(["--cpus", &self.machine.cpus.to_string()])
            .args(["--timeout", &limit.as_secs().max(1).to_string()])
            // Every line that the driver writes into the log has to get there.
            .args(["--append", "printk.devkmsg=on"]);
        command.args(self.place.options());
        for variable in self.env {
            command.args(["-e", variable]);
        }
        command.args(self.options).arg(self.image).args(self.args);
        command
    }

    /// Boots. The log is returned even if the machine died. The caller searches it, by
    /// [`judge`](crate::verdict::judge), or lets the [`harness`](crate::harness) do so.
    pub fn run(&self, tools: &Tools) -> Result<(Output, String)> {
        let log = tools.boots.log(&self.log_name());
        let _ = fs::remove_file(&log);
        // ukl-run has a time limit of its own; this one is for ukl-run.
        let limit = tools::patient(self.limit + 2 * BOOT);
        let mut seen = (0, Instant::now());
        let output = process::run_while(&mut self.command(tools), limit, || {
            let length = fs::metadata(&log).map_or(0, |meta| meta.len());
            if length != seen.0 {
                seen = (length, Instant::now());
            }
            self.silence.is_none_or(|most| seen.1.elapsed() < most)
        })?;
        Ok((output, boots::read(&log).unwrap_or_default()))
    }

    /// Boots, and boots again if the machine died of a fault of the emulation. This is for tests that
    /// are not repeated as a whole.
    pub fn run_past_faults(&self, tools: &Tools) -> Result<(Output, String)> {
        loop {
            let (output, log) = self.run(tools)?;
            if !kernel_log::is_emulation_fault(&log) {
                return Ok((output, log));
            }
            let path = tools.boots.log(&self.log_name());
            emulation::count(&tools.run, self.name, &path)?;
        }
    }
}

/// Runs an image to its end and returns its output. `log` is the name of the kernel's log, `words`
/// are the options for `ukl-run`, the image and the program's arguments.
pub fn run(tools: &Tools, log: &str, words: &[&OsStr], stdin: &[u8]) -> Result<Output> {
    let output = run_unchecked(tools, log, words, stdin)?;
    at_its_ring(&tools.boots.log(log), words)?;
    Ok(output)
}

/// The same for an image whose program is not to start.
pub fn run_unchecked(tools: &Tools, log: &str, words: &[&OsStr], stdin: &[u8]) -> Result<Output> {
    let input = tools.boots.dir().join(format!("{log}.stdin"));
    fs::write(&input, stdin)?;
    // process::run closes standard input; the shell opens it again.
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\" <\"$0\""]).arg(&input);
    let ukl_run = tools.ukl_run(log);
    command.arg(ukl_run.get_program());
    for (name, value) in ukl_run.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let limit = tools::patient(LIMIT) * WAIT;
    command
        .args(["--timeout", &limit.as_secs().to_string()])
        .args(words);
    process::run(&mut command, tools::patient(LIMIT + BOOT))
}

/// Checks that there was a guest, and that the program ran at ring 0 unless `--ring3` was given.
pub fn at_its_ring(log: &Path, words: &[&OsStr]) -> Result<()> {
    let text = boots::read(log)?;
    match words.contains(&OsStr::new("--ring3")) {
        true => ensure!(
            text.contains("Linux version "),
            "{}: no boot",
            log.display()
        ),
        false => ensure!(
            kernel_log::is_at_ring_0(&text),
            "{}: nothing ran at ring 0",
            log.display()
        ),
    }
    Ok(())
}

/// Boots an image of one program.
pub fn run_alone(tools: &Tools, program: &Program, place: Place) -> Result<Run> {
    let image = program.image(tools, place)?;
    let d = &program.directives;
    let mut env = d.env.clone();
    env.extend(place.environment());
    env.push(format!("UKL_HELPERS={GUEST_HELPERS}"));
    let boot = Boot {
        image: &image,
        place,
        machine: &d.machine,
        limit: d.timeout,
        silence: None,
        options: &d.run_args,
        env: &env,
        args: &d.args,
        name: &format!("{}-{}", place.name(), program.name),
    };
    let (output, log) = boot.run_past_faults(tools)?;
    let mut trouble = None;
    let end = match output.end {
        // ukl-run reports a signal by the exit status, as a shell does.
        Some(End::Exit(code)) if code > 128 && code < 128 + 65 => Some(End::Signal(code - 128)),
        Some(End::Exit(124)) => None,
        Some(End::Exit(code @ (125 | 255))) => {
            trouble = Some(format!(
                "ukl-run ended with {code}; the end of the kernel's log:\n{}",
                process::tail(log.as_bytes(), 3000)
            ));
            None
        }
        end => end,
    };
    Ok(Run {
        end,
        stdout: output.stdout,
        stderr: output.stderr,
        log,
        trouble,
    })
}

/// Runs the host output on this machine.
pub fn run_on_host(tools: &Tools, program: &Program) -> Result<Run> {
    let built = program.build(tools, Place::Host)?;
    let d = &program.directives;
    for name in &d.helpers {
        crate::compile::helper(tools, name)?;
    }
    let mut command = Command::new(&built.host);
    command
        .args(&d.args)
        .env("UKL_EXPECT_RING", Place::Host.ring())
        .env("UKL_HELPERS", crate::compile::host_helpers(tools));
    for variable in &d.env {
        if let Some((name, value)) = variable.split_once('=') {
            command.env(name, value);
        }
    }
    let output = process::run(&mut command, tools::patient(d.timeout))?;
    Ok(Run {
        end: output.end,
        stdout: output.stdout,
        stderr: output.stderr,
        ..Run::default()
    })
}
