//! The guest's init.
//!
//! It runs at ring 3 beside the program, and does what a process needs to have done before it
//! starts and after it ends. In order, one file each:
//!
//! 1. [`mounts`]: the kernel's file systems, later the volumes of the host;
//! 2. [`kernel_code`]: the program's part in the kernel, if it has one; [`seal`]: the image's
//!    programs become immutable;
//! 3. [`config`]: what the image says, and what ukl-run says through the firmware;
//! 4. [`ports`] and [`streams`]: the channels to ukl-run and the pumps behind the program's pipes;
//! 5. [`net`]: loopback and the network card, with [`dhcp`] where nobody gave an address;
//! 6. [`policy`] and [`program`]: the ring-3 variant if asked for, fork and exec, reaping;
//! 7. [`power`]: the end.

pub mod config;
pub mod dhcp;
pub mod error;
pub mod fw_cfg;
pub mod kernel_code;
pub mod mounts;
pub mod net;
pub mod policy;
pub mod ports;
pub mod power;
pub mod program;
pub mod seal;
pub mod streams;
mod sys;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use config::Config;
use config::Stdio;
use error::Error;
use error::Result;
use ports::Status;
use program::Ended;
use program::Program;
use streams::Streams;

/// Prints a line to the console, which is where the kernel's log goes.
pub fn say(text: impl std::fmt::Display) {
    use std::io::Write as _;
    // There is nobody to tell when the console does not work.
    let _ = writeln!(std::io::stderr(), "ukl-init: {text}");
}

/// Runs the guest from the first mount to power-off.
pub fn run() -> ! {
    // The end of init is a kernel panic, which ukl-run takes note of; half an init is nothing.
    std::panic::set_hook(Box::new(|info| {
        say(format_args!("bug: {info}"));
        std::process::abort();
    }));
    let mut status = None;
    let ended = match guest(&mut status) {
        Ok(ended) => ended,
        Err(error) => {
            say(format_args!("error: {error}"));
            if let Some(status) = &status {
                status.line(&format!("error {}", error.to_string().replace('\n', " ")));
            }
            Ended::Exited(125)
        }
    };
    program::kill_everything();
    mounts::flush();
    if let Some(status) = &status {
        status.line(&ended.to_string());
        status.wait_for_goodbye();
    } else {
        ended.tell();
    }
    power::off()
}

/// Everything up to the end of the program and of its output.
fn guest(status: &mut Option<Arc<Status>>) -> Result<Ended> {
    mounts::kernel_file_systems();
    let image = config::Image::read();
    // Nothing may write to a program that is sealed.
    let loaded = image.as_ref().ok().map(config::Image::load_kernel_code);
    seal::programs();
    let blob = config::blob()?;
    let config = match &blob {
        Some(blob) => Config::parse(blob)?,
        None => Config::of_plain_boot(),
    };
    // First of all the channel on which errors are told.
    if config.stdio != Stdio::Console {
        *status = Some(Arc::new(Status::open()?));
    }
    let image = image?;
    loaded.transpose()?;
    sys::set_hostname(&config.hostname);
    sys::raise_limits();
    net::bring_up(&config.network);
    mounts::volumes(&config)?;

    let mut streams = Streams::new(&config)?;
    let path = program::for_ring(&image, config.ring)?;
    for command in &config.beside {
        program::start_beside(command, &config, &path)?;
    }
    let policy = config.policy.or(image.policy);
    if policy.shares_stacks() && !image.policy.shares_stacks() {
        let what = "its stacks cannot be shared: it was not linked with --ukl-stack=shared";
        return Err(Error(format!("{}: {what}", image.program.display())));
    }
    policy.tell()?;
    let program = Arc::new(Program::start(&path, &config, policy, &mut streams)?);
    if let Some(status) = status {
        status.line("started");
        status.listen(Arc::clone(&program), streams.controls());
    }
    let ended = program.wait();
    // What it has left behind may still hold its pipes.
    program::kill_everything();
    let sent = streams.drain();
    if let Some(status) = status {
        status.line(&format!(
            "sent {} {}",
            sent.stdout.load(Ordering::Acquire),
            sent.stderr.load(Ordering::Acquire)
        ));
    }
    Ok(ended)
}

/// `error` with what was being done.
pub(crate) fn failed(what: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> Error {
    move |error| Error(format!("{what}: {error}"))
}
