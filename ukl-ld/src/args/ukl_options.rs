//! Options of our own: `--ukl-NAME`, on the command line and in `UKL_FLAGS`.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

use crate::args::Args;
use crate::args::Kind;
use crate::args::response;
use crate::error::Error;
use crate::error::Result;
use crate::kernel_module::shortcuts::Shortcuts;

/// The options that take a value, and with it the next word if no `=` follows.
pub const WITH_VALUE: &[&str] = &[
    "add",
    "bypass-limit",
    "cmdline",
    "image",
    "kernel",
    "malloc",
    "return",
    "shortcuts",
    "stack",
    "stack-size",
    "transition",
];

/// How much of a stack may be shared, in bytes.
const STACK_SIZES: std::ops::RangeInclusive<u64> = (32 << 10)..=(64 << 20);

/// What the image's program is called, behind the name of the host output.
pub const RING0: &str = ".ring0";

/// The same for its ring-3 variant.
pub const RING3: &str = ".ring3";

/// The text of `--ukl-help`, and of `--help` on them.
pub const HELP: &str = "\
ukl-ld's own options:
  --ukl-help                  Print this
  --ukl-explain               Say on stderr what is done and why, with times
  --ukl-image=PATH            Write the image to PATH instead of OUTPUT.ukl,
                                probe or not
  --ukl-no-image              Make no image
  --ukl-add=HOST:GUEST        Put a file or a tree of the host into the image
  --ukl-cmdline=TEXT          Build a kernel command line into the image
  --ukl-kernel=DIR            Use the kernel archive in DIR
  --ukl-transition=KIND       How system calls enter the kernel: base, with all
                                that Linux does on the way, or bypass, which
                                calls the kernel's own function for the call
                                (the default)
  --ukl-bypass-limit=N        Of N+1 bypassing calls, make one a base one (50)
  --ukl-return=KIND           How the kernel returns to the program after faults
                                and interrupts, and from calls that had to wait:
                                iret, or ret, without that instruction (iret)
  --ukl-stack=KIND            The stack of a bypassing call: own, the kernel's
                                for the thread, or shared, the program's, which
                                the kernel sees in its own half, too (own)
  --ukl-stack-size=SIZE       How much of each thread's stack is shared: bytes,
                                or with K or M behind (64K)
  --ukl-malloc=KIND           What malloc gets of the system: libc, promises of
                                pages, or kernel, the pages themselves, at once
                                and without a fault for each (libc)
  --ukl-shortcuts=LIST        Take the system calls of these kinds to their work
                                by a short way: net, file, epoll, or all
  --ukl-debug                 Keep debugging sections in the image's program
  --ukl-program[=PATH]        Also write the image's program to PATH, or to
                                OUTPUT.ring0
  --ukl-ring3[=PATH]          Also write its ring-3 variant, which runs here,
                                to PATH, or to OUTPUT.ring3
  --ukl-keep-temps            Keep the temporary directory and say where it is
Environment:
  UKL_FLAGS                   More of these options
  UKL_IMAGE                   0: make no image; 1: make one for probes, too
  UKL_LD                      The real linker, instead of the first ld in PATH
  UKL_CC                      The compiler whose libraries a link of rustc's gets,
                                instead of cc
  UKL_LIBDIR                  Where kernel/, init and libexec/ are
  XDG_CACHE_HOME              Where ukl/ keeps rewritten inputs, instead of
                                ~/.cache
";

/// Where a by-product goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Beside the output, under its name with something behind it.
    Beside,
    /// There.
    At(PathBuf),
}

impl Place {
    fn of(value: &Option<OsString>) -> Place {
        value
            .as_ref()
            .map_or(Place::Beside, |path| Place::At(path.into()))
    }

    /// The path, for this output.
    pub fn path(&self, output: &Path, suffix: &str) -> PathBuf {
        match self {
            Place::Beside => beside(output, suffix),
            Place::At(path) => path.clone(),
        }
    }
}

/// A file's name with something behind it.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// What they say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct UklOptions {
    /// Print what options there are, and do nothing.
    pub help: bool,
    /// Print what is done.
    pub explain: bool,
    /// Where the image goes.
    pub image: Option<PathBuf>,
    /// No image.
    pub no_image: bool,
    /// What to add to the image: from the host, to the guest.
    pub add: Vec<(PathBuf, String)>,
    /// A kernel command line to build in.
    pub cmdline: Option<String>,
    /// The kernel archive.
    pub kernel: Option<PathBuf>,
    /// Which system calls take a shortcut.
    pub shortcuts: Shortcuts,
    /// Keep debugging sections.
    pub debug: bool,
    /// Where the image's program goes, too.
    pub program: Option<Place>,
    /// Where its ring-3 variant goes, too.
    pub ring3: Option<Place>,
    /// Keep the temporary directory.
    pub keep_temps: bool,
    /// How the program gets into the kernel: settings for init.
    pub policy: Vec<(&'static str, String)>,
}

impl UklOptions {
    /// Takes the options of the command line and of `UKL_FLAGS`, in this order.
    pub fn collect(args: &Args, flags: Option<&OsStr>) -> Result<UklOptions> {
        let mut own = UklOptions::default();
        own.take(args)?;
        if let Some(flags) = flags {
            let flags = Args::parse(response::split(flags.as_bytes()));
            for arg in &flags.list {
                if !matches!(arg.kind, Kind::Ukl { .. }) {
                    let word = arg.words.first().cloned().unwrap_or_default();
                    return Err(Error::Usage(format!(
                        "UKL_FLAGS: `{}' is not an option of ukl-ld (see --help); pass options \
                         of ld on the command line",
                        word.display()
                    )));
                }
            }
            own.take(&flags)?;
        }
        if !own.policy.iter().any(|(name, _)| *name == "transition") {
            own.policy.push(("transition", "bypass".into()));
        }
        Ok(own)
    }

    fn take(&mut self, args: &Args) -> Result<()> {
        for arg in &args.list {
            let Kind::Ukl { name, value } = &arg.kind else {
                continue;
            };
            let needed = || {
                let value = value.clone().filter(|value| !value.is_empty());
                value.ok_or_else(|| {
                    Error::Usage(format!("option '--ukl-{name}' requires an argument"))
                })
            };
            match name.as_str() {
                "help" => self.help = true,
                "explain" => self.explain = true,
                "no-image" => self.no_image = true,
                "debug" => self.debug = true,
                "keep-temps" => self.keep_temps = true,
                "image" => self.image = Some(needed()?.into()),
                "kernel" => self.kernel = Some(needed()?.into()),
                "program" => self.program = Some(Place::of(value)),
                "ring3" => self.ring3 = Some(Place::of(value)),
                "cmdline" => self.cmdline = Some(text(name, needed()?)?),
                "transition" => {
                    self.policy("transition", needed()?, |text| {
                        ["base", "bypass"].contains(&text)
                    })?;
                }
                "return" => {
                    self.policy("return", needed()?, |text| ["iret", "ret"].contains(&text))?;
                }
                "stack" => {
                    self.policy("stack", needed()?, |text| ["own", "shared"].contains(&text))?;
                }
                "malloc" => match text(name, needed()?)?.as_str() {
                    "kernel" => self.shortcuts.malloc(true),
                    "libc" => self.shortcuts.malloc(false),
                    other => {
                        return Err(Error::Usage(format!(
                            "option '--ukl-malloc': `{other}' is neither libc nor kernel"
                        )));
                    }
                },
                "stack-size" => self.stack_size(&text(name, needed()?)?)?,
                "bypass-limit" => self.policy("bypass-limit", needed()?, |text| {
                    text.parse::<u8>().is_ok_and(|limit| limit > 0)
                })?,
                "shortcuts" => self.shortcuts.add(&text(name, needed()?)?)?,
                "add" => self.add.push(pair(needed()?)?),
                _ => {
                    return Err(Error::Usage(format!("unrecognized option '--ukl-{name}'")));
                }
            }
            if let Some(value) = value
                && !WITH_VALUE.contains(&name.as_str())
                && !matches!(name.as_str(), "program" | "ring3")
            {
                return Err(Error::Usage(format!(
                    "option '--ukl-{name}' doesn't allow an argument, but got `{}'",
                    value.display()
                )));
            }
        }
        Ok(())
    }

    /// Whether threads are to share their stacks with the kernel.
    pub fn shared_stacks(&self) -> bool {
        let mut policy = self.policy.iter();
        policy.any(|(name, value)| *name == "stack" && value == "shared")
    }

    /// Whether kernel code that comes with UKL is asked for: shortcuts, or what shares the stacks.
    pub fn wants_kernel_code(&self) -> bool {
        self.shortcuts.any() || self.shared_stacks()
    }

    /// Takes a size of stacks: what the kernel needs, and a bit for the program.
    fn stack_size(&mut self, text: &str) -> Result<()> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit: Option<u64> = match &text[digits.len()..] {
            "" => Some(1),
            "k" | "K" => Some(1 << 10),
            "m" | "M" => Some(1 << 20),
            _ => None,
        };
        let number: Option<u64> = digits.parse().ok();
        let size = number.zip(unit).and_then(|(n, unit)| n.checked_mul(unit));
        let Some(size) = size.filter(|size| STACK_SIZES.contains(size)) else {
            return Err(Error::Usage(format!(
                "option '--ukl-stack-size': `{text}' is not a size from 32K to 64M"
            )));
        };
        self.policy("stack-size", size.to_string().into(), |_| true)
    }

    /// Takes a setting for init; the last of a name holds.
    fn policy(
        &mut self,
        name: &'static str,
        value: OsString,
        known: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let value = text(name, value)?;
        if !known(&value) {
            return Err(Error::Usage(format!(
                "option '--ukl-{name}': `{value}' is no value of it (see --help)"
            )));
        }
        self.policy.retain(|(other, _)| *other != name);
        self.policy.push((name, value));
        Ok(())
    }
}

fn text(name: &str, value: OsString) -> Result<String> {
    value.into_string().map_err(|value| {
        Error::Usage(format!(
            "option '--ukl-{name}': `{}' is not UTF-8",
            value.display()
        ))
    })
}

fn pair(value: OsString) -> Result<(PathBuf, String)> {
    let value = text("add", value)?;
    match value.rsplit_once(':') {
        Some((host, guest)) if !host.is_empty() && guest.starts_with('/') => {
            Ok((host.into(), guest.to_owned()))
        }
        _ => Err(Error::Usage(format!(
            "option '--ukl-add': `{value}' is not HOST:GUEST with an absolute GUEST path"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(words: &[&str], flags: Option<&str>) -> Result<UklOptions> {
        UklOptions::collect(
            &Args::parse(words.iter().map(OsString::from)),
            flags.map(OsStr::new),
        )
    }

    #[test]
    fn flags_of_the_environment_come_last() {
        let own = own(&["--ukl-kernel=/a"], Some("--ukl-kernel=/b --ukl-explain")).unwrap();
        assert_eq!(own.kernel, Some("/b".into()));
        assert!(own.explain);
    }

    #[test]
    fn a_value_may_be_the_next_word() {
        let own = own(&["--ukl-kernel", "/a", "--ukl-add", "x:/y"], None).unwrap();
        assert_eq!(own.kernel, Some("/a".into()));
        assert_eq!(own.add, [("x".into(), "/y".into())]);
    }

    #[test]
    fn the_last_setting_holds() {
        let words = ["--ukl-transition=base", "--ukl-transition=bypass"];
        assert_eq!(
            own(&words, None).unwrap().policy,
            [("transition", "bypass".to_owned())]
        );
        for wrong in [
            "--ukl-transition=warp",
            "--ukl-bypass-limit=0",
            "--ukl-return=jump",
            "--ukl-malloc=slab",
            "--ukl-stack=none",
            "--ukl-stack-size=1K",
            "--ukl-stack-size=64",
            "--ukl-stack-size=2G",
            "--ukl-stack-size=99999999999999999999K",
        ] {
            assert!(own(&[wrong], None).is_err(), "{wrong}");
        }
    }

    #[test]
    fn stacks_have_sizes() {
        let own = own(&["--ukl-stack=shared", "--ukl-stack-size=128K"], None).unwrap();
        assert!(own.shared_stacks());
        assert!(own.policy.contains(&("stack-size", "131072".to_owned())));
    }

    #[test]
    fn unknown_own_options_fail() {
        let error = own(&["--ukl-frobnicate"], None).unwrap_err();
        assert_eq!(error.to_string(), "unrecognized option '--ukl-frobnicate'");
    }

    #[test]
    fn options_of_ld_do_not_belong_into_the_environment() {
        assert!(own(&[], Some("-shared")).is_err());
    }

    #[test]
    fn a_guest_path_is_absolute() {
        assert!(own(&["--ukl-add=a:b"], None).is_err());
    }
}
