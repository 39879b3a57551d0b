//! The plan: what the options mean for this image on this host.

mod accel;
mod locate;
mod publish;
mod request;

use std::ffi::OsString;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

pub use accel::Accel;
pub use request::Share;
pub use request::Stdio;

use crate::args::Args;
use crate::args::values::Forward;
use crate::args::values::Machine;
use crate::args::values::Size;
use crate::error::Error;
use crate::error::Result;
use crate::sys;
use crate::terminal;
use locate::Image;

/// The machine to start, and what to run in it.
#[derive(Debug)]
pub struct Plan {
    /// QEMU.
    pub qemu: PathBuf,
    /// The image.
    pub image: PathBuf,
    /// The kind of machine.
    pub machine: Machine,
    /// How its instructions are executed.
    pub accel: Accel,
    /// Its memory.
    pub memory: Size,
    /// Its number of processors.
    pub cpus: u16,
    /// Whether it has a network card.
    pub net: bool,
    /// Forwarded ports.
    pub forwards: Vec<Forward>,
    /// The host's directories.
    pub shares: Vec<Share>,
    /// How the streams travel.
    pub stdio: Stdio,
    /// The kernel's command line.
    pub cmdline: String,
    /// The records for init, in the image's version of the protocol.
    pub records: Vec<u8>,
    /// The port on which gdb may attach.
    pub gdb: Option<u16>,
    /// More arguments for QEMU.
    pub qemu_args: Vec<OsString>,
    /// The time limit.
    pub timeout: Option<Duration>,
    /// Whether to print the kernel's log.
    pub console: bool,
    /// Where to keep the kernel's log.
    pub log: Option<PathBuf>,
    /// Whether to print what is done.
    pub verbose: bool,
}

impl Plan {
    /// Makes the plan. Fails if the options ask for something that the host or the image does not
    /// have.
    pub fn new(args: &Args) -> Result<Self> {
        let image = Image::find(Path::new(&args.command[0]))?;
        image.check_memory(args.memory)?;
        let accel = Accel::choose(args);
        if args.icount && args.cpus > 1 {
            return Err(Error::Request(
                "--icount works with one processor only".into(),
            ));
        }
        let stdio = match terminal::is_ours() && !args.no_tty {
            true => Stdio::Tty,
            false => Stdio::Ports {
                merged: sys::same_file(1, 2),
            },
        };
        let (run, shares) = request::build(args, stdio)?;
        let mut forwards = args.publish.clone();
        if args.publish_all {
            forwards.extend(publish::all(&image.path, &forwards)?);
        }
        let records = run
            .encode(image.version)
            .map_err(|error| Error::Request(error.to_string()))?;
        Ok(Plan {
            qemu: std::env::var_os("UKL_QEMU")
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| "qemu-system-x86_64".into())
                .into(),
            image: image.path,
            machine: args.machine,
            accel,
            memory: args.memory,
            cpus: args.cpus,
            net: !args.no_net,
            forwards,
            shares,
            stdio,
            cmdline: cmdline(args, accel),
            records,
            gdb: args.gdb,
            qemu_args: args.qemu_args.clone(),
            timeout: args.timeout,
            console: args.console,
            log: args.log.clone(),
            verbose: args.verbose,
        })
    }
}

/// The kernel's command line.
fn cmdline(args: &Args, accel: Accel) -> String {
    // The kernel checks its timer's interrupt for a few ticks, and panics if a busy host has not
    // delivered it by then.
    let mut cmdline = String::from("console=ttyS0 panic=-1 no_timer_check");
    if accel != Accel::Kvm {
        // On a busy host, the kernel may find an emulated time stamp counter unstable. It would then
        // patch its own code for another clock while all CPUs run: docs/bugs.md, int3.
        cmdline += " tsc=nowatchdog";
    }
    if args.machine == Machine::Microvm {
        // The kernel would first try to reset the machine by the keyboard controller, which this
        // machine does not have.
        cmdline += " reboot=t";
    }
    for words in &args.append {
        cmdline.push(' ');
        cmdline += words;
    }
    cmdline
}
