//! The interpreters of scripts, as the kernel finds them (fs/binfmt_script.c).

/// The kernel reads this much of the first line (BINPRM_BUF_SIZE).
const LONGEST: usize = 256;

/// The first line of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstLine {
    /// The interpreter's path.
    pub interpreter: Vec<u8>,
    /// Its only argument.
    pub argument: Option<Vec<u8>>,
}

/// Reads the first line. `None` if the file is not a script.
pub fn first_line(data: &[u8]) -> Option<FirstLine> {
    let rest = data.strip_prefix(b"#!")?;
    let rest = &rest[..rest.len().min(LONGEST - 2)];
    let line = rest.split(|byte| *byte == b'\n').next()?.trim_ascii();
    let is_space = |byte: &u8| *byte == b' ' || *byte == b'\t';
    let end = line.iter().position(is_space).unwrap_or(line.len());
    let (interpreter, argument) = (line[..end].to_vec(), line[end..].trim_ascii().to_vec());
    (!interpreter.is_empty()).then_some(FirstLine {
        interpreter,
        argument: (!argument.is_empty()).then_some(argument),
    })
}

/// The command that `env ARGUMENT` runs: the first word that is neither an option nor an assignment
/// (env(1)).
pub fn command_of_env(argument: &[u8]) -> Option<Vec<u8>> {
    let words = argument.split(|byte| *byte == b' ' || *byte == b'\t');
    let words = words.map(|word| word.strip_prefix(b"-S").unwrap_or(word));
    let mut commands =
        words.filter(|word| !word.is_empty() && !word.starts_with(b"-") && !word.contains(&b'='));
    commands.next().map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_an_interpreter_and_one_argument() {
        let read = |text: &str| {
            let line = first_line(text.as_bytes())?;
            let text = |bytes| String::from_utf8(bytes).unwrap();
            Some((text(line.interpreter), line.argument.map(text)))
        };
        let some = |path: &str, argument: Option<&str>| {
            Some((path.to_owned(), argument.map(str::to_owned)))
        };
        assert_eq!(read("#!/bin/sh\nx"), some("/bin/sh", None));
        assert_eq!(read("#! /bin/a  -b c \n"), some("/bin/a", Some("-b c")));
        assert_eq!(read("#!/bin/sh"), some("/bin/sh", None));
        for other in ["", "#!", "#!\n/bin/sh", "# !/bin/sh", "\x7fELF"] {
            assert_eq!(read(other), None, "{other:?}");
        }
    }

    #[test]
    fn env_runs_its_first_plain_word() {
        for (argument, command) in [
            ("python3", Some("python3")),
            ("-S python3 -u", Some("python3")),
            ("-Spython3 -u", Some("python3")),
            ("-i A=1 perl", Some("perl")),
            ("-i", None),
        ] {
            let found = command_of_env(argument.as_bytes());
            assert_eq!(found.as_deref(), command.map(str::as_bytes), "{argument}");
        }
    }
}
