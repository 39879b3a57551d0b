//! The configuration of an image for its init: the file [`crate::names::IMAGE_CONF`].
//!
//! The format is lines `KEY=VALUE`. The first line is `protocol=VERSION`; without it, the file has
//! version 0. Readers ignore keys that they do not know.
//!
//! In the values of `arg`, `default-arg` and `env`, `\n`, `\r` and `\\` stand for a line feed, a
//! carriage return and a backslash.

use std::fmt;
use std::fmt::Write as _;

use crate::DecodeError;
use crate::EncodeError;
use crate::keys::keys;
use crate::policy::Policy;
use crate::policy::SettingError;
use crate::ring3::ThunkTable;

/// The name of the file in error messages.
const WHAT: &str = "image.conf";

keys! {
    /// The keys of the file.
    pub enum Key {
        /// The version of the protocol. It comes first.
        Protocol = "protocol",
        /// The path of the program in the guest.
        Program = "program",
        /// A table of thunks, `OFFSET,COUNT,STRIDE,RING3,ENTRY`. Version 0 called thunks slots.
        Thunks = "slots",
        /// The path of the program's kernel module in the guest.
        KernelCode = "kernel-code",
        /// A call of a function of the kernel module, `OPERAND,NEXT,SECTION,OFFSET`.
        Bind = "bind",
        /// How much of each thread's stack is shared, in bytes.
        StackSize = "stack-size",
        /// Which processes may start the program at ring 0: `privileged` or `anyone`.
        Start = "start",
        /// A policy setting.
        Transition = "transition",
        /// A policy setting.
        BypassLimit = "bypass-limit",
        /// A policy setting.
        Return = "return",
        /// A policy setting.
        Stack = "stack",
        /// Another program that is marked for ring 0.
        Ring0 = "ring0",
        /// An argument of the program, before those of `ukl-run`.
        Arg = "arg",
        /// An argument of the program if `ukl-run` has none.
        DefaultArg = "default-arg",
        /// A variable of the program's environment, `NAME=VALUE`.
        Env = "env",
        /// The program's working directory.
        Workdir = "workdir",
        /// The program's user, `UID:GID[,GID...]`.
        User = "user",
        /// A port that the program serves, `PORT/tcp` or `PORT/udp`.
        Port = "port",
    }
}

/// The configuration of an image.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ImageConf {
    /// The path of the program in the guest.
    pub program: String,
    /// The program's thunks.
    pub thunks: Vec<ThunkTable>,
    /// The program's kernel module, if it has one.
    pub kernel_code: Option<KernelCode>,
    /// The image's policy.
    pub policy: Policy,
    /// How much of each thread's stack is shared, in bytes.
    pub stack_size: Option<u32>,
    /// Whether processes without CAP_SYS_MODULE may start the program at ring 0.
    pub anyone_starts: bool,
    /// The paths of further programs that are marked for ring 0.
    pub ring0: Vec<String>,
    /// How to start the program.
    pub start: Start,
    /// The ports that the program serves.
    pub ports: Vec<Port>,
}

/// How to start the program, where `ukl-run` does not say otherwise.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Start {
    /// Arguments before those of `ukl-run`.
    pub args: Vec<String>,
    /// Arguments if `ukl-run` has none.
    pub default_args: Vec<String>,
    /// Variables of the environment, each with its name.
    pub env: Vec<(String, String)>,
    /// The working directory.
    pub workdir: Option<String>,
    /// The user.
    pub user: Option<User>,
}

/// The credentials of a program that does not run as root.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct User {
    /// The user ID.
    pub uid: u32,
    /// The group ID.
    pub gid: u32,
    /// The supplementary groups.
    pub groups: Vec<u32>,
}

impl User {
    /// Reads `UID:GID[,GID...]`.
    pub fn parse(text: &str) -> Option<Self> {
        let (uid, groups) = text.split_once(':')?;
        let mut groups = groups.split(',').map(|group| group.parse().ok());
        Some(User {
            uid: uid.parse().ok()?,
            gid: groups.next()??,
            groups: groups.collect::<Option<_>>()?,
        })
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)?;
        self.groups
            .iter()
            .try_for_each(|group| write!(f, ",{group}"))
    }
}

/// A port that a program serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// The number.
    pub number: u16,
    /// Whether it is a UDP port. Otherwise it is a TCP port.
    pub udp: bool,
}

impl Port {
    /// Reads `PORT`, `PORT/tcp` or `PORT/udp`.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, udp) = match text.split_once('/') {
            None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), false),
            Some((number, "udp")) => (number, true),
            Some(_) => return None,
        };
        let number = number.parse().ok().filter(|number| *number != 0)?;
        Some(Port { number, udp })
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = if self.udp { "udp" } else { "tcp" };
        write!(f, "{}/{protocol}", self.number)
    }
}

/// The kernel module of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelCode {
    /// The path of the module in the guest.
    pub module: String,
    /// The calls in the program that need addresses in the module.
    pub bindings: Vec<Binding>,
}

/// A call of a function of the kernel module. Only init knows the function's address, once the
/// module is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The offset of the call's operand in the program's file.
    pub operand: u64,
    /// The address that the operand is relative to.
    pub next: u64,
    /// The section of the module that has the function.
    pub section: String,
    /// The offset of the function in the section.
    pub offset: u64,
}

impl Binding {
    /// Reads `OPERAND,NEXT,SECTION,OFFSET`.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(',').collect();
        let [operand, next, section, offset] = parts[..] else {
            return None;
        };
        Some(Binding {
            operand: operand.parse().ok()?,
            next: next.parse().ok()?,
            section: section.into(),
            offset: offset.parse().ok()?,
        })
    }

    /// The operand, with the section loaded at `base`. `None` if the call cannot reach that far.
    pub fn value(&self, base: u64) -> Option<i32> {
        let distance = base.wrapping_add(self.offset).wrapping_sub(self.next);
        i32::try_from(distance.cast_signed()).ok()
    }
}

impl ImageConf {
    /// The text of the file, in this crate's version.
    pub fn encode(&self) -> Result<String, EncodeError> {
        let mut out = String::new();
        add(&mut out, Key::Protocol, crate::VERSION)?;
        add(&mut out, Key::Program, &self.program)?;
        for table in &self.thunks {
            add(&mut out, Key::Thunks, table)?;
        }
        if let Some(code) = &self.kernel_code {
            add(&mut out, Key::KernelCode, &code.module)?;
            for binding in &code.bindings {
                let Binding {
                    operand,
                    next,
                    section,
                    offset,
                } = binding;
                let value = format!("{operand},{next},{section},{offset}");
                if section.contains(',') {
                    let (key, why) = (Key::Bind.name(), "the name of a section has no comma");
                    return Err(EncodeError { key, value, why });
                }
                add(&mut out, Key::Bind, value)?;
            }
        }
        for (key, value) in self.policy.settings(crate::VERSION) {
            // Names and values of settings have no line breaks.
            let _ = writeln!(out, "{key}={value}");
        }
        if let Some(size) = self.stack_size {
            add(&mut out, Key::StackSize, size)?;
        }
        if self.anyone_starts {
            add(&mut out, Key::Start, "anyone")?;
        }
        for path in &self.ring0 {
            add(&mut out, Key::Ring0, path)?;
        }
        let start = &self.start;
        for arg in &start.args {
            add(&mut out, Key::Arg, escaped(arg))?;
        }
        for arg in &start.default_args {
            add(&mut out, Key::DefaultArg, escaped(arg))?;
        }
        for (name, value) in &start.env {
            if name.is_empty() || name.contains('=') {
                let why = "the name of a variable is not empty and has no `='";
                let (key, value) = (Key::Env.name(), name.clone());
                return Err(EncodeError { key, value, why });
            }
            add(&mut out, Key::Env, escaped(&format!("{name}={value}")))?;
        }
        if let Some(dir) = &start.workdir {
            add(&mut out, Key::Workdir, dir)?;
        }
        if let Some(user) = &start.user {
            add(&mut out, Key::User, user)?;
        }
        for port in &self.ports {
            add(&mut out, Key::Port, port)?;
        }
        Ok(out)
    }

    /// Reads the file.
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        let mut conf = ImageConf::default();
        let mut bindings = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let (what, record) = (WHAT, || line.to_owned());
            let (name, value) = line.split_once('=').ok_or_else(|| DecodeError::NoValue {
                what,
                record: record(),
            })?;
            let Some(key) = Key::from_name(name.as_bytes()) else {
                continue;
            };
            let taken = match key {
                Key::Protocol if index == 0 => match value.parse() {
                    Ok(version) if version > crate::VERSION => {
                        return Err(DecodeError::Newer { what, version });
                    }
                    Ok(_) => Ok(()),
                    Err(_) => Err("a number"),
                },
                Key::Bind => match Binding::parse(value) {
                    Some(binding) => {
                        bindings.push(binding);
                        Ok(())
                    }
                    None => Err("OPERAND,NEXT,SECTION,OFFSET"),
                },
                _ => conf.take(key, value),
            };
            taken.map_err(|expected| DecodeError::BadValue {
                what,
                record: record(),
                expected,
            })?;
        }
        if let Some(code) = &mut conf.kernel_code {
            code.bindings = bindings;
        }
        if conf.program.is_empty() {
            let (what, key) = (WHAT, Key::Program.name());
            return Err(DecodeError::Missing { what, key });
        }
        Ok(conf)
    }

    /// Handles a line. If the value is invalid, the error describes the valid ones.
    fn take(&mut self, key: Key, value: &str) -> Result<(), &'static str> {
        match key {
            Key::Protocol => return Err("the version in the first line only"),
            Key::Program => self.program = value.into(),
            Key::Thunks => {
                let table = ThunkTable::parse(value);
                self.thunks.push(table.ok_or("five numbers")?);
            }
            Key::KernelCode => {
                self.kernel_code = Some(KernelCode {
                    module: value.into(),
                    bindings: Vec::new(),
                });
            }
            Key::Bind => return Err("a line of its own"),
            Key::StackSize => self.stack_size = Some(value.parse().map_err(|_| "a number")?),
            Key::Start => {
                self.anyone_starts = match value {
                    "anyone" => true,
                    "privileged" => false,
                    _ => return Err("privileged or anyone"),
                }
            }
            Key::Ring0 => self.ring0.push(value.into()),
            Key::Arg => self.start.args.push(unescaped(value)?),
            Key::DefaultArg => self.start.default_args.push(unescaped(value)?),
            Key::Env => {
                let variable = unescaped(value)?;
                let (name, value) = variable.split_once('=').ok_or("NAME=VALUE")?;
                self.start.env.push((name.into(), value.into()));
            }
            Key::Workdir => self.start.workdir = Some(value.into()),
            Key::User => {
                let user = User::parse(value).ok_or("UID:GID[,GID...]")?;
                self.start.user = Some(user);
            }
            Key::Port => self
                .ports
                .push(Port::parse(value).ok_or("PORT/tcp or PORT/udp")?),
            Key::Transition | Key::BypassLimit | Key::Return | Key::Stack => {
                let set = self.policy.set(key.name(), value);
                set.map_err(|error| match error {
                    SettingError::BadValue(expected) => expected,
                    SettingError::UnknownName => "the name of a policy setting",
                })?;
            }
        }
        Ok(())
    }
}

/// The value without line breaks.
fn escaped(value: &str) -> String {
    let value = value.replace('\\', "\\\\");
    value.replace('\n', "\\n").replace('\r', "\\r")
}

/// Undoes [`escaped`].
fn unescaped(value: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(char) = chars.next() {
        out.push(match char {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('\\') => '\\',
                _ => return Err("`n', `r' or a backslash after a backslash"),
            },
            other => other,
        });
    }
    Ok(out)
}

fn add(out: &mut String, key: Key, value: impl std::fmt::Display) -> Result<(), EncodeError> {
    let value = value.to_string();
    if value.contains(['\n', '\r']) {
        let (key, why) = (key.name(), "it contains a line break");
        return Err(EncodeError { key, value, why });
    }
    let _ = writeln!(out, "{}={value}", key.name());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_configuration_is_read() {
        let conf =
            ImageConf::decode("program=/ukl/hello\nslots=4096,7,128,0,8\nlater=x\n").unwrap();
        assert_eq!(conf.program, "/ukl/hello");
        let table = ThunkTable {
            offset: 4096,
            count: 7,
            stride: 128,
            ring3: 0,
            entry: 8,
        };
        assert_eq!(conf.thunks, [table]);
        let conf = ImageConf::decode(
            "program=/x\nslots=1,1,128,0,8\nslots=128,1,128,112,8\nkernel-code=/ukl/k.ko\n\
             bind=172,48,.text,16\n",
        )
        .unwrap();
        let code = conf.kernel_code.unwrap();
        assert_eq!(code.module, "/ukl/k.ko");
        assert_eq!(code.bindings.len(), 1);
        assert_eq!(conf.thunks.len(), 2);
        for bad in [
            "",
            "bind=1,2,3\nprogram=/x",
            "slots=1,2,3,4,5\n",
            "program=/x\nslots=1,2,3,4\n",
            "program=/x\nslots=1,2,3,4,5,6\n",
            "program=/x\nslots=a,b,c,d,e",
            "program=/x\nstack-size=64K",
            "program=/x\nstart=nobody",
            "program=/x\nstack=none",
            "program=/x\nprotocol=1",
            "program=/x\nuser=1",
            "program=/x\nuser=1:x",
            "program=/x\nuser=1:2,",
            "program=/x\nport=0",
            "program=/x\nport=1/sctp",
            "program=/x\nenv=A",
            "program=/x\narg=\\x",
            "nonsense\nprogram=/x",
        ] {
            assert!(ImageConf::decode(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_later_version_is_refused() {
        let version = crate::VERSION + 1;
        let text = format!("protocol={version}\nnonsense\n");
        let what = WHAT;
        let newer = DecodeError::Newer { what, version };
        assert_eq!(ImageConf::decode(&text), Err(newer));
    }

    #[test]
    fn a_call_wraps_around_the_address_space() {
        let binding = Binding::parse("172,4198400,.text,16").unwrap();
        let value = binding.value(0xffff_ffff_a000_0000).unwrap();
        let target = 4_198_400_u64.wrapping_add_signed(value.into());
        assert_eq!(target, 0xffff_ffff_a000_0010);
        assert_eq!(binding.value(0x7fff_0000_0000), None);
    }

    #[test]
    fn a_binding_has_four_parts() {
        for bad in ["", "1,2,.text", "1,2,.text,x", "1,2,.text,3,4"] {
            assert_eq!(Binding::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn how_to_start_the_program_survives() {
        let conf = ImageConf {
            program: "/bin/sh".into(),
            ring0: vec!["/bin/sh".into(), "/bin/a=b".into()],
            start: Start {
                args: vec!["-c".into(), "a\nb\\n\r".into(), String::new()],
                default_args: vec!["x".into()],
                env: vec![("A".into(), "1=2\n".into())],
                workdir: Some("/srv".into()),
                user: User::parse("7:8,9,10"),
            },
            ports: vec![Port::parse("80").unwrap(), Port::parse("53/udp").unwrap()],
            ..ImageConf::default()
        };
        let text = conf.encode().unwrap();
        assert_eq!(ImageConf::decode(&text), Ok(conf), "{text}");
        assert!(text.contains("\nport=80/tcp\nport=53/udp\n"), "{text}");
    }

    #[test]
    fn a_line_break_is_refused() {
        let conf = ImageConf {
            program: "/ukl/a\nring=0".into(),
            ..ImageConf::default()
        };
        assert!(conf.encode().is_err());
    }
}
