//! What the command line comes to.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use crate::args::Args;
use crate::args::Forward;
use crate::args::Machine;
use crate::args::Size;
use crate::error::Error;
use crate::error::Result;
use crate::sys;
use crate::terminal;

/// QEMU's user network.
const NETWORK: &str = "10.0.2.15/24,10.0.2.2,10.0.2.3";
/// Where the host keeps its tools and what they need.
const TOOLS: &[&str] = &["/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc"];

/// How instructions of the guest are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// By the processor.
    Kvm,
    /// By translation.
    Tcg,
    /// By translation, with a clock that counts instructions.
    Icount,
}

/// A directory that QEMU serves to the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The directory.
    pub host: PathBuf,
    /// The name by which the guest asks for it.
    pub tag: String,
    /// Whether it may only be read.
    pub read_only: bool,
}

/// How the program's streams travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdio {
    /// Each on its own port.
    Ports {
        /// Whether stderr goes where stdout goes.
        merged: bool,
    },
    /// The caller's terminal.
    Tty,
}

/// A machine to be, and what will run in it.
#[derive(Debug)]
pub struct Plan {
    /// QEMU.
    pub qemu: PathBuf,
    /// The image.
    pub image: PathBuf,
    /// The kind of machine.
    pub machine: Machine,
    /// How it is executed.
    pub accel: Accel,
    /// Its memory.
    pub memory: Size,
    /// Its processors.
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
    /// What init is told: records ended by NULs.
    pub records: Vec<u8>,
    /// Where gdb may attach.
    pub gdb: Option<u16>,
    /// More arguments for QEMU.
    pub qemu_args: Vec<OsString>,
    /// The time limit.
    pub timeout: Option<Duration>,
    /// Whether the caller wants to see the kernel's log.
    pub console: bool,
    /// Where the caller wants the kernel's log.
    pub log: Option<PathBuf>,
    /// Whether the caller wants to know more.
    pub verbose: bool,
}

impl Plan {
    /// Makes a plan, and finds out what cannot be.
    pub fn new(args: &Args) -> Result<Self> {
        let image = find_image(Path::new(&args.command[0]))?;
        check_memory(&image, args.memory)?;
        let accel = match () {
            () if args.icount => Accel::Icount,
            () if !args.no_kvm && kvm_works() => Accel::Kvm,
            () => Accel::Tcg,
        };
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
        let mut shares = Vec::new();
        let mut records = Records::default();
        let ring = if args.ring3 { "3" } else { "0" };
        records.add("ring", ring);
        if let Some(transition) = args.transition {
            records.add("transition", name_of(transition));
        }
        if let Some(return_by) = args.return_by {
            records.add("return", name_of(return_by));
        }
        if let Some(stack) = args.stack {
            records.add("stack", name_of(stack));
        }
        if let Some(limit) = args.bypass_limit {
            records.add("bypass-limit", limit.to_string());
        }
        match stdio {
            Stdio::Ports { merged } => {
                records.add("stdio", "ports");
                if merged {
                    records.add("stderr", "stdout");
                }
            }
            Stdio::Tty => {
                records.add("stdio", "tty");
                if let Some((rows, columns)) = terminal::size() {
                    records.add("window", format!("{rows} {columns}"));
                }
            }
        }
        if !args.no_net {
            records.add("ip", NETWORK);
        }
        records.add("cwd", &args.workdir);
        if stdio == Stdio::Tty
            && let Some(term) = std::env::var_os("TERM")
        {
            records.add("env", joined("TERM", &term));
        }
        for variable in &args.env {
            if let Some(record) = environment(variable)? {
                records.add("env", record);
            }
        }
        if args.host_tools {
            add_host_tools(&mut shares, &mut records)?;
        }
        for (index, volume) in args.volume.iter().enumerate() {
            let host = volume
                .host
                .canonicalize()
                .map_err(Error::file(&volume.host))?;
            if !host.is_dir() {
                return Err(Error::Request(format!(
                    "{}: not a directory; only directories can be volumes",
                    host.display()
                )));
            }
            let (tag, read_only) = (format!("volume{index}"), volume.read_only);
            let mode = if read_only { "ro" } else { "rw" };
            records.add("mount", format!("{tag}:{}:{mode}", volume.guest));
            shares.push(Share {
                host,
                tag,
                read_only,
            });
        }
        for command in &args.beside {
            records.add("beside", command);
        }
        if let Some(command) = &args.wrap {
            records.add("wrap", command);
        }
        for argument in &args.command[1..] {
            records.add("arg", argument);
        }
        // The kernel tries its timer's interrupt for a few ticks, and gives up on the whole machine
        // when a busy host has not delivered it by then.
        let mut cmdline = String::from("console=ttyS0 panic=-1 no_timer_check");
        if accel != Accel::Kvm {
            // On a busy host the kernel may take an emulated time stamp counter for unstable, and
            // would patch its own code for another clock while all CPUs run: docs/bugs.md, int3.
            cmdline += " tsc=nowatchdog";
        }
        if args.machine == Machine::Microvm {
            // It has no keyboard controller that could reset it, which the kernel tries first.
            cmdline += " reboot=t";
        }
        for words in &args.append {
            cmdline.push(' ');
            cmdline += words;
        }
        Ok(Plan {
            qemu: std::env::var_os("UKL_QEMU")
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| "qemu-system-x86_64".into())
                .into(),
            image,
            machine: args.machine,
            accel,
            memory: args.memory,
            cpus: args.cpus,
            net: !args.no_net,
            forwards: args.publish.clone(),
            shares,
            stdio,
            cmdline,
            records: records.0,
            gdb: args.gdb,
            qemu_args: args.qemu_args.clone(),
            timeout: args.timeout,
            console: args.console,
            log: args.log.clone(),
            verbose: args.verbose,
        })
    }
}

/// What init is told.
#[derive(Debug, Default)]
struct Records(Vec<u8>);

impl Records {
    fn add(&mut self, key: &str, value: impl AsRef<OsStr>) {
        self.0.extend_from_slice(key.as_bytes());
        self.0.push(b'=');
        // Neither an argument nor a path can hold a NUL.
        self.0.extend_from_slice(value.as_ref().as_bytes());
        self.0.push(0);
    }
}

fn joined(name: impl AsRef<OsStr>, value: &OsStr) -> OsString {
    let mut variable = name.as_ref().to_owned();
    variable.push("=");
    variable.push(value);
    variable
}

/// `NAME=VALUE` as it is; `NAME` with the value it has here, or not at all if it has none.
fn environment(variable: &OsStr) -> Result<Option<OsString>> {
    match variable.as_bytes().iter().position(|byte| *byte == b'=') {
        Some(0) => Err(Error::Request(format!(
            "-e {}: a variable needs a name",
            variable.display()
        ))),
        Some(_) => Ok(Some(variable.to_owned())),
        None if variable.is_empty() => Err(Error::Request("-e: a variable needs a name".into())),
        None => Ok(std::env::var_os(variable).map(|value| joined(variable, &value))),
    }
}

/// The image that is meant by `path`.
fn find_image(path: &Path) -> Result<PathBuf> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".ukl");
    let beside = PathBuf::from(beside);
    if path.extension() != Some(OsStr::new("ukl")) && beside.is_file() {
        return check_image(beside);
    }
    if let Some(program) = behind_libtool(path) {
        return find_image(&program);
    }
    if path.is_file() {
        // A program that was copied or installed left its image behind, where its build ID leads.
        return check_image(path.to_path_buf()).or_else(|error| {
            let elsewhere = ukl_common::registry::find(path).ok_or(error)?;
            check_image(elsewhere)
        });
    }
    match fs::metadata(path) {
        Ok(meta) if !meta.is_dir() => check_image(path.to_path_buf()),
        _ => Err(Error::NoImage {
            path: path.to_path_buf(),
        }),
    }
}

/// The program behind a script that libtool leaves in its place, to set library paths that a static
/// program does not need.
fn behind_libtool(path: &Path) -> Option<PathBuf> {
    let program = path.parent()?.join(".libs").join(path.file_name()?);
    let mut start = [0; 2];
    File::open(path).ok()?.read_exact(&mut start).ok()?;
    (&start == b"#!" && program.is_file()).then_some(program)
}

fn check_image(path: PathBuf) -> Result<PathBuf> {
    match read_header(&path) {
        Ok(header) if &header[0x202..0x206] == b"HdrS" => Ok(path),
        Err(source) if source.kind() != std::io::ErrorKind::UnexpectedEof => {
            Err(Error::File { path, source })
        }
        _ if is_of_rustdoc(&path) => Err(Error::OfRustdoc { path }),
        _ => Err(Error::NotAnImage { path }),
    }
}

/// Whether rustdoc put this where it runs documentation tests.
fn is_of_rustdoc(path: &Path) -> bool {
    path.components()
        .any(|part| part.as_os_str().as_bytes().starts_with(b"rustdoctest"))
}

/// The part of an image that holds the kernel's boot header.
fn read_header(path: &Path) -> std::io::Result<[u8; 0x264]> {
    let mut header = [0; 0x264];
    File::open(path)?.read_exact(&mut header)?;
    Ok(header)
}

/// Refuses memory into which the image does not even fit: such a machine would end without a word.
fn check_memory(image: &Path, memory: Size) -> Result<()> {
    let header = read_header(image).map_err(Error::file(image))?;
    let number = |range: std::ops::Range<usize>| {
        header[range]
            .iter()
            .rev()
            .fold(0, |value: u64, byte| value << 8 | u64::from(*byte))
    };
    // Where it is loaded, and how much it takes from there on until it runs.
    let needed = number(0x258..0x260)
        .saturating_add(number(0x260..0x264))
        .div_ceil(1 << 20);
    if memory.0 >> 10 < needed {
        return Err(Error::Request(format!(
            "{}: needs more than {needed}M of memory; give it some with -m",
            image.display()
        )));
    }
    Ok(())
}

/// Whether the processor can run the guest. A /dev/kvm may be there and even work for a while on
/// machines whose processor does not really have it, so that is not enough.
fn kvm_works() -> bool {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = cpu
        .lines()
        .find(|line| line.starts_with("flags"))
        .unwrap_or_default();
    if !flags
        .split_whitespace()
        .any(|flag| flag == "vmx" || flag == "svm")
    {
        return false;
    }
    File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_ok_and(|kvm| sys::kvm_api_version(kvm.as_raw_fd()) == 12)
}

fn add_host_tools(shares: &mut Vec<Share>, records: &mut Records) -> Result<()> {
    for path in TOOLS.iter().map(Path::new) {
        let Ok(meta) = path.symlink_metadata() else {
            continue;
        };
        if meta.is_symlink() {
            let target = fs::read_link(path).map_err(Error::file(path))?;
            records.add("link", joined_path(path, &target));
        } else if meta.is_dir() {
            let tag = format!("tools{}", shares.len());
            records.add("mount", format!("{tag}:{}:ro,cached", path.display()));
            shares.push(Share {
                host: path.to_path_buf(),
                tag,
                read_only: true,
            });
        }
    }
    Ok(())
}

fn joined_path(path: &Path, target: &Path) -> OsString {
    let mut record = path.as_os_str().to_owned();
    record.push(":");
    record.push(target);
    record
}

/// What a value of an option is called, there and in the guest.
fn name_of(value: impl clap::ValueEnum) -> String {
    let possible = value.to_possible_value();
    possible.map_or(String::new(), |value| value.get_name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_beside_programs() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let mut image = vec![0; 0x300];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        fs::write(path("prog.ukl"), &image).unwrap();
        fs::write(path("prog"), b"\x7fELF").unwrap();
        fs::write(path("other"), b"\x7fELF").unwrap();
        assert_eq!(find_image(&path("prog")).unwrap(), path("prog.ukl"));
        assert_eq!(find_image(&path("prog.ukl")).unwrap(), path("prog.ukl"));
        assert!(matches!(
            find_image(&path("other")),
            Err(Error::NotAnImage { .. })
        ));
        assert!(matches!(
            find_image(&path("none")),
            Err(Error::NoImage { .. })
        ));
        assert!(matches!(find_image(dir.path()), Err(Error::NoImage { .. })));
        // As libtool has it.
        fs::create_dir(path(".libs")).unwrap();
        fs::write(path("script"), "#! /bin/sh\n").unwrap();
        assert!(matches!(
            find_image(&path("script")),
            Err(Error::NotAnImage { .. })
        ));
        fs::write(path(".libs/script"), b"\x7fELF").unwrap();
        fs::write(path(".libs/script.ukl"), &image).unwrap();
        assert_eq!(
            find_image(&path("script")).unwrap(),
            path(".libs/script.ukl")
        );
    }

    #[test]
    fn variables() {
        let value = |text: &str| environment(OsStr::new(text));
        assert_eq!(value("A=b=c").unwrap(), Some("A=b=c".into()));
        assert_eq!(value("A=").unwrap(), Some("A=".into()));
        assert_eq!(value("UKL_RUN_NO_SUCH_VARIABLE").unwrap(), None);
        assert!(
            value("PATH")
                .unwrap()
                .unwrap()
                .as_bytes()
                .starts_with(b"PATH=")
        );
        assert!(value("=x").is_err());
        assert!(value("").is_err());
    }
}
