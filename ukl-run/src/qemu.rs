//! QEMU's command line.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::os::fd::RawFd;

use ukl_proto::names;
use ukl_proto::ports::Port;

use crate::args::values::Machine;
use crate::args::values::Protocol;
use crate::plan::Accel;
use crate::plan::Plan;
use crate::plan::Stdio;

/// The descriptors that QEMU inherits.
#[derive(Debug, Clone)]
pub struct Channels {
    /// A file for the kernel's log.
    pub console: RawFd,
    /// A file with the records for init.
    pub records: RawFd,
    /// The ports of the virtio-serial device.
    pub ports: Vec<(Port, RawFd)>,
}

impl Channels {
    /// The ports that a plan needs.
    pub fn ports(plan: &Plan) -> &'static [Port] {
        match plan.stdio {
            Stdio::Ports { merged: false } => {
                &[Port::Status, Port::Stdin, Port::Stdout, Port::Stderr]
            }
            // A terminal has only one output.
            Stdio::Ports { merged: true } | Stdio::Tty => {
                &[Port::Status, Port::Stdin, Port::Stdout]
            }
        }
    }

    /// Example numbers, for --dry-run.
    pub fn example(plan: &Plan) -> Self {
        let ports = Channels::ports(plan);
        Channels {
            records: 3,
            console: 4,
            ports: ports.iter().copied().zip(5..).collect(),
        }
    }
}

/// The whole command.
pub fn command(plan: &Plan, channels: &Channels) -> Vec<OsString> {
    let mut line = Line(vec![plan.qemu.clone().into_os_string()]);
    let bus = plan.machine.bus();
    line.add("-no-user-config")
        .add("-nodefaults")
        .add("-no-reboot");
    line.option("-display", "none");
    match plan.accel {
        Accel::Kvm => line.option("-accel", "kvm").option("-cpu", "host"),
        Accel::Tcg => line.option("-accel", "tcg").option("-cpu", "max"),
        Accel::Icount => line
            .option("-accel", "tcg")
            .option("-cpu", "max")
            .option("-icount", "shift=0"),
    };
    line.option("-machine", plan.machine.name());
    line.option("-smp", plan.cpus.to_string());
    line.option("-m", format!("{}k", plan.memory.0));

    line.option("-kernel", &plan.image);
    line.option("-append", &plan.cmdline);
    line.option(
        "-fw_cfg",
        format!(
            "name={},file=/proc/self/fd/{}",
            names::RUN_FILE,
            channels.records
        ),
    );

    // The log goes to a file, because QEMU drops serial output that does not fit into a socket's
    // buffer.
    let log = format!(
        "file,id=console,append=on,path=/proc/self/fd/{}",
        channels.console
    );
    line.option("-chardev", log);
    line.option("-serial", "chardev:console");
    let ports = channels.ports.len() + 1;
    line.option("-device", format!("virtio-serial-{bus},max_ports={ports}"));
    for (port, fd) in &channels.ports {
        let name = port.name();
        line.option("-chardev", format!("socket,id={name},fd={fd}"));
        line.option(
            "-device",
            format!("virtserialport,chardev={name},name={name}"),
        );
    }

    if plan.net {
        let mut net = String::from("user,id=net");
        for forward in &plan.forwards {
            let protocol = match forward.protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
            };
            let (address, host, guest) = (forward.address, forward.host, forward.guest);
            net += &format!(",hostfwd={protocol}:{address}:{host}-:{guest}");
        }
        line.option("-netdev", net);
        // The machine does not boot from the network, so the card needs no firmware.
        let rom = if plan.machine == Machine::Microvm {
            ""
        } else {
            ",romfile="
        };
        line.option("-device", format!("virtio-net-{bus},netdev=net{rom}"));
    }
    for share in &plan.shares {
        let tag = &share.tag;
        let mut fsdev = OsString::from(format!("local,id={tag},security_model=none,"));
        // A tree with several file systems needs distinct inode numbers (multidevs). QEMU need not
        // write to a directory that is only read.
        fsdev.push(if share.read_only { "readonly=on," } else { "" });
        fsdev.push("multidevs=remap,path=");
        fsdev.push(escaped(share.host.as_os_str()));
        line.option("-fsdev", fsdev);
        line.option(
            "-device",
            format!("virtio-9p-{bus},fsdev={tag},mount_tag={tag}"),
        );
    }
    if let Some(port) = plan.gdb {
        line.option("-gdb", format!("tcp:127.0.0.1:{port}"))
            .add("-S");
    }
    line.0.extend(plan.qemu_args.iter().cloned());
    line.0
}

struct Line(Vec<OsString>);

impl Line {
    fn add(&mut self, word: impl AsRef<OsStr>) -> &mut Self {
        self.0.push(word.as_ref().to_owned());
        self
    }

    fn option(&mut self, name: &str, value: impl AsRef<OsStr>) -> &mut Self {
        self.add(name).add(value)
    }
}

/// Doubles the commas of a value, as QEMU's option lists need it.
fn escaped(value: &OsStr) -> OsString {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::ffi::OsStringExt as _;
    let mut out = Vec::new();
    for byte in value.as_bytes() {
        out.push(*byte);
        if *byte == b',' {
            out.push(b',');
        }
    }
    OsString::from_vec(out)
}

/// Quotes a command line for the shell.
pub fn shown(words: &[OsString]) -> String {
    let quoted = |word: &OsString| {
        let text = word.to_string_lossy().into_owned();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=+@%".contains(c);
        if !text.is_empty() && text.chars().all(plain) {
            text
        } else {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_the_shell() {
        let words = ["a", "b c", "", "it's", "x=1,y"].map(OsString::from);
        assert_eq!(shown(&words), r"a 'b c' '' 'it'\''s' x=1,y");
    }

    #[test]
    fn commas_in_paths_are_doubled() {
        assert_eq!(escaped(OsStr::new("/a,b")), OsStr::new("/a,,b"));
    }
}
