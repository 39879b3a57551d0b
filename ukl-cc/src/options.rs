//! Parses the arguments. All of them are the compiler's, except `--ukl-*`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use ukl_common::options;
use ukl_common::options::OptionSpec;
use ukl_common::options::Value;

use crate::error::Error;

/// The options of ukl-cc itself. ukl-ld does not have them, or gives them another meaning.
pub const OPTIONS: &[OptionSpec] = &[
    own(
        "version",
        "Print the version of ukl-cc, the compiler, the linker and the kernel archive",
    ),
    own("help", "Print a summary of the options"),
    own(
        "kernel-code",
        "Compile C to an object that becomes part of the kernel, with the kernel's headers and \
         flags",
    ),
];

const fn own(name: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec {
        name,
        value: Value::None,
        choices: &[],
        aliases: &[],
        default: None,
        help,
    }
}

/// What the arguments request.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// Run the compiler with these arguments.
    Compiler(Vec<OsString>),
    /// Run the compiler with the kernel's options and these arguments (`--ukl-kernel-code`).
    KernelCode(Vec<OsString>),
    /// `--ukl-version`.
    Version,
    /// `--ukl-help`.
    Help,
}

/// Passes `--ukl-*` to the linker by `-Xlinker`, because `-Wl,` would split values at commas.
pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Asked, Error> {
    let mut args = args.into_iter();
    let mut words = Vec::new();
    let mut kernel_code = false;
    while let Some(arg) = args.next() {
        let Some(name) = arg.as_bytes().strip_prefix(b"--ukl-") else {
            words.push(arg);
            continue;
        };
        match name {
            b"version" => return Ok(Asked::Version),
            b"help" => return Ok(Asked::Help),
            b"kernel-code" => {
                kernel_code = true;
                continue;
            }
            _ => {}
        }
        let spec = str::from_utf8(name).ok().and_then(options::find);
        let whole = if spec.is_some_and(OptionSpec::needs_value) {
            let value = args.next();
            let value = value.ok_or_else(|| Error::NoValue(arg.to_string_lossy().into_owned()))?;
            let mut whole = arg;
            whole.push("=");
            whole.push(value);
            whole
        } else {
            arg
        };
        words.extend(["-Xlinker".into(), whole]);
    }
    Ok(match kernel_code {
        true => Asked::KernelCode(words),
        false => Asked::Compiler(words),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(args: &[&str]) -> Vec<OsString> {
        match read(args.iter().map(OsString::from)).unwrap() {
            Asked::Compiler(words) => words,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_compilers_arguments_stay_as_they_are() {
        let args = ["-O2", "-DX=\"a b\"", "@file", "-", "x.c", "--version"];
        assert_eq!(words(&args), args);
    }

    #[test]
    fn ours_go_to_the_linker() {
        assert_eq!(words(&["--ukl-explain"]), ["-Xlinker", "--ukl-explain"]);
        let cmdline = "--ukl-cmdline=console=ttyS0,115200";
        assert_eq!(words(&[cmdline]), ["-Xlinker", cmdline]);
    }

    #[test]
    fn a_value_may_be_the_next_word() {
        assert_eq!(
            words(&["--ukl-add", "a:/b", "x.c"]),
            ["-Xlinker", "--ukl-add=a:/b", "x.c"]
        );
        assert!(read(["--ukl-add".into()]).is_err());
    }

    #[test]
    fn our_own_options_do_not_reach_the_linker() {
        for spec in OPTIONS {
            let asked = read([format!("--ukl-{}", spec.name).into()]).unwrap();
            match asked {
                Asked::Compiler(words) => panic!("{}: {words:?}", spec.name),
                Asked::KernelCode(words) => assert!(words.is_empty()),
                Asked::Version | Asked::Help => {}
            }
        }
    }

    #[test]
    fn kernel_code_may_be_asked_for_anywhere() {
        let asked = read(["-c", "f.c", "--ukl-kernel-code"].map(OsString::from));
        let words = ["-c", "f.c"].map(OsString::from).to_vec();
        assert_eq!(asked.unwrap(), Asked::KernelCode(words));
    }

    #[test]
    fn no_arguments_are_the_compilers_business() {
        assert!(words(&[]).is_empty());
    }
}
