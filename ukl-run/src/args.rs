//! The command line.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::CommandFactory as _;
use clap::Parser;
use clap::ValueEnum;

/// The port that `--gdb` takes without a number.
const GDB_PORT: &str = "1234";

const ENVIRONMENT: &str = "\
Environment:
  UKL_QEMU        QEMU, instead of the first qemu-system-x86_64 in PATH
  UKL_LIBDIR      Where kernel/ is, which --gdb reads the kernel's symbols from
  XDG_CACHE_HOME  The directory of ukl/, with the debug copies for --gdb and the paths of images,
                  instead of ~/.cache";

/// Runs a Unikernel Linux image as if it were a command.
///
/// The program uses ukl-run's standard input, output and error, and ukl-run exits with the program's
/// exit status, or with 128 + N if signal N killed the program. Other exit statuses: 255 if the
/// guest stopped without reporting a status (the end of the kernel's log is printed), 124 after a
/// timeout, 125 if ukl-run itself failed.
///
/// Ctrl-C and SIGTERM are passed to the program. If it does not end, the machine is stopped.
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

    /// Forward a port of the host to the guest. The host address is 127.0.0.1 unless given.
    #[arg(short, long = "publish", value_name = "[ADDR:]HOST:GUEST[/udp]")]
    pub publish: Vec<Forward>,

    /// Share a directory of the host with the guest. Writes go to the host at once.
    #[arg(short, long = "volume", value_name = "HOSTDIR:GUESTDIR[:ro]")]
    pub volume: Vec<Volume>,

    /// Set an environment variable of the program; without a value, copy ukl-run's.
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    pub env: Vec<OsString>,

    /// Append to the kernel's command line.
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    pub append: Vec<String>,

    /// Wait for gdb on this port (1234), and print the gdb command to run.
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true,
          default_missing_value = GDB_PORT)]
    pub gdb: Option<u16>,

    /// Run the program as an ordinary process at ring 3, for comparison.
    #[arg(long)]
    pub ring3: bool,

    /// How system calls enter the kernel, if not as the image says.
    #[arg(long, value_enum)]
    pub transition: Option<Transition>,

    /// Of so many bypassing system calls and one, one does all that Linux does on the way.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub bypass_limit: Option<u8>,

    /// How the kernel returns to the program where nothing called it, if not as the image says.
    #[arg(long = "return", value_enum)]
    pub return_by: Option<Return>,

    /// The stack of a bypassing system call, if not as the image says. An image that was not linked
    /// for shared stacks has none.
    #[arg(long, value_enum)]
    pub stack: Option<Stack>,

    /// Stop the machine after this time, with exit status 124.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,

    /// Print QEMU's command line and exit.
    #[arg(long)]
    pub dry_run: bool,

    /// Print the kernel's log on standard error.
    #[arg(long)]
    pub console: bool,

    /// Write the kernel's log to this file.
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,

    /// The program's working directory in the guest.
    #[arg(short, long, value_name = "DIR", default_value = "/")]
    pub workdir: PathBuf,

    /// Run an ordinary process next to the program. Its output goes to the kernel's log.
    #[arg(long, value_name = "COMMAND")]
    pub beside: Vec<String>,

    /// Run the program through this command, as in `--wrap 'strace -f'`.
    #[arg(long, value_name = "COMMAND")]
    pub wrap: Option<String>,

    /// Share the host's /usr, /lib, /bin, /sbin and /etc with the guest, read-only, so that gdb,
    /// strace or a shell can run there.
    #[arg(long)]
    pub host_tools: bool,

    /// The kind of machine.
    #[arg(long, value_enum, default_value_t = Machine::Q35)]
    pub machine: Machine,

    /// Derive the guest's time from the number of executed instructions, so that each run takes the
    /// same time. Implies --no-kvm and one processor.
    #[arg(long)]
    pub icount: bool,

    /// Pass an argument to QEMU.
    #[arg(long = "qemu-arg", value_name = "ARG", allow_hyphen_values = true)]
    pub qemu_args: Vec<OsString>,

    /// Do not use hardware virtualisation even if it is available.
    #[arg(long)]
    pub no_kvm: bool,

    /// Do not give the machine a network card.
    #[arg(long, conflicts_with = "publish")]
    pub no_net: bool,

    /// Connect the program through pipes even if ukl-run runs in a terminal.
    #[arg(long)]
    pub no_tty: bool,

    /// Print which accelerator is used, and how long the guest took to start.
    #[arg(long)]
    pub verbose: bool,

    /// The image, or the program next to it, followed by the program's arguments.
    #[arg(value_name = "PROG[.ukl]", required = true, num_args = 1.., trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

/// How a system call enters the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Transition {
    /// With all that Linux does on the way.
    Base,
    /// By a call of the kernel's own function for it.
    Bypass,
}

/// How the kernel returns to the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Return {
    /// By that instruction.
    Iret,
    /// Without it.
    Ret,
}

/// The stack that a kernel function runs on when a program calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Stack {
    /// The kernel's for the thread.
    Own,
    /// The thread's, which the kernel sees in its own half of the address space, too.
    Shared,
}

impl Args {
    /// Reads the words of a command line.
    pub fn read(words: impl Iterator<Item = OsString>) -> Result<Self, clap::Error> {
        Args::try_parse_from(join_gdb_port(words.collect()))
    }
}

/// Makes `--gdb 99` one word.
///
/// clap would take any word after `--gdb` for the port, even the program's name. Therefore clap
/// accepts a port only after a `=`, and this function handles a port after a space.
fn join_gdb_port(mut words: Vec<OsString>) -> Vec<OsString> {
    let command = Args::command();
    let takes_value = |word: &str| {
        let argument = match word.strip_prefix("--") {
            Some(name) => command.get_arguments().find(|a| a.get_long() == Some(name)),
            None if word.len() == 2 => command
                .get_arguments()
                .find(|a| a.get_short() == word.chars().nth(1)),
            // `-m512M` has its value with it.
            None => None,
        };
        argument.is_some_and(|a| a.get_action().takes_values() && !a.is_require_equals_set())
    };
    let mut at = 1;
    while at < words.len() {
        let Some(word) = words[at].to_str().filter(|word| word.starts_with('-')) else {
            break;
        };
        if word == "--" {
            break;
        }
        if word == "--gdb" {
            let port = words
                .get(at + 1)
                .and_then(|word| word.to_str())
                .map(str::to_owned);
            if let Some(port) = port.filter(|port| port.bytes().all(|b| b.is_ascii_digit())) {
                words[at] = format!("--gdb={port}").into();
                words.remove(at + 1);
            }
        } else if takes_value(word) {
            at += 1;
        }
        at += 1;
    }
    words
}

/// The kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Machine {
    /// A modern PC with PCI Express.
    Q35,
    /// An older PC with PCI.
    Pc,
    /// A minimal machine, which starts fastest.
    Microvm,
}

impl Machine {
    /// QEMU's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Machine::Q35 => "q35",
            Machine::Pc => "pc",
            // The ACPI tables of microvm say that there is no legacy hardware. Linux would believe
            // that and find no clock.
            Machine::Microvm => "microvm,acpi=off",
        }
    }

    /// The suffix of the names of its virtio devices.
    pub fn bus(self) -> &'static str {
        match self {
            Machine::Microvm => "device",
            _ => "pci",
        }
    }
}

/// An amount of memory, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not an amount of memory such as 512M");
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let number: u64 = digits.parse().map_err(|_| bad())?;
        let unit: u64 = match text[digits.len()..].to_ascii_lowercase().as_str() {
            "k" | "kb" | "kib" => 1,
            "" | "m" | "mb" | "mib" => 1 << 10,
            "g" | "gb" | "gib" => 1 << 20,
            _ => return Err(bad()),
        };
        let size = number
            .checked_mul(unit)
            .filter(|size| *size < 1 << 40)
            .ok_or_else(bad)?;
        if size < 1 << 10 {
            return Err(format!(
                "{text}: no machine works with less than 1M of memory"
            ));
        }
        Ok(Size(size))
    }
}

/// The protocol of a forwarded port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A forwarded port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// The host's address.
    pub address: Ipv4Addr,
    /// The host's port.
    pub host: u16,
    /// The guest's port.
    pub guest: u16,
    /// The protocol.
    pub protocol: Protocol,
}

impl FromStr for Forward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not [ADDR:]HOST:GUEST[/udp]");
        let (ports, protocol) = match text.split_once('/') {
            None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some(_) => return Err(bad()),
        };
        let parts: Vec<&str> = ports.split(':').collect();
        let (address, host, guest) = match parts[..] {
            [host, guest] => (Ipv4Addr::LOCALHOST, host, guest),
            [address, host, guest] => (address.parse().map_err(|_| bad())?, host, guest),
            _ => return Err(bad()),
        };
        let port = |text: &str| text.parse().ok().filter(|port| *port != 0).ok_or_else(bad);
        Ok(Forward {
            address,
            host: port(host)?,
            guest: port(guest)?,
            protocol,
        })
    }
}

/// A directory of the host that is shared with the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its path on the host.
    pub host: PathBuf,
    /// Its path in the guest.
    pub guest: String,
    /// Whether the guest may only read it.
    pub read_only: bool,
}

impl FromStr for Volume {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not HOSTDIR:GUESTDIR[:ro] with an absolute GUESTDIR");
        let (paths, read_only) = match text.strip_suffix(":ro") {
            Some(paths) => (paths, true),
            None => (text.strip_suffix(":rw").unwrap_or(text), false),
        };
        let (host, guest) = paths.rsplit_once(':').ok_or_else(bad)?;
        if host.is_empty() || !guest.starts_with('/') || guest == "/" {
            return Err(bad());
        }
        Ok(Volume {
            host: host.into(),
            guest: guest.into(),
            read_only,
        })
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .filter(|seconds| *seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| format!("`{text}` is not a number of seconds"))
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
    fn forwarded_ports() {
        let forward = |text: &str| text.parse::<Forward>();
        let udp = Forward {
            address: Ipv4Addr::UNSPECIFIED,
            host: 53,
            guest: 5353,
            protocol: Protocol::Udp,
        };
        assert_eq!(forward("0.0.0.0:53:5353/udp"), Ok(udp));
        assert_eq!(forward("80:8080/tcp").unwrap().address, Ipv4Addr::LOCALHOST);
        for bad in [
            "",
            "80",
            "0:80",
            "80:0",
            "80:99999",
            "x:80",
            "1:2:3:4",
            "80:80/sctp",
            "a:1:2",
        ] {
            assert!(forward(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn volumes() {
        let volume = |text: &str| text.parse::<Volume>();
        let read_only = Volume {
            host: "a:b".into(),
            guest: "/c".into(),
            read_only: true,
        };
        assert_eq!(volume("a:b:/c:ro"), Ok(read_only));
        assert!(!volume(".:/c").unwrap().read_only);
        assert!(!volume(".:/c:rw").unwrap().read_only);
        for bad in ["", "a", "a:b", ":/b", "a:/", "a:/b:rx"] {
            assert!(volume(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        let size = |text: &str| text.parse::<Size>();
        assert_eq!(size("512M"), Ok(Size(512 << 10)));
        assert_eq!(size("64"), Ok(Size(64 << 10)));
        assert_eq!(size("2GiB"), Ok(Size(2 << 20)));
        assert_eq!(size("2048k"), Ok(Size(2048)));
        for bad in [
            "",
            "M",
            "1T",
            "-1",
            "99999999999999999999",
            "18446744073709551615G",
            "1K",
        ] {
            assert!(size(bad).is_err(), "{bad}");
        }
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
        ] {
            assert!(read(words).is_err(), "{words:?}");
        }
    }
}
