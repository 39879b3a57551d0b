//! Describes the tools as clap commands.

use clap::Arg;
use clap::ArgAction;
use clap::Command;
use clap::CommandFactory as _;
use clap::ValueHint;
use clap::builder::PossibleValuesParser;
use ukl_common::options;
use ukl_common::options::OptionSpec;
use ukl_common::options::Value;

/// A tool.
#[derive(Debug, Clone)]
pub struct Tool {
    /// The name of the command.
    pub name: &'static str,
    /// Its options.
    pub command: Command,
    /// The environment variables that it reads, each with a description.
    pub environment: Vec<(String, String)>,
    /// Whether it passes most of its options to a compiler.
    pub is_compiler: bool,
    /// The pages of the section SEE ALSO.
    pub see_also: &'static [&'static str],
}

/// All tools.
pub fn tools() -> Vec<Tool> {
    vec![cc(), ld(), run(), pack(), rewriter()]
}

const LD: &str = "\
Links a program as GNU ld does, by running the machine's own ld, and then makes a bootable image \
of it, in which the program runs at ring 0. The image is written beside the output, as OUTPUT.ukl.

All options of ld are accepted and handed to it. ukl-ld's own options are listed here. They may \
also be given in the environment variable UKL_FLAGS, or to a compiler driver as \
-Wl,--ukl-OPTION.";

fn ld() -> Tool {
    let command = Command::new("ukl-ld")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Link programs as GNU ld does, and make bootable images of them")
        .long_about(LD)
        .override_usage("ukl-ld [OPTION]... FILE...")
        .arg(
            Arg::new("version")
                .long("version")
                .help("Print the versions of ukl-ld and of the real ld, and the kernel archive")
                .action(ArgAction::SetTrue),
        )
        .arg(files("Objects, archives, libraries and linker scripts"));
    Tool {
        name: "ukl-ld",
        command: own(command, options::OPTIONS),
        environment: environment(&[]),
        is_compiler: false,
        see_also: &["ld(1)", "ukl-cc(1)", "ukl-run(1)"],
    }
}

const CC: &str = "\
Runs the machine's C compiler (ukl-c++: its C++ compiler) so that it links through ukl-ld: every \
program PROG gets a bootable image PROG.ukl beside it. All options and all output are the \
compiler's; --version, too, is answered by the compiler.

The options listed here are the only others. Those of ukl-ld are passed to it; they may also be \
given as -Wl,--ukl-OPTION.";

fn cc() -> Tool {
    let command = Command::new("ukl-cc")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Compile and link programs, and make bootable images of them")
        .long_about(CC)
        .override_usage("ukl-cc [OPTION]... FILE...")
        .arg(files("What the compiler takes"));
    let own_names: Vec<&str> = ukl_cc::options::OPTIONS
        .iter()
        .map(|spec| spec.name)
        .collect();
    let linkers = options::OPTIONS
        .iter()
        .filter(|spec| !own_names.contains(&spec.name));
    let all = ukl_cc::options::OPTIONS.iter().chain(linkers);
    Tool {
        name: "ukl-cc",
        command: own(command, all),
        environment: environment(&[(
            "UKL_CC, UKL_CXX",
            "The real C and C++ compiler, instead of cc and c++; arguments may follow the name",
        )]),
        is_compiler: true,
        see_also: &["cc(1)", "ukl-ld(1)", "ukl-run(1)"],
    }
}

fn run() -> Tool {
    let command = ukl_run::args::Args::command();
    let text = command
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let command = command
        .after_help("")
        .mut_arg("command", |arg| arg.value_hint(ValueHint::FilePath));
    Tool {
        name: "ukl-run",
        command,
        environment: listed(&text),
        is_compiler: false,
        see_also: &[
            "ukl-cc(1)",
            "ukl-ld(1)",
            "ukl-pack(1)",
            "qemu-system-x86_64(1)",
        ],
    }
}

fn pack() -> Tool {
    let command = ukl_pack::args::Args::command();
    let text = command
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let hints = [
        ("output", ValueHint::FilePath),
        ("rootfs", ValueHint::AnyPath),
        ("kernel", ValueHint::DirPath),
        ("command", ValueHint::FilePath),
    ];
    let command = hints
        .into_iter()
        .fold(command.after_help(""), |command, (name, hint)| {
            command.mut_arg(name, |arg| arg.value_hint(hint))
        });
    Tool {
        name: "ukl-pack",
        command,
        environment: listed(&text),
        is_compiler: false,
        see_also: &["ukl-run(1)", "ukl-ld(1)", "ld.so(8)", "apt-get(8)"],
    }
}

fn rewriter() -> Tool {
    Tool {
        name: "symbol-rewriter",
        command: symbol_rewriter::command::Args::command(),
        environment: Vec::new(),
        is_compiler: false,
        see_also: &["objcopy(1)", "ukl-ld(1)"],
    }
}

fn files(help: &'static str) -> Arg {
    Arg::new("file")
        .value_name("FILE")
        .num_args(0..)
        .value_hint(ValueHint::FilePath)
        .help(help)
}

/// Adds options `--ukl-*`.
fn own<'o>(command: Command, options: impl IntoIterator<Item = &'o OptionSpec>) -> Command {
    let command = command.disable_help_flag(true).disable_version_flag(true);
    options.into_iter().fold(command, |command, spec| {
        let arg = Arg::new(spec.name)
            .long(lasting(format!("ukl-{}", spec.name)))
            .help(spec.description());
        command.arg(match spec.value {
            Value::None => arg.action(ArgAction::SetTrue),
            Value::Required(name) => valued(arg, spec, name),
            Value::Optional(name) => valued(arg, spec, name).num_args(0..=1).require_equals(true),
        })
    })
}

/// clap requires names with a static lifetime. Leaking them is acceptable, because there are few.
fn lasting(name: String) -> &'static str {
    name.leak()
}

fn valued(arg: Arg, spec: &OptionSpec, name: &'static str) -> Arg {
    let hint = match name {
        "PATH" => ValueHint::FilePath,
        "DIR" => ValueHint::DirPath,
        _ => ValueHint::Other,
    };
    let arg = arg.value_name(name).value_hint(hint);
    match spec.choices.is_empty() {
        true => arg,
        false => arg.value_parser(PossibleValuesParser::new(spec.choices)),
    }
}

/// These variables, followed by the linker's.
fn environment(first: &[(&str, &str)]) -> Vec<(String, String)> {
    let named = |name: &str| first.iter().any(|(names, _)| names.contains(name));
    let more = options::ENVIRONMENT
        .iter()
        .filter(|variable| !named(variable.name))
        .map(|variable| (variable.name, variable.help));
    first
        .iter()
        .copied()
        .chain(more)
        .map(|(name, help)| (name.to_owned(), help.to_owned()))
        .collect()
}

/// Reads the list of variables in a help text. A line begins with a name, or continues the previous
/// line with more indentation.
fn listed(text: &str) -> Vec<(String, String)> {
    let mut list: Vec<(String, String)> = Vec::new();
    for line in text.lines().skip(1) {
        let words = line.trim();
        let deep = line.len() - line.trim_start().len() > 2;
        match (words.split_once(' '), list.last_mut()) {
            (_, Some((_, help))) if deep => {
                help.push(' ');
                help.push_str(words);
            }
            (Some((name, help)), _) => list.push((name.to_owned(), help.trim().to_owned())),
            (None, _) => {}
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_of_a_help_text_are_found() {
        let text = "Environment:\n  ONE  The first\n  OTHER  The second,\n         and more";
        let pair = |name: &str, help: &str| (name.to_owned(), help.to_owned());
        assert_eq!(
            listed(text),
            [
                pair("ONE", "The first"),
                pair("OTHER", "The second, and more")
            ]
        );
    }
}
