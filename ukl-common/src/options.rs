//! The table of ukl-ld's own options and environment variables.
//!
//! The parser, `--ukl-help`, the man page and the shell completions are all made from this table.

use std::fmt::Write as _;
use std::path::PathBuf;

/// An option `--ukl-NAME`.
#[derive(Debug)]
pub struct OptionSpec {
    /// The name after `--ukl-`.
    pub name: &'static str,
    /// Whether the option takes a value, and what the help text calls it.
    pub value: Value,
    /// The values that the option accepts. Empty if they are not a fixed set.
    pub choices: &'static [&'static str],
    /// Older names of values, with the name that replaced each.
    pub aliases: &'static [(&'static str, &'static str)],
    /// The value if the option is not given.
    pub default: Option<&'static str>,
    /// One paragraph for the help text and the man page, without the default.
    pub help: &'static str,
}

/// Whether an option takes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// `--ukl-NAME`.
    None,
    /// `--ukl-NAME=VALUE` or `--ukl-NAME VALUE`.
    Required(&'static str),
    /// `--ukl-NAME` or `--ukl-NAME=VALUE`.
    Optional(&'static str),
}

/// An environment variable.
#[derive(Debug)]
pub struct Variable {
    /// The name.
    pub name: &'static str,
    /// One paragraph for the help text and the man page.
    pub help: &'static str,
}

/// The fields of most options: no value, no choices, no default.
const FLAG: OptionSpec = OptionSpec {
    name: "",
    value: Value::None,
    choices: &[],
    aliases: &[],
    default: None,
    help: "",
};

/// The options, in the order of the help text.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "help",
        help: "Print this text",
        ..FLAG
    },
    OptionSpec {
        name: "explain",
        help: "Print each step of the link to stderr, with its reason and duration",
        ..FLAG
    },
    OptionSpec {
        name: "image",
        value: Value::Required("PATH"),
        help: "Write the image to PATH instead of OUTPUT.ukl, even for links that look like a \
               probe of a build system",
        ..FLAG
    },
    OptionSpec {
        name: "no-image",
        help: "Make no image",
        ..FLAG
    },
    OptionSpec {
        name: "add",
        value: Value::Required("HOST:GUEST"),
        help: "Copy a file or a directory tree of the host into the image",
        ..FLAG
    },
    OptionSpec {
        name: "cmdline",
        value: Value::Required("TEXT"),
        help: "Add parameters to the image's kernel command line",
        ..FLAG
    },
    OptionSpec {
        name: "kernel",
        value: Value::Required("DIR"),
        help: "Use the kernel archive in DIR",
        ..FLAG
    },
    OptionSpec {
        name: "transition",
        value: Value::Required("KIND"),
        choices: &["base", "bypass"],
        default: Some("bypass"),
        help: "How system calls enter the kernel. base: by the full path, with all of Linux's \
               entry and exit work; bypass: by a direct call of the kernel's function for the \
               system call, unless tracing, seccomp, a signal or similar work needs the full path",
        ..FLAG
    },
    OptionSpec {
        name: "bypass-limit",
        value: Value::Required("N"),
        default: Some("50"),
        help: "Take the full path after every N bypassed calls (1 to 255)",
        ..FLAG
    },
    OptionSpec {
        name: "return",
        value: Value::Required("KIND"),
        choices: &["iret", "jump"],
        aliases: &[("ret", "jump")],
        default: Some("iret"),
        help: "How the kernel returns to the program after faults, interrupts and calls that \
               blocked: by the instruction iret, or by restoring the registers one by one and \
               a jump",
    },
    OptionSpec {
        name: "stack",
        value: Value::Required("KIND"),
        choices: &["kernel", "shared"],
        aliases: &[("own", "kernel")],
        default: Some("kernel"),
        help: "The stack of a bypassed system call. kernel: the thread's kernel stack; shared: \
               the program's stack, which is also mapped into the kernel's half of the address \
               space",
    },
    OptionSpec {
        name: "stack-size",
        value: Value::Required("SIZE"),
        default: Some("64K"),
        help: "How much of each thread's stack --ukl-stack=shared maps: bytes, or a number with \
               the suffix K or M, from 32K to 64M",
        ..FLAG
    },
    OptionSpec {
        name: "start",
        value: Value::Required("WHO"),
        choices: &["privileged", "anyone"],
        default: Some("privileged"),
        help: "Which processes may start the image's program at ring 0. privileged: those with \
               CAP_SYS_MODULE; anyone: all, for a program that starts itself again after it has \
               dropped its privileges. init then gives the program the file capability \
               CAP_SYS_MODULE",
        ..FLAG
    },
    OptionSpec {
        name: "malloc",
        value: Value::Required("KIND"),
        choices: &["libc", "kernel"],
        default: Some("libc"),
        help: "How malloc gets memory from the kernel. libc: pages that the kernel allocates at \
               the first access, by a page fault each; kernel: pages that the kernel allocates \
               at once, without faults",
        ..FLAG
    },
    OptionSpec {
        name: "shortcuts",
        value: Value::Required("LIST"),
        choices: &["net", "file", "epoll", "all"],
        help: "Replace the system calls of these kinds by functions that do the same work with \
               fewer checks and layers: net, file, epoll, separated by commas, or all",
        ..FLAG
    },
    OptionSpec {
        name: "kernel-symbols",
        value: Value::Required("LIST"),
        help: "Take these functions and variables from the kernel if nothing else defines them: \
               names separated by commas, or all. Names that the program declares with \
               UKL_KERNEL_SYMBOL of ukl.h need no option",
        ..FLAG
    },
    OptionSpec {
        name: "debug",
        help: "Keep debugging sections in the image's program",
        ..FLAG
    },
    OptionSpec {
        name: "program",
        value: Value::Optional("PATH"),
        help: "Also write the image's program to PATH, or to OUTPUT.ring0",
        ..FLAG
    },
    OptionSpec {
        name: "ring3",
        value: Value::Optional("PATH"),
        help: "Also write the program's ring-3 variant, which runs on the build host, to PATH, \
               or to OUTPUT.ring3",
        ..FLAG
    },
    OptionSpec {
        name: "save-dir",
        value: Value::Required("DIR"),
        help: "Copy every file that the link reads into DIR, with a script run-with that repeats \
               the link from there",
        ..FLAG
    },
    OptionSpec {
        name: "rewrite",
        value: Value::Required("FILE"),
        help: "Link nothing: write a linked program or shared library for ring 0 to the output of \
               -o. Its system calls become calls of the kernel, a program is marked for ring 0, and \
               the interpreter and libraries are those in /usr/lib/ukl",
        ..FLAG
    },
    OptionSpec {
        name: "keep-temps",
        help: "Keep the temporary directory and print its path",
        ..FLAG
    },
];

/// The environment variables, in the order of the help text.
pub const ENVIRONMENT: &[Variable] = &[
    Variable {
        name: "UKL_FLAGS",
        help: "More of these options, separated by spaces",
    },
    Variable {
        name: "UKL_IMAGE",
        help: "0: make no image; 1: make an image even for probes",
    },
    Variable {
        name: "UKL_SAVE_DIR",
        help: "Like --ukl-save-dir, for every link: each is saved in a new subdirectory",
    },
    Variable {
        name: "UKL_LD",
        help: "The real linker, instead of the first ld in PATH",
    },
    Variable {
        name: "UKL_CC",
        help: "The compiler whose libraries rustc's links use, instead of cc",
    },
    Variable {
        name: "UKL_LIBDIR",
        help: "The directory with kernel/, init and libexec/",
    },
    Variable {
        name: "XDG_CACHE_HOME",
        help: "The directory in which ukl/ is the cache, instead of ~/.cache",
    },
];

/// Finds an option by the name after `--ukl-`.
pub fn find(name: &str) -> Option<&'static OptionSpec> {
    OPTIONS.iter().find(|option| option.name == name)
}

impl OptionSpec {
    /// Whether the option requires a value, which may be the next word.
    pub fn needs_value(&self) -> bool {
        matches!(self.value, Value::Required(_))
    }

    /// Whether the option accepts a value after `=`.
    pub fn allows_value(&self) -> bool {
        self.value != Value::None
    }

    /// Finds the choice that a value names. `None` if the value is not one of the choices.
    pub fn choice(&self, value: &str) -> Option<&'static str> {
        let alias = self.aliases.iter().find(|(old, _)| *old == value);
        let name = alias.map_or(value, |(_, new)| new);
        self.choices.iter().find(|known| **known == name).copied()
    }

    /// The option as the help text shows it.
    pub fn usage(&self) -> String {
        let name = self.name;
        match self.value {
            Value::None => format!("--ukl-{name}"),
            Value::Required(value) => format!("--ukl-{name}={value}"),
            Value::Optional(value) => format!("--ukl-{name}[={value}]"),
        }
    }

    /// The paragraph of the help text, with the default.
    pub fn description(&self) -> String {
        match self.default {
            Some(default) => format!("{} (default: {default})", self.help),
            None => self.help.to_owned(),
        }
    }
}

/// The text of `--ukl-help`, which is also a part of `--help`.
pub fn help() -> String {
    let mut text = String::from("ukl-ld's own options:\n");
    for option in OPTIONS {
        entry(&mut text, &option.usage(), &option.description());
    }
    text.push_str("Environment:\n");
    for variable in ENVIRONMENT {
        entry(&mut text, variable.name, variable.help);
    }
    text
}

/// Adds a term and its description, which begins in a fixed column and ends before column 80.
fn entry(text: &mut String, term: &str, description: &str) {
    const COLUMN: usize = 30;
    const WIDTH: usize = 79;
    let _ = write!(text, "  {term:<width$}", width = COLUMN - 2);
    let mut at = COLUMN.max(term.len() + 3);
    if term.len() > COLUMN - 3 {
        text.push(' ');
    }
    let mut first = true;
    for word in description.split_ascii_whitespace() {
        if !first && at + 1 + word.len() > WIDTH {
            let _ = write!(text, "\n{:COLUMN$}", "");
            at = COLUMN;
        } else if !first {
            text.push(' ');
            at += 1;
        }
        text.push_str(word);
        at += word.len();
        first = false;
    }
    text.push('\n');
}

/// Reads `HOST:GUEST`, where GUEST is an absolute path.
pub fn host_and_guest(value: &str) -> Option<(PathBuf, String)> {
    let (host, guest) = value.rsplit_once(':')?;
    let valid = !host.is_empty() && guest.starts_with('/');
    valid.then(|| (host.into(), guest.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_in_the_help_text_within_80_columns() {
        let text = help();
        for option in OPTIONS {
            assert!(text.contains(&format!("\n  {} ", option.usage())), "{text}");
        }
        for line in text.lines() {
            assert!(line.len() < 80, "{line}");
        }
    }

    #[test]
    fn the_table_is_consistent() {
        for (index, option) in OPTIONS.iter().enumerate() {
            assert!(
                OPTIONS[..index]
                    .iter()
                    .all(|other| other.name != option.name)
            );
            assert!(!option.help.ends_with('.') && !option.help.is_empty());
            for (old, new) in option.aliases {
                assert!(!option.choices.contains(old));
                assert_eq!(option.choice(old), Some(*new));
            }
            if let Some(default) = option.default
                && !option.choices.is_empty()
            {
                assert_eq!(option.choice(default), Some(default));
            }
        }
    }

    #[test]
    fn words_that_are_not_choices_are_refused() {
        let stack = find("stack").unwrap();
        assert_eq!(stack.choice("kernel"), Some("kernel"));
        assert_eq!(stack.choice("own"), Some("kernel"));
        assert_eq!(stack.choice("none"), None);
        assert!(find("frobnicate").is_none());
    }
}
