//! The values of options.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use ukl_proto::words;

/// The kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Machine {
    /// A current PC, with PCI Express.
    Q35,
    /// A PC with PCI.
    Pc,
    /// A machine with few devices.
    Microvm,
}

impl Machine {
    /// The value of QEMU's -machine.
    pub fn name(self) -> &'static str {
        match self {
            Machine::Q35 => "q35",
            Machine::Pc => "pc",
            // Its ACPI tables say that there is no legacy hardware. Linux would believe that, and
            // have no clock.
            Machine::Microvm => "microvm,acpi=off",
        }
    }

    /// The suffix of its virtio devices.
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
            return Err(format!("{text}: a machine needs 1M of memory at least"));
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

/// A directory of the host that is mounted in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The directory.
    pub host: PathBuf,
    /// Where it is mounted.
    pub guest: String,
    /// Whether it may only be read.
    pub read_only: bool,
}

impl FromStr for Volume {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not HOSTDIR:GUESTDIR[:ro], GUESTDIR beginning with a /");
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

/// A command, split into words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words(pub Vec<OsString>);

impl FromStr for Words {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let split = words::split(text.as_bytes());
        split
            .map(Words)
            .ok_or_else(|| format!("`{text}` is no command, or a quote in it is not closed"))
    }
}

/// Reads a number of seconds.
pub fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .filter(|seconds| *seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| format!("`{text}` is not a number of seconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
