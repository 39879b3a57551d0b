//! The guest's init.
//!
//! It runs at ring 3 beside the program. It prepares the guest before the program starts, and
//! cleans up after the program ends. The steps, in order, each in its own file:
//!
//! 1. [`mounts`]: mounts the kernel's file systems, and later the volumes of the host;
//! 2. [`config`]: reads the image's configuration and the records of `ukl-run`;
//! 3. [`kernel_code`]: loads the program's kernel module, if it has one; [`seal`]: lets processes
//!    without privileges start the image's programs, if the image requests it;
//! 4. [`ports`], [`status`] and [`streams`]: open the channels to `ukl-run`, and copy data between
//!    them and the program's pipes;
//! 5. [`net`]: configures loopback and the network card, with [`dhcp`] if `ukl-run` passed no
//!    address;
//! 6. [`program`]: makes the ring-3 variant if requested, starts the program, and reaps processes;
//! 7. [`power`]: stops the machine.
//!
//! [`ukl_proto`] defines the formats of everything that init reads from outside.

pub mod config;
pub mod dhcp;
pub mod error;
pub mod fw_cfg;
pub mod kernel_code;
pub mod mounts;
pub mod net;
pub mod ports;
pub mod power;
pub mod program;
pub mod seal;
pub mod status;
pub mod streams;
mod sys;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ukl_proto::image_conf::ImageConf;
use ukl_proto::run;
use ukl_proto::run::Ring;
use ukl_proto::run::Stdio;
use ukl_proto::status::Output;
use ukl_proto::status::Report;
use ukl_proto::status::Request;

use error::Error;
use error::Result;
use program::Ended;
use program::Program;
use status::Status;
use streams::Controls;
use streams::Streams;

/// Prints a line to the console, to which the kernel's log also goes.
pub fn say(text: impl std::fmt::Display) {
    use std::io::Write as _;
    // If the console does not work, there is nowhere else to print.
    let _ = writeln!(std::io::stderr(), "ukl-init: {text}");
}

/// Runs the guest from the first mount to power-off.
pub fn run() -> ! {
    // If init exits, the kernel panics. This stops the machine, and ukl-run reports it.
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
                status.send(&Report::Error(error.to_string()));
            }
            Ended::Exited(125)
        }
    };
    program::kill_everything();
    mounts::flush();
    if let Some(status) = &status {
        status.send(&ended.report());
        status.wait_for_goodbye();
    } else {
        ended.tell();
    }
    power::off()
}

/// All steps up to the end of the program and of its output.
fn guest(status: &mut Option<Arc<Status>>) -> Result<Ended> {
    mounts::kernel_file_systems();
    let image = config::image();
    let loaded = image.as_ref().ok().map(load_kernel_code);
    // Loading the module writes to the program's file, which would remove its file capability, so
    // sealing comes afterwards.
    let sealed = match &image {
        Ok(image) if image.anyone_starts => seal::programs(),
        _ => Ok(()),
    };
    let records = config::records()?;
    // The status port is opened first, because it carries errors, including that the records have
    // another version.
    if records.as_deref().is_some_and(run::has_status_port) {
        *status = Some(Arc::new(Status::open()?));
    }
    let run = config::run(records.as_deref())?;
    let image = image?;
    loaded.transpose()?;
    sealed?;
    sys::set_hostname(&run.hostname);
    net::add_host(&run.hostname);
    sys::raise_limits();
    net::bring_up(&run.network);
    let marked = program::marked(&image);
    mounts::volumes(&run)?;
    if run.ring == Ring::Zero {
        program::check_marks(&marked)?;
    }

    let mut streams = Streams::new(&run)?;
    let path = program::for_ring(&image, run.ring)?;
    for command in &run.beside {
        program::start_beside(command, &run, &image.start, &path)?;
    }
    let policy = run.policy.or(image.policy);
    if policy.shares_stacks() && !image.policy.shares_stacks() {
        let what = "its stacks cannot be shared: it was not linked with --ukl-stack=shared";
        return Err(Error(format!("{}: {what}", image.program)));
    }
    if let Some(size) = image.stack_size {
        kernel_code::set_stack_size(size)?;
    }
    let handles = streams.take()?;
    let tty = run.stdio != Stdio::Ports;
    let program = Program::start(&path, &run, &image.start, policy, handles, tty)?;
    let program = Arc::new(program);
    if let Some(status) = status {
        status.send(&Report::Started);
        let (program, controls) = (Arc::clone(&program), streams.controls());
        status.listen(move |request| obey(request, &program, &controls));
    }
    let ended = program.wait();
    // Other processes may still have the program's pipes open.
    program::kill_everything();
    let sent = streams.drain();
    if let Some(status) = status {
        status.send(&Report::Sent {
            stdout: sent.stdout.load(Ordering::Acquire),
            stderr: sent.stderr.load(Ordering::Acquire),
        });
    }
    Ok(ended)
}

fn load_kernel_code(image: &ImageConf) -> Result<()> {
    match &image.kernel_code {
        Some(code) => kernel_code::load(code, Path::new(&image.program)),
        None => Ok(()),
    }
}

/// Handles a request of `ukl-run` while the program runs.
fn obey(request: Request, program: &Program, controls: &Controls) {
    match request {
        Request::Signal(number) => program.signal(number),
        Request::Closed(Output::Stdout) => controls.close_stdout(),
        Request::Closed(Output::Stderr) => controls.close_stderr(),
        Request::Window { rows, columns } => controls.resize(rows, columns),
        // The status port handles this itself.
        Request::Goodbye => {}
    }
}

/// Makes a function that prefixes an error with what failed.
pub(crate) fn failed(what: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> Error {
    move |error| Error(format!("{what}: {error}"))
}
