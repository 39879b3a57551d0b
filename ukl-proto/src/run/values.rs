//! The values of records.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::fmt;
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use super::record::Key;
use super::record::cut;
use super::record::failed;
use super::record::join;
use crate::EncodeError;

/// Where the program's standard streams go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdio {
    /// To `ukl-run`, by a port each.
    Ports,
    /// To a terminal of the guest, which `ukl-run` forwards to the caller's terminal.
    Tty,
    /// To the kernel's console.
    Console,
}

impl Stdio {
    /// All values.
    pub const ALL: [Stdio; 3] = [Stdio::Ports, Stdio::Tty, Stdio::Console];

    /// The name in the record.
    pub fn name(self) -> &'static str {
        match self {
            Stdio::Ports => "ports",
            Stdio::Tty => "tty",
            Stdio::Console => "console",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Stdio::ALL.into_iter().find(|stdio| stdio.name() == name)
    }
}

/// The ring that the program runs at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ring {
    /// Ring 0, as the image is made for.
    Zero,
    /// Ring 3, as an ordinary process, for comparison.
    Three,
}

impl Ring {
    /// The name in the record.
    pub fn name(self) -> &'static str {
        match self {
            Ring::Zero => "0",
            Ring::Three => "3",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        let mut rings = [Ring::Zero, Ring::Three].into_iter();
        rings.find(|ring| ring.name() == name)
    }
}

/// A directory of the host, which the guest mounts by 9p.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The 9p tag.
    pub tag: String,
    /// Where the directory appears in the guest. An absolute path.
    pub dir: PathBuf,
    /// Whether the guest may write to it.
    pub writable: bool,
    /// Whether the host leaves it unchanged, so that the guest may cache it.
    pub cached: bool,
}

impl Mount {
    /// `TAG:DIR:MODE`. The mode is `ro` or `rw`, which `,cached` may follow.
    pub(super) fn encode(&self) -> Result<OsString, EncodeError> {
        let mode = if self.writable { "rw" } else { "ro" };
        let cached = if self.cached { ",cached" } else { "" };
        let record = join(OsStr::new(&self.tag), b':', self.dir.as_os_str());
        let record = join(&record, b':', OsStr::new(&format!("{mode}{cached}")));
        if self.tag.contains(':') || !self.dir.is_absolute() {
            let why = "the tag has no `:' and the directory is an absolute path";
            return Err(failed(Key::Mount.name(), record.as_bytes(), why));
        }
        Ok(record)
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let (tag, rest) = cut(value, b':')?;
        let rest = rest.as_bytes();
        let colon = rest.iter().rposition(|byte| *byte == b':')?;
        let (dir, mode) = (OsStr::from_bytes(&rest[..colon]), &rest[colon + 1..]);
        let (mode, cached) = match mode.strip_suffix(b",cached") {
            Some(mode) => (mode, true),
            None => (mode, false),
        };
        let writable = match mode {
            b"rw" => true,
            b"ro" => false,
            _ => return None,
        };
        let mount = Mount {
            tag: tag.to_str()?.into(),
            dir: dir.into(),
            writable,
            cached,
        };
        mount.dir.is_absolute().then_some(mount)
    }
}

/// A symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Where it is made.
    pub path: PathBuf,
    /// What it points to.
    pub target: PathBuf,
}

impl Link {
    pub(super) fn encode(&self) -> Result<OsString, EncodeError> {
        let record = join(self.path.as_os_str(), b':', self.target.as_os_str());
        if self.path.as_os_str().as_bytes().contains(&b':') {
            let why = "the path of a link has no `:'";
            return Err(failed(Key::Link.name(), record.as_bytes(), why));
        }
        Ok(record)
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let (path, target) = cut(value, b':')?;
        Some(Link {
            path: path.into(),
            target: target.into(),
        })
    }
}

/// How the network card gets its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// From a DHCP server.
    Dhcp,
    /// From `ukl-run`.
    Static(Address),
}

/// An address and what belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub address: Ipv4Addr,
    /// The number of bits of its network part.
    pub prefix: u8,
    /// The default gateway.
    pub gateway: Option<Ipv4Addr>,
    /// The name server. The format can carry one only after a gateway.
    pub dns: Option<Ipv4Addr>,
}

impl Address {
    /// Reads `ADDRESS/PREFIX[,GATEWAY[,DNS]]`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(',');
        let (address, prefix) = parts.next()?.split_once('/')?;
        let prefix = prefix.parse().ok().filter(|bits| *bits <= 32)?;
        let mut next = || match parts.next() {
            Some(part) => part.parse().ok().map(Some),
            None => Some(None),
        };
        let (gateway, dns) = (next()?, next()?);
        let address = Address {
            address: address.parse().ok()?,
            prefix,
            gateway,
            dns,
        };
        parts.next().is_none().then_some(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)?;
        if let Some(gateway) = self.gateway {
            write!(f, ",{gateway}")?;
            if let Some(dns) = self.dns {
                write!(f, ",{dns}")?;
            }
        }
        Ok(())
    }
}
