//! What `ukl-run` tells `ukl-init`: what to run, and how.
//!
//! The format is a sequence of records `KEY=VALUE`, each ended by a NUL byte. The first record is
//! `protocol=VERSION`; without one, the records are of version 0. Keys that can occur several times
//! add to a list; of the others the last record holds.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use crate::DecodeError;
use crate::EncodeError;
use crate::policy;
use crate::policy::Policy;
use crate::policy::Setting as _;
use crate::policy::SettingError;
use crate::words;

mod record;
mod values;

pub use record::Key;
pub use values::Address;
pub use values::Link;
pub use values::Mount;
pub use values::Network;
pub use values::Ring;
pub use values::Stdio;

use record::cut;
use record::failed;
use record::join;

/// What error messages call the records.
const WHAT: &str = "what ukl-run sent";

/// What to run, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The program's arguments, without its name.
    pub args: Vec<OsString>,
    /// Variables of its environment, beyond the defaults.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory, instead of the image's.
    pub cwd: Option<PathBuf>,
    /// The ring that it runs at.
    pub ring: Ring,
    /// Where its standard streams go.
    pub stdio: Stdio,
    /// Whether standard error goes where standard output goes.
    pub merge_stderr: bool,
    /// The size of the terminal: rows and columns.
    pub window: Option<(u16, u16)>,
    /// Directories of the host.
    pub mounts: Vec<Mount>,
    /// Symbolic links to make.
    pub links: Vec<Link>,
    /// Commands to run beside the program.
    pub beside: Vec<Vec<OsString>>,
    /// A command to run the program with: the words in front of the program's path.
    pub wrap: Vec<OsString>,
    /// How the network card gets its address.
    pub network: Network,
    /// The name of the machine.
    pub hostname: String,
    /// Policy settings that take precedence over the image's.
    pub policy: Policy,
}

impl Default for Run {
    fn default() -> Self {
        Run {
            args: Vec::new(),
            env: Vec::new(),
            cwd: None,
            ring: Ring::Zero,
            stdio: Stdio::Console,
            merge_stderr: false,
            window: None,
            mounts: Vec::new(),
            links: Vec::new(),
            beside: Vec::new(),
            wrap: Vec::new(),
            network: Network::Dhcp,
            hostname: "ukl".into(),
            policy: Policy::default(),
        }
    }
}

/// Whether these records direct the program's streams to ports, so that there is a status port too.
/// It can be told of records that [`Run::decode`] refuses, which is how the refusal gets back to
/// `ukl-run`.
pub fn has_status_port(records: &[u8]) -> bool {
    split(records).any(|record| record == b"stdio=ports" || record == b"stdio=tty")
}

fn split(records: &[u8]) -> impl Iterator<Item = &[u8]> {
    let records = records.split(|byte| *byte == 0);
    records.filter(|record| !record.is_empty())
}

impl Run {
    /// The records, for a reader of this version.
    pub fn encode(&self, version: u32) -> Result<Vec<u8>, EncodeError> {
        let mut out = Writer(Vec::new());
        if version > 0 {
            out.add(Key::Protocol, version.to_string())?;
        }
        out.add(Key::Ring, self.ring.name())?;
        out.add(Key::Stdio, self.stdio.name())?;
        if self.merge_stderr {
            out.add(Key::Stderr, "stdout")?;
        }
        if let Some((rows, columns)) = self.window {
            out.add(Key::Window, format!("{rows} {columns}"))?;
        }
        for (key, value) in self.policy.settings(version) {
            out.put(key, value.as_bytes())?;
        }
        if let Network::Static(address) = self.network {
            out.add(Key::Ip, address.to_string())?;
        }
        out.add(Key::Hostname, &self.hostname)?;
        if let Some(cwd) = &self.cwd {
            out.add(Key::Cwd, cwd)?;
        }
        for (name, value) in &self.env {
            let record = join(name, b'=', value);
            if name.is_empty() || name.as_bytes().contains(&b'=') {
                let why = "the name of a variable is not empty and has no `='";
                return Err(failed(Key::Env.name(), record.as_bytes(), why));
            }
            out.add(Key::Env, record)?;
        }
        for mount in &self.mounts {
            out.add(Key::Mount, mount.encode()?)?;
        }
        for link in &self.links {
            out.add(Key::Link, link.encode()?)?;
        }
        for command in &self.beside {
            out.command(Key::Beside, command)?;
        }
        if !self.wrap.is_empty() {
            out.command(Key::Wrap, &self.wrap)?;
        }
        for arg in &self.args {
            out.add(Key::Arg, arg)?;
        }
        Ok(out.0)
    }

    /// Reads records.
    pub fn decode(records: &[u8]) -> Result<Self, DecodeError> {
        let mut run = Run::default();
        for (index, record) in split(records).enumerate() {
            let shown = || String::from_utf8_lossy(record).into_owned();
            let what = WHAT;
            let Some(at) = record.iter().position(|byte| *byte == b'=') else {
                let record = shown();
                return Err(DecodeError::NoValue { what, record });
            };
            let key = Key::from_name(&record[..at]);
            let key = key.ok_or_else(|| DecodeError::UnknownKey {
                what,
                record: shown(),
            })?;
            let value = &record[at + 1..];
            if key == Key::Protocol && index == 0 {
                check_version(value)?;
                continue;
            }
            let taken = run.take(key, value);
            taken.map_err(|expected| DecodeError::BadValue {
                what,
                record: shown(),
                expected,
            })?;
        }
        Ok(run)
    }

    /// Handles a record. If the value is invalid, the error describes the valid ones.
    fn take(&mut self, key: Key, value: &[u8]) -> Result<(), &'static str> {
        let owned = || OsString::from_vec(value.to_vec());
        let text = || std::str::from_utf8(value).map_err(|_| "UTF-8");
        match key {
            Key::Protocol => return Err("the version in the first record only"),
            Key::Arg => self.args.push(owned()),
            Key::Env => {
                let variable = cut(value, b'=').filter(|(name, _)| !name.is_empty());
                let (name, value) = variable.ok_or("NAME=VALUE")?;
                self.env.push((name.into(), value.into()));
            }
            Key::Cwd => self.cwd = Some(owned().into()),
            Key::Ring => self.ring = Ring::from_name(text()?).ok_or("0 or 3")?,
            Key::Stdio => {
                self.stdio = Stdio::from_name(text()?).ok_or("ports, tty or console")?;
            }
            Key::Stderr if value == b"stdout" => self.merge_stderr = true,
            Key::Stderr => return Err("stdout"),
            Key::Window => {
                let size = text()?.split_once(' ');
                let size = size
                    .and_then(|(rows, columns)| Some((rows.parse().ok()?, columns.parse().ok()?)));
                self.window = Some(size.ok_or("ROWS COLUMNS")?);
            }
            Key::Mount => {
                let mount = Mount::decode(value);
                self.mounts.push(mount.ok_or("TAG:/DIR:ro|rw[,cached]")?);
            }
            Key::Link => self.links.push(Link::decode(value).ok_or("PATH:TARGET")?),
            Key::Beside => self.beside.push(command(value)?),
            Key::Wrap => self.wrap = command(value)?,
            Key::Ip => {
                let address = Address::parse(text()?);
                let address = address.ok_or("ADDRESS/PREFIX[,GATEWAY[,DNS]]")?;
                self.network = Network::Static(address);
            }
            Key::Hostname => self.hostname = text()?.into(),
            Key::Transition | Key::BypassLimit | Key::Return | Key::Stack => {
                let set = self.policy.set(key.name(), text()?);
                set.map_err(|error| match error {
                    SettingError::BadValue(expected) => expected,
                    SettingError::UnknownName => "the name of a policy setting",
                })?;
            }
        }
        Ok(())
    }
}

/// Policy settings have the same names wherever they occur.
const _: () = {
    const fn same(a: &str, b: &str) -> bool {
        let (a, b) = (a.as_bytes(), b.as_bytes());
        let mut at = 0;
        while at < a.len() && at < b.len() && a[at] == b[at] {
            at += 1;
        }
        at == a.len() && at == b.len()
    }
    assert!(same(Key::Transition.name(), policy::Transition::KEY));
    assert!(same(Key::BypassLimit.name(), policy::BYPASS_LIMIT));
    assert!(same(Key::Return.name(), policy::Return::KEY));
    assert!(same(Key::Stack.name(), policy::Stack::KEY));
};

fn check_version(value: &[u8]) -> Result<(), DecodeError> {
    let version = std::str::from_utf8(value).ok();
    match version.and_then(|version| version.parse().ok()) {
        Some(version) if version <= crate::VERSION => Ok(()),
        Some(version) => Err(DecodeError::Newer {
            what: WHAT,
            version,
        }),
        None => Err(DecodeError::BadValue {
            what: WHAT,
            record: format!("protocol={}", String::from_utf8_lossy(value)),
            expected: "a number",
        }),
    }
}

fn command(value: &[u8]) -> Result<Vec<OsString>, &'static str> {
    words::split(value).ok_or("a command whose quotes are closed")
}

/// Writes records.
struct Writer(Vec<u8>);

impl Writer {
    fn add(&mut self, key: Key, value: impl AsRef<OsStr>) -> Result<(), EncodeError> {
        self.put(key.name(), value.as_ref().as_bytes())
    }

    fn command(&mut self, key: Key, words: &[OsString]) -> Result<(), EncodeError> {
        if words.is_empty() {
            return Err(failed(key.name(), b"", "a command has a word at least"));
        }
        self.add(key, words::join(words))
    }

    fn put(&mut self, key: &'static str, value: &[u8]) -> Result<(), EncodeError> {
        if value.contains(&0) {
            return Err(failed(key, value, "it contains a NUL byte"));
        }
        self.0.extend_from_slice(key.as_bytes());
        self.0.push(b'=');
        self.0.extend_from_slice(value);
        self.0.push(0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn strings(words: &[OsString]) -> Vec<&str> {
        words.iter().map(|word| word.to_str().unwrap()).collect()
    }

    #[test]
    fn the_records_are_read() {
        let run = Run::decode(
            b"arg=a\0arg=\0arg=b=c\0env=A=1=2\0mount=vol0:/data:rw\0mount=t:/usr:ro,cached\0\
              link=/bin:usr/bin\0ring=3\0stdio=ports\0stderr=stdout\0cwd=/tmp\0beside=x 'y z'\0\
              wrap=strace -f\0ip=10.0.2.15/24,10.0.2.2,10.0.2.3\0window=24 80\0",
        )
        .unwrap();
        assert_eq!(strings(&run.args), ["a", "", "b=c"]);
        assert_eq!(run.env, [("A".into(), "1=2".into())]);
        assert_eq!(run.mounts.len(), 2);
        assert!(run.mounts[0].writable && !run.mounts[0].cached);
        assert!(!run.mounts[1].writable && run.mounts[1].cached);
        let link = &run.links[0];
        assert_eq!(
            (&link.path, &link.target),
            (&"/bin".into(), &"usr/bin".into())
        );
        assert_eq!((run.ring, run.stdio), (Ring::Three, Stdio::Ports));
        assert!(run.merge_stderr);
        assert_eq!(run.cwd, Some(PathBuf::from("/tmp")));
        assert_eq!(strings(&run.beside[0]), ["x", "y z"]);
        assert_eq!(strings(&run.wrap), ["strace", "-f"]);
        assert_eq!(run.window, Some((24, 80)));
        let Network::Static(address) = run.network else {
            panic!()
        };
        assert_eq!(address.dns, Some(Ipv4Addr::new(10, 0, 2, 3)));
    }

    #[test]
    fn bad_records_are_errors() {
        for record in [
            "nonsense",
            "ring=1",
            "stdio=x",
            "unknown=1",
            "env=noequals",
            "env==x",
            "mount=a",
            "mount=a:b:rw",
            "mount=a:/b:rx",
            "link=a",
            "ip=10.0.2.15",
            "ip=10.0.2.15/33",
            "ip=1.2.3.4/8,x",
            "ip=1.2.3.4/8,1.2.3.4,1.2.3.4,1.2.3.4",
            "wrap='open",
            "wrap=",
            "window=1",
            "stderr=x",
            "return=sysret",
            "bypass-limit=0",
            "protocol=x",
            "ring=0\0protocol=1",
        ] {
            assert!(Run::decode(record.as_bytes()).is_err(), "{record}");
        }
    }

    #[test]
    fn errors_say_what_is_expected() {
        let error = Run::decode(b"ring=1\0").unwrap_err().to_string();
        assert_eq!(
            error,
            "what ukl-run sent: invalid value in `ring=1'; expected 0 or 3"
        );
    }

    #[test]
    fn a_later_version_is_refused_before_its_records_are_read() {
        let version = crate::VERSION + 1;
        let records = format!("protocol={version}\0colour=blue\0stdio=ports\0");
        let error = Run::decode(records.as_bytes()).unwrap_err();
        let newer = DecodeError::Newer {
            what: WHAT,
            version,
        };
        assert_eq!(error, newer);
        assert!(error.to_string().contains("link the program again"));
        // And the refusal can be reported.
        assert!(has_status_port(records.as_bytes()));
        assert!(!has_status_port(b"protocol=1\0arg=stdio=ports\0"));
    }

    #[test]
    fn what_the_format_cannot_carry_is_refused() {
        let run = Run::default();
        for bad in [
            Run {
                args: vec!["a\0b".into()],
                ..run.clone()
            },
            Run {
                env: vec![("A=B".into(), "c".into())],
                ..run.clone()
            },
            Run {
                links: vec![Link {
                    path: "/a:b".into(),
                    target: "c".into(),
                }],
                ..run.clone()
            },
            Run {
                beside: vec![Vec::new()],
                ..run.clone()
            },
        ] {
            assert!(bad.encode(crate::VERSION).is_err(), "{bad:?}");
        }
    }
}
