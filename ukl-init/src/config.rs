//! What init is told: by the image in /ukl/image.conf, by ukl-run in a blob that the firmware's
//! configuration device carries, or by the kernel command line when there is no ukl-run.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::Result;
use crate::failed;
use crate::fw_cfg;
use crate::kernel_code::Binding;
use crate::kernel_code::KernelCode;
use crate::policy::Policy;

const BLOB: &str = "opt/org.unikernel-linux/run";
/// Where the kernel shows such things, if it has found the device.
const BY_NAME: &str = "/sys/firmware/qemu_fw_cfg/by_name";
const IMAGE_CONF: &str = "/ukl/image.conf";

/// Where the program's standard streams go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdio {
    /// Through virtio-serial ports to ukl-run, one each.
    Ports,
    /// To a terminal that ukl-run forwards.
    Tty,
    /// To the kernel's console.
    Console,
}

/// The ring the program runs at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ring {
    /// In the kernel, which is the point of an image.
    Zero,
    /// As an ordinary process, for comparison.
    Three,
}

/// A directory of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its 9p tag.
    pub tag: String,
    /// Where it goes.
    pub dir: PathBuf,
    /// Whether it may be written to.
    pub writable: bool,
    /// Whether the host leaves it alone, so that it may be cached.
    pub cached: bool,
}

/// How the network card gets its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// From a DHCP server.
    Dhcp,
    /// From ukl-run.
    Static(Address),
}

/// An address and what belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub address: Ipv4Addr,
    /// Bits of its network part.
    pub prefix: u8,
    /// The default gateway.
    pub gateway: Option<Ipv4Addr>,
    /// The name server.
    pub dns: Option<Ipv4Addr>,
}

/// What to run and how.
#[derive(Debug)]
pub struct Config {
    /// The program's arguments, its name not among them.
    pub args: Vec<OsString>,
    /// Its environment, beyond the defaults.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub cwd: PathBuf,
    /// Where it runs.
    pub ring: Ring,
    /// Where its streams go.
    pub stdio: Stdio,
    /// Whether its stderr is its stdout, order and all.
    pub merge_stderr: bool,
    /// Size of the terminal: rows and columns.
    pub window: Option<(u16, u16)>,
    /// Directories of the host.
    pub mounts: Vec<Mount>,
    /// Symbolic links to make: path and target.
    pub links: Vec<(PathBuf, PathBuf)>,
    /// Commands to run beside it.
    pub beside: Vec<Vec<OsString>>,
    /// A command to put in front of it.
    pub wrap: Vec<OsString>,
    /// How the network comes up.
    pub network: Network,
    /// The machine's name.
    pub hostname: String,
    /// How it gets into the kernel, if not as the image says.
    pub policy: Policy,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            args: Vec::new(),
            env: Vec::new(),
            cwd: PathBuf::from("/"),
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

/// ukl-run's blob, if there is one.
pub fn blob() -> Result<Option<Vec<u8>>> {
    let path = Path::new(BY_NAME).join(BLOB).join("raw");
    match fs::read(&path) {
        Ok(blob) => Ok(Some(blob)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path.display())(error)),
        Err(_) if Path::new(BY_NAME).exists() => Ok(None),
        // A kernel that does not let us ask the device is not run by QEMU on such a machine.
        Err(_) => Ok(fw_cfg::read(BLOB).unwrap_or(None)),
    }
}

impl Config {
    /// Reads ukl-run's records: `key=value`, each ended by a NUL.
    pub fn parse(blob: &[u8]) -> Result<Self> {
        let mut config = Config::default();
        for record in blob
            .split(|byte| *byte == 0)
            .filter(|record| !record.is_empty())
        {
            let shown = || String::from_utf8_lossy(record).into_owned();
            let bad = || Error(format!("bad record from ukl-run: {}", shown()));
            let at = record
                .iter()
                .position(|byte| *byte == b'=')
                .ok_or_else(bad)?;
            let value = OsString::from_vec(record[at + 1..].to_vec());
            let text = || value.to_str().ok_or_else(bad);
            match &record[..at] {
                b"arg" => config.args.push(value),
                b"env" => config
                    .env
                    .push(variable(&record[at + 1..]).ok_or_else(bad)?),
                b"cwd" => config.cwd = value.into(),
                b"hostname" => config.hostname = text()?.into(),
                b"beside" => config
                    .beside
                    .push(words(&record[at + 1..]).ok_or_else(bad)?),
                b"wrap" => config.wrap = words(&record[at + 1..]).ok_or_else(bad)?,
                b"mount" => config.mounts.push(mount(text()?).ok_or_else(bad)?),
                b"link" => {
                    let (path, target) = text()?.split_once(':').ok_or_else(bad)?;
                    config.links.push((path.into(), target.into()));
                }
                b"ip" => config.network = Network::Static(address(text()?).ok_or_else(bad)?),
                b"window" => {
                    let (rows, columns) = text()?.split_once(' ').ok_or_else(bad)?;
                    let number = |text: &str| text.parse().map_err(|_| bad());
                    config.window = Some((number(rows)?, number(columns)?));
                }
                b"ring" => {
                    config.ring = match text()? {
                        "0" => Ring::Zero,
                        "3" => Ring::Three,
                        _ => return Err(bad()),
                    }
                }
                b"stdio" => {
                    config.stdio = match text()? {
                        "ports" => Stdio::Ports,
                        "tty" => Stdio::Tty,
                        "console" => Stdio::Console,
                        _ => return Err(bad()),
                    }
                }
                b"stderr" if text()? == "stdout" => config.merge_stderr = true,
                b"transition" | b"bypass-limit" | b"return" | b"stack" => {
                    let key = std::str::from_utf8(&record[..at]).map_err(|_| bad())?;
                    config.policy.set(key, text()?).ok_or_else(bad)?;
                }
                // A ukl-run newer than the image: better to say so than to do half of it.
                _ => return Err(bad()),
            }
        }
        Ok(config)
    }

    /// What a boot without ukl-run amounts to.
    pub fn of_plain_boot() -> Self {
        let cmdline = fs::read("/proc/cmdline").unwrap_or_default();
        Config {
            args: arguments(&cmdline),
            // The kernel hands over the `NAME=value` words that it has no use for itself.
            env: std::env::vars_os()
                .filter(|(name, _)| name != "HOME" && name != "TERM")
                .collect(),
            ..Config::default()
        }
    }
}

/// What the image says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// The program's path.
    pub program: PathBuf,
    /// The slots through which it gets into the kernel.
    pub slots: Vec<Slots>,
    /// Its kernel code.
    pub kernel_code: Option<KernelCode>,
    /// How it gets into the kernel.
    pub policy: Policy,
}

/// Slots of a program, and what makes the difference between the rings: at ring 3, a few bytes
/// from elsewhere in a slot stand where it is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    /// Offset of the first in the file.
    pub offset: usize,
    /// How many there are.
    pub count: usize,
    /// From one to the next.
    pub stride: usize,
    /// Where in a slot the bytes for ring 3 are.
    pub ring3: usize,
    /// Where it is entered.
    pub entry: usize,
}

impl Slots {
    fn parse(text: &str) -> Option<Self> {
        let numbers: Vec<usize> = text
            .split(',')
            .map(|part| part.parse().ok())
            .collect::<Option<_>>()?;
        let [offset, count, stride, ring3, entry] = numbers[..] else {
            return None;
        };
        Some(Slots {
            offset,
            count,
            stride,
            ring3,
            entry,
        })
    }
}

impl Image {
    /// Reads the image's configuration.
    pub fn read() -> Result<Self> {
        let text = fs::read_to_string(IMAGE_CONF).map_err(failed(IMAGE_CONF))?;
        Image::parse(&text).ok_or_else(|| Error(format!("{IMAGE_CONF}: malformed")))
    }

    /// Loads the program's kernel code, if it has any.
    pub fn load_kernel_code(&self) -> Result<()> {
        match &self.kernel_code {
            Some(code) => code.load(&self.program),
            None => Ok(()),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut image = Image::default();
        let mut bindings = Vec::new();
        for line in text.lines() {
            let (key, value) = line.split_once('=')?;
            match key {
                "program" => image.program = value.into(),
                "slots" => image.slots.push(Slots::parse(value)?),
                "kernel-code" => {
                    image.kernel_code = Some(KernelCode {
                        module: value.into(),
                        bindings: Vec::new(),
                    });
                }
                "bind" => bindings.push(Binding::parse(value)?),
                "transition" | "bypass-limit" | "return" | "stack" | "stack-size" => {
                    image.policy.set(key, value)?;
                }
                _ => {}
            }
        }
        if let Some(code) = &mut image.kernel_code {
            code.bindings = bindings;
        }
        (!image.program.as_os_str().is_empty()).then_some(image)
    }
}

fn variable(record: &[u8]) -> Option<(OsString, OsString)> {
    let at = record.iter().position(|byte| *byte == b'=')?;
    let part = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    (at > 0).then(|| (part(&record[..at]), part(&record[at + 1..])))
}

/// `tag:dir:mode`, where the mode is `ro` or `rw`, and `,cached` may follow.
fn mount(text: &str) -> Option<Mount> {
    let (tag, rest) = text.split_once(':')?;
    let (dir, mode) = rest.rsplit_once(':')?;
    let (mode, cached) = match mode.strip_suffix(",cached") {
        Some(mode) => (mode, true),
        None => (mode, false),
    };
    let writable = match mode {
        "rw" => true,
        "ro" => false,
        _ => return None,
    };
    dir.starts_with('/').then(|| Mount {
        tag: tag.into(),
        dir: dir.into(),
        writable,
        cached,
    })
}

/// `address/prefix[,gateway[,dns]]`.
fn address(text: &str) -> Option<Address> {
    let mut parts = text.split(',');
    let (address, prefix) = parts.next()?.split_once('/')?;
    let prefix = prefix.parse().ok().filter(|bits| *bits <= 32)?;
    let mut next = || parts.next().map(|part| part.parse().ok());
    let (gateway, dns) = (next(), next());
    // A part that is there has to be an address.
    if gateway == Some(None) || dns == Some(None) {
        return None;
    }
    Some(Address {
        address: address.parse().ok()?,
        prefix,
        gateway: gateway.flatten(),
        dns: dns.flatten(),
    })
}

/// Splits a command into words, as a shell does with quotes and backslashes and nothing else.
fn words(command: &[u8]) -> Option<Vec<OsString>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut bytes = command.iter().copied();
    while let Some(byte) = bytes.next() {
        match (quote, byte) {
            (None, b' ' | b'\t' | b'\n') => words.extend(word.take().map(OsString::from_vec)),
            (None, b'\'' | b'"') => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (Some(open), _) if open == byte => quote = None,
            (None | Some(b'"'), b'\\') => word.get_or_insert_default().push(bytes.next()?),
            _ => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word.map(OsString::from_vec));
    (quote.is_none() && !words.is_empty()).then_some(words)
}

/// The words behind `--` on a kernel command line, which quotes with `"` only.
fn arguments(cmdline: &[u8]) -> Vec<OsString> {
    let mut words = Vec::new();
    let mut word = Vec::new();
    let (mut quoted, mut any) = (false, false);
    for byte in cmdline.iter().copied().chain([b' ']) {
        match byte {
            b'"' => {
                quoted = !quoted;
                any = true;
            }
            b' ' | b'\n' | b'\t' if !quoted => {
                if any {
                    words.push(OsString::from_vec(std::mem::take(&mut word)));
                }
                any = false;
            }
            _ => {
                word.push(byte);
                any = true;
            }
        }
    }
    match words.iter().position(|word| word == "--") {
        Some(at) => words.split_off(at + 1),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[OsString]) -> Vec<&str> {
        words.iter().map(|word| word.to_str().unwrap()).collect()
    }

    #[test]
    fn the_records_are_read() {
        let config = Config::parse(
            b"arg=a\0arg=\0arg=b=c\0env=A=1=2\0mount=vol0:/data:rw\0mount=t:/usr:ro,cached\0\
              link=/bin:usr/bin\0ring=3\0stdio=ports\0stderr=stdout\0cwd=/tmp\0beside=x 'y z'\0\
              wrap=strace -f\0ip=10.0.2.15/24,10.0.2.2,10.0.2.3\0window=24 80\0",
        )
        .unwrap();
        assert_eq!(strings(&config.args), ["a", "", "b=c"]);
        assert_eq!(config.env, [("A".into(), "1=2".into())]);
        assert_eq!(config.mounts.len(), 2);
        assert!(config.mounts[0].writable && !config.mounts[0].cached);
        assert!(!config.mounts[1].writable && config.mounts[1].cached);
        assert_eq!(config.links, [("/bin".into(), "usr/bin".into())]);
        assert_eq!((config.ring, config.stdio), (Ring::Three, Stdio::Ports));
        assert!(config.merge_stderr);
        assert_eq!(config.cwd, PathBuf::from("/tmp"));
        assert_eq!(strings(&config.beside[0]), ["x", "y z"]);
        assert_eq!(strings(&config.wrap), ["strace", "-f"]);
        assert_eq!(config.window, Some((24, 80)));
        let Network::Static(address) = config.network else {
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
            "ip=10.0.2.15",
            "ip=10.0.2.15/33",
            "ip=1.2.3.4/8,x",
            "wrap='open",
            "wrap=",
            "window=1",
            "stderr=x",
        ] {
            assert!(Config::parse(record.as_bytes()).is_err(), "{record}");
        }
    }

    #[test]
    fn arguments_follow_the_dashes() {
        assert_eq!(
            strings(&arguments(
                b"console=ttyS0 x=\"a b\" -- one \"two three\" \"\" f=\"4 5\"\n"
            )),
            ["one", "two three", "", "f=4 5"]
        );
        assert!(arguments(b"console=ttyS0\n").is_empty());
    }

    #[test]
    fn the_image_configuration_is_read() {
        let image = Image::parse("program=/ukl/hello\nslots=4096,7,128,0,8\nlater=x\n").unwrap();
        assert_eq!(image.program, PathBuf::from("/ukl/hello"));
        let slots = Slots {
            offset: 4096,
            count: 7,
            stride: 128,
            ring3: 0,
            entry: 8,
        };
        assert_eq!(image.slots, [slots]);
        let image = Image::parse(
            "program=/x\nslots=1,1,128,0,8\nslots=128,1,128,112,8\nkernel-code=/ukl/k.ko\n\
             bind=172,48,.text,16\n",
        )
        .unwrap();
        let code = image.kernel_code.unwrap();
        assert_eq!(code.module, PathBuf::from("/ukl/k.ko"));
        assert_eq!(code.bindings.len(), 1);
        assert_eq!(image.slots.len(), 2);
        for bad in [
            "",
            "bind=1,2,3\nprogram=/x",
            "slots=1,2,3,4,5\n",
            "program=/x\nslots=1,2,3,4\n",
            "program=/x\nslots=a,b,c,d,e",
        ] {
            assert_eq!(Image::parse(bad), None, "{bad}");
        }
    }
}
