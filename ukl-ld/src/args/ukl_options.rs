//! The values of ukl-ld's own options: `--ukl-NAME`, on the command line and in `UKL_FLAGS`.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

use ukl_common::options;
use ukl_common::options::OptionSpec;
use ukl_proto::policy::Policy;
use ukl_proto::policy::SettingError;
use ukl_proto::policy::Transition;

use crate::args::Args;
use crate::args::Kind;
use crate::args::response;
use crate::error::Error;
use crate::error::Result;
use crate::kernel_module::imports::Allowed;
use crate::kernel_module::shortcuts::Shortcuts;

/// The sizes that the shared part of a stack may have, in bytes.
const STACK_SIZES: std::ops::RangeInclusive<u32> = (32 << 10)..=(64 << 20);

/// The suffix of the file with the image's program (`--ukl-program`).
pub const RING0: &str = ".ring0";

/// The suffix of the file with the program's ring-3 variant (`--ukl-ring3`).
pub const RING3: &str = ".ring3";

/// The path of a by-product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Beside the output, under the output's name with a suffix.
    Beside,
    /// At this path.
    At(PathBuf),
}

impl Place {
    fn of(value: Option<&OsString>) -> Place {
        value.map_or(Place::Beside, |path| Place::At(path.into()))
    }

    /// The path of the by-product of this output.
    pub fn path(&self, output: &Path, suffix: &str) -> PathBuf {
        match self {
            Place::Beside => beside(output, suffix),
            Place::At(path) => path.clone(),
        }
    }
}

/// A path with a suffix.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The values of all options.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct UklOptions {
    /// `--ukl-help`: print the options and exit.
    pub help: bool,
    /// `--ukl-explain`: print each step.
    pub explain: bool,
    /// `--ukl-image`: the path of the image.
    pub image: Option<PathBuf>,
    /// `--ukl-no-image`.
    pub no_image: bool,
    /// `--ukl-add`: paths of the host, each with its path in the guest.
    pub add: Vec<(PathBuf, String)>,
    /// `--ukl-cmdline`: kernel parameters.
    pub cmdline: Option<String>,
    /// `--ukl-kernel`: the directory of the kernel archive.
    pub kernel: Option<PathBuf>,
    /// `--ukl-shortcuts` and `--ukl-malloc`: the system calls that take a shortcut.
    pub shortcuts: Shortcuts,
    /// `--ukl-kernel-symbols`: names that may be taken from the kernel.
    pub kernel_symbols: Allowed,
    /// `--ukl-debug`: keep debugging sections.
    pub debug: bool,
    /// `--ukl-program`: also write the image's program.
    pub program: Option<Place>,
    /// `--ukl-ring3`: also write the program's ring-3 variant.
    pub ring3: Option<Place>,
    /// `--ukl-keep-temps`: keep the temporary directory.
    pub keep_temps: bool,
    /// `--ukl-save-dir`: the directory to save the link in.
    pub save_dir: Option<PathBuf>,
    /// `--ukl-rewrite`: the linked file to rewrite instead of a link.
    pub rewrite: Option<PathBuf>,
    /// The policy options.
    pub policy: Policy,
    /// How much of each thread's stack is shared, in bytes.
    pub stack_size: Option<u32>,
    /// `--ukl-start=anyone`: processes without CAP_SYS_MODULE may start the program at ring 0.
    pub anyone_starts: bool,
}

impl UklOptions {
    /// Reads the options of the command line, then those of `UKL_FLAGS`, which override them.
    pub fn collect(args: &Args, flags: Option<&OsStr>) -> Result<UklOptions> {
        let mut options = UklOptions::default();
        options.read(args)?;
        if let Some(flags) = flags {
            let flags = Args::parse(response::split(flags.as_bytes()));
            for arg in &flags.list {
                if !matches!(arg.kind, Kind::Ukl { .. }) {
                    let word = arg.words.first().cloned().unwrap_or_default();
                    return Err(Error::Usage(format!(
                        "UKL_FLAGS: `{}' is not an option of ukl-ld (see --ukl-help); pass \
                         options of ld on the command line",
                        word.display()
                    )));
                }
            }
            options.read(&flags)?;
        }
        options.policy.transition.get_or_insert(Transition::Bypass);
        Ok(options)
    }

    fn read(&mut self, args: &Args) -> Result<()> {
        for arg in &args.list {
            if let Kind::Ukl { name, value } = &arg.kind {
                let spec = options::find(name)
                    .ok_or_else(|| Error::Usage(format!("unrecognized option '--ukl-{name}'")))?;
                self.read_one(spec, value.as_ref())?;
            }
        }
        Ok(())
    }

    fn read_one(&mut self, spec: &'static OptionSpec, value: Option<&OsString>) -> Result<()> {
        if let Some(value) = value
            && !spec.allows_value()
        {
            return Err(Error::Usage(format!(
                "option '--ukl-{}' doesn't allow an argument, but got `{}'",
                spec.name,
                value.display()
            )));
        }
        match spec.name {
            "help" => self.help = true,
            "explain" => self.explain = true,
            "no-image" => self.no_image = true,
            "debug" => self.debug = true,
            "keep-temps" => self.keep_temps = true,
            "save-dir" => self.save_dir = Some(required(spec, value)?.into()),
            "rewrite" => self.rewrite = Some(required(spec, value)?.into()),
            "image" => self.image = Some(required(spec, value)?.into()),
            "kernel" => self.kernel = Some(required(spec, value)?.into()),
            "program" => self.program = Some(Place::of(value)),
            "ring3" => self.ring3 = Some(Place::of(value)),
            "cmdline" => self.cmdline = Some(text(spec, value)?.to_owned()),
            "transition" | "return" | "stack" | "bypass-limit" => {
                let value = text(spec, value)?;
                let set = self.policy.set(spec.name, value);
                set.map_err(|error| match error {
                    SettingError::BadValue(expected) => invalid(spec, value, expected),
                    SettingError::UnknownName => invalid(spec, value, "a policy setting"),
                })?;
            }
            "start" => self.anyone_starts = choice(spec, text(spec, value)?)? == "anyone",
            "malloc" => self
                .shortcuts
                .malloc(choice(spec, text(spec, value)?)? == "kernel"),
            "stack-size" => {
                self.stack_size = Some(stack_size(spec, text(spec, value)?)?);
            }
            "shortcuts" => {
                for kind in text(spec, value)?.split(',') {
                    self.shortcuts.add(choice(spec, kind)?);
                }
            }
            "kernel-symbols" => {
                for name in text(spec, value)?.split(',') {
                    self.kernel_symbols.add(name);
                }
            }
            "add" => self.add.push(pair(spec, text(spec, value)?)?),
            name => unreachable!("the table has an option that nothing reads: {name}"),
        }
        Ok(())
    }

    /// Whether bypassed calls use the program's stack (`--ukl-stack=shared`).
    pub fn shared_stacks(&self) -> bool {
        self.policy.shares_stacks()
    }

    /// Whether the image needs kernel code that comes with UKL: shortcuts, or the code that maps
    /// shared stacks.
    pub fn wants_kernel_code(&self) -> bool {
        self.shortcuts.any() || self.shared_stacks()
    }
}

/// The value of an option that requires one.
fn required<'v>(spec: &OptionSpec, value: Option<&'v OsString>) -> Result<&'v OsStr> {
    let value = value.filter(|value| !value.is_empty());
    value
        .map(OsString::as_os_str)
        .ok_or_else(|| Error::Usage(format!("option '--ukl-{}' requires an argument", spec.name)))
}

/// The same, as text.
fn text<'v>(spec: &OptionSpec, value: Option<&'v OsString>) -> Result<&'v str> {
    let value = required(spec, value)?;
    value.to_str().ok_or_else(|| {
        Error::Usage(format!(
            "option '--ukl-{}': `{}' is not valid UTF-8",
            spec.name,
            value.display()
        ))
    })
}

/// The value of an option with a fixed set of values.
fn choice(spec: &OptionSpec, value: &str) -> Result<&'static str> {
    spec.choice(value)
        .ok_or_else(|| invalid(spec, value, &alternatives(spec.choices)))
}

fn invalid(spec: &OptionSpec, value: &str, expected: &str) -> Error {
    Error::Usage(format!(
        "option '--ukl-{}': `{value}': invalid value; expected {expected}",
        spec.name
    ))
}

/// Words as a list in a sentence: "a, b or c".
fn alternatives(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [others @ .., last] => format!("{} or {last}", others.join(", ")),
    }
}

/// Reads the size of the shared part of a stack, in bytes.
fn stack_size(spec: &OptionSpec, value: &str) -> Result<u32> {
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: Option<u32> = match &value[digits.len()..] {
        "" => Some(1),
        "k" | "K" => Some(1 << 10),
        "m" | "M" => Some(1 << 20),
        _ => None,
    };
    let number: Option<u32> = digits.parse().ok();
    let size = number.zip(unit).and_then(|(n, unit)| n.checked_mul(unit));
    size.filter(|size| STACK_SIZES.contains(size))
        .ok_or_else(|| invalid(spec, value, "a size from 32K to 64M"))
}

/// Reads `HOST:GUEST`.
fn pair(spec: &OptionSpec, value: &str) -> Result<(PathBuf, String)> {
    let expected = "HOST:GUEST with an absolute GUEST path";
    options::host_and_guest(value).ok_or_else(|| invalid(spec, value, expected))
}

#[cfg(test)]
mod tests {
    use ukl_proto::policy;
    use ukl_proto::policy::Return;
    use ukl_proto::policy::Setting;
    use ukl_proto::policy::Stack;

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
        let bypass = Policy {
            transition: Some(Transition::Bypass),
            ..Policy::default()
        };
        assert_eq!(own(&words, None).unwrap().policy, bypass);
        for wrong in [
            "--ukl-transition=warp",
            "--ukl-bypass-limit=0",
            "--ukl-return=sysret",
            "--ukl-shortcuts=net,disk",
            "--ukl-bypass-limit=256",
            "--ukl-malloc=slab",
            "--ukl-stack=none",
            "--ukl-start=nobody",
            "--ukl-stack-size=1K",
            "--ukl-stack-size=64",
            "--ukl-stack-size=2G",
            "--ukl-stack-size=99999999999999999999K",
        ] {
            assert!(own(&[wrong], None).is_err(), "{wrong}");
        }
    }

    #[test]
    fn old_names_of_values_are_aliases() {
        let old = own(&["--ukl-return=ret", "--ukl-stack=own"], None).unwrap();
        let new = own(&["--ukl-return=jump", "--ukl-stack=kernel"], None).unwrap();
        assert_eq!(old, new);
        assert_eq!(new.policy.return_by, Some(Return::Jump));
        assert_eq!(new.policy.stack, Some(Stack::Kernel));
    }

    #[test]
    fn an_invalid_value_names_the_valid_ones() {
        let message = |word| own(&[word], None).unwrap_err().to_string();
        assert_eq!(
            message("--ukl-transition=warp"),
            "option '--ukl-transition': `warp': invalid value; expected base or bypass"
        );
        assert_eq!(
            message("--ukl-shortcuts=net,disk"),
            "option '--ukl-shortcuts': `disk': invalid value; expected net, file, epoll or all"
        );
        assert_eq!(
            message("--ukl-explain=yes"),
            "option '--ukl-explain' doesn't allow an argument, but got `yes'"
        );
        assert_eq!(
            message("--ukl-kernel"),
            "option '--ukl-kernel' requires an argument"
        );
    }

    #[test]
    fn the_table_has_no_option_that_nothing_reads() {
        for spec in options::OPTIONS {
            // Most of these values are invalid; none may panic.
            let _ = UklOptions::default().read_one(spec, None);
            let _ = UklOptions::default().read_one(spec, Some(&"x:/y".into()));
        }
    }

    #[test]
    fn the_table_has_the_protocols_names_of_policy_values() {
        fn check<S: Setting>() {
            let option = options::find(S::KEY).unwrap();
            assert_eq!(option.choices.len(), S::ALL.len());
            for value in S::ALL {
                assert_eq!(option.choice(value.name()), Some(value.name()));
                if let Some(alias) = value.alias() {
                    assert_eq!(option.choice(alias), Some(value.name()));
                }
            }
        }
        check::<Transition>();
        check::<Return>();
        check::<Stack>();
        assert!(options::find(policy::BYPASS_LIMIT).is_some());
    }

    #[test]
    fn kernel_symbols_add_up() {
        let words = ["--ukl-kernel-symbols=vmalloc,vfree"];
        let options = own(&words, Some("--ukl-kernel-symbols=jiffies")).unwrap();
        let symbols = &options.kernel_symbols;
        assert!(
            ["vmalloc", "vfree", "jiffies"]
                .iter()
                .all(|name| symbols.has(name))
        );
        assert!(!symbols.has("panic"));
        let all = own(&["--ukl-kernel-symbols=all"], None).unwrap();
        assert!(all.kernel_symbols.has("panic") && !all.kernel_symbols.has("crc32"));
    }

    #[test]
    fn stacks_have_sizes() {
        let own = own(&["--ukl-stack=shared", "--ukl-stack-size=128K"], None).unwrap();
        assert!(own.shared_stacks());
        assert_eq!(own.stack_size, Some(131_072));
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
