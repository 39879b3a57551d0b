//! The command line.

mod gdb_port;
pub mod values;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::CommandFactory as _;
use clap::Parser;
use clap::builder::PossibleValue;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;
use ukl_proto::policy::Return;
use ukl_proto::policy::Setting;
use ukl_proto::policy::Stack;
use ukl_proto::policy::Transition;

use values::Forward;
use values::Machine;
use values::Size;
use values::Volume;
use values::Words;
use values::seconds;

/// The port that `--gdb` takes without a number.
const GDB_PORT: &str = "1234";

const ENVIRONMENT: &str = "\
Environment:
  UKL_QEMU        QEMU, instead of the first qemu-system-x86_64 in PATH
  UKL_LIBDIR      The directory with kernel/, where --gdb finds the kernel's symbols
  XDG_CACHE_HOME  The directory whose ukl/ holds what links left for --gdb and for programs that
                  were copied, instead of ~/.cache";

/// Runs a Unikernel Linux image as if it were a command.
///
/// The program's standard input, output and error are those of ukl-run. The exit status is the
/// program's, or 128 + N if signal N killed it. Other exit statuses: 255 if the guest ended without
/// one (the end of the kernel's log is printed), 124 if the time limit was reached, 125 if ukl-run
/// itself failed.
///
/// SIGINT (Ctrl-C) and SIGTERM are passed to the program. If the program does not end, the machine
/// is stopped.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "ukl-run",
    version,
    after_help = ENVIRONMENT,
    max_term_width = 100,
    args_override_self = true
)]
pub struct Args {
    /// Memory of the machine, in MiB or with a suffix (K, M, G).
    #[arg(short, long, value_name = "SIZE", default_value = "512M")]
    pub memory: Size,

    /// Number of processors.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub cpus: u16,

    /// Forward a port of the host to the program. The host's address is 127.0.0.1 unless given.
    #[arg(short, long = "publish", value_name = "[ADDR:]HOST:GUEST[/udp]")]
    pub publish: Vec<Forward>,

    /// Forward each port that the image names as served (ukl-pack --expose, or a container's
    /// EXPOSE) from the same port of 127.0.0.1, unless --publish forwards it.
    #[arg(short = 'P', long)]
    pub publish_all: bool,

    /// Mount a directory of the host in the guest. Writes go straight to the host.
    #[arg(short, long = "volume", value_name = "HOSTDIR:GUESTDIR[:ro]")]
    pub volume: Vec<Volume>,

    /// Set a variable in the program's environment; without a value, to its value on the host.
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    pub env: Vec<OsString>,

    /// Append to the kernel's command line.
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    pub append: Vec<String>,

    /// Let gdb attach on this port (1234) and wait for it; the command to type is printed.
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true,
          default_missing_value = GDB_PORT)]
    pub gdb: Option<u16>,

    /// Run the program as an ordinary process at ring 3, for comparison.
    #[arg(long)]
    pub ring3: bool,

    /// How system calls enter the kernel, instead of the image's setting.
    #[arg(long, value_name = "KIND", value_parser = setting::<Transition>())]
    pub transition: Option<Transition>,

    /// Take the full path after every N bypassed calls.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub bypass_limit: Option<u8>,

    /// How the kernel returns to the program after faults and interrupts, instead of the image's
    /// setting.
    #[arg(long = "return", value_name = "KIND", value_parser = setting::<Return>())]
    pub return_by: Option<Return>,

    /// The stack that a kernel function runs on when a system call bypasses, instead of the image's
    /// setting. `shared` needs an image that was linked with --ukl-stack=shared.
    #[arg(long, value_name = "KIND", value_parser = setting::<Stack>())]
    pub stack: Option<Stack>,

    /// Stop the machine after this many seconds, with exit status 124.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,

    /// Print QEMU's command line and do nothing.
    #[arg(long)]
    pub dry_run: bool,

    /// Print the kernel's log on standard error.
    #[arg(long)]
    pub console: bool,

    /// Write the kernel's log to this file and keep it.
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,

    /// The program's working directory in the guest, instead of the image's, which is / unless
    /// ukl-pack set another.
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<PathBuf>,

    /// Run an ordinary process beside the program. Its output goes to the kernel's log.
    #[arg(long, value_name = "COMMAND")]
    pub beside: Vec<Words>,

    /// Run the program with this command in front of it: `--wrap 'strace -f'`.
    #[arg(long, value_name = "COMMAND")]
    pub wrap: Option<Words>,

    /// Mount the host's /usr, /lib, /bin, /sbin and /etc in the guest, read-only, so that gdb,
    /// strace or a shell can run there.
    #[arg(long)]
    pub host_tools: bool,

    /// The kind of machine.
    #[arg(long, value_enum, default_value_t = Machine::Q35)]
    pub machine: Machine,

    /// Derive the machine's time from the number of instructions, so that equal runs take equal
    /// time. Implies --no-kvm and one processor.
    #[arg(long)]
    pub icount: bool,

    /// Pass an argument to QEMU.
    #[arg(long = "qemu-arg", value_name = "ARG", allow_hyphen_values = true)]
    pub qemu_args: Vec<OsString>,

    /// Do not use hardware virtualisation, even if the host has it.
    #[arg(long)]
    pub no_kvm: bool,

    /// Do not give the machine a network card.
    #[arg(long, conflicts_with_all = ["publish", "publish_all"])]
    pub no_net: bool,

    /// Connect the program by pipes, even if ukl-run runs in a terminal.
    #[arg(long)]
    pub no_tty: bool,

    /// Print the accelerator that is used, and how long the guest took to start.
    #[arg(long)]
    pub verbose: bool,

    /// The image, or the program that the image is beside, and the program's arguments.
    #[arg(value_name = "PROG[.ukl]", required = true, num_args = 1.., trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

impl Args {
    /// Reads the words of a command line.
    pub fn read(words: impl Iterator<Item = OsString>) -> Result<Self, clap::Error> {
        Args::try_parse_from(gdb_port::join(&Args::command(), words.collect()))
    }
}

/// Reads the value of a policy setting, with the names that the guest protocol has for it.
fn setting<S: Setting + Send + Sync>() -> impl TypedValueParser<Value = S> {
    let values = S::ALL.iter().map(|value| {
        let possible = PossibleValue::new(value.name()).help(value.about());
        match value.alias() {
            Some(alias) => possible.alias(alias),
            None => possible,
        }
    });
    PossibleValuesParser::new(values).try_map(|name| S::from_name(&name).ok_or(S::EXPECTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Args, clap::Error> {
        Args::read(["ukl-run"].iter().chain(words).map(OsString::from))
    }

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn what_follows_the_program_is_the_programs() {
        let args = read(&["-m", "1G", "prog", "-m", "--gdb", "1", "--", "-x"]).unwrap();
        assert_eq!(args.memory, Size(1 << 20));
        assert_eq!(args.command, ["prog", "-m", "--gdb", "1", "--", "-x"]);
        assert_eq!(args.gdb, None);
    }

    #[test]
    fn gdb_takes_a_port_or_none() {
        for (words, port) in [
            (vec!["--gdb", "prog"], 1234),
            (vec!["--gdb", "99", "prog"], 99),
            (vec!["--gdb=99", "prog"], 99),
            (
                vec![
                    "-m", "1G", "--append", "--x", "--ring3", "--gdb", "99", "prog",
                ],
                99,
            ),
        ] {
            let args = read(&words).unwrap();
            assert_eq!(
                (args.gdb, args.command),
                (Some(port), vec!["prog".into()]),
                "{words:?}"
            );
        }
    }

    #[test]
    fn policy_values_have_old_names_too() {
        for words in [
            ["--return=jump", "--stack=kernel", "p"],
            ["--return=ret", "--stack=own", "p"],
        ] {
            let args = read(&words).unwrap();
            assert_eq!(args.return_by, Some(Return::Jump));
            assert_eq!(args.stack, Some(Stack::Kernel));
        }
        let error = read(&["--return=sysret", "p"]).unwrap_err().to_string();
        assert!(error.contains("iret, jump"), "{error}");
    }

    #[test]
    fn bad_arguments_are_refused() {
        for words in [
            &[][..],
            &["--cpus", "0", "p"],
            &["--timeout", "x", "p"],
            &["--timeout", "-1", "p"],
            &["--machine", "s390", "p"],
            &["--nonsense", "p"],
            &["--no-net", "-p", "1:2", "p"],
            &["--bypass-limit", "0", "p"],
            &["--transition", "warp", "p"],
            &["--wrap", "'open", "p"],
            &["--beside", "", "p"],
        ] {
            assert!(read(words).is_err(), "{words:?}");
        }
    }
}
