//! The directives in a program's comments.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;

use crate::tools;

/// Where and how a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// This machine.
    Host,
    /// The guest, as an ordinary process.
    Ring3,
    /// The guest, at ring 0.
    Ring0(Mode),
}

/// The policy of a program at ring 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Mode {
    /// System calls bypass the entry code.
    pub bypass: bool,
    /// Faults and interrupts return by a jump instead of an IRET.
    pub ret: bool,
    /// System calls run on the program's stack instead of the kernel's.
    pub shared: bool,
}

impl Mode {
    /// All policies, beginning with the one that skips nothing.
    pub fn all() -> impl Iterator<Item = Mode> {
        (0..8).map(|bits| Mode {
            bypass: bits & 1 != 0,
            ret: bits & 2 != 0,
            shared: bits & 4 != 0,
        })
    }
}

impl Place {
    /// At ring 0 with the bypass, and the defaults otherwise.
    pub const BYPASS: Place = Place::Ring0(Mode {
        bypass: true,
        ret: false,
        shared: false,
    });

    /// The first part of the test's name.
    pub fn name(self) -> String {
        match self {
            Place::Host => "host".into(),
            Place::Ring3 => "ring3".into(),
            Place::Ring0(mode) => {
                let transition = if mode.bypass { "bypass" } else { "base" };
                let ret = if mode.ret { "-ret" } else { "" };
                let shared = if mode.shared { "-shared" } else { "" };
                format!("{transition}{ret}{shared}")
            }
        }
    }

    /// The privilege level that the program has to find in its code segment.
    pub fn ring(self) -> &'static str {
        if self.is_ring0() { "0" } else { "3" }
    }

    /// Whether the program runs at ring 0.
    pub fn is_ring0(self) -> bool {
        matches!(self, Place::Ring0(_))
    }

    /// Whether the program has to be linked for shared stacks.
    pub fn shares_stacks(self) -> bool {
        matches!(self, Place::Ring0(mode) if mode.shared)
    }

    /// The environment variables that tell the program which ring and policy it has to find.
    pub fn environment(self) -> [String; 2] {
        // The policy bits of personality(2), UKL_POLICY_* in asm/ukl.h.
        let policy = match self {
            Place::Host => 0,
            Place::Ring3 => 0x1000_0000,
            Place::Ring0(mode) => {
                let bits = [mode.bypass, mode.ret, mode.shared];
                let bits = bits.iter().enumerate();
                bits.fold(0, |sum, (bit, &yes)| sum | u32::from(yes) << (28 + bit))
            }
        };
        [
            format!("UKL_EXPECT_RING={}", self.ring()),
            format!("UKL_EXPECT_POLICY={policy:#x}"),
        ]
    }

    /// The options of `ukl-run` for this place.
    pub fn options(self) -> Vec<String> {
        match self {
            Place::Host => Vec::new(),
            Place::Ring3 => vec!["--ring3".into()],
            Place::Ring0(mode) => {
                let option = |name: &str, yes, value: [&str; 2]| {
                    format!("--{name}={}", value[usize::from(yes)])
                };
                vec![
                    option("transition", mode.bypass, ["base", "bypass"]),
                    option("return", mode.ret, ["iret", "ret"]),
                    option("stack", mode.shared, ["own", "shared"]),
                ]
            }
        }
    }
}

/// How a program has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With this status.
    Exit(i32),
    /// Killed by this signal.
    Signal(i32),
}

/// The machine that a program needs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Machine {
    /// Processors.
    pub cpus: u32,
    /// Memory, as `ukl-run -m` takes it.
    pub memory: String,
}

/// Where a program does not run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skip {
    /// This machine.
    pub host: bool,
    /// The guest, as an ordinary process.
    pub ring3: bool,
    /// The guest, at ring 0 with any policy.
    pub ring0: bool,
}

impl Skip {
    /// Whether the program does not run there.
    pub fn contains(self, place: Place) -> bool {
        match place {
            Place::Host => self.host,
            Place::Ring3 => self.ring3,
            Place::Ring0(_) => self.ring0,
        }
    }
}

/// The directives of one program.
#[derive(Debug, Clone)]
pub struct Directives {
    /// The standard output, line by line.
    pub stdout: Vec<String>,
    /// Texts within the standard output, in order; if there are any, `stdout` is empty.
    pub contains: Vec<String>,
    /// How it ends.
    pub end: End,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment, `NAME=VALUE`.
    pub env: Vec<String>,
    /// Arguments for the compiler before the source.
    pub cflags: Vec<String>,
    /// Arguments for the compiler after the source.
    pub libs: Vec<String>,
    /// The ordinary programs that it starts.
    pub helpers: Vec<String>,
    /// The guest.
    pub machine: Machine,
    /// The time limit.
    pub timeout: Duration,
    /// Options of `ukl-run`.
    pub run_args: Vec<String>,
    /// Whether it needs a boot of its own.
    pub alone: bool,
    /// Whether nothing else may run in its machine.
    pub calm: bool,
    /// Where it does not run.
    pub skip: Skip,
    /// More texts that must not be in the log.
    pub log_must_not_contain: Vec<String>,
}

impl Default for Directives {
    fn default() -> Self {
        Directives {
            stdout: Vec::new(),
            contains: Vec::new(),
            end: End::Exit(42),
            args: Vec::new(),
            env: Vec::new(),
            cflags: Vec::new(),
            libs: Vec::new(),
            helpers: Vec::new(),
            machine: Machine {
                cpus: tools::cpus(),
                memory: "512M".into(),
            },
            timeout: Duration::from_secs(60),
            run_args: Vec::new(),
            alone: false,
            calm: false,
            skip: Skip::default(),
            log_must_not_contain: Vec::new(),
        }
    }
}

impl Directives {
    /// Reads the directives of a source file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Directives::parse(&text).with_context(|| path.display().to_string())
    }

    /// Reads the directives in a program's text.
    pub fn parse(text: &str) -> Result<Self> {
        let mut all = Directives::default();
        for (number, line) in text.lines().enumerate() {
            let Some(directive) = line.trim_start().strip_prefix("//#") else {
                continue;
            };
            all.take(directive)
                .with_context(|| format!("line {}: `//#{directive}`", number + 1))?;
        }
        if !all.contains.is_empty() && !all.stdout.is_empty() {
            bail!("has both Expect-stdout and Stdout-contains");
        }
        Ok(all)
    }

    fn take(&mut self, directive: &str) -> Result<()> {
        let Some((key, value)) = directive.split_once(':') else {
            bail!("has no colon");
        };
        let value = value.strip_prefix(' ').unwrap_or(value);
        let reason = || {
            if value.is_empty() {
                bail!("needs a reason");
            }
            Ok(())
        };
        match key {
            "Expect-stdout" => self.stdout.push(value.into()),
            "Stdout-contains" => self.contains.push(value.into()),
            "Exit" => self.end = End::Exit(value.parse()?),
            "Signal" => self.end = End::Signal(signal(value)?),
            "Args" => self.args.extend(words(value)?),
            "Env" => {
                if !value.contains('=') {
                    bail!("is not NAME=VALUE");
                }
                self.env.push(value.into());
            }
            "CFlags" => self.cflags.extend(words(value)?),
            "Libs" => self.libs.extend(words(value)?),
            "Helper" => self.helpers.push(value.into()),
            "Cpus" => self.machine.cpus = value.parse()?,
            "Mem" => self.machine.memory = value.into(),
            "Timeout" => self.timeout = Duration::from_secs(value.parse()?),
            "Run-args" => self.run_args.extend(words(value)?),
            "Alone" => {
                reason()?;
                self.alone = true;
            }
            "Calm" => {
                reason()?;
                self.calm = true;
            }
            "Skip-host" => {
                reason()?;
                self.skip.host = true;
            }
            "Skip-ring3" => {
                reason()?;
                self.skip.ring3 = true;
            }
            "Skip-ring0" => {
                reason()?;
                self.skip.ring0 = true;
            }
            "Log-must-not-contain" => self.log_must_not_contain.push(value.into()),
            _ => bail!("is not a directive"),
        }
        Ok(())
    }

    /// Whether it needs a boot of its own.
    pub fn wants_own_boot(&self) -> bool {
        self.alone || !self.run_args.is_empty()
    }
}

/// The number of a signal.
fn signal(name: &str) -> Result<i32> {
    Ok(match name {
        "ILL" => 4,
        "TRAP" => 5,
        "ABRT" => 6,
        "BUS" => 7,
        "FPE" => 8,
        "KILL" => 9,
        "SEGV" => 11,
        "PIPE" => 13,
        "TERM" => 15,
        "XCPU" => 24,
        "SYS" => 31,
        _ => bail!("is not a signal known here"),
    })
}

/// Splits words as a shell does: at blanks that are neither quoted nor behind a backslash.
pub fn words(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    let mut quote = None;
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some('\''), c) => word.get_or_insert_default().push(c),
            (_, '\\') => match chars.next() {
                Some(c) => word.get_or_insert_default().push(c),
                None => bail!("ends in a backslash"),
            },
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                word.get_or_insert_default();
                quote = Some(c);
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        bail!("has an open quote");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_make_an_accident_fail() {
        let all = Directives::parse("int main(void) { return 42; }").unwrap();
        assert_eq!(all.end, End::Exit(42));
        assert_eq!(all.machine.cpus, tools::cpus());
        assert!(all.stdout.is_empty());
    }

    #[test]
    fn reads_directives() {
        let all = Directives::parse(
            "//#Expect-stdout: a  b\n//#Expect-stdout:\n  //#Signal: SEGV\n//#Args: 'x y' z\\ w \"\"\n//#Cpus: 4\n",
        )
        .unwrap();
        assert_eq!(all.stdout, ["a  b", ""]);
        assert_eq!(all.end, End::Signal(11));
        assert_eq!(all.args, ["x y", "z w", ""]);
        assert_eq!(all.machine.cpus, 4);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for bad in [
            "//#Expect-stdin: x",
            "//#Signal: NOSUCH",
            "//#Exit",
            "//#Alone:",
            "//#Args: 'open",
            "//#Expect-stdout: x\n//#Stdout-contains: y",
        ] {
            assert!(Directives::parse(bad).is_err(), "{bad}");
        }
    }
}
