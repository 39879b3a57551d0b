//! One boot.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::compile::GUEST_HELPERS;
use crate::compile::Program;
use crate::directives::End;
use crate::directives::Machine;
use crate::directives::Place;
use crate::emulation;
use crate::process;
use crate::process::Output;
use crate::tools;
use crate::tools::Tools;
use crate::verdict::Run;

/// What a boot may take before the program starts and after it has ended.
pub const BOOT: Duration = Duration::from_secs(60);

/// How often a boot is made again after a fault of the emulation
/// ([`emulation::has_failed`]).
const TRIES: u32 = 3;

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
    /// More options for `ukl-run`.
    pub options: &'a [String],
    /// The program's environment.
    pub env: &'a [String],
    /// The program's arguments.
    pub args: &'a [String],
    /// Where the kernel's log goes.
    pub log: PathBuf,
}

impl Boot<'_> {
    /// The command that makes it.
    pub fn command(&self, tools: &Tools) -> Command {
        let mut command = Command::new(tools.tool("ukl-run"));
        let limit = tools::patient(self.limit + BOOT);
        command
            .arg("-m")
            .arg(&self.machine.memory)
            .args(["--cpus", &self.machine.cpus.to_string()])
            .args(["--timeout", &limit.as_secs().max(1).to_string()])
            // Every line that the driver writes into the log has to get there.
            .args(["--append", "printk.devkmsg=on"])
            .arg("--log")
            .arg(&self.log);
        command.args(self.place.options());
        for variable in self.env {
            command.args(["-e", variable]);
        }
        command.args(self.options).arg(self.image).args(self.args);
        command
    }

    /// Makes it. The log is returned even when the machine died. Where it died of the emulation, it
    /// is made again.
    pub fn run(&self, tools: &Tools) -> Result<(Output, String)> {
        for _ in 0..TRIES {
            let done = self.run_once(tools)?;
            if !emulation::has_failed(&self.log) {
                return Ok(done);
            }
        }
        self.run_once(tools)
    }

    fn run_once(&self, tools: &Tools) -> Result<(Output, String)> {
        if let Some(dir) = self.log.parent() {
            fs::create_dir_all(dir)?;
        }
        let _ = fs::remove_file(&self.log);
        // ukl-run has a time limit of its own; this one is for ukl-run.
        let limit = tools::patient(self.limit + 2 * BOOT);
        let output = process::run(&mut self.command(tools), limit)?;
        let log = fs::read(&self.log).unwrap_or_default();
        Ok((output, String::from_utf8_lossy(&log).into_owned()))
    }
}

/// Boots an image of one program.
pub fn run_alone(tools: &Tools, program: &Program, place: Place) -> Result<Run> {
    let image = program.image(tools, place)?;
    let d = &program.directives;
    let mut env = d.env.clone();
    env.extend(place.environment());
    env.push(format!("UKL_HELPERS={GUEST_HELPERS}"));
    let log = tools
        .out
        .join("logs")
        .join(format!("{}-{}.log", place.name(), program.name));
    let boot = Boot {
        image: &image,
        place,
        machine: &d.machine,
        limit: d.timeout,
        options: &d.run_args,
        env: &env,
        args: &d.args,
        log,
    };
    let (output, log) = boot.run(tools)?;
    let mut trouble = None;
    let end = match output.end {
        // ukl-run says how the program was killed as a shell does.
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
